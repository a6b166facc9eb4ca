"""The devserver's command line, as a script runs it and as a person sees it."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pexpect
import psutil
from pexpect.fdpexpect import fdspawn

from tests.servers import PROJECT, eventually

COMMAND = (sys.executable, str(PROJECT / "devserver.py"))
CTRL_C = "\x03"
_ROWS, _COLUMNS = 40, 120


def environment(**variables: str) -> dict[str, str]:
    """The environment, without what a user or a build service may have set for terminals and devservers."""
    unset = ("DEVSERVER_", "NO_COLOR", "FORCE_COLOR", "TTY_", "COLUMNS", "LINES")
    own = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    return {**own, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color", **variables}


def in_a_pipe(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """How a command ends whose output is no terminal, and whose input is empty."""
    return subprocess.run(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(**variables),
        check=False,
    )


class Terminal:
    """A terminal in which one command runs."""

    def __init__(self, process: subprocess.Popen[bytes], screen: fdspawn) -> None:
        self._process = process
        self._screen = screen
        self._shown = screen.logfile_read = io.StringIO()

    def see(self, text: str) -> None:
        """Wait until the terminal shows ``text``, after what was waited for before."""
        try:
            self._screen.expect_exact(text)
        except pexpect.ExceptionPexpect as error:
            raise AssertionError(f"{text!r} is not shown:\n{self._shown.getvalue()}") from error

    def see_match(self, pattern: str) -> None:
        """The same for a regular expression."""
        self._screen.expect(pattern)

    def press(self, keys: str) -> None:
        """Type, once the command waits: between its prompt and its wait, readline does not notice Ctrl-C."""
        eventually(lambda: psutil.Process(self._process.pid).status() == psutil.STATUS_SLEEPING)
        self._screen.send(keys)

    def signal(self, number: int) -> None:
        """Send the command a signal, which nobody types."""
        self._process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """The exit status of the command, once it has ended, and all that the terminal was told to show."""
        self._screen.read()
        return self._process.wait(20), self._shown.getvalue()


@contextmanager
def in_a_terminal(*arguments: str, **variables: str) -> Iterator[Terminal]:
    """Run a command in a terminal of its own, whose Ctrl-C reaches it.

    setsid(1) makes it the command's controlling terminal. pexpect's own way forks this process, which has threads.
    Signals do what they do at a terminal, also where the tests run with some of them ignored: under nohup, for one.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
    command = ["setsid", "--ctty", "env", "--default-signal", *COMMAND, *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(**variables))
    os.close(theirs)
    screen = fdspawn(ours, timeout=20, encoding="utf-8")
    try:
        yield Terminal(process, screen)
    finally:
        process.kill()
        process.wait()
        screen.close()

"""A minidump becomes a stack by a program of the operator's, within bounds: the dump is a stranger's."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from staging.errors import CallerGone, SymbolicationFailed
from staging.executors import confined
from staging.messages import in_one_line

_LONGEST = 120.0  # seconds
_MOST_TEXT = 16 * 1024 * 1024  # bytes of a stack
_TAIL = 2048  # bytes of what it says on standard error, the last of which is told
_PIECE = 64 * 1024
_LOOK = 0.2  # seconds between two looks at whether the caller is there


class Stackwalker:
    """Runs ``minidump_stackwalk``, or what takes the same arguments: the dump, and the root of the symbols."""

    def __init__(self, program: Path, longest: float = _LONGEST, most: int = _MOST_TEXT) -> None:
        """It may take ``longest`` seconds, and write ``most`` bytes."""
        self._program = program
        self._longest = longest
        self._most = most

    def stack_of(self, dump: Path, symbols: Path, is_gone: Callable[[], bool]) -> bytes:
        """The stack as text; ``dump`` lies in a directory of its own.

        Raises:
            SymbolicationFailed
            CallerGone: nobody waits for it any more.

        """
        arguments = [str(dump), str(symbols.resolve())]
        bounds = (dump.parent, [dump, symbols], int(self._longest))
        command = confined.command(str(self._program), arguments, *bounds)
        process = subprocess.Popen(  # noqa: S603 - of the operator's
            command,
            cwd=dump.parent,
            env=_environment(dump.parent),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        with process:
            try:
                text, said = self._read(process, is_gone)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            raise SymbolicationFailed(self._program.name, _why(process.returncode, said, arguments))
        return text

    def _read(self, process: subprocess.Popen[bytes], is_gone: Callable[[], bool]) -> tuple[bytes, bytes]:
        """What it writes to its end, and the last of what it says on standard error."""
        text, said = bytearray(), b""
        ends = monotonic() + self._longest
        with selectors.DefaultSelector() as selector:
            for pipe in (process.stdout, process.stderr):
                selector.register(pipe, selectors.EVENT_READ)  # type: ignore[arg-type]
            while selector.get_map() and (process.poll() is None or selector.select(0)):
                self._go_on(monotonic() < ends, len(text), is_gone)
                for key, _ in selector.select(_LOOK):
                    piece = os.read(key.fd, _PIECE)
                    if not piece:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stdout:
                        text += piece
                    else:
                        said = (said + piece)[-_TAIL:]
            self._wait(process, ends, is_gone)
        return bytes(text), said

    def _wait(self, process: subprocess.Popen[bytes], ends: float, is_gone: Callable[[], bool]) -> None:
        """Wait for one that has closed its pipes."""
        while process.poll() is None:
            self._go_on(monotonic() < ends, 0, is_gone)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK)

    def _go_on(self, is_in_time: bool, size: int, is_gone: Callable[[], bool]) -> None:
        if is_gone():
            raise CallerGone("a stack")
        if not is_in_time:
            raise SymbolicationFailed(self._program.name, f"it took more than {self._longest:g} seconds")
        if size > self._most:
            raise SymbolicationFailed(self._program.name, f"it wrote more than {self._most} bytes")


def _environment(scratch: Path) -> Mapping[str, str]:
    """None of the server's own: it may hold credentials."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TMPDIR": str(scratch), "HOME": str(scratch)}


def _why(status: int, said: bytes, arguments: list[str]) -> str:
    """How it ended, and the last line of what it said, without paths of the host."""
    end = f"it was ended by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"
    text = said.decode(errors="replace")
    for path, name in zip(arguments, ("the dump", "the symbols"), strict=True):
        text = text.replace(path, name)
    lines: list[Any] = [line for line in text.splitlines() if line.strip()]
    return f"{end}; it said: {in_one_line(lines[-1])[:500]}" if lines else end

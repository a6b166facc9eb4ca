"""The process that workers are forked from: it imports once what they need, and has one thread.

It is asked through a socket that has no name, so that nobody but the devserver can ask: a worker does not have it. A
request comes with descriptors:

    order     a file in memory: the job, what it is asked, and how the worker is confined, as JSON
    told      the status queue's end to write
    said      where the worker's standard output and error go
    life      what becomes of the worker is written here: ``started`` and its process id, ``ended`` and its wait status,
              or ``failed`` and an errno
    lock      a lock to hold, if any

When the devserver ends, so does this process, and with it every worker. With a worker ends all that it started.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import NamedTuple, NoReturn

from staging.executors.orphans import reap_group

_SET_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
_FEWEST_DESCRIPTORS, _MOST_DESCRIPTORS, _LIFE = 4, 5, 3
_LONGEST_REQUEST = 16  # bytes; what is asked lies in the order
# A terminal or systemd sends them to all processes; this one, and workers, end with the devserver, which is told.
_OF_THE_SERVER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_BETWEEN_LOOKS = 1.0  # seconds, at how many processes a worker has
_MOST_PROCESSES = 256  # of one worker; two for each artifact that is unpacked are usual
_REST = 20  # times as long as a look took, at least
_LIBC = ctypes.CDLL(None, use_errno=True)


class ForkServer:
    """Forks workers when asked, and looks after them, until whoever asks is gone."""

    def __init__(self, control: int) -> None:
        self._control = socket.socket(fileno=control)
        self._lives: dict[int, int] = {}  # where to write what becomes of each worker, by process id
        self._next_look = 0.0
        self._wakeup, self._woken = os.pipe()
        for end in (self._wakeup, self._woken):
            os.set_blocking(end, False)

    def serve(self) -> None:
        """Serve until the other end of the control socket is closed."""
        prctl(_SET_CHILD_SUBREAPER, 1)  # what a worker's programs leave behind becomes this process's own
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        gc.collect()
        gc.freeze()  # so that workers share its memory for good
        while self._serve_once():
            pass
        for worker in self._lives:
            _kill_group(worker)
        _end(_strays(_processes(), set()))

    def _serve_once(self) -> bool:
        """Wait for something to do, and do it; False once nobody asks any more."""
        poll = select.poll()
        for descriptor in (self._control.fileno(), self._wakeup):
            poll.register(descriptor, select.POLLIN)
        ready = dict(poll.poll(1000 * _BETWEEN_LOOKS if _has_children() else None))
        with suppress(BlockingIOError):
            os.read(self._wakeup, 4096)
        self._reap()
        if self._control.fileno() in ready and not self._fork_what_is_asked():
            return False
        with suppress(OSError):  # it has no descriptor left
            self._look()
        return True

    def _fork_what_is_asked(self) -> bool:
        """Fork a worker; False where nobody asks any more."""
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._control, _LONGEST_REQUEST, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return False
        if len(descriptors) < _FEWEST_DESCRIPTORS:  # there was no room for more
            _close(descriptors)
            return bool(data)
        life = descriptors.pop(_LIFE)
        try:
            self._fork(descriptors, life)
        except OSError as error:
            _tell(life, f"failed {error.errno}")
            os.close(life)
        _close(descriptors)
        return True

    def _fork(self, descriptors: Sequence[int], life: int) -> None:
        process = os.fork()
        if process == 0:
            self._become_a_worker(*descriptors)
        with suppress(OSError):  # it has done so itself, or is gone
            os.setpgid(process, process)
        self._lives[process] = life
        _tell(life, f"started {process}")

    def _become_a_worker(self, order: int, told: int, said: int, *lock: int) -> NoReturn:
        """Run the job in this process, which was forked, and exit."""
        status = 1
        try:
            self._control.detach()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)
            for output in (1, 2):
                os.dup2(said, output)
            _keep_only({0, 1, 2, order, told, *lock})
            prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
            from staging.executors.worker import work  # which was imported before

            with open(order, "rb") as file:
                text = file.read()
            status = work(text, told)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        """Take note of the workers that ended, and end what they left behind in their groups."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                process, status = ended
                life = self._lives.pop(process, None)
                if life is not None:
                    _kill_group(process)
                    reap_group(process)
                    _tell(life, f"ended {status}")
                    os.close(life)

    def _look(self) -> None:
        """Once in a while, end workers that have far too many processes, and what is in no living worker's group."""
        began = monotonic()
        if not _has_children() or (self._lives and began < self._next_look):
            return
        processes = _processes()
        sizes = Counter(process.group for process in processes.values())
        for worker in self._lives:
            if sizes[worker] > _MOST_PROCESSES:
                _kill_group(worker)
        _end(_strays(processes, set(self._lives)))
        self._next_look = monotonic() + max(_BETWEEN_LOOKS, _REST * (monotonic() - began))


class _Process(NamedTuple):
    """A process of this machine: its parent's process id, and its group's."""

    parent: int
    group: int


def _processes() -> dict[int, _Process]:
    """All processes that this one sees, by process id."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - of thousands
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                _, parent, group, *_ = file.read().rpartition(b") ")[2].split()
                found[int(name)] = _Process(int(parent), int(group))
    return found


def _strays(processes: Mapping[int, _Process], workers: set[int]) -> list[int]:
    """Descendants of this process that are in the group of no worker: theirs is gone, or they ran away from it."""
    below: dict[int, list[int]] = {}
    for number, process in processes.items():
        below.setdefault(process.parent, []).append(number)
    found, open_ends = [], [os.getpid()]
    while open_ends:
        children = below.get(open_ends.pop(), [])
        open_ends += children
        found += [child for child in children if processes[child].group not in workers]
    return found


def _end(strays: Sequence[int]) -> None:
    for stray in strays:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(stray, signal.SIGKILL)  # and is reaped once it is this process's child


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _kill_group(process: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)


def _keep_only(kept: set[int]) -> None:
    """Close every descriptor of this process but those."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - the numbers
        if int(name) not in kept:
            _close([int(name)])


def _tell(life: int, text: str) -> None:
    with suppress(OSError):  # nobody wants to know
        os.write(life, f"{text}\n".encode())


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)


def prctl(what: int, value: int) -> None:
    """Set something of this process, where the kernel knows it."""
    _LIBC.prctl(*(ctypes.c_ulong(one) for one in (what, value, 0, 0, 0)))


def main(control: int, modules: Sequence[str]) -> None:
    """Import the modules, and serve those who ask through the socket ``control``."""
    for number in _OF_THE_SERVER:
        signal.signal(number, signal.SIG_IGN)
    for name in modules:
        importlib.import_module(name)
    from staging.executors import confinement, worker

    del worker  # it is there for those who are forked
    confinement.prepare()
    ForkServer(control).serve()

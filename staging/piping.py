"""Programs that decompress: fed by a thread, held to their memory, and heard when they complain."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from typing import IO, NamedTuple

from staging.codecs import PIECE, BrokenStream, NotEnoughMemory, followed, lacks_memory
from staging.errors import DevServerError
from staging.programs import Output
from staging.stream_ends import TAIL
from staging.writing import write_all

_PIPE_BYTES = 1024 * 1024  # as much as Linux lets anyone have
_MEMORY_OF_A_THREAD = 64 * 1024**2  # of a program: its stack, and the blocks that it works on
_LAST_WORDS = 5.0  # seconds that a program has to end, once its output has


class Program(NamedTuple):
    """A program that decompresses from its standard input to its standard output.

    Attributes:
        title: what its streams are called.
        behind: what follows the last stream in the tail of a file.

    """

    title: str
    command: Sequence[str]
    behind: Callable[[bytes], bytes]


@contextmanager
def piped(program: Program, packed: io.RawIOBase, max_memory: int) -> Iterator[io.RawIOBase]:
    """What ``program`` makes of ``packed``, a thread feeding it. Leaving before its end kills it.

    What went wrong with reading ``packed`` is raised before what that led to, and so is what the program complains of.

    Raises:
        BrokenStream: the program failed, or its last stream is followed by what is none; when the context ends.

    """
    process = subprocess.Popen(  # noqa: S603 - a program that was found by its own name, given nothing but a stream
        _limited(program.command, max_memory + _MEMORY_OF_A_THREAD * (os.cpu_count() or 1)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdin  # noqa: S101 - pipes, as asked for
    assert process.stdout  # noqa: S101
    assert process.stderr  # noqa: S101
    feeder = _Feeder(packed, process.stdin)
    # The first closes its pipes in the end, and waits for it.
    with process, Output(process, process.stdout) as plain, Output(process, process.stderr) as complaints:
        try:
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # a user may have only so much of pipes
                    fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            feeder.start()
            yield plain
        except Exception as error:
            status = _own_status(process, plain)
            _end(process)
            feeder.join()
            raise (feeder.failure or _complaint(program, complaints.readall(), status) or error) from None
        else:
            said = complaints.readall()
            complaint = _complaint(program, said, process.wait())
            feeder.join()
            if failure := feeder.failure or _what_follows(program, feeder.tail) or complaint:
                raise failure
        finally:
            _end(process)
            feeder.join()


def _limited(command: Sequence[str], most: int) -> Sequence[str]:
    """``command``, held to so many bytes of memory by prlimit(1), which every Linux has: a confined worker may set no
    limit of another process.
    """
    program = shutil.which("prlimit")
    return [program, f"--data={most}:{most}", "--", *command] if program else command


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program; where a confined worker may not (Landlock before 6), close what it writes to, which ends it."""
    try:
        process.kill()
    except PermissionError:
        if process.stdout:
            process.stdout.close()


def _own_status(process: subprocess.Popen[bytes], plain: Output) -> int | None:
    """The status that a program ended with by itself, as it is about to where its output has; None while it runs."""
    if plain.has_ended:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LAST_WORDS)
    return process.poll()


def _complaint(program: Program, said: bytes, status: int | None) -> BrokenStream | None:
    """What a program complained of that ended with ``status``; None if it did not fail, or was ended."""
    words = _last_line(said)
    if lacks_memory(words):
        return NotEnoughMemory(words)
    words = words or f"its decompressor ended with status {status}"
    return BrokenStream(f"its {program.title} stream is broken: {words}") if status else None


def _what_follows(program: Program, tail: bytes) -> BrokenStream | None:
    rest = program.behind(tail)
    return followed(program.title, f"{len(rest)}{'' if len(rest) < TAIL else ' or more'}") if rest else None


class _Feeder(Thread):
    """Writes a stream into a program's standard input, and keeps its tail and what went wrong with reading it."""

    def __init__(self, packed: io.RawIOBase, sink: IO[bytes]) -> None:
        super().__init__(name="feed-decompressor", daemon=True)
        self._packed = packed
        self._sink = sink
        self.tail = b""
        self.failure: DevServerError | OSError | BrokenStream | None = None

    def run(self) -> None:
        try:
            while piece := self._packed.read(PIECE):
                self.tail = piece[-TAIL:] if len(piece) >= TAIL else (self.tail + piece)[-TAIL:]
                try:
                    write_all(self._sink.fileno(), piece)
                except OSError:
                    return  # the program ended early, and says why
        except (DevServerError, OSError, BrokenStream) as error:  # an OSError of a disk that has no room for a copy
            self.failure = error
        finally:
            self._sink.close()


def _last_line(complaint: bytes) -> str:
    """What a program said last, without its own name and the stream's in front."""
    line = complaint.decode(errors="replace").strip().rpartition("\n")[2]
    words = line.partition(": ")[2] or line
    return words.removeprefix("(stdin): ").removeprefix("stdin: ")

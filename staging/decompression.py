"""Compressed streams become plain ones, on all cores where the format and the machine allow.

bzip2 and xz go through programs, lbzip2 and xz, which use all cores; where they are not installed, Python's own modules
do the same on one. gzip goes through ISA-L and zstd through its own library, which are faster on one core than the
programs on two. All of them read streams that were compressed in several parts, and take no more memory than they may:
how much an xz or a zstd stream takes is for whoever packed it to say, up to gigabytes for a few kilobytes.
"""

from __future__ import annotations

import bz2
import fcntl
import io
import lzma
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from typing import IO, TYPE_CHECKING, Any, cast

import zstandard
from isal import igzip

from staging.errors import BadTarball, DevServerError
from staging.programs import Output
from staging.units import in_bytes
from staging.writing import write_all

if TYPE_CHECKING:
    from typing_extensions import Buffer

_PIPE_BYTES = 1024 * 1024  # as much as Linux lets anyone have
_PIECE = 256 * 1024
_LONGEST_MAGIC = 6
_MEMORY_OF_A_THREAD = 64 * 1024**2  # of a program: its stack, and the blocks that it works on

Plain = IO[bytes]


@contextmanager
def decompressed(stream: io.RawIOBase, name: str, max_memory: int) -> Iterator[Plain]:
    """The plain content of ``stream``, whatever it is compressed with; ``name`` is what errors call it.

    Raises:
        BadTarball: it is broken, or takes more than ``max_memory`` bytes; from reading, or when the context ends.

    """
    packed = _FromItsStart(stream)
    for magic, command, module in _FORMATS:
        if packed.start.startswith(magic):
            program = shutil.which(command[0]) if command else None
            with _bounded(name, max_memory):
                if program:
                    words = [word.format(max_memory=max_memory) for word in command[1:]]
                    with _piped([program, *words], packed, name, max_memory) as plain:
                        yield plain
                else:
                    yield io.BufferedReader(cast("io.RawIOBase", module(packed, max_memory)), _PIECE)
            return
    yield io.BufferedReader(packed, _PIECE)


class _FromItsStart(io.RawIOBase):
    """A stream whose first bytes were looked at; closing it leaves the stream open."""

    def __init__(self, stream: io.RawIOBase) -> None:
        super().__init__()
        self._stream = stream
        self.start = b""
        while len(self.start) < _LONGEST_MAGIC and (piece := stream.read(_LONGEST_MAGIC - len(self.start))):
            self.start += piece
        self._unread = self.start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        if not self._unread:
            return self._stream.readinto(buffer) or 0
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._unread))
        target[:count] = self._unread[:count]
        self._unread = self._unread[count:]
        return count


def memory_exceeded(name: str, max_memory: int) -> BadTarball:
    """What is said of an object that takes more memory to decompress than it may."""
    return BadTarball(
        name, f"to decompress it takes more memory than the {in_bytes(max_memory)} that --unpack-max-memory allows"
    )


@contextmanager
def _bounded(name: str, max_memory: int) -> Iterator[None]:
    """Say in one way that there is not enough memory, whichever library or program it is that says so."""
    try:
        yield
    except (lzma.LZMAError, zstandard.ZstdError, BadTarball) as error:
        if _is_lack_of_memory(str(error)):
            raise memory_exceeded(name, max_memory) from error
        raise


_NOT_ENOUGH_MEMORY = (
    "memory usage limit",  # liblzma, and xz
    "cannot allocate memory",
    "mib of memory is required",  # the last line of xz
    "too much memory",  # libzstd
)


class _Xz(io.RawIOBase):
    """xz streams, one behind the other, as Python's own module reads them, but for the limit that it leaves out."""

    def __init__(self, packed: IO[bytes], max_memory: int) -> None:
        super().__init__()
        self._packed = packed
        self._max_memory = max_memory
        self._decompressor = self._anew()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        target = memoryview(buffer).cast("B")
        while True:
            if self._decompressor.eof and not self._begin_next():
                return 0
            packed = self._packed.read(_PIECE) if self._decompressor.needs_input else b""
            if not packed and self._decompressor.needs_input:
                raise EOFError("it ends too early")
            piece = self._decompressor.decompress(packed, len(target))
            if piece:
                target[: len(piece)] = piece
                return len(piece)

    def _anew(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, self._max_memory)

    def _begin_next(self) -> bool:
        """Go on with the next stream, behind zeros that may stand between them; False at the end."""
        rest = self._decompressor.unused_data.lstrip(b"\0")
        while not rest:
            packed = self._packed.read(_PIECE)
            if not packed:
                return False
            rest = packed.lstrip(b"\0")
        self._decompressor = self._anew()
        # What comes out of it is asked for next; it keeps what it was given.
        self._decompressor.decompress(rest, 0)
        return True


def _zstd(packed: IO[bytes], max_memory: int) -> Any:
    decompressor = zstandard.ZstdDecompressor(max_window_size=max_memory)
    return decompressor.stream_reader(packed, read_across_frames=True)


_open_gzip: Callable[[Any], Any] = igzip.open  # which has no types
# bzip2 and gzip take some megabytes, whatever they hold.
_FORMATS: tuple[tuple[bytes, Sequence[str], Callable[[Any, int], Any]], ...] = (
    (b"BZh", ("lbzip2", "--decompress", "--stdout"), lambda packed, _: bz2.BZ2File(packed)),
    (b"\x1f\x8b", (), lambda packed, _: _open_gzip(packed)),
    (
        b"\xfd7zXZ\0",
        ("xz", "--decompress", "--stdout", "--threads=0", "--memlimit-decompress={max_memory}"),
        _Xz,
    ),
    (b"\x28\xb5\x2f\xfd", (), _zstd),
)


@contextmanager
def _piped(command: Sequence[str], packed: io.RawIOBase, name: str, max_memory: int) -> Iterator[Plain]:
    """What ``command`` makes of ``packed``, a thread feeding it. Leaving before its end kills it.

    What went wrong with reading ``packed`` is raised before what that led to.
    """
    process = subprocess.Popen(  # noqa: S603 - a program that was found by its own name, given nothing but a stream
        _limited(command, max_memory + _MEMORY_OF_A_THREAD * (os.cpu_count() or 1)),
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
            yield io.BufferedReader(plain, _PIECE)
            _check_end(process, complaints, name)
        except Exception as error:
            _end(process)
            feeder.join()
            raise (feeder.failure or _lack_of_memory(complaints, name) or error) from None
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


def _check_end(process: subprocess.Popen[bytes], complaints: Output, name: str) -> None:
    """Raise what the program has to complain of, once it has said all."""
    complaint = complaints.readall()
    if process.wait():
        raise BadTarball(name, _last_line(complaint) or f"its decompressor ended with status {process.returncode}")


def _lack_of_memory(complaints: Output, name: str) -> BadTarball | None:
    """What a program that ended too early had to say, if that is that it needs more memory."""
    complaint = _last_line(complaints.readall())
    return BadTarball(name, complaint) if _is_lack_of_memory(complaint) else None


def _is_lack_of_memory(complaint: str) -> bool:
    return any(words in complaint.lower() for words in _NOT_ENOUGH_MEMORY)


class _Feeder(Thread):
    """Writes a stream into a program's standard input, and keeps what went wrong with reading it."""

    def __init__(self, packed: io.RawIOBase, sink: IO[bytes]) -> None:
        super().__init__(name="feed-decompressor", daemon=True)
        self._packed = packed
        self._sink = sink
        self.failure: DevServerError | OSError | None = None

    def run(self) -> None:
        try:
            while piece := self._packed.read(_PIECE):
                try:
                    write_all(self._sink.fileno(), piece)
                except OSError:
                    return  # the program ended early, and says why
        except (DevServerError, OSError) as error:  # the latter of a disk that has no room for a copy
            self.failure = error
        finally:
            self._sink.close()


def _last_line(complaint: bytes) -> str:
    """What a program said last, without its own name in front."""
    line = complaint.decode(errors="replace").strip().rpartition("\n")[2]
    return line.partition(": ")[2] or line

"""Compressed streams become plain ones, on all cores where the format and the machine allow.

bzip2 and xz go through programs, lbzip2 and xz, which use all cores; where they are not installed, Python's own modules
do the same on one. gzip goes through ISA-L and zstd through its own library, which are faster on one core than the
programs on two. All of them read streams that were compressed in several parts.
"""

from __future__ import annotations

import bz2
import fcntl
import io
import lzma
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from typing import IO, TYPE_CHECKING, Any, cast

import zstandard
from isal import igzip

from staging.errors import BadTarball, DevServerError
from staging.writing import write_all

if TYPE_CHECKING:
    from typing_extensions import Buffer

_PIPE_BYTES = 1024 * 1024  # as much as Linux lets anyone have
_PIECE = 256 * 1024
_LONGEST_MAGIC = 6

Plain = IO[bytes]


@contextmanager
def decompressed(stream: io.RawIOBase, name: str) -> Iterator[Plain]:
    """The plain content of ``stream``, whatever it is compressed with; ``name`` is what errors call it.

    Raises:
        BadTarball: it is broken; from reading, or when the context ends.

    """
    packed = _FromItsStart(stream)
    for magic, command, module in _FORMATS:
        if packed.start.startswith(magic):
            program = shutil.which(command[0]) if command else None
            if program:
                with _piped([program, *command[1:]], packed, name) as plain:
                    yield plain
            else:
                yield io.BufferedReader(cast("io.RawIOBase", module(packed)), _PIECE)
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


def _zstd(packed: IO[bytes]) -> Any:
    return zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)


_FORMATS: tuple[tuple[bytes, Sequence[str], Callable[[Any], Any]], ...] = (
    (b"BZh", ("lbzip2", "--decompress", "--stdout"), bz2.open),
    (b"\x1f\x8b", (), igzip.open),
    (b"\xfd7zXZ\0", ("xz", "--decompress", "--stdout", "--threads=0"), lzma.open),
    (b"\x28\xb5\x2f\xfd", (), _zstd),
)


@contextmanager
def _piped(command: Sequence[str], packed: io.RawIOBase, name: str) -> Iterator[Plain]:
    """What ``command`` makes of ``packed``, a thread feeding it. Leaving before its end kills it.

    What went wrong with reading ``packed`` is raised before what that led to.
    """
    process = subprocess.Popen(  # noqa: S603 - a program that was found by its own name, given nothing but a stream
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    assert process.stdin  # noqa: S101 - pipes, as asked for
    assert process.stdout  # noqa: S101
    feeder = _Feeder(packed, process.stdin)
    with process:  # which closes its pipes in the end, and waits for it
        try:
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # a user may have only so much of pipes
                    fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            feeder.start()
            yield io.BufferedReader(cast("io.RawIOBase", process.stdout), _PIECE)
            _check_end(process, name)
        except Exception as error:
            process.kill()
            feeder.join()
            raise (feeder.failure or error) from None
        finally:
            process.kill()
            feeder.join()


def _check_end(process: subprocess.Popen[bytes], name: str) -> None:
    """Raise what the program has to complain of, once it has said all."""
    complaint = process.stderr.read() if process.stderr else b""
    if process.wait():
        raise BadTarball(name, _last_line(complaint) or f"its decompressor ended with status {process.returncode}")


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

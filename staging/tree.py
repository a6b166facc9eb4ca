"""A tree of files made out of somebody else's names: nothing it is told can leave its directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from staging.checksums import as_text
from staging.errors import BadTarball
from staging.layout import RESERVED_NAME
from staging.paths import CONTROL_CHARACTERS
from staging.writing import write_to_file

_DEEPEST, _LONGEST_PART, _LONGEST_LINK = 100, 255, 4000  # directories, bytes, bytes
_SMALLEST_BOMB = 64 * 1024**2  # bytes; up to here, any ratio is harmless
_LATEST = 2.0**33  # seconds since the epoch, in the year 2242


@dataclass(frozen=True)
class UnpackLimits:
    """How much one tarball may hold.

    Attributes:
        max_bytes: of all its files, unpacked.
        max_files: and directories, and links.
        max_ratio: of unpacked to packed bytes, from a size on where that says something.
        max_memory: bytes that its decompressor may take; xz and zstd leave the choice to whoever packs.

    """

    max_bytes: int = 64 * 1024**3
    max_files: int = 2_000_000
    max_ratio: int = 1000
    max_memory: int = 256 * 1024**2


class TreeWriter:
    """Writes files, directories and links below ``target``, an empty directory, as the tarball ``name`` asks for them.

    Every directory that a name leads through was made here, and is a real one: so no link is ever followed. Modes are
    0755 for directories and for what its owner may execute, 0644 for all else.
    """

    def __init__(self, target: Path, name: str, limits: UnpackLimits) -> None:
        self._target = str(target)
        self._name = name
        self._limits = limits
        self._directories = {""}
        # What stood in front of a name that was checked, and the directory that this is: in one lie many files.
        self._parents: dict[str, str] = {}
        self._directory_times: dict[str, float] = {}
        self._entries = 0
        self._bytes = 0  # of the files, as they are announced
        self._unpacked = 0  # of all, as they came
        self._checksums: dict[str, str] = {}

    @property
    def checksums(self) -> dict[str, str]:
        """The crc32c of every file, by its path below the directory, as the archive writes it."""
        return self._checksums

    def directory(self, path: str, mtime: float) -> None:
        """Make a directory, and those that lead to it."""
        self._count(0)
        relative = self._checked(path)
        self._make_directories(relative)
        self._directory_times[relative] = mtime

    def file(self, path: str, size: int, mode: int, mtime: float, content: Iterable[bytes]) -> None:
        """Write a file; one of that name that is there is replaced, as tar does."""
        self._count(size)
        target = self._place_for(path)
        permissions = 0o755 if mode & stat.S_IXUSR else 0o644
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(target, flags, permissions)
        except FileExistsError:
            self._replace(path, target)
            descriptor = os.open(target, flags, permissions)
        crc32c = 0
        try:
            for piece in content:
                write_to_file(descriptor, piece)
                crc32c = google_crc32c.extend(crc32c, piece)
            os.utime(descriptor, _sane_times(mtime))
        finally:
            os.close(descriptor)
        self._checksums[self._below(target)] = as_text(crc32c)

    def symbolic_link(self, path: str, link: str) -> None:
        """Make a link that leads to somewhere in the tree, from where it lies.

        Ways up may only stand at its start: there they are taken from a real directory, so that what they lead to is
        what they say.
        """
        self._count(0)
        parts = [part for part in link.split("/") if part not in ("", ".")]
        ups = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
        depth = self._checked(path).count("/")
        if not parts or len(os.fsencode(link)) > _LONGEST_LINK:
            raise self._refusal(f"it holds the link {path!r} to nothing that could be")
        if CONTROL_CHARACTERS.search(link):
            raise self._refusal(f"it holds the link {path!r} to {link!r}, with a control character")
        if link.startswith("/") or ".." in parts[ups:] or ups > depth:
            raise self._refusal(f"it holds the link {path!r} to {link!r}, which may leave it")
        target = self._place_for(path)
        if os.path.lexists(target):
            self._replace(path, target)
        os.symlink(link, target)  # noqa: PTH211

    def hard_link(self, path: str, link: str) -> None:
        """Give a file that was written before a second name."""
        self._count(0)
        source = self._checked(link)
        parent = source.rpartition("/")[0]
        full_source = f"{self._target}/{source}"
        is_itself = source == self._checked(path)
        if is_itself or parent not in self._directories or not _is_regular(full_source):
            raise self._refusal(f"it holds the link {path!r} to {link!r}, which is no file in it")
        target = self._place_for(path)
        if os.path.lexists(target):
            self._replace(path, target)
        os.link(full_source, target, follow_symlinks=False)
        self._checksums[self._below(target)] = self._checksums[source]

    def skip(self, size: int) -> None:
        """Count a file that is not written: it takes time all the same."""
        self._count(size)

    def refuse(self, path: str, kind: str) -> None:
        """Say no to an entry that cannot be anything good."""
        raise self._refusal(f"it holds {path!r}, which is {kind}")

    def unpacked(self, count: int, packed: int) -> None:
        """Take note that ``count`` more bytes came out of the first ``packed`` bytes of the tarball, and say no if that
        is far more than honest ones give.
        """
        self._unpacked += count
        if self._unpacked > _SMALLEST_BOMB and self._unpacked > packed * self._limits.max_ratio:
            raise self._refusal(f"it unpacks to more than {self._limits.max_ratio} times its size")
        if self._unpacked > self._limits.max_bytes + _SMALLEST_BOMB:  # what is in no file, such as padding, included
            raise self._refusal(f"it unpacks to more than {self._limits.max_bytes} bytes (--unpack-max-bytes)")

    def finish(self) -> None:
        """Set the directories' times, which writing into them changed."""
        for path, mtime in self._directory_times.items():
            # Of what is open: a worker may set times of nothing that it only has a name of.
            descriptor = os.open(f"{self._target}/{path}", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.utime(descriptor, _sane_times(mtime))
            finally:
                os.close(descriptor)

    def _count(self, size: int) -> None:
        self._entries += 1
        self._bytes += size
        if self._entries > self._limits.max_files:
            raise self._refusal(f"it holds more than {self._limits.max_files} files (--unpack-max-files)")
        if self._bytes > self._limits.max_bytes:
            raise self._refusal(f"it unpacks to more than {self._limits.max_bytes} bytes (--unpack-max-bytes)")

    def _checked(self, path: str) -> str:
        """``path`` in its one spelling, without a slash at either end."""
        if path.startswith("/"):
            raise self._refusal(f"it holds the absolute name {path!r}")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise self._refusal(f"it holds the name {path!r}, which leaves it")
        if CONTROL_CHARACTERS.search(path):
            raise self._refusal(f"it holds the name {path!r}, with a control character")
        if len(parts) > _DEEPEST or (
            len(path) > _LONGEST_PART // 4 and any(len(os.fsencode(part)) > _LONGEST_PART for part in parts)
        ):
            raise self._refusal(f"it holds a name that is too long or too deep: {path[:100]!r}...")
        if RESERVED_NAME in parts:
            raise self._refusal(f"it holds {path!r}, and {RESERVED_NAME!r} is the devserver's own")
        return "/".join(parts)

    def _place_for(self, path: str) -> str:
        name = path.rpartition("/")[2]
        before = path[: len(path) - len(name)]  # with its slash: that of an absolute name is not that of a plain one
        is_harmless = _is_harmless(name)
        if is_harmless and before in self._parents:
            return f"{self._parents[before]}/{name}"
        relative = self._checked(path)
        if not relative:
            raise self._refusal(f"it holds a file named {path!r}")
        self._make_directories(relative.rpartition("/")[0])
        full = f"{self._target}/{relative}"
        if is_harmless:
            self._parents[before] = full.rpartition("/")[0]
        return full

    def _below(self, target: str) -> str:
        """The path of what lies at ``target``, from the directory."""
        return target[len(self._target) + 1 :]

    def _make_directories(self, relative: str) -> None:
        if relative in self._directories:
            return
        self._make_directories(relative.rpartition("/")[0])
        self._count(0)
        full = f"{self._target}/{relative}"
        try:
            os.mkdir(full, 0o755)  # noqa: PTH102 - made a hundred thousand times
        except FileExistsError:
            raise self._refusal(f"it holds {relative!r} both as a directory and as something else") from None
        self._directories.add(relative)

    def _replace(self, path: str, target: str) -> None:
        if self._checked(path) in self._directories:
            raise self._refusal(f"it holds {path!r} both as a directory and as something else")
        os.unlink(target)  # noqa: PTH108

    def _refusal(self, reason: str) -> BadTarball:
        return BadTarball(self._name, reason)


def _sane_times(mtime: float) -> tuple[float, float]:
    """``mtime`` as times that any file system takes; what is no time at all is the epoch."""
    return (mtime, mtime) if 0 <= mtime <= _LATEST else (0.0, 0.0)


def _is_harmless(name: str) -> bool:
    """Whether a name without slashes is known at a glance to be one that a file may have."""
    if name in ("", ".", "..", RESERVED_NAME):
        return False
    return name.isascii() and name.isprintable() and len(name) <= _LONGEST_PART


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False

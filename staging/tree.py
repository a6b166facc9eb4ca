"""A tree of files made out of somebody else's names: nothing it is told can leave its directory."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from staging.checksums import as_text
from staging.errors import BadTarball
from staging.left_out import LeftOut
from staging.member_names import UnsafeMember, checked, directories_passed, is_harmless, plain
from staging.sparse import SparseMap
from staging.sparse_files import write_sparse
from staging.writing import write_to_file

_SMALLEST_BOMB = 64 * 1024**2  # bytes; up to here, any ratio is harmless
_LATEST = 2.0**33  # seconds since the epoch, in the year 2242
_MOST_LINKS = 40  # that one name may lead through, as Linux has it
_PIECE = 1024 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


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
    """Writes files, directories and links below ``target``, as the tarball ``name`` asks for them.

    All that lies there was made by such a writer. No link is ever followed by the kernel: where a name leads through
    one, its directory is found here, step by step. Modes are 0755 for directories and for what its owner may execute,
    0644 for all else. What may not be raises :class:`UnsafeMember`, and nothing of it is there then.
    """

    def __init__(self, target: Path, name: str, limits: UnpackLimits, leaves_out_unsafe: bool = False) -> None:
        """With ``leaves_out_unsafe``, what may not be is left out, and is no reason to refuse all."""
        self._target = str(target)
        self._name = name
        self._limits = limits
        self._leaves_out_unsafe = leaves_out_unsafe
        self._directories = {""}  # which are real ones
        # What stood in front of a name that was checked, and the directory that this is: in one lie many files.
        self._parents: dict[str, str] = {}
        self._directory_times: dict[str, float] = {}
        # Links that lead into a directory and out of it again, by where they lie; looked at in the end.
        self._uncertain: dict[str, tuple[str, str, list[str]]] = {}
        self._entries = 0
        self._bytes = 0  # of the files, as they are announced
        self._unpacked = 0  # of all, as they came
        self.checksums: dict[str, str] = {}
        """The crc32c of every file, by its path below the directory, as the archive writes it."""
        self._holes: dict[str, int] = {}  # bytes of the files that take no room on the disk, by their paths
        self.left_out = LeftOut()

    @property
    def holes(self) -> int:
        """Bytes of the files that take no room on the disk."""
        return sum(self._holes.values())

    def has(self, path: str) -> bool:
        """Whether something of that name lies in the tree."""
        try:
            return os.path.lexists(self._place_for(path, makes=False))
        except (UnsafeMember, FileNotFoundError):
            return False

    def dangling_at(self, path: str) -> str | None:
        """The path that the link ``path`` leads to, where nothing is there; None where it is no such link."""
        try:
            relative = self._below(self._place_for(path, makes=False))
            link = _link_at(f"{self._target}/{relative}")
            if link is None:
                return None
            target = os.path.normpath(_joined(relative.rpartition("/")[0], link))
            return None if self.has(target) else target
        except (UnsafeMember, FileNotFoundError):
            return None

    def directory(self, path: str, mtime: float) -> None:
        """Make a directory, and those that lead to it; what lies there and is none is replaced, as tar does."""
        self._count(0)
        relative = checked(path)
        if relative not in self._directories:
            parent = self._directory_for(relative.rpartition("/")[0])
            relative = _joined(parent, relative.rpartition("/")[2])
            self._make(relative, is_asked_for=True)
        self._directory_times[relative] = mtime

    def file(
        self,
        path: str,
        size: int,
        mode: int,
        mtime: float,
        content: Iterable[bytes],
        sparse: SparseMap | None = None,
    ) -> None:
        """Write a file; what is there of that name is replaced, as tar does.

        ``size`` is with the holes of a ``sparse`` file, of which ``content`` has the stretches between them.
        """
        self._count(size)
        target = self._place_for(path)
        permissions = 0o755 if mode & stat.S_IXUSR else 0o644
        try:
            descriptor = os.open(target, _NEW, permissions)
        except FileExistsError:
            self._replace(path, target)
            descriptor = os.open(target, _NEW, permissions)
        crc32c = 0
        try:
            if sparse is not None:
                crc32c = write_sparse(descriptor, sparse, content)
                self._holes[self._below(target)] = sparse.size - sparse.stored
            else:
                for piece in content:
                    write_to_file(descriptor, piece)
                    crc32c = google_crc32c.extend(crc32c, piece)
            os.utime(descriptor, _sane_times(mtime))
        finally:
            os.close(descriptor)
        self.checksums[self._below(target)] = as_text(crc32c)

    def symbolic_link(self, path: str, link: str) -> None:
        """Make a link that leads to somewhere in the tree, from where it lies."""
        self._count(0)
        target = self._place_for(path)
        relative = self._below(target)
        passed = directories_passed(path, relative.rpartition("/")[0], link)
        self._make_room_for(path, target)
        os.symlink(link, target)  # noqa: PTH211
        if passed:
            self._uncertain[relative] = (path, link, passed)

    def hard_link(self, path: str, link: str) -> None:
        """Give a file that was written before, or a symbolic link, a second name."""
        self._count(0)
        try:
            source = self._place_for(link, makes=False)
        except FileNotFoundError:
            source = ""
        kind = _kind_of(source)
        if kind not in (stat.S_IFREG, stat.S_IFLNK):
            raise UnsafeMember(f"the link {path!r} to {link!r}, which is no file in it")
        target = self._place_for(path)
        if source == target:  # GNU tar writes this where a file was named twice
            return
        if kind == stat.S_IFLNK:
            self._entries -= 1
            self.symbolic_link(path, os.readlink(source))  # noqa: PTH115
            return
        self._make_room_for(path, target)
        self._link(source, target)
        self.checksums[self._below(target)] = self.checksums.get(self._below(source), "")

    def skip(self, size: int) -> None:
        """Count a file that is not written: it takes time all the same."""
        self._count(size)

    def leave_out(self, path: str, reason: UnsafeMember) -> None:
        """Go on without a member that may not be.

        Raises:
            BadTarball: nothing is left out of this tarball.

        """
        if not self._leaves_out_unsafe:
            raise self._refusal(f"it holds {reason}") from reason
        self._count(0)
        self.left_out.add(plain(path))

    def unpacked(self, count: int, packed: int) -> None:
        """Take note that ``count`` more bytes came out of a tarball of ``packed`` bytes, and say no if that is far more
        than honest ones give.
        """
        self._unpacked += count
        if self._unpacked > _SMALLEST_BOMB and self._unpacked > packed * self._limits.max_ratio:
            raise self._refusal(f"it unpacks to more than {self._limits.max_ratio} times its size (--unpack-max-ratio)")
        if self._unpacked > self._limits.max_bytes + _SMALLEST_BOMB:  # what is in no file, such as padding, included
            raise self._refusal(f"it unpacks to more than {self._limits.max_bytes} bytes (--unpack-max-bytes)")

    def finish(self) -> None:
        """Look at the links that could not be judged before, and set the directories' times, which writing into them
        changed.
        """
        for relative, (path, link, passed) in self._uncertain.items():
            place = f"{self._target}/{relative}"
            if _link_at(place) == link and not self._directories.issuperset(passed):
                os.unlink(place)  # noqa: PTH108
                self.leave_out(path, UnsafeMember(f"the link {path!r} to {link!r}, which may leave it"))
        for relative, mtime in self._directory_times.items():
            # Of what is open: a worker may set times of nothing that it only has a name of.
            descriptor = os.open(f"{self._target}/{relative}", _DIRECTORY)
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

    def _place_for(self, path: str, makes: bool = True) -> str:
        """Where the member ``path`` lies, in directories that are there, or that it ``makes``.

        Raises:
            UnsafeMember, FileNotFoundError

        """
        name = path.rpartition("/")[2]
        before = path[: len(path) - len(name)]  # with its slash: that of an absolute name is not that of a plain one
        is_at_once = is_harmless(name)
        if is_at_once and before in self._parents:
            return f"{self._parents[before]}/{name}"
        relative = checked(path)
        if not relative:
            raise UnsafeMember(f"a file named {path!r}")
        parent = self._directory_for(relative.rpartition("/")[0], makes)
        full = f"{self._target}/{parent}".rstrip("/")
        if is_at_once:
            self._parents[before] = full
        return f"{full}/{relative.rpartition('/')[2]}"

    def _below(self, target: str) -> str:
        """The path of what lies at ``target``, from the directory."""
        return target[len(self._target) + 1 :]

    def _directory_for(self, relative: str, makes: bool = True, links: int = 0) -> str:
        """The real directory that a checked path leads to; ``makes`` it if it is not there."""
        if relative in self._directories:
            return relative
        parent, _, name = relative.rpartition("/")
        place = _joined(self._directory_for(parent, makes, links), name)
        if place in self._directories:
            return place
        link = _link_at(f"{self._target}/{place}")
        if link is None:
            if not makes and _kind_of(f"{self._target}/{place}") != stat.S_IFDIR:
                raise FileNotFoundError(place)
            self._make(place)
            return place
        if links >= _MOST_LINKS:
            raise UnsafeMember(f"{relative!r}, which leads through too many links")
        return self._followed(place, link, makes, links + 1)

    def _followed(self, place: str, link: str, makes: bool, links: int) -> str:
        """The real directory that the link at ``place`` leads to."""
        directory = place.rpartition("/")[0]
        for part in link.split("/"):
            if part == "..":
                if not directory:
                    raise UnsafeMember(f"{place!r}, which leads out of it by a link")
                directory = directory.rpartition("/")[0]
            elif part not in ("", "."):
                directory = self._directory_for(_joined(directory, part), makes, links)
        return directory

    def _make(self, relative: str, is_asked_for: bool = False) -> None:
        """Make the directory ``relative``, whose parent is there. Only one that the tarball holds replaces a file."""
        full = f"{self._target}/{relative}"
        self._count(0)
        try:
            os.mkdir(full, 0o755)  # noqa: PTH102 - made a hundred thousand times
        except FileExistsError:
            if _kind_of(full) != stat.S_IFDIR:
                if not is_asked_for:
                    raise self._refusal(f"it holds {relative!r} both as a directory and as something else") from None
                self._replace(relative, full)
                os.mkdir(full, 0o755)  # noqa: PTH102
        self._directories.add(relative)

    def _make_room_for(self, path: str, target: str) -> None:
        if os.path.lexists(target):
            self._replace(path, target)

    def _replace(self, path: str, target: str) -> None:
        """Remove what lies at ``target``, for something else to lie there: a directory, if it is empty."""
        relative = self._below(target)
        self._parents.clear()  # any of which may have led through it
        self.checksums.pop(relative, None)
        self._holes.pop(relative, None)
        self._uncertain.pop(relative, None)
        if _kind_of(target) != stat.S_IFDIR:
            os.unlink(target)  # noqa: PTH108
            return
        try:
            os.rmdir(target)  # noqa: PTH106
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise self._refusal(f"it holds {path!r} both as a directory and as something else") from None
        self._directories.discard(relative)
        self._directory_times.pop(relative, None)

    def _link(self, source: str, target: str) -> None:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            self._count(os.stat(source).st_size)  # noqa: PTH116
            _copy(source, target)  # a file system allows so many names of one file

    def _refusal(self, reason: str) -> BadTarball:
        return BadTarball(self._name, reason)


def _joined(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def _sane_times(mtime: float) -> tuple[float, float]:
    """``mtime`` as times that any file system takes; what is no time at all is the epoch."""
    return (mtime, mtime) if 0 <= mtime <= _LATEST else (0.0, 0.0)


def _kind_of(path: str) -> int:
    """The kind of what lies at ``path``, as its mode has it; 0 where nothing does."""
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except FileNotFoundError:
        return 0


def _link_at(path: str) -> str | None:
    """Where the link at ``path`` leads to; None where there is no link."""
    try:
        return os.readlink(path)  # noqa: PTH115
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as content:  # noqa: PTH123
        state = os.fstat(content.fileno())
        descriptor = os.open(target, _NEW, 0o755 if state.st_mode & stat.S_IXUSR else 0o644)
        try:
            while piece := content.read(_PIECE):
                write_to_file(descriptor, piece)
            os.utime(descriptor, ns=(state.st_mtime_ns, state.st_mtime_ns))
        finally:
            os.close(descriptor)

"""Everything that can go wrong, as one tree with one root.

    DevServerError
    ├── ConfigurationError       an option or a catalogue that the server cannot start with
    ├── RequestError             the request itself is wrong; asking again changes nothing
    │   ├── InvalidArchiveUrl
    │   ├── ArchiveNotAllowed    the operator lets this server stage from others only
    │   └── InvalidParameter
    ├── ArchiveError             the archive said no, or nothing
    │   ├── ObjectNotFound
    │   ├── AccessDenied         it wants other credentials, or these are no good
    │   ├── ArchiveRefused       it said no for another reason, or cannot be used as it is; it stays so
    │   ├── ObjectChanged        another generation than the one that was listed
    │   └── ArchiveUnavailable   may pass: the only one that is worth a retry
    ├── StagingError             the bytes arrived, or should have, and something is wrong with them here
    │   ├── AmbiguousArtifact
    │   ├── BuildConflict
    │   ├── PathTaken
    │   ├── SharedFileDiffers
    │   ├── ChecksumMismatch
    │   ├── BadTarball
    │   ├── DiskFull
    │   ├── OutOfResources       the machine, or the process, has no more descriptors, threads or memory; may pass
    │   ├── DiskFailure          it cannot be read or written, or not by this process now
    │   ├── UnusableDirectory    the build's own leads out of the static directory, or to another file system
    │   ├── NoRoom               nothing that may go makes enough room for it
    │   ├── PackagerFailed
    │   ├── SymbolicationFailed  no stack was made of a minidump
    │   ├── WorkerDied
    │   ├── RecordError          what is noted on the disk cannot be used
    │   │   ├── RecordUnreadable     it is there, and the disk does not give it: all stays as it was
    │   │   ├── RecordMalformed      it can be read, and nothing that the devserver writes
    │   │   └── NewerFormat          a later version of the devserver wrote it
    │   ├── BrokerUnreachable    what is between this devserver and its workers does not answer
    │   └── InternalFailure
    ├── Cancelled                somebody, or the server's end, stopped it
    ├── CallerGone               who waited went away; the work goes on
    ├── UnknownArtifact          the catalogue has no artifact of that name
    ├── NotStaged                what is asked for is not here
    ├── NoDownload               nobody asked for this build
    ├── BuildBusy                it is being staged, and cannot be removed
    ├── Overloaded               as many downloads are under way as may; may pass
    ├── BuildHeld                somebody pinned or leased it, and it cannot be removed
    ├── NoSuchLease              the build has no such lease, or not any more
    ├── NoStackwalker            no program was named that makes stacks of minidumps
    ├── NotUnderWay              it is not being staged, and cannot be cancelled
    ├── OtherSite                the page of another site had a browser ask
    ├── TokenNeeded              no token came along, or none that is known
    ├── ScopeMissing             the token that came along does not allow it
    └── WaitTimedOut             the caller's own time ran out; the work goes on

An error's fields are its ``args``, all of them JSON-safe, so that it crosses a process boundary whole, by pickle or by
:meth:`DevServerError.to_json`; ``staging/messages.py`` reads that back. Its text never names a path of the host.
"""

from __future__ import annotations

import errno
import os
import traceback
from typing import Any

Json = dict[str, Any]

# What a disk that fails says, or a process that has used up its share: no fault of the devserver's own.
_DISK_FAILURES = frozenset(
    (
        *(errno.EIO, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.EROFS, errno.ESTALE, errno.ENOLCK),
        *(errno.EXDEV, errno.EFBIG, errno.EMLINK, errno.ENODEV, errno.ENXIO, errno.EUCLEAN, errno.EREMOTEIO),
        *(errno.ELOOP, errno.ENAMETOOLONG),  # links in a circle; a good name that is too long where it is to lie
    )
)

STOPPING = "the devserver is stopping"  # the reason of a Cancelled


class DevServerError(Exception):
    """The root of all errors that this project raises on purpose."""

    @property
    def kind(self) -> str:
        """The stable name that clients see before the colon."""
        return type(self).__name__

    def to_json(self) -> Json:
        """The error as JSON-safe data."""
        return {"kind": self.kind, "args": list(self.args)}

    def copy(self) -> DevServerError:
        """An equal error of its own, so that many threads can raise one cause without sharing a traceback."""
        return type(self)(*self.args)


class ConfigurationError(DevServerError):
    """The server cannot start like this: ``where`` (an option, a file) and ``reason``."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, reason)
        self.where, self.reason = where, reason

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class RequestError(DevServerError):
    """The request itself is wrong."""


class InvalidArchiveUrl(RequestError):
    """``url`` does not name a build: ``reason`` says what is wrong and what would be right."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        what = "cannot be staged from" if self.url.startswith("file://") else "is not an archive URL"
        return f"{self.url!r} {what}: {self.reason}"


class ArchiveNotAllowed(RequestError):
    """The archive of ``url`` is none of those that this server may stage from."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url

    def __str__(self) -> str:
        return f"this devserver may not stage from {self.url}: its operator allows other archives only"


class InvalidParameter(RequestError):
    """The parameter ``name`` has a value that cannot be used; without a name, ``reason`` says it all."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" if self.name else self.reason


class ArchiveError(DevServerError):
    """The archive said no, or did not answer."""


class ObjectNotFound(ArchiveError):
    """``url`` names nothing in the archive."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url

    def __str__(self) -> str:
        return f"Could not find {self.url}"


class AccessDenied(ArchiveError):
    """The archive does not let this server read ``url``."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"Not allowed to read {self.url}: {self.reason}"


class ArchiveRefused(ArchiveError):
    """``url`` cannot be read for a ``reason`` that stays, whoever asks, and however often."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"Could not read {self.url}: {self.reason}"


class ObjectChanged(ArchiveError):
    """``url`` is no longer the generation that was listed."""

    def __init__(self, url: str, generation: str) -> None:
        super().__init__(url, generation)
        self.url, self.generation = url, generation

    def __str__(self) -> str:
        return f"{self.url} changed while it was read: generation {self.generation} is gone"


class ArchiveUnavailable(ArchiveError):
    """The archive failed in a way that may pass; ``retry_after`` is its own wish in seconds, 0 for none."""

    def __init__(self, url: str, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(url, reason, retry_after)
        self.url, self.reason, self.retry_after = url, reason, retry_after

    def __str__(self) -> str:
        return f"Could not read {self.url}: {self.reason}"


class StagingError(DevServerError):
    """Something is wrong with what arrived, or with what was done to it here."""


class AmbiguousArtifact(StagingError):
    """The archive holds several objects where the artifact ``name`` is one."""

    def __init__(self, name: str, objects: list[str]) -> None:
        super().__init__(name, objects)
        self.name, self.objects = name, objects

    def __str__(self) -> str:
        return f"{self.name} should be one object, but the archive holds {len(self.objects)}: {', '.join(self.objects)}"


class BuildConflict(StagingError):
    """The place in which a build was to be staged became that of another archive URL's meanwhile."""

    def __init__(self, build: str, staged_from: str, asked_for: str) -> None:
        super().__init__(build, staged_from, asked_for)
        self.build, self.staged_from, self.asked_for = build, staged_from, asked_for

    def __str__(self) -> str:
        return f"{self.build} holds the build of {self.staged_from}, and not that of {self.asked_for}; ask for it again"


class PathTaken(StagingError):
    """Somebody else's file lies where the artifact ``name`` would publish one of its own; or a file where it has a
    directory, or the other way round: then ``kind`` is what it has.
    """

    def __init__(self, name: str, path: str, kind: str = "") -> None:
        super().__init__(name, path, kind)
        self.name, self.path, self.kind_here = name, path, kind

    def __str__(self) -> str:
        if self.kind_here:
            other = "a file" if self.kind_here == "a directory" else "a directory"
            return (
                f"{self.name} has {self.kind_here} at {self.path}, where {other} of that name lies already: "
                "the two cannot be staged together"
            )
        return f"{self.name} would replace {self.path}, which this devserver did not stage; move it away first"


class SharedFileDiffers(StagingError):
    """A file of the artifact ``name`` is that of another build of the same bucket too, in another state."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path)
        self.name, self.path = name, path

    def __str__(self) -> str:
        return (
            f"{self.name} cannot be published: {self.path} is also a file of a build that lies above or below, which "
            "has it as it was before; remove that build, or stage it anew with clean"
        )


class ChecksumMismatch(StagingError):
    """The bytes of ``url`` do not have the crc32c that the archive states (both base64, as the archive writes them)."""

    def __init__(self, url: str, expected: str, actual: str) -> None:
        super().__init__(url, expected, actual)
        self.url, self.expected, self.actual = url, expected, actual

    def __str__(self) -> str:
        return f"{self.url} is corrupt: its crc32c is {self.actual}, and the archive states {self.expected}"


class BadTarball(StagingError):
    """The object ``name`` cannot be unpacked, or holds what must not be."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name} cannot be unpacked: {self.reason}"


class DiskFull(StagingError):
    """There is no room left for ``what``."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"No space left on the devserver's disk while staging {self.what}"


class OutOfResources(StagingError):
    """The devserver's process or machine has no more of ``resource``, which ``what`` needs to be staged."""

    def __init__(self, what: str, resource: str) -> None:
        super().__init__(what, resource)
        self.what, self.resource = what, resource

    def __str__(self) -> str:
        return f"the devserver has no {self.resource} left for {self.what}; try again later"


class DiskFailure(StagingError):
    """The disk did not do what it was asked for ``what``: ``reason`` is what the kernel says."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        return f"the devserver's disk failed at {self.what}: {self.reason}"


class UnusableDirectory(StagingError):
    """Nothing can be published in the build's directory at ``build_path``, for this ``reason``."""

    def __init__(self, build_path: str, reason: str) -> None:
        super().__init__(build_path, reason)
        self.build_path, self.reason = build_path, reason

    def __str__(self) -> str:
        return f"{self.build_path} cannot be staged: its directory {self.reason}"


class NoRoom(StagingError):
    """There is no room for the build at ``build_path``: for this ``reason``, and because of these ``holders``."""

    def __init__(self, build_path: str, reason: str, holders: list[str]) -> None:
        super().__init__(build_path, reason, holders)
        self.build_path, self.reason, self.holders = build_path, reason, holders

    def __str__(self) -> str:
        held = f"; the room is held by {', '.join(self.holders)}" if self.holders else ""
        return f"there is no room for {self.build_path}: {self.reason}{held}"


class SymbolicationFailed(StagingError):
    """The program ``name``, which makes a stack of a minidump, did not make one."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name} made no stack of it: {self.reason}"


class NoStackwalker(DevServerError):
    """The server was not told of a program that makes stacks of minidumps."""

    def __init__(self) -> None:
        super().__init__()

    def __str__(self) -> str:
        return "this devserver was started without --stackwalk PROGRAM, which makes a stack of a minidump"


class PackagerFailed(StagingError):
    """The build's own packager, run on request, did not make the packages of the artifact ``name``."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"the packager of {self.name} failed: {self.reason}"


class WorkerDied(StagingError):
    """The worker ended without an outcome: ``how`` it ended, and what it was ``doing``."""

    def __init__(self, how: str, doing: str = "") -> None:
        super().__init__(how, doing)
        self.how, self.doing = how, doing

    def __str__(self) -> str:
        return f"worker {self.how} while staging {self.doing}" if self.doing else f"worker {self.how}"


class RecordError(StagingError):
    """The record ``what``, a file that says what the devserver has to know, cannot be used. One that is not there is
    no error.
    """


class RecordUnreadable(RecordError):
    """The record ``what`` is there and cannot be read now, for the ``reason``: nothing may be concluded from that."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        return f"{self.what} cannot be read ({self.reason}); everything stays as it is until it can"


class RecordMalformed(RecordError):
    """The record ``what`` is nothing that the devserver writes: ``reason`` says why."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        return f"{self.what} cannot be understood: {self.reason}"


DISK_ERRORS = (OSError, RecordUnreadable)  # how a disk that fails is told, by what reads and writes records


class NewerFormat(RecordError):
    """The record ``what`` is in a format, by its ``number``, that only a later version of the devserver knows."""

    def __init__(self, what: str, number: str) -> None:
        super().__init__(what, number)
        self.what, self.number = what, number

    def __str__(self) -> str:
        return (
            f"{self.what} is in format {self.number}, of a later version of the devserver: it is served, and this "
            "version changes nothing of it; ask a devserver of that version, or remove the build with one"
        )


class BrokerUnreachable(StagingError):
    """The broker that hands jobs to workers did not answer for so many ``seconds``."""

    def __init__(self, seconds: str) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"the broker between this devserver and its workers did not answer for {self.seconds} s"


class InternalFailure(StagingError):
    """A fault that nobody foresaw: clients are told ``what`` was being staged, the log gets the ``detail``."""

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(what, detail)
        self.what, self.detail = what, detail

    def __str__(self) -> str:
        return f"the devserver failed while staging {self.what}; its log says why"


class Cancelled(DevServerError):
    """The download was stopped: ``reason`` says by what."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class CallerGone(DevServerError):
    """Who waited for the build of ``url`` went away; the build itself is none the worse for it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url

    def __str__(self) -> str:
        return f"the client went away while it waited for {self.url}"


class UnknownArtifact(DevServerError):
    """The catalogue has no artifact ``name``; ``known`` are the nearest it has."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(name, known)
        self.name, self.known = name, known

    def __str__(self) -> str:
        return f"there is no artifact {self.name!r}; did you mean {' or '.join(self.known)}?"


class NotStaged(DevServerError):
    """What a request asks for is not on this devserver: ``reason`` says so in the words that clients know."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class BuildBusy(DevServerError):
    """The build at ``build_path`` is being staged, and cannot be removed before that is over."""

    def __init__(self, build_path: str) -> None:
        super().__init__(build_path)
        self.build_path = build_path

    def __str__(self) -> str:
        return f"{self.build_path} is being staged; cancel that first, or wait for its end"


class BuildHeld(DevServerError):
    """The build at ``build_path`` is kept for somebody, as ``holds`` say, and cannot be removed before that is over."""

    def __init__(self, build_path: str, holds: list[str]) -> None:
        super().__init__(build_path, holds)
        self.build_path, self.holds = build_path, holds

    def __str__(self) -> str:
        return f"{self.build_path} is {' and '.join(self.holds)}; unpin it, and give leases back or let them end, first"


class NoSuchLease(DevServerError):
    """The build at ``build_path`` has no lease ``lease``: it ended, or was given back, or never was."""

    def __init__(self, build_path: str, lease: str) -> None:
        super().__init__(build_path, lease)
        self.build_path, self.lease = build_path, lease

    def __str__(self) -> str:
        return f"{self.build_path} has no lease {self.lease!r}; it may have ended"


class Overloaded(DevServerError):
    """No more may be started now: ``reason`` says of what there is too much. Asking again later helps."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"Service Unavailable: {self.reason}; try again in a few seconds"


class NotUnderWay(DevServerError):
    """The build at ``build_path`` is not being staged, so that there is nothing to stop."""

    def __init__(self, build_path: str) -> None:
        super().__init__(build_path)
        self.build_path = build_path

    def __str__(self) -> str:
        return f"{self.build_path} is not being staged, so that there is nothing to cancel"


class OtherSite(DevServerError):
    """A browser asks for the ``address``, which changes something, and not because of a page of this devserver."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address

    def __str__(self) -> str:
        return (
            f"a browser may ask for {self.address} from this devserver's own pages only, and this came from elsewhere"
        )


class TokenNeeded(DevServerError):
    """It takes a token with the ``scope``; ``what_came`` says what there was in its place."""

    def __init__(self, scope: str, what_came: str) -> None:
        super().__init__(scope, what_came)
        self.scope, self.what_came = scope, what_came

    def __str__(self) -> str:
        return (
            f"this takes a token with the scope {self.scope!r}, and {self.what_came}; "
            "send it as in Authorization: Bearer devserver_..."
        )


class ScopeMissing(DevServerError):
    """The token ``name`` came along, and has not the ``scope`` that it takes."""

    def __init__(self, name: str, scope: str) -> None:
        super().__init__(name, scope)
        self.name, self.scope = name, scope

    def __str__(self) -> str:
        return f"this takes a token with the scope {self.scope!r}, which the token {self.name!r} has not"


class NoDownload(DevServerError):
    """The build of ``url`` is neither staged nor being staged."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url

    def __str__(self) -> str:
        return f"No download for the given archive_url found: {self.url} is not staged here; ask for /download first"


class WaitTimedOut(DevServerError):
    """The build of ``url`` was not staged within the ``seconds`` that the caller gave."""

    def __init__(self, url: str, seconds: float) -> None:
        super().__init__(url, seconds)
        self.url, self.seconds = url, seconds

    def __str__(self) -> str:
        return f"{self.url} is still being staged after {self.seconds:g} s; the download goes on"


def error_classes(root: type[DevServerError] = DevServerError) -> dict[str, type[DevServerError]]:
    """Every class of the tree below ``root``, by name."""
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(error_classes(child))
    return found


def as_devserver_error(error: BaseException, what: str) -> DevServerError:
    """``error`` as one of the tree, where ``what`` was being staged."""
    if isinstance(error, DevServerError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(what)
    resource = _RESOURCES.get(error.errno or 0) if isinstance(error, OSError) else _resource_of(error)
    if resource is not None:
        return OutOfResources(what, resource)
    if isinstance(error, OSError) and error.errno in _DISK_FAILURES:
        return DiskFailure(what, os.strerror(error.errno))
    return InternalFailure(what, "".join(traceback.format_exception(error)))


def _resource_of(error: BaseException) -> str | None:
    """What there was no more of, where Python says so by an error of its own."""
    if isinstance(error, MemoryError):
        return "memory"
    return "threads" if isinstance(error, RuntimeError) and str(error) == _NO_THREAD else None


_NO_THREAD = "can't start new thread"
_RESOURCES = {
    errno.EMFILE: "open files",
    errno.ENFILE: "open files",
    errno.EAGAIN: "processes",
    errno.ENOMEM: "memory",
}

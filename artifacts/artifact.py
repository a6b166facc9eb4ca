"""The artifacts' behaviours: how each kind is fetched and made ready."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event as Flag
from time import monotonic
from typing import IO, Any

from artifacts.catalogue import CatalogueEntry
from staging.archives import ArchiveObject, ArchiveUrl
from staging.archives.peers import NO_PEERS
from staging.clock import CLOCK
from staging.encodings import GZIP, HEAD_BYTES, Encoded, is_one_layer_more
from staging.errors import (
    ArchiveRefused,
    ArchiveUnavailable,
    BadTarball,
    ChecksumMismatch,
    ObjectChanged,
    PackagerFailed,
)
from staging.extraction import unpack_stream
from staging.layout import BuildPlaces, kept_object
from staging.left_out import LeftOut
from staging.manifest import ArtifactRecord
from staging.member_names import plain
from staging.programs import Output
from staging.publishing import StagingArea
from staging.retry import check, retrying, trouble_of
from staging.selection import Selection, Unpacked
from staging.status import Event, Report, State
from staging.transfer import Transfer
from staging.tree import UnpackLimits
from staging.zip_files import unpack_zip

TEST_IMAGE = "chromiumos_test_image.bin"
_SECONDS_BETWEEN_REPORTS = 0.25
_PACKAGER_TIMEOUT = 1800.0  # seconds
_LOOK = 0.2  # seconds between two looks at whether to stop
_MOST_NAMES_IN_LOG = 10
_LONGEST_LINE = 64 * 1024  # bytes that are kept of what a packager says last


@dataclass(frozen=True)
class Site:
    """All that an artifact needs of the build it belongs to.

    Attributes:
        url: the build.
        places: where it is staged.
        transfer: how its objects are fetched.
        unpack_limits: how much its tarballs may hold.
        keep_objects: whether its tarballs are kept as they came, too, for peers to fill from.
        run_packager: whether the build's own code may be run to make packages that it lacks.
        report: told of every change.
        cancelled: set when the work should stop.
        patience_with_others: seconds after which another who is at the same artifact is taken for dead.

    """

    url: ArchiveUrl
    places: BuildPlaces
    transfer: Transfer
    unpack_limits: UnpackLimits
    keep_objects: bool
    run_packager: bool
    report: Report
    cancelled: Flag
    patience_with_others: float


class DownloadableArtifact:
    """An artifact that is staged as it is: its objects are fetched, verified and published."""

    def __init__(self, entry: CatalogueEntry, objects: Sequence[ArchiveObject], site: Site) -> None:
        self.name = entry.name
        self.synchronous = entry.synchronous
        self.objects = tuple(objects)
        self._entry = entry
        self._site = site
        self._area = StagingArea(site.places, entry.name)
        self._progress = _Progress(self)
        self._peers = site.transfer.peers
        self._transfer = replace(site.transfer, on_retry=self._tell_of_retry)
        self._checksums: dict[str, str] = {}  # of the files in the tree, by their paths there
        self._holes = 0  # bytes of them that take no room on the disk
        self._left_out = LeftOut()

    def claimed(self) -> AbstractContextManager[None]:
        """The right to make the artifact ready, as long as the context lasts; raises ``Cancelled``."""
        return self._area.claimed(self._site.cancelled, self._site.patience_with_others)

    def is_staged(self) -> bool:
        """Whether another process staged the artifact while this one waited for that right."""
        return self._area.is_staged(str(self._site.url))

    def tell_that_it_is_staged(self) -> None:
        """Report that there was nothing to do."""
        size = sum(item.size for item in self.objects)
        self._site.report(Event(self._site.places.build_path, self.name, State.STAGED, size, size))

    def download(self) -> None:
        """Bring the objects into the staging area, and verify them.

        What arrived wrong, or changed on the way, is fetched once more.

        Raises:
            ArchiveError, StagingError, Cancelled, OSError

        """
        self.tell(State.DOWNLOADING)
        self._area.prepare()
        try:
            self._bring_all()
        except (ChecksumMismatch, ObjectChanged) as error:
            self.tell(State.DOWNLOADING, f"{error}; fetching it once more{self._without_peers()}", retry=error.kind)
            self.objects = tuple(self._described_anew(item) for item in self.objects)
            self._area.prepare_anew()
            self._bring_all()

    def stage(self) -> None:
        """Make ready what was downloaded, and publish it; raises like :meth:`download`."""
        self.tell(State.STAGING)
        self._make_ready()
        check(self._site.cancelled)
        record = ArtifactRecord("staged", self.objects, staged_at=CLOCK.now(), whole_files=self._whole_files())
        encodings = self._encodings()
        self._area.publish(str(self._site.url), record, self._checksums, self._holes, self._left_out, encodings)
        self.tell(State.STAGED)

    def discard(self) -> None:
        """Remove what a failure left in the staging area."""
        self._area.discard()

    def tell(self, state: State, note: str = "", **more: str) -> None:
        """Report that the artifact is in ``state``."""
        total = sum(item.size for item in self.objects)
        done = min(self._progress.bytes_done, total)
        self._site.report(self.event(state, bytes_done=done, note=note or self._peers.take_news(), **more))

    def event(self, state: State, **more: Any) -> Event:
        """What there is to report, where the artifact is in ``state``."""
        total = sum(item.size for item in self.objects)
        from_peers = min(self._peers.bytes_of(self.objects), self._progress.bytes_fetched)
        return Event(
            self._site.places.build_path,
            self.name,
            state,
            bytes_total=total,
            bytes_fetched=self._progress.bytes_fetched - from_peers,
            bytes_from_peers=from_peers,
            **more,
        )

    def _without_peers(self) -> str:
        """Read from the archive alone from now on; says so, where some of what was not right came from peers."""
        self._transfer = replace(self._transfer, peers=NO_PEERS)
        senders = self._peers.senders_of(self.objects)
        for url in senders:
            self._peers.note_failure(url, f"bytes of {self.name} that came from it were not right")
        return " from the archive itself" if senders else ""

    def _tell_of_retry(self, error: ArchiveUnavailable, number: int) -> None:
        self.tell(State.DOWNLOADING, retry=error.kind, trouble=trouble_of(error, number))

    def _bring_all(self) -> None:
        self._progress.start_over()
        self._checksums.clear()
        self._holes, self._left_out = 0, LeftOut()
        self.objects = tuple(map(self._with_checksum, self.objects))
        self.objects = tuple(replace(item, crc32c=self._bring(item)) for item in self.objects)

    def _with_checksum(self, item: ArchiveObject) -> ArchiveObject:
        """The object; described once where the archive's listing has no checksum of it, and a description may."""
        if item.crc32c or not self._transfer.archive.states_crc32c:
            return item
        return self._described_anew(item)

    def _bring(self, item: ArchiveObject) -> str:
        """Bring one object into the staging area; its crc32c."""
        fetched = self._area.place_of(item.name)
        crc32c = self._transfer.fetch(item, fetched, self._progress.add, self._progress.skip)
        target = self._target_of(item)
        target.parent.mkdir(parents=True, exist_ok=True)
        fetched.replace(target)
        self._checksums[target.relative_to(self._area.tree).as_posix()] = crc32c
        return crc32c

    def _described_anew(self, item: ArchiveObject) -> ArchiveObject:
        """The object as the archive has it now.

        Raises:
            ArchiveRefused: as something that cannot be read.

        """
        describe = partial(self._transfer.archive.describe, item.name)
        deadline = self._transfer.patience.retry_deadline
        described = retrying(describe, deadline, self._site.cancelled, self._tell_of_retry)
        if described.fault:
            raise ArchiveRefused(self._transfer.archive.url_of(item.name), described.fault)
        return described

    def _target_of(self, item: ArchiveObject) -> Path:
        """The file in the staging area that ``item`` becomes."""
        return self._area.tree / self._entry.destination_of(self._site.url, item.name)

    def _whole_files(self) -> dict[str, str]:
        """The files that are an object as it is, relative to the build, and the objects' names."""
        tree = self._area.tree
        return {self._target_of(item).relative_to(tree).as_posix(): item.name for item in self.objects}

    def _encodings(self) -> dict[str, Encoded]:
        """How the files are encoded that are an object as it is, and packed once more than its name says."""
        found = {}
        for item in self.objects if self._whole_files() else ():
            target = self._target_of(item)
            if item.encoding == GZIP and is_one_layer_more(item.name, _head_of(target)):
                found[target.relative_to(self._area.tree).as_posix()] = Encoded(item.generation, GZIP)
        return found

    def _make_ready(self) -> None:
        """Turn what was downloaded into the tree that will be published."""


class AUTestPayload(DownloadableArtifact):
    """A payload of an update test: an update server's directory, with links to the rest of what it serves."""

    def _make_ready(self) -> None:
        for item in self.objects:
            payload = self._target_of(item)
            for name in (TEST_IMAGE, "stateful.tgz"):
                target = os.path.relpath(self._area.tree / name, payload.parent)
                payload.with_name(name).symlink_to(target)


class Tarball(DownloadableArtifact):
    """An artifact whose objects are tarballs or zip files, and which is staged as their content.

    A tarball is unpacked as it arrives, and not written itself, unless it is to be kept.
    """

    def _whole_files(self) -> dict[str, str]:
        return {kept_object(item.name): item.name for item in self.objects} if self._site.keep_objects else {}

    def _encodings(self) -> dict[str, Encoded]:
        """None: a tarball that is kept for peers is kept as it came."""
        return {}

    def _bring(self, item: ArchiveObject) -> str:
        destination = self._area.tree / self._entry.destination_of(self._site.url, item.name)
        selection = Selection.of(self._entry.includes, self._entry.excludes)
        settings = (selection, self._site.unpack_limits, self._site.cancelled, self._entry.unsafe == "skip")
        packed = self._area.place_of(item.name)
        if item.name.endswith(".zip"):  # whose directory is at its end
            crc32c = self._transfer.fetch(item, packed, self._progress.add, self._progress.skip)
            self._note(destination, unpack_zip(packed, item.name, destination, *settings))
            if not self._site.keep_objects:
                packed.unlink()  # before the next one takes its room
            return crc32c
        with self._copy(packed) as copy, self._transfer.reader(item, self._progress.add, copy_to=copy) as reader:
            try:
                again = partial(self._transfer.reader, item, self._progress.fetch_again)
                unpacked = unpack_stream(reader, item.name, destination, *settings, again=again)
                self._note(destination, unpacked)
            except (BadTarball, OSError) as error:
                # Where the bytes are wrong, that is the cause; of a peer's bytes, whatever they led to.
                if isinstance(error, BadTarball) or self._peers.bytes_of([item]):
                    shutil.rmtree(self._area.tree, ignore_errors=True)  # which may be what filled the disk
                    reader.copy_to = None
                    reader.finish()
                raise
            return reader.finish()

    def _copy(self, packed: Path) -> AbstractContextManager[IO[bytes] | None]:
        """The file ``packed``, to be written, where tarballs are to be kept as they came."""
        return packed.open("wb", buffering=0) if self._site.keep_objects else nullcontext()

    def _bring_all(self) -> None:
        self._found: set[str] = set()
        super()._bring_all()
        missing = [path for path in self._entry.includes if plain(path) not in self._found]
        if missing:
            raise BadTarball(self.objects[0].name, f"it holds no {' and no '.join(missing)}")

    def _make_ready(self) -> None:
        crc32c = {item.name: item.crc32c for item in self.objects}
        for published, name in self._whole_files().items():
            kept = self._area.tree / published
            kept.parent.mkdir(parents=True, exist_ok=True)
            self._area.place_of(name).replace(kept)
            self._checksums[published] = crc32c[name]
        if self._left_out.count:
            names = ", ".join(map(repr, self._left_out.names[:_MOST_NAMES_IN_LOG]))
            others = self._left_out.count - _MOST_NAMES_IN_LOG
            more = f" and {others} more" if others > 0 else ""
            self.tell(State.STAGING, f"left out what may not be: {names}{more}")

    def _note(self, destination: Path, unpacked: Unpacked) -> None:
        """Remember what became of an object that was unpacked into ``destination``."""
        before = destination.relative_to(self._area.tree).as_posix()
        below = "" if before == "." else f"{before}/"
        self._checksums.update({f"{below}{path}": crc32c for path, crc32c in unpacked.checksums.items()})
        self._holes += unpacked.holes
        self._left_out.add_all(unpacked.left_out)
        self._found |= unpacked.found


def _head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


class AutotestTarball(Tarball):
    """The tests of a build: autotest, with the packages that its clients install from."""

    def _make_ready(self) -> None:
        autotest = self._area.tree / "autotest"
        packages = autotest / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        if not (packages / "packages.checksum").exists():
            self._make_packages(autotest, packages)
        for package in packages.iterdir():
            # A tarball may have packages/ be a link to where the copies go, or a package a link to its own copy.
            if package.is_file() and not _is_same(package, autotest / package.name):
                self._put_a_copy(package, autotest / package.name)
        super()._make_ready()

    def _put_a_copy(self, source: Path, target: Path) -> None:
        """Make ``target`` hold what ``source`` holds, by a hard link: staged files are never changed in place."""
        names = [path.relative_to(self._area.tree).as_posix() for path in (source, target)]
        self._checksums[names[1]] = self._checksums.get(names[0], "")
        target.unlink(missing_ok=True)
        if source.is_symlink():
            shutil.copyfile(source, target)
        else:
            target.hardlink_to(source)

    def _make_packages(self, autotest: Path, packages: Path) -> None:
        if not self._site.run_packager:
            self.tell(State.STAGING, "holds no packages/packages.checksum, and --run-packager is off: no packages made")
            return
        self._checksums.clear()  # it may change any file
        packager = autotest / "utils" / "packager.py"
        # The one place where code of a build is run: only on the operator's word, and without a shell.
        command = [str(packager), "upload", f"--repository={packages}", "--all"]
        try:
            process = subprocess.Popen(  # noqa: S603
                command,
                cwd=autotest.parent,
                env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise PackagerFailed(self.name, error.strerror or type(error).__name__) from error
        with process:
            output = self._watched(process)
        last_line = output.decode(errors="replace").strip().rpartition("\n")[2]
        if process.returncode:
            self.tell(State.STAGING, f"the packager ended with status {process.returncode}: {last_line}")
            raise PackagerFailed(self.name, f"it ended with status {process.returncode}; the log says more")

    def _watched(self, process: subprocess.Popen[bytes]) -> bytes:
        """The end of the process's output, once it has ended; it is killed when the work is cancelled or takes too
        long.
        """
        assert process.stdout  # noqa: S101 - a pipe, as asked for
        deadline = monotonic() + _PACKAGER_TIMEOUT
        said, piece = b"", b" "
        with Output(process, process.stdout) as output:
            while piece:
                self._end_if_told(process, deadline)
                if output.wait(_LOOK):
                    piece = output.read(_LONGEST_LINE) or b""
                    said = (said + piece)[-_LONGEST_LINE:]
        while process.poll() is None:  # though it has closed its output
            self._end_if_told(process, deadline)
            self._site.cancelled.wait(_LOOK)
        return said

    def _end_if_told(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        if self._site.cancelled.is_set() or monotonic() > deadline:
            _end(process)
        check(self._site.cancelled)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program; where a confined worker may not (Landlock before 6), its own end ends all that it started."""
    try:
        process.kill()
    except PermissionError:
        os.kill(os.getpid(), signal.SIGKILL)


_BEHAVIOURS = {"au_test_payload": AUTestPayload, "autotest": AutotestTarball}


def make_artifact(entry: CatalogueEntry, objects: Sequence[ArchiveObject], site: Site) -> DownloadableArtifact:
    """The artifact that ``entry`` describes, made of ``objects``."""
    plain = Tarball if entry.unpack else DownloadableArtifact
    return _BEHAVIOURS.get(entry.behaviour, plain)(entry, objects, site)


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


class _Progress:
    """Counts an artifact's bytes and reports them a few times a second; the number never goes down."""

    def __init__(self, artifact: DownloadableArtifact) -> None:
        self._artifact = artifact
        self._reported_at = monotonic()
        self._position = 0
        self.bytes_done = 0
        self.bytes_fetched = 0

    def start_over(self) -> None:
        """Count from nothing."""
        self._position = 0

    def add(self, count: int) -> None:
        """Count so many more bytes that came from the archive."""
        self.bytes_fetched += count
        self.skip(count)

    def fetch_again(self, count: int) -> None:
        """Count so many bytes that came from the archive once more."""
        self.bytes_fetched += count

    def skip(self, count: int) -> None:
        """Count so many more bytes that were there already."""
        self._position += count
        self.bytes_done = max(self.bytes_done, self._position)
        if monotonic() - self._reported_at >= _SECONDS_BETWEEN_REPORTS:
            self._reported_at = monotonic()
            self._artifact.tell(State.DOWNLOADING)

"""The downloader: when things are staged, and that each build is staged once however many ask."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from threading import Condition, Thread
from threading import Event as Flag
from typing import NamedTuple

from artifacts.catalogue import CatalogueEntry
from artifacts.job import GatheredArtifact, StageRequest, StagingOptions, run_stage_request, stage_artifacts
from devserver_util import (
    acquire_lock,
    clear_up,
    gather_artifact_downloads,
    prepare_build_directory,
    release_lock,
    staged_manifest,
)
from staging.archives import ArchiveUrl, open_archive
from staging.errors import (
    STOPPING,
    BuildConflict,
    Cancelled,
    DevServerError,
    NoDownload,
    WaitTimedOut,
    WorkerDied,
    as_devserver_error,
)
from staging.executors.base import Executor
from staging.layout import BuildPlaces, synchronous_lock
from staging.locks import FileLock
from staging.manifest import ArtifactRecord
from staging.priority import synchronous_work
from staging.publishing import recover, update_manifest
from staging.retry import retrying
from staging.slots import Slots
from staging.status import BuildStatus, Event, State, StatusBoard

# How long a caller who waits for a build that nobody asked for is given the benefit of the doubt: the /download that
# it goes with may be on its way, and a few milliseconds behind.
_GRACE = 0.5  # seconds


class _Queues(NamedTuple):
    """The places for downloads; apart, so that no harness waits for another build's background."""

    synchronous: Slots
    background: Slots


class Downloader:
    """Stages builds: the synchronous artifacts here, the others by an executor.

    All methods may be called from any number of threads at once.
    """

    def __init__(
        self,
        catalogue: Sequence[CatalogueEntry],
        options: StagingOptions,
        executor: Executor,
        board: StatusBoard,
        downloads_at_once: int,
    ) -> None:
        """``downloads_at_once`` builds may stage synchronous artifacts, and as many background ones; others queue."""
        self._catalogue = tuple(catalogue)
        self._options = options
        self._executor = executor
        self._board = board
        self._queues = _Queues(Slots(downloads_at_once), Slots(downloads_at_once))
        self._changed = Condition()
        self._running: set[_Download] = set()
        self._stopped = False

    @property
    def active_count(self) -> int:
        """How many downloads are running."""
        return len(self._running)

    def start(self) -> dict[str, OSError]:
        """Clear up what an earlier run left, if it did not end well; where that was not possible, and why."""
        return clear_up(self._options.static_dir)

    def download(self, archive_url: str, background: bool = False, gone: Future[None] | None = None) -> None:
        """Stage the build of ``archive_url``, and return once it is staged; with ``background``, as soon as its
        synchronous artifacts are.

        Whoever asks for a build that is being staged joins that download; a build that is staged is left as it is;
        after a failure, only what is missing is staged. A caller for whom ``gone`` is done need not be told.

        Raises:
            RequestError: the URL is wrong; nothing was touched.
            ArchiveError, StagingError, Cancelled: why it cannot be staged.
            CallerGone: the download goes on.

        """
        url = self._parsed(archive_url)
        status = self._joined(url)
        if status is None:
            return
        if background:
            status.wait_for_synchronous(gone=gone)
        else:
            status.wait(gone=gone)

    def get_status_of_background_downloads(
        self, archive_url: str, timeout: float | None = None, gone: Future[None] | None = None
    ) -> None:
        """Return once the whole build is staged, whether it is so already or will be; ``gone`` as for a download.

        Raises:
            NoDownload: it is neither staged nor being staged.
            WaitTimedOut: ``timeout`` seconds were not enough.
            CallerGone
            DevServerError: the cause of the failure, until the next :meth:`download`.

        """
        url = self._parsed(archive_url)
        status = self._known(url, _GRACE)
        if status is None:
            return
        try:
            status.wait(timeout, gone)
        except TimeoutError:
            raise WaitTimedOut(str(url), timeout or 0.0) from None

    def stop(self, timeout: float) -> None:
        """End every download, telling those who wait; returns when they have ended, or after ``timeout`` seconds."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            running = list(self._running)
        for download in running:
            download.stop()
        with self._changed:
            self._changed.wait_for(lambda: not self._running, timeout)

    def _parsed(self, archive_url: str) -> ArchiveUrl:
        return ArchiveUrl.parse(archive_url, self._options.archive_roots)

    def _is_staged(self, url: ArchiveUrl) -> bool:
        """Whether the manifest says that every artifact of the catalogue is staged."""
        places = BuildPlaces(self._options.static_dir, url.build_path)
        return staged_manifest(places, url).has(entry.name for entry in self._catalogue)

    def _joined(self, url: ArchiveUrl) -> BuildStatus | None:
        """The download to wait for, started if there is none; None where the build is staged already."""
        with self._changed:
            status = self._unsettled(url)
            if status is not None:
                return status
            if self._is_staged(url):
                return None
            if self._stopped:
                raise Cancelled(STOPPING)
            download = _Download(url, self._catalogue, self._options, self._executor, self._board, self._queues)
            self._running.add(download)
            self._changed.notify_all()
        try:
            Thread(target=self._run, args=(download,), name=f"download {url.build_path}", daemon=True).start()
        except RuntimeError as error:  # the machine has no thread left
            download.fail(as_devserver_error(error, url.build_path))
            self._forget(download)
        return download.status

    def _unsettled(self, url: ArchiveUrl) -> BuildStatus | None:
        """The build's download whose outcome is open, if there is one."""
        status = self._board.latest(url.build_path)
        if status is None or status.is_settled:
            return None
        if status.archive_url != str(url):
            raise BuildConflict(url.build_path, status.archive_url, str(url))
        return status

    def _known(self, url: ArchiveUrl, grace: float) -> BuildStatus | None:
        """The build's latest download, waiting ``grace`` seconds for one to begin; None where the build is staged."""

        def is_known() -> bool:
            return self._stopped or self._board.latest(url.build_path) is not None or self._is_staged(url)

        with self._changed:
            if not self._changed.wait_for(is_known, grace):
                raise NoDownload(str(url))
            status = self._unsettled(url)
            if status is not None:
                return status
            if self._is_staged(url):
                return None
            latest = self._board.latest(url.build_path)
            if latest is None or latest.archive_url != str(url) or latest.state.is_good:
                raise NoDownload(str(url))
            return latest

    def _run(self, download: _Download) -> None:
        try:
            download.run()
        finally:
            self._forget(download)

    def _forget(self, download: _Download) -> None:
        with self._changed:
            self._running.discard(download)
            self._changed.notify_all()


class _Download:
    """One download of one build, from the lock to the outcome."""

    def __init__(
        self,
        url: ArchiveUrl,
        catalogue: Sequence[CatalogueEntry],
        options: StagingOptions,
        executor: Executor,
        board: StatusBoard,
        queues: _Queues,
    ) -> None:
        self._url = url
        self._catalogue = catalogue
        self._options = options
        self._executor = executor
        self._board = board
        self._queues = queues
        self._places = BuildPlaces(options.static_dir, url.build_path)
        self._cancelled = Flag()
        self.status = BuildStatus(str(url), url.build_path, {entry.name: entry.synchronous for entry in catalogue})
        board.show(self.status)

    def run(self) -> None:
        """Stage what is missing. The outcome, whatever it is, is told through the status."""
        try:
            lock = acquire_lock(self._places, self._cancelled, while_waiting=self._tell_what_is_staged)
            try:
                recover(self._places)
                try:
                    self._stage_with(lock)
                finally:
                    recover(self._places)
            finally:
                release_lock(lock)
        except BaseException as error:
            self.fail(as_devserver_error(error, self._url.build_path))

    def stop(self) -> None:
        """Tell everybody that the download is stopped, and have it stop."""
        self._cancelled.set()
        self.fail(Cancelled(STOPPING))

    def _stage_with(self, lock: FileLock) -> None:
        self._board.note(self._url.build_path, f"download from {self._url} begins")
        self._tell_what_is_staged()
        missing = [entry for entry in self._catalogue if not self._state_of(entry.name).is_good]
        if not missing:
            return
        artifacts = self._gathered(missing)
        synchronous = [artifact for artifact in artifacts if artifact.entry.synchronous]
        background = [artifact for artifact in artifacts if not artifact.entry.synchronous]
        if synchronous:
            with self._queues.synchronous.taken(self._cancelled, self._tell_of_queue), self._urgent():
                stage_artifacts(self._request(synchronous), self._report, self._cancelled)
        for artifact in synchronous:
            if not self._state_of(artifact.entry.name).is_good:
                raise self.status.artifacts[artifact.entry.name].cause or Cancelled(STOPPING)
        if background:
            with self._queues.background.taken(self._cancelled, self._tell_of_queue):
                self._stage_in_background(background, lock)

    def _urgent(self) -> AbstractContextManager[None]:
        return synchronous_work(synchronous_lock(self._options.static_dir))

    def _tell_of_queue(self, ahead: int) -> None:
        """Say of everything that has not begun that it waits for its turn."""
        note = f"queued: as many downloads as may run at once do, and {ahead} more are ahead"
        for name, event in self.status.artifacts.items():
            if event.state is State.PENDING:
                self._report(Event(self._url.build_path, name, State.PENDING, note=note))

    def _gathered(self, missing: Sequence[CatalogueEntry]) -> list[GatheredArtifact]:
        """List the archive once, and settle the artifacts that it does not have."""
        archive = open_archive(self._url, self._options.patience.stall_timeout)
        gather = partial(gather_artifact_downloads, missing, archive)
        artifacts, absent = retrying(
            gather,
            self._options.patience.retry_deadline,
            self._cancelled,
            lambda error: self._board.note(self._url.build_path, f"listing the build failed: {error}"),
        )
        prepare_build_directory(self._places, self._url)
        if absent:
            records = {entry.name: ArtifactRecord("absent") for entry in absent}
            update_manifest(self._places, str(self._url), records)
        for entry in absent:
            self._tell(entry.name, State.ABSENT)
        self.status.begin()
        return artifacts

    def _stage_in_background(self, artifacts: Sequence[GatheredArtifact], lock: FileLock) -> None:
        try:
            self._executor.run(run_stage_request, self._request(artifacts).to_json(), self._report, lock)
        except WorkerDied as death:
            # What had become ready is finished here, before anybody is told: the rest was cut off.
            recover(self._places)
            doing = self.status.in_progress() or [artifact.entry.name for artifact in artifacts]
            self._tell_what_is_staged()
            raise WorkerDied(death.how, ", ".join(doing)) from death

    def _request(self, artifacts: Sequence[GatheredArtifact]) -> StageRequest:
        return StageRequest(str(self._url), artifacts, self._options)

    def _state_of(self, name: str) -> State:
        return self.status.artifacts[name].state

    def _tell_what_is_staged(self) -> None:
        """Report what the manifest has: of an earlier run, or of another devserver that is staging this build."""
        for name, record in staged_manifest(self._places, self._url).artifacts.items():
            if name in self.status.artifacts:
                self._tell(name, State(record.state), sum(item.size for item in record.objects))

    def fail(self, cause: DevServerError) -> None:
        """Settle every artifact that is still open, for the one ``cause``."""
        has_failed = self.status.state is State.FAILED
        for name, event in self.status.artifacts.items():
            if event.state.is_final:
                continue
            # What had not begun when another artifact failed did not fail itself.
            is_stopped = isinstance(cause, Cancelled) or (has_failed and event.state is State.PENDING)
            state = State.CANCELLED if is_stopped else State.FAILED
            self._report(Event(self._url.build_path, name, state, cause=cause))

    def _tell(self, name: str, state: State, size: int = 0) -> None:
        self._report(Event(self._url.build_path, name, state, size, size))

    def _report(self, event: Event) -> None:
        self._board.report(self.status, event)

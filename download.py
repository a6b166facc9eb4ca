"""One download: some artifacts of one build, from the lock to the outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from threading import Event as Flag
from typing import TypeVar

from artifacts.catalogue import CatalogueEntry
from artifacts.job import GatheredArtifact, StageRequest, StagingOptions, run_stage_request, stage_artifacts
from artifacts.sizes import coming
from devserver_util import Gathered, gather_artifact_downloads, prepare_build_directory, staged_manifest
from staging import request_ids
from staging.archives import ArchiveUrl, open_archive
from staging.board import StatusBoard
from staging.build_locks import BuildLocks
from staging.build_removal import remove_build
from staging.errors import STOPPING, ArchiveUnavailable, Cancelled, DevServerError, WorkerDied, as_devserver_error
from staging.executors.base import Executor
from staging.holds import not_held
from staging.layout import BuildPlaces, synchronous_lock
from staging.locks import FileLock
from staging.manifest import ArtifactRecord
from staging.orders import OrderBook, OrderRecord, WrittenOrder
from staging.placing import Claim, Placing
from staging.priority import synchronous_work
from staging.promises import Promise
from staging.publishing import update_manifest
from staging.recovery import recover_artifacts
from staging.retry import retrying, trouble_of
from staging.room import Coming, Room
from staging.slots import Slots
from staging.status import BuildStatus, Event, Report, State
from staging.tally import BytesMoved

T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """What a download is to do.

    Attributes:
        url: the build.
        places: where it lies.
        artifacts: what of it to stage.
        clean: whether all that is staged of the build is removed first.
        is_whole: whether it is a whole build, whose background artifacts nobody wants without the synchronous ones.
        client: the address of who asks; empty where nobody does.
        holder: who wants it; his own leases do not keep it from being cleaned.
        written: the order on the disk, where an earlier devserver left it; see :mod:`comeback`.

    """

    url: ArchiveUrl
    places: BuildPlaces
    artifacts: Sequence[CatalogueEntry]
    clean: bool = False
    is_whole: bool = False
    client: str = ""
    holder: str = ""
    written: WrittenOrder | None = None


@dataclass(frozen=True)
class Means:
    """What downloads are done with.

    Attributes:
        options: what the operator chose.
        executor: runs background work.
        board: is told of everything.
        locks: of the builds.
        room: on the disk.
        orders: on the disk, of what is under way.
        placing: says where builds lie.
        synchronous, background: places for downloads; apart, so that no harness waits for another build's background.
        moved: how much each build has had of them.

    """

    options: StagingOptions
    executor: Executor
    board: StatusBoard
    locks: BuildLocks
    room: Room
    orders: OrderBook
    placing: Placing
    synchronous: Slots
    background: Slots
    moved: BytesMoved


class Download:
    """One download; its artifacts are no other's until it has told their outcome."""

    def __init__(self, order: Order, means: Means, claim: Claim) -> None:
        """``claim`` keeps the build's place for it, and is let go of with :meth:`let_go`."""
        self.url = order.url
        self.build = order.places.build_path
        self.client = order.client
        self._order = order
        self._means = means
        self.places = self._places = order.places
        self._claim = claim
        self._cancelled = Flag()
        self._promise: Promise | None = None
        self._written: WrittenOrder | None = None
        self._is_cut_off = False
        wanted = {entry.name: entry.synchronous for entry in order.artifacts}
        self.status = BuildStatus(str(order.url), self.build, wanted, request_ids.current())
        means.board.show(self.status)

    def write_order(self) -> None:
        """Put the order on the disk: whatever becomes of this devserver, the next one goes on with it."""
        order = self._order
        if order.written is not None:
            self._written, order.written.is_in_use = order.written, True
            return
        required = {entry.name: entry.required for entry in order.artifacts}
        record = OrderRecord(str(self.url), self.url.build_path, required, order.clean, order.is_whole, order.holder)
        try:
            self._written = self._means.orders.write(record)
        except OSError as error:
            self._means.board.note(
                self.build,
                f"there is no room to write the order down: it would not outlive a crash ({error.strerror})",
            )

    def settle_order(self) -> None:
        """Forget the order on the disk, unless the devserver's end is all that stands between it and its outcome."""
        if self._written is None:
            return
        if self._is_cut_off:
            self._keep_order()
        else:
            self._written.remove()

    def _keep_order(self) -> None:
        """Leave the order to the next devserver; this one ends well, and did not die of it."""
        if self._written is not None:
            self._written.change(resumed=0)

    def let_go(self) -> None:
        """Give up the claim to the build's place: the download has cleared up."""
        self._claim.release()

    def run(self) -> None:
        """Stage what is missing. The status reports the outcome, success or failure."""
        try:
            # What is there now is not what is asked for, where all is to be staged anew.
            while_waiting = _nothing if self._order.clean else self._tell_what_is_staged
            with self._means.locks.held(self._places, self._cancelled, while_waiting, self._order.clean) as lock:
                if self._order.clean:
                    with not_held(self._places, self._order.holder):
                        remove_build(self._places)
                    self._order_is_clean()
                    self._means.board.forget_failures(self.build)
                self._clear_up()
                try:
                    self._stage_with(lock)
                finally:
                    self._clear_up()
                    self._give_up_room()
        except BaseException as error:
            self.fail(as_devserver_error(error, self.build or str(self.url)))

    def cancel(self) -> None:
        """Have the download stop; it tells so once it has."""
        self._cancelled.set()

    def stop(self) -> None:
        """Tell everybody that the download is stopped, and have it stop."""
        is_known = self.status.is_over or (self._order.is_whole and self.status.state is State.FAILED)
        if not (is_known or self._cancelled.is_set()):
            self._is_cut_off = True
            self._keep_order()
        self._cancelled.set()
        self.fail(Cancelled(STOPPING))

    def fail(self, cause: DevServerError) -> None:
        """Settle every artifact that is still open, for the one ``cause``."""
        has_failed = self.status.state is State.FAILED
        events = []
        for name, event in self.status.artifacts.items():
            # What had not begun when another artifact failed did not fail itself.
            is_stopped = isinstance(cause, Cancelled) or (has_failed and event.state is State.PENDING)
            state = State.CANCELLED if is_stopped else State.FAILED
            events.append(Event(self.build, name, state, cause=cause))
        self._report(*events)

    def _fail_for_missing(self, errors: Mapping[str, DevServerError]) -> None:
        """Settle what the archive does not have as it should; of a whole build, the rest is given up for its sake.

        Raises:
            DevServerError: it was.

        """
        if not errors:
            return
        cause = next(iter(errors.values()))
        build_path = self.build
        given_up = [name for name in self._open() if name not in errors] if self._order.is_whole else []
        self._report(
            *(Event(build_path, name, State.CANCELLED, cause=cause) for name in given_up),
            *(Event(build_path, name, State.FAILED, cause=error) for name, error in errors.items()),
        )
        if self._order.is_whole:
            raise cause

    def _order_is_clean(self) -> None:
        """Take note that what was to be removed first is: who goes on with the order keeps what is staged from now."""
        if self._written is not None:
            self._written.change(clean=False)

    def _clear_up(self) -> None:
        """Finish or remove what was left half-done of this download's own artifacts."""
        recover_artifacts(self._places, self._open())
        self._tell_what_is_staged()

    def _open(self) -> list[str]:
        """The artifacts whose outcome is not known."""
        return [name for name, event in self.status.artifacts.items() if not event.state.is_final]

    def _stage_with(self, lock: FileLock) -> None:
        self._means.board.note(self.build, f"download from {self.url} begins")
        missing = [entry for entry in self._order.artifacts if not self._state_of(entry.name).is_good]
        if not missing:
            self.status.begin()
            return
        gathered = self._gathered(missing)
        artifacts = gathered.artifacts
        if not artifacts:
            self._prepare(gathered)
        synchronous = [artifact for artifact in artifacts if artifact.entry.synchronous]
        background = [artifact for artifact in artifacts if not artifact.entry.synchronous]
        if synchronous:
            with self._place(self._means.synchronous, artifacts):
                self._prepare(gathered)
                with self._urgent():
                    self._stage_urgently(synchronous, lock)
        for artifact in synchronous if self._order.is_whole else ():
            if not self._state_of(artifact.entry.name).is_good:
                raise self.status.artifacts[artifact.entry.name].cause or Cancelled(STOPPING)
        if background:
            with self._place(self._means.background, background):
                self._prepare(gathered)
                self._stage_by_executor(background, lock, self._report)

    def _place(self, slots: Slots, artifacts: Sequence[GatheredArtifact]) -> AbstractContextManager[None]:
        """One of the places, when it is this build's turn; to wait for one, there has to be room for the artifacts."""
        told: int | None = None

        def on_wait(ahead: int) -> None:
            nonlocal told
            if self._promise is None and told is None:
                self._means.room.check(self._places, self._coming(artifacts))
            if told is None or ahead > told or ahead <= told / 2:  # a long queue moves on time and again
                told = ahead
                note = f"queued: as many downloads as may run at once do, and {ahead} more are ahead"
                self._means.board.note(self.build, note)

        return slots.taken(self._cancelled, on_wait, partial(self._means.moved.of, self.build))

    def _coming(self, artifacts: Sequence[GatheredArtifact]) -> list[Coming]:
        return coming(artifacts, self._means.options.keeps_objects_of(self.url))

    def _urgent(self) -> AbstractContextManager[None]:
        return synchronous_work(synchronous_lock(self._means.options.static_dir))

    def _gathered(self, missing: Sequence[CatalogueEntry]) -> Gathered:
        """Ask the archive once, and fail the artifacts that it does not have."""
        options = self._means.options
        archive = open_archive(self.url, options.patience.stall_timeout, options.user_project)

        def attempt(call: Callable[[], T], /) -> T:
            return retrying(call, options.patience.retry_deadline, self._cancelled, self._tell_of_retry)

        gathered = gather_artifact_downloads(missing, archive, attempt)
        self._tell_trouble("")
        self._fail_for_missing(gathered.errors)
        return gathered

    def _tell_of_retry(self, error: ArchiveUnavailable, number: int) -> None:
        self._means.board.note(self.build, f"listing the build failed: {error}", retry=error.kind)
        self._tell_trouble(trouble_of(error, number))

    def _tell_trouble(self, trouble: str) -> None:
        """Say of what waits for the archive's listing what that waits for."""
        latest = self.status.artifacts
        changed = [name for name in self._open() if latest[name].trouble != trouble]
        self._report(*(Event(self.build, name, latest[name].state, trouble=trouble) for name in changed))

    def _prepare(self, gathered: Gathered) -> None:
        """Make room for what will come and the build's directory, once, when the turn of this download has come; and
        settle what is absent.
        """
        if self._promise is not None or not (gathered.artifacts or gathered.absent):
            return
        self._promise = self._means.room.make(self._places, self._coming(gathered.artifacts), self._cancelled)
        names = [*(artifact.entry for artifact in gathered.artifacts), *gathered.absent]
        prepare_build_directory(self._places, self.url, any(not entry.is_file for entry in names))
        if gathered.absent:
            records = {entry.name: ArtifactRecord("absent") for entry in gathered.absent}
            update_manifest(self._places, str(self.url), records)
        for entry in gathered.absent:
            self._tell(entry.name, State.ABSENT)
        self._tell_sizes(gathered.artifacts)
        self.status.begin()

    def _give_up_room(self) -> None:
        if self._promise is not None:
            self._promise.close()

    def _tell_sizes(self, artifacts: Sequence[GatheredArtifact]) -> None:
        """Say how large everything is before it begins: how long all of it takes can be told from then on."""
        sizes = {artifact.entry.name: sum(item.size for item in artifact.objects) for artifact in artifacts}
        path = self.build
        self._report(*(Event(path, name, State.PENDING, bytes_total=size) for name, size in sizes.items()))

    def _stage_urgently(self, artifacts: Sequence[GatheredArtifact], lock: FileLock) -> None:
        if self._means.options.stage_inline:
            stage_artifacts(self._request(artifacts), self._report_synchronous, self._cancelled)
        else:
            self._stage_by_executor(artifacts, lock, self._report_synchronous, is_urgent=True)

    def _stage_by_executor(
        self, artifacts: Sequence[GatheredArtifact], lock: FileLock, report: Report, is_urgent: bool = False
    ) -> None:
        """Have the executor stage artifacts: by one job, or where it has several workers for a build, by a job each."""
        if not self._means.executor.takes_parts:
            self._run_job(artifacts, lock, report, is_urgent)
            return

        def run_part(artifact: GatheredArtifact) -> None:
            with request_ids.held(self.status.request_id):
                try:
                    self._run_job([artifact], lock, report, is_urgent)
                except BaseException as error:
                    report(self._end_of(artifact.entry.name, as_devserver_error(error, artifact.entry.name)))

        with ThreadPoolExecutor(self._means.options.artifacts_at_once, "part") as pool:
            list(pool.map(run_part, artifacts))

    def _run_job(self, artifacts: Sequence[GatheredArtifact], lock: FileLock, report: Report, is_urgent: bool) -> None:
        request = self._request(artifacts).to_json()
        names = [artifact.entry.name for artifact in artifacts]
        try:
            self._means.executor.run(run_stage_request, request, report, lock, self._cancelled, is_urgent)
        except WorkerDied as death:
            # What had become ready is finished here, before anybody is told: the rest was cut off.
            doing = [name for name in self.status.in_progress() if name in names] or names
            recover_artifacts(self._places, [name for name in self._open() if name in names])
            self._tell_what_is_staged()
            raise WorkerDied(death.how, ", ".join(doing)) from death

    def _end_of(self, name: str, cause: DevServerError) -> Event:
        state = State.CANCELLED if isinstance(cause, Cancelled) else State.FAILED
        return Event(self.build, name, state, cause=cause)

    def _request(self, artifacts: Sequence[GatheredArtifact]) -> StageRequest:
        is_of_its_own = self._places.build_path != self.url.build_path
        return StageRequest(
            str(self.url), artifacts, self._means.options, self.status.request_id, is_of_its_own=is_of_its_own
        )

    def _state_of(self, name: str) -> State:
        return self.status.artifacts[name].state

    def _tell_what_is_staged(self) -> None:
        """Report what the manifest has: of an earlier run, or of another devserver that is staging this build."""
        manifest = staged_manifest(self._places, self.url)
        for entry in self._order.artifacts:
            if manifest.satisfies(entry.name, entry.required):
                record = manifest.artifacts[entry.name]
                self._tell(entry.name, State(record.state), sum(item.size for item in record.objects))

    def _tell(self, name: str, state: State, size: int = 0) -> None:
        self._report(Event(self.build, name, state, size, size))

    def _report_synchronous(self, event: Event) -> None:
        """Report an event of a synchronous artifact; if it failed, no background artifact will begin.

        That is told at once: who asks for one of those anew must not be made to wait for this download.
        """
        given_up = []
        if self._order.is_whole and event.state.is_final and not event.state.is_good:
            given_up = [
                Event(event.build, name, State.CANCELLED, cause=event.cause)
                for name in self._open()
                if name not in self.status.synchronous
            ]
        self._report(*given_up, event)

    def _report(self, *events: Event) -> None:
        if self._promise is not None:
            self._promise.note(events)
        self._means.board.report(self.status, *events)


def _nothing() -> None:
    pass

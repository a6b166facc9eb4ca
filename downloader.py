"""The downloader: when things are staged, and that each is staged once however many ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from threading import Event as Flag
from threading import Thread
from time import monotonic
from typing import NamedTuple

from artifacts.catalogue import FILE, Catalogue, CatalogueEntry, file_artifact, has_too_many_wildcards
from artifacts.job import StagingOptions
from comeback import take_up
from devserver_util import acquire_lock, delete_source, release_lock, staged_files, staged_manifest
from download import Means, Order
from downloads import Build, Downloads, Share
from staging import request_ids, threads
from staging.admission import Admission
from staging.archives import EVERY_ARCHIVE, AllowedArchives, Archive, ArchiveUrl, open_archive
from staging.board import StatusBoard
from staging.build_list import BuildList
from staging.build_locks import BuildLocks
from staging.build_removal import remove_build
from staging.errors import (
    BuildBusy,
    BuildHeld,
    InvalidArchiveUrl,
    InvalidParameter,
    NotStaged,
    NotUnderWay,
    ObjectNotFound,
    RecordError,
    WaitTimedOut,
    as_devserver_error,
)
from staging.executors.base import Executor
from staging.holds import Term, checked_holder, holds_of, lease_for, not_held
from staging.layout import BuildPlaces
from staging.left_out import LeftOut, left_out_of
from staging.locks import FileLock
from staging.orders import OrderBook, WrittenOrder
from staging.overview import BuildView, overview
from staging.placing import Placing
from staging.presence import exists
from staging.recovery import Problems, clear_up
from staging.room import Room
from staging.slots import Slots
from staging.soundness import Soundness
from staging.tally import BytesMoved
from staging.usage import LastUse

# How long a caller who waits for a build that nobody asked for is given the benefit of the doubt: the /download that
# it goes with may be on its way, and a few milliseconds behind.
_GRACE = 0.5  # seconds
_A_MOMENT = 0.5  # seconds for which somebody may have a build's lock who only looks at whether it is free
_MOST_NAMES = 500  # of artifacts, and of files, in one request


class Wish(NamedTuple):
    """What of a build somebody wants.

    Attributes:
        artifacts: names in the catalogue.
        files: names of files in the archive, or patterns of names.

    """

    artifacts: Sequence[str] = ()
    files: Sequence[str] = ()


class Downloader:
    """Stages builds: the synchronous artifacts here, the others by an executor.

    All methods may be called from any number of threads at once.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        options: StagingOptions,
        executor: Executor,
        board: StatusBoard,
        last_use: LastUse,
        room: Room,
        admission: Admission,
        allowed_archives: AllowedArchives = EVERY_ARCHIVE,
    ) -> None:
        """``admission.places`` builds may stage synchronous artifacts, and as many background ones; others queue.

        Nothing is staged but from ``allowed_archives``; what is here is told of, wherever it came from.
        """
        self.allowed_archives = allowed_archives
        self._last_use = last_use
        self._catalogue = catalogue
        self._options = options
        self._board = board
        slots = (Slots(admission.places), Slots(admission.places))
        moved = BytesMoved()
        board.subscribe(moved.listen)
        locks, orders = BuildLocks(acquire_lock, release_lock), OrderBook(options.static_dir)
        self._placing = Placing(options.static_dir)
        self._means = Means(options, executor, board, locks, room, orders, self._placing, *slots, moved)
        self._soundness = Soundness(options.static_dir, board.note)
        self._end = Flag()
        self.list = BuildList(options.static_dir, board, self._view)
        self.downloads = Downloads(catalogue, self._means, admission, self._soundness)

    def start(self, resumes: bool = True) -> Problems:
        """Clear up what an earlier run left, if it did not end well; where that was not possible, and why.

        What it was staging goes on by itself, if this devserver ``resumes``. Every build is looked at behind this.
        """
        problems: Problems = {}
        self.list.begin()
        try:
            take_up(self._means.orders, self._board, self._again, resumes)
        except OSError as error:
            problems["(orders)"] = error
        finally:
            self.downloads.come_back()
        problems |= clear_up(self._options.static_dir)
        try:
            self._placing.sweep()
        except (OSError, RecordError) as error:
            problems["(claims)"] = error
        sweep = partial(self._soundness.sweep, self._end)
        threads.start("look at builds", sweep, self._end, partial(self._board.note, "(all builds)"))
        return problems

    def take_over(self) -> None:
        """Go on with what other devservers of this static directory were staging that are no more."""
        take_up(self._means.orders, self._board, self._again, resumes=True)

    def download(
        self,
        archive_url: str,
        background: bool = False,
        gone: Future[None] | None = None,
        client: str = "",
        lease: Term | None = None,
    ) -> None:
        """Stage the build of ``archive_url``, and return once it is staged; with ``background``, as soon as its
        synchronous artifacts are.

        Whoever asks for a build that is being staged joins that download; a build that is staged is left as it is;
        after a failure, only what is missing is staged. A caller for whom ``gone`` is done need not be told. What is
        started counts as started by ``client``. A ``lease`` keeps the build from being removed, from this moment on.

        Raises:
            RequestError: the URL is wrong; nothing was touched.
            Overloaded: as much is under way as may; nothing was touched.
            ArchiveError, StagingError, Cancelled: why it cannot be staged.
            CallerGone: the download goes on.

        """
        url = self._to_stage(archive_url)
        with self._placing.claimed(url) as places:
            order = Order(url, places, self._catalogue.of_a_download, is_whole=True, client=client)
            self._use(Build(url, places), lease)
            shares = self._ordered(order, lease)
        self.downloads.wait(order, shares, gone, for_synchronous=background)

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
        self._use(self._found(url))
        deadline = None if timeout is None else monotonic() + timeout
        for share in self.downloads.known(url, _GRACE):
            try:
                share.status.wait(None if deadline is None else max(0.0, deadline - monotonic()), gone, share.names)
            except TimeoutError:
                raise WaitTimedOut(str(url), timeout or 0.0) from None

    def stage(
        self,
        archive_url: str,
        wish: Wish,
        clean: bool = False,
        in_background: bool = False,
        deletes_source: bool = False,
        gone: Future[None] | None = None,
        client: str = "",
        lease: Term | None = None,
        holder: str = "",
    ) -> None:
        """Stage what is wished for of a build, with what comes along with it, and return once it is staged.

        Args:
            archive_url: the build; of any depth.
            wish: what of it.
            clean: remove all that is staged of the build first. What somebody is reading is read to its end.
            in_background: return at once; the outcome is told by :meth:`is_staged`.
            deletes_source: delete the objects once they are staged; of builds in a directory alone.
            gone: as for a download.
            client: as for a download.
            lease: the same.
            holder: who asks: to clean what others hold is refused.

        Raises:
            RequestError, UnknownArtifact, Overloaded, BuildHeld: nothing was touched.
            ArchiveError, StagingError, Cancelled: why it cannot be staged.
            CallerGone: the staging goes on.

        """
        url = self._to_stage(archive_url, any_depth=True)
        entries = self._wished(url, wish)
        all_of_it = [*entries, *self._catalogue.brought_by(entries)]
        with self._placing.claimed(url) as places:
            order = Order(url, places, all_of_it, clean, client=client, holder=holder)
            self._check_removable(order)
            self._use(Build(url, places), lease, clean)
            shares = self._ordered(order, lease)

        def wait() -> None:
            self.downloads.wait(order, shares, gone)
            if deletes_source:
                delete_source(places, url, entries)

        if not in_background:
            wait()
        elif deletes_source:
            arguments = (places, wait, request_ids.current())
            Thread(target=self._noted, args=arguments, name=f"delete {url}", daemon=True).start()

    def start_staging(self, archive_url: str, wish: Wish, clean: bool = False, client: str = "") -> str:
        """Have what is wished for of a build staged, or all that a download stages, and return the build's name."""
        has_wish = any(wish)
        url = self._to_stage(archive_url, any_depth=has_wish)
        entries: Sequence[CatalogueEntry] = self._catalogue.of_a_download
        if has_wish:
            wished = self._wished(url, wish)
            entries = [*wished, *self._catalogue.brought_by(wished)]
        if not url.build_path:
            raise InvalidArchiveUrl(
                archive_url, "it should name a build in the bucket, as in gs://bucket/target/version"
            )
        with self._placing.claimed(url) as places:
            order = Order(url, places, entries, clean, is_whole=not has_wish, client=client)
            self._check_removable(order)
            self._use(Build(url, places))
            self.downloads.ordered(order)
        return places.build_path

    def is_staged(self, archive_url: str, wish: Wish) -> bool:
        """Whether all that is wished for is staged.

        Raises:
            RequestError, UnknownArtifact
            DevServerError: why the last attempt to stage a part of it failed.

        """
        url = self._parsed(archive_url, any_depth=True)
        build = self._found(url)
        entries = self._wished(url, wish)
        self._use(build)
        return self.downloads.are_staged(build, entries)

    def staged_files(self, archive_url: str, artifacts: Sequence[str] = ()) -> tuple[BuildPlaces, list[str]]:
        """Where a build lies, and the paths of the files that are staged of it, or of some artifacts of it.

        Raises:
            RequestError, UnknownArtifact

        """
        build = self._found(self._parsed(archive_url, any_depth=True))
        self._catalogue.named(artifacts)
        self._use(build)
        staged_manifest(build.places, build.url)
        return build.places, staged_files(build.places, artifacts or None)

    def name_of(self, archive_url: str) -> str:
        """What the build of an archive URL is called here: its build path, or where another has that place, its URL.

        Raises:
            InvalidArchiveUrl

        """
        return self._found(self._parsed(archive_url, any_depth=True)).name

    def opened_archive(self, url: ArchiveUrl, stall_timeout: float) -> Archive:
        """The archive of a build, to ask something of it; ``stall_timeout`` as of :func:`open_archive`.

        Raises:
            ArchiveNotAllowed

        """
        self.allowed_archives.check(url)
        return open_archive(url, stall_timeout, self._options.user_project)

    def is_under_way(self, build_path: str) -> bool:
        """Whether something of the build is being staged."""
        return self._board.is_under_way(build_path)

    def builds_under_way(self) -> list[BuildView]:
        """Those of the builds of which something is being staged."""
        return [view for view in self._views(self._board.builds()) if view.is_under_way]

    def _views(self, build_paths: Iterable[str]) -> Iterator[BuildView]:
        """What is known of the builds; one that cannot be read now is left out, and keeps no other from being shown."""
        for build_path in build_paths:
            with suppress(OSError, RecordError):
                view = self._view(build_path)
                if view is not None:
                    yield view

    def build(self, build_path: str) -> BuildView:
        """One build.

        Raises:
            NotStaged: nothing is known of it.
            DiskFailure: that cannot be told now.

        """
        try:
            view = self._view(build_path)
        except OSError as error:
            raise as_devserver_error(error, build_path) from error
        if view is None:
            raise NotStaged(f"{build_path} is neither staged nor being staged on this devserver")
        return view

    def cancel(self, build_path: str) -> None:
        """Have every download of the build stop; returns once they have.

        Raises:
            NotStaged: nothing is known of it.
            NotUnderWay: there is none.

        """
        if not self.downloads.cancel(build_path):
            self.build(build_path)
            raise NotUnderWay(build_path)

    def remove(self, build_path: str) -> None:
        """Remove what is staged of a build, and forget what went wrong; files that somebody else put beside it stay.

        Raises:
            NotStaged: nothing is known of it.
            BuildBusy: it is being staged.
            BuildHeld: somebody pinned or leased it.
            DiskFailure: as the disk was read, and nothing was removed; or on the way, and it can be removed again.

        """
        places = BuildPlaces(self._options.static_dir, build_path)
        self.downloads.wait_for_the_end(build_path)
        try:
            self._remove(places)
        except OSError as error:
            raise as_devserver_error(error, build_path) from error
        self._board.removed(build_path)

    def _remove(self, places: BuildPlaces) -> None:
        if not exists(places.removing):  # else it is what is left to do of a removal that failed
            self.build(places.build_path)
        lock = FileLock.acquire_within(places.lock, _A_MOMENT, Flag())
        if lock is None:
            raise BuildBusy(places.build_path)
        try:
            with not_held(places):
                remove_build(places)
        finally:
            lock.release()

    def retry(self, build_path: str, artifact: str = "", client: str = "") -> None:
        """Have what failed of the build, or was cancelled, staged anew, or one ``artifact`` of that; returns at once.

        Raises:
            NotStaged: nothing is known of it.
            Overloaded: as for a download.
            RequestError, UnknownArtifact: it cannot be asked for any more.

        """
        view = self.build(build_path)
        names = [one.name for one in view.artifacts if not one.state.is_good and artifact in ("", one.name)]
        usual = {entry.name: entry for entry in self._catalogue.of_a_download}
        entries = [self._entry(name, usual) for name in names]
        url = self._to_stage(view.archive_url, any_depth=True)
        with self._placing.claimed(url) as places:
            self.downloads.ordered(Order(url, places, entries, client=client))

    def complete(self, build_path: str, client: str = "") -> None:
        """Have all of a build staged of which only a part is here; returns at once.

        Raises:
            NotStaged: nothing is known of it.
            RequestError: it cannot be asked for any more.

        """
        self.start_staging(self.build(build_path).archive_url, Wish(), client=client)

    def dismiss(self, build_path: str, artifact: str) -> None:
        """Forget that an artifact of the build failed, or was cancelled."""
        self._board.dismiss(build_path, artifact)

    def _entry(self, name: str, usual: Mapping[str, CatalogueEntry]) -> CatalogueEntry:
        """The artifact that a download of the name staged."""
        if name in usual:
            return usual[name]
        return file_artifact(name.removeprefix(FILE)) if name.startswith(FILE) else self._catalogue.named([name])[0]

    def stage_anew(self, build_path: str, archive_url: str, artifact: str) -> None:
        """Stage an artifact that is not as it was staged, and return once it is; Ctrl-C gives it up.

        Raises:
            RequestError, UnknownArtifact: it cannot be asked for any more.
            ArchiveError, StagingError: why it cannot be staged.

        """
        usual = {entry.name: entry for entry in self._catalogue.of_a_download}
        entry = replace(self._entry(artifact, usual), required=True)
        url = self._parsed(archive_url, any_depth=True)
        try:
            with self._placing.claimed(url) as places:
                order = Order(url, places, [entry])
                shares = self.downloads.ordered(order)
            self.downloads.wait(order, shares, None)
        except KeyboardInterrupt:
            with suppress(NotUnderWay):
                self.cancel(build_path)
            raise

    def _again(self, written: WrittenOrder) -> None:
        """Order once more what an earlier devserver was at work on, where a request could ask for the same.

        Raises:
            RequestError, UnknownArtifact: it cannot be asked for any more.

        """
        record = written.record
        url = self._to_stage(record.archive_url, any_depth=True)
        if url.build_path != record.build_path:
            raise InvalidArchiveUrl(str(url), f"it is another build than {record.build_path} by now")
        _check_number("files", [name for name in record.artifacts if name.startswith(FILE)])
        checked_holder("holder", record.holder)
        usual = {entry.name: entry for entry in self._catalogue.of_a_download} if record.is_whole else {}
        entries = [
            self._entry(name, usual) if record.is_whole else replace(self._entry(name, usual), required=required)
            for name, required in record.artifacts.items()
        ]
        with self._placing.claimed(url) as places:
            order = Order(url, places, entries, record.clean, record.is_whole, holder=record.holder, written=written)
            self.downloads.ordered(order)

    def files_of(self, build_path: str, artifact: str) -> list[str]:
        """The paths in the build of the files that an artifact published."""
        return staged_files(BuildPlaces(self._options.static_dir, build_path), [artifact])

    def left_out(self, build_path: str, artifact: str) -> LeftOut:
        """What was left out of an artifact's tarball, for it may not be."""
        return left_out_of(BuildPlaces(self._options.static_dir, build_path), artifact)

    def stop(self, timeout: float) -> None:
        """End every download, telling those who wait; returns when they have ended, or after ``timeout`` seconds."""
        self._end.set()
        if self.downloads.stop(timeout):
            self._means.orders.close()

    def note_use(self, build_path: str) -> None:
        """Take note that somebody used a build, which need not be there."""
        self._last_use.note(build_path)

    def _use(self, build: Build, lease: Term | None = None, clean: bool = False) -> None:
        """Take note that a build is used, before anybody looks at it, and keep it for the caller.

        Raises:
            RecordUnreadable, NewerFormat: nobody can tell what of it is here, and it is not to be removed.

        """
        if lease is not None:
            if not clean:
                staged_manifest(build.places, build.url)
            lease_for(build.places, lease)
        self._last_use.note(build.name)

    def _found(self, url: ArchiveUrl) -> Build:
        """The build of a URL, and where it lies, or would."""
        return Build(url, self._placing.of(url))

    def _ordered(self, order: Order, lease: Term | None) -> list[Share]:
        """What an order waits for, once more with its lease: an earlier download that failed may have dropped it."""
        shares = self.downloads.ordered(order)
        if lease is not None and shares:
            lease_for(order.places, lease)
        return shares

    def _check_removable(self, order: Order) -> None:
        """Find out at once whether an order would remove what somebody else holds; the download looks again.

        Raises:
            BuildHeld

        """
        places = order.places
        reasons = holds_of(places).described(order.holder) if order.clean else []
        if reasons:
            raise BuildHeld(places.build_path, reasons)

    def _view(self, build_path: str) -> BuildView | None:
        places = BuildPlaces(self._options.static_dir, build_path)
        return overview(
            places, self._board.downloads(build_path), self._last_use.of(build_path), self._catalogue.is_required
        )

    def _parsed(self, archive_url: str, any_depth: bool = False) -> ArchiveUrl:
        return ArchiveUrl.parse(archive_url, self._options.archive_roots, any_depth)

    def _to_stage(self, archive_url: str, any_depth: bool = False) -> ArchiveUrl:
        """The same, of a build that is to be staged."""
        url = self._parsed(archive_url, any_depth)
        self.allowed_archives.check(url)
        return url

    def _wished(self, url: ArchiveUrl, wish: Wish) -> list[CatalogueEntry]:
        _check_number("artifacts", wish.artifacts)
        _check_number("files", wish.files)
        named = self._catalogue.named(wish.artifacts)
        return [*named, *(self._file(url, name) for name in dict.fromkeys(wish.files))]

    def _file(self, url: ArchiveUrl, name: str) -> CatalogueEntry:
        """The files of that name; one with more wildcards than a pattern may have is an object's own name, or none."""
        if has_too_many_wildcards(name):
            with suppress(ObjectNotFound):
                self.opened_archive(url, self._options.patience.stall_timeout).describe(name)
                return file_artifact(name, is_pattern=False)
        return file_artifact(name)

    def _noted(self, places: BuildPlaces, work: Callable[[], None], request_id: str) -> None:
        with request_ids.held(request_id):
            try:
                work()
            except Exception as error:
                cause = as_devserver_error(error, places.build_path)
                self._board.note(places.build_path, f"the source is kept: {cause}")


def _check_number(name: str, wished: Sequence[str]) -> None:
    if len(wished) > _MOST_NAMES:
        raise InvalidParameter(name, f"more than {_MOST_NAMES} are named; ask for them in several requests")

"""The downloads that run: each artifact of a build in one of them, however many ask, and those who wait for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from threading import Condition, Thread
from typing import NamedTuple

from artifacts.catalogue import Catalogue, CatalogueEntry
from devserver_util import check_build_directory, has_something, staged_manifest
from download import Download, Means, Order
from looking_again import LookingAgain
from staging import request_ids
from staging.admission import Admission
from staging.archives import ArchiveUrl
from staging.errors import (
    STOPPING,
    BuildBusy,
    BuildConflict,
    CallerGone,
    Cancelled,
    DevServerError,
    NoDownload,
    ObjectNotFound,
    as_devserver_error,
)
from staging.holds import drop_leases
from staging.layout import BuildPlaces
from staging.placing import Claim
from staging.soundness import Soundness
from staging.status import BuildStatus, State

# A new download waits for long where so many times as many wait as are staged at once, or somebody has for so long.
_LONG_QUEUE = 4
_LONG_WAIT = 60.0  # seconds
_TRIES_AFTER_OTHERS = 3  # where what others wanted beside it made a download fail


class Build(NamedTuple):
    """A build, and where it lies."""

    url: ArchiveUrl
    places: BuildPlaces

    @property
    def name(self) -> str:
        """What it is called on this devserver."""
        return self.places.build_path


class Share(NamedTuple):
    """What a caller wants of one download; some of it he ``requires``, whatever the download was started for."""

    status: BuildStatus
    names: frozenset[str]
    requires: frozenset[str] = frozenset()

    def is_failed_by_another(self) -> bool:
        """Whether it went wrong for the sake of an artifact that this caller does not want."""
        events = [event for name, event in self.status.artifacts.items() if name in self.names]
        bad = [event for event in events if event.state.is_final and not event.state.is_good]
        return bool(bad) and not any(
            event.state is State.FAILED or event.cause is None or isinstance(event.cause, Cancelled) for event in bad
        )

    def check_required(self, url: ArchiveUrl, catalogue: Catalogue) -> None:
        """Fail for what is required and the archive does not have."""
        for name in self.requires:
            if self.status.artifacts[name].state is State.ABSENT:
                raise ObjectNotFound(f"{url}/{catalogue.pattern_of(name)}")


class Downloads:
    """The downloads that run. All methods may be called from any number of threads at once."""

    def __init__(self, catalogue: Catalogue, means: Means, admission: Admission, soundness: Soundness) -> None:
        """``admission`` says how many there may be, and ``soundness`` that what counts as staged is there."""
        self._catalogue = catalogue
        self._means = means
        self._admission = admission
        self._soundness = soundness
        self._again = LookingAgain(means, self.ordered)
        self._changed = Condition()
        self._running: set[Download] = set()
        self._has_come_back = False
        self._stopped = False

    @property
    def active_count(self) -> int:
        """How many downloads are running."""
        return len(self._running)

    @property
    def queue_lengths(self) -> dict[str, int]:
        """How many downloads wait for a place, to stage what is synchronous and what is background."""
        return {"synchronous": self._means.synchronous.queue_length, "background": self._means.background.queue_length}

    @property
    def queue_length(self) -> int:
        """How many downloads wait for a place."""
        return sum(self.queue_lengths.values())

    @property
    def is_congested(self) -> bool:
        """Whether a new download would be refused, or would wait for long."""
        longest = max(self._means.synchronous.longest_wait, self._means.background.longest_wait)
        is_long = self.queue_length >= _LONG_QUEUE * self._admission.places or longest >= _LONG_WAIT
        return is_long or self._admission.is_full(len(self._running))

    def come_back(self) -> None:
        """Take note that all is ordered that an earlier devserver was at work on: who waits for more waits in vain."""
        with self._changed:
            self._has_come_back = True
            self._changed.notify_all()

    def cancel(self, build_path: str) -> bool:
        """Have every download of the build stop; returns once they have, and whether there was one."""
        with self._changed:
            mine = self._of(build_path)
            for download in mine:
                download.cancel()
            self._changed.wait_for(lambda: not self._running.intersection(mine))
        return bool(mine)

    def wait_for_the_end(self, build_path: str) -> None:
        """Return once the downloads of the build, which have told their outcome, have cleared up.

        Raises:
            BuildBusy: one of them has not.

        """
        with self._changed:
            mine = self._of(build_path)
            if not all(download.status.is_over for download in mine):
                raise BuildBusy(build_path)
            self._changed.wait_for(lambda: not self._running.intersection(mine))

    def stop(self, timeout: float) -> bool:
        """End every download, telling those who wait; returns when they have ended, or after ``timeout`` seconds, and
        whether they have.
        """
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            running = list(self._running)
        for download in running:
            download.stop()
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout)

    def are_staged(self, build: Build, entries: Sequence[CatalogueEntry]) -> bool:
        """Whether the artifacts are staged.

        Raises:
            DevServerError: why the last attempt to stage one of them failed.

        """
        self._soundness.make_sure(build.name)
        with self._changed:
            downloads = self.shown(build)
            missing = self.missing(build, entries)
            newest = [next((one for one in downloads if entry.name in one.shown), None) for entry in entries]
            if any(
                one is not None and one.is_under_way(entry.name) for one, entry in zip(newest, entries, strict=True)
            ):
                return False
        for entry, status in zip(entries, newest, strict=True):
            event = status.artifacts[entry.name] if status is not None else None
            if entry in missing and event is not None and event.cause is not None:
                raise event.cause.copy()
        return not missing

    def missing(self, build: Build, entries: Iterable[CatalogueEntry]) -> list[CatalogueEntry]:
        """Which of the artifacts the manifest does not have."""
        manifest = staged_manifest(build.places, build.url)
        return [entry for entry in entries if not manifest.satisfies(entry.name, entry.required)]

    def shown(self, build: Build) -> list[BuildStatus]:
        """The downloads of the build that are shown, the newest first; not those of one that had its place before."""
        downloads = self._means.board.downloads(build.name)
        return [status for status in downloads if status.archive_url == str(build.url)]

    def ordered(self, order: Order) -> list[Share]:
        """The downloads to wait for: those that are under way, and one that is started for what is left."""
        try:
            return self._ordered(order)
        except (DevServerError, OSError):
            self._let_go_of_what_does_not_come(order.places)
            raise

    def _ordered(self, order: Order) -> list[Share]:
        build = Build(order.url, order.places)
        self._soundness.make_sure(build.name)
        with self._changed:
            downloads = self.shown(build)
            required = {entry.name for entry in order.artifacts if entry.required}
            entries = list(order.artifacts) if order.clean else self.missing(build, order.artifacts)
            names = {entry.name for entry in entries}
            shares = []
            for status in [] if order.clean else downloads:
                mine = frozenset(name for name in names if status.is_under_way(name))
                if mine:
                    shares.append(Share(status, mine, mine & required))
                    names -= mine
            download = self._new_download(order, [entry for entry in entries if entry.name in names])
        for share in shares:
            self._means.board.note(build.name, f"joined the download of request {share.status.request_id or '-'}")
        if download is None:
            if order.is_whole and not shares:
                self._again.at_what_lacks(order)
            return shares
        self._again.note(build.name)
        download.write_order()
        self._start(download)
        return [*shares, Share(download.status, frozenset(names))]

    def _new_download(self, order: Order, left: Sequence[CatalogueEntry]) -> Download | None:
        """The download of what is ``left`` of an order, which is running from now on; None where nothing is."""
        if not left:
            return None
        if self._stopped:
            raise Cancelled(STOPPING)
        check_build_directory(order.places)
        self._admit(order.client)
        download = Download(replace(order, artifacts=left), self._means, self._claim(order))
        self._running.add(download)
        self._changed.notify_all()
        return download

    def _claim(self, order: Order) -> Claim:
        """The claim to the place that the order is for.

        Raises:
            BuildConflict: another build has it, since a moment ago.

        """
        claim = self._means.placing.claim(order.url)
        if claim.places != order.places:
            claim.release()
            raise BuildConflict(order.places.build_path, "another archive URL", str(order.url))
        return claim

    def _admit(self, client: str) -> None:
        """Go on where ``client`` may start another download; where nobody asks, one always may.

        Raises:
            Overloaded

        """
        if client and (self._admission.per_client is not None or self._admission.is_full(len(self._running))):
            self._admission.check(client, [one.client for one in self._running if not one.status.is_over])

    def wait(self, order: Order, shares: list[Share], gone: Future[None] | None, for_synchronous: bool = False) -> None:
        """Wait for the shares of an order; what was given up for the sake of another's wish is ordered once more."""
        for _ in range(_TRIES_AFTER_OTHERS):
            failed_by_another = False
            for share in shares:
                wait = share.status.wait_for_synchronous if for_synchronous else share.status.wait
                try:
                    wait(gone=gone, names=share.names)
                except CallerGone:
                    raise
                except DevServerError:
                    if not share.is_failed_by_another():
                        raise
                    failed_by_another = True
                share.check_required(order.url, self._catalogue)
            if not failed_by_another:
                return
            shares = self.ordered(replace(order, clean=False))
        for share in shares:
            share.status.wait(gone=gone, names=share.names)

    def known(self, url: ArchiveUrl, grace: float) -> list[Share]:
        """The downloads that stage what the build lacks, waiting ``grace`` seconds for them to begin."""
        entries = self._catalogue.of_a_download
        placing = self._means.placing
        self._soundness.make_sure(placing.of(url).build_path)

        def shares() -> list[Share] | None:
            build = Build(url, placing.of(url))  # where it lies is decided when it is asked for
            names = {entry.name for entry in self.missing(build, entries)}
            found = []
            for status in self.shown(build):
                mine = frozenset(names & status.shown.keys())
                found += [Share(status, mine)] if mine else []
                names -= mine
            return None if names else found

        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._has_come_back)
            self._changed.wait_for(lambda: self._stopped or shares() is not None, grace)
            found = shares()
        if found is None:
            raise NoDownload(str(url))
        return found

    def _start(self, download: Download) -> None:
        build_path = download.build
        try:
            Thread(target=self._run, args=(download,), name=f"download {build_path}", daemon=True).start()
        except RuntimeError as error:  # the machine has no thread left
            download.fail(as_devserver_error(error, build_path))
            self._forget(download)

    def _run(self, download: Download) -> None:
        try:
            with request_ids.held(download.status.request_id):
                download.run()
        finally:
            self._forget(download)

    def _forget(self, download: Download) -> None:
        try:
            download.settle_order()
        finally:
            with self._changed:
                self._running.discard(download)
                self._changed.notify_all()
        self._let_go_of_what_does_not_come(download.places)
        download.let_go()

    def _let_go_of_what_does_not_come(self, places: BuildPlaces) -> None:
        """Drop the leases of a build of which nothing is here, where nobody stages it any more."""

        def is_awaited() -> bool:
            with self._changed:
                # What a devserver leaves as it stops, the next one goes on with.
                if self._stopped or self._of(places.build_path):
                    return True
            return places.published.exists() and has_something(places)

        with suppress(OSError, DevServerError):
            if not is_awaited():
                drop_leases(places, is_awaited)

    def _of(self, build_path: str) -> list[Download]:
        return [download for download in self._running if download.build == build_path]

"""What is counted, from the moment that the server starts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from staging.board import Note
from staging.errors import (
    ArchiveError,
    ArchiveUnavailable,
    Cancelled,
    ChecksumMismatch,
    DevServerError,
    ObjectChanged,
    StagingError,
    error_classes,
)
from staging.status import BuildStatus, Change, Event, State
from web.answers import Served

STATIC = "static"  # the name of /static among the RPCs
DEVSERVER, NGINX = "devserver", "nginx"
EVICTION_REASONS = ("bytes", "free", "age")
# From a small build out of a fast archive to a large one out of a slow one.
_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)


class StagingCounters:
    """Counts downloads and what they cost; a listener of the status board."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._downloads = Counter(
            "devserver_downloads", "Downloads that ended, by their outcome.", ["outcome"], registry=registry
        )
        self._failures = Counter(
            "devserver_download_failures",
            "Downloads that failed, by the kind of the cause.",
            ["cause"],
            registry=registry,
        )
        self._first_answer = Histogram(
            "devserver_first_answer_seconds",
            "Time from a download's beginning until its synchronous artifacts were staged.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._all_staged = Histogram(
            "devserver_all_staged_seconds",
            "Time from a download's beginning until all of it was staged.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._fetched = Counter("devserver_archive_read_bytes", "Bytes read from the archive.", registry=registry)
        self._from_peers = Counter(
            "devserver_peer_read_bytes", "Bytes read from other devservers instead.", registry=registry
        )
        self._retries = Counter(
            "devserver_retries",
            "Requests to the archive that failed and were made again, by the kind of the error.",
            ["cause"],
            registry=registry,
        )
        self._checksum_failures = Counter(
            "devserver_checksum_failures",
            "Objects that arrived with other bytes than the archive states.",
            registry=registry,
        )
        # A series that begins with its first event hides that one: Prometheus sees no increase.
        for outcome in ("staged", "failed", "cancelled"):
            self._downloads.labels(outcome)
        for cause in (*error_classes(ArchiveError), *error_classes(StagingError)):
            self._failures.labels(cause)
        for again in (ArchiveUnavailable, ChecksumMismatch, ObjectChanged):
            self._retries.labels(again.__name__)

    def listen(self, status: BuildStatus, event: Event, change: Change) -> None:
        """A listener of the status board."""
        self._fetched.inc(event.bytes_fetched - change.before.bytes_fetched)
        self._from_peers.inc(event.bytes_from_peers - change.before.bytes_from_peers)
        if event.retry:
            self._count_retry(event.retry)
        if event.state is State.FAILED and isinstance(event.cause, ChecksumMismatch):
            self._checksum_failures.inc()
        seconds = status.seconds
        if change.settled_synchronous and status.synchronous and event.cause is None:
            self._first_answer.observe(seconds)
        if change.settled:
            self._count_outcome(event.cause, seconds)

    def listen_to_notes(self, note: Note) -> None:
        """A reader of the status board's notes."""
        if note.retry:
            self._count_retry(note.retry)

    def _count_retry(self, cause: str) -> None:
        self._retries.labels(cause).inc()
        if cause == ChecksumMismatch.__name__:
            self._checksum_failures.inc()

    def _count_outcome(self, cause: DevServerError | None, seconds: float) -> None:
        if cause is None:
            self._downloads.labels("staged").inc()
            self._all_staged.observe(seconds)
        elif isinstance(cause, Cancelled):
            self._downloads.labels("cancelled").inc()
        else:
            self._downloads.labels("failed").inc()
            self._failures.labels(cause.kind).inc()


class ServingCounters:
    """Counts requests, and bytes that clients were sent; an observer of /static."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "devserver_requests",
            "Requests that were answered, by what was asked for and the status of the answer.",
            ["rpc", "status"],
            registry=registry,
        )
        self._by_rpc_and_status: dict[tuple[str, int], Counter] = {}  # which asks for less than labels() does
        self._sent = Counter(
            "devserver_static_sent_bytes",
            "Bytes of answers below /static that clients were sent, by who sent them.",
            ["sender"],
            registry=registry,
        )
        self._dropped_rows = Counter(
            "devserver_ledger_dropped_rows",
            "Rows of the ledger that came faster than they could be written.",
            registry=registry,
        )
        self._sent_by_us, self._sent_by_nginx = self._sent.labels(DEVSERVER), self._sent.labels(NGINX)

    def count_request(self, rpc: str, status: int) -> None:
        """Count one answer to ``rpc``, which is one of few names."""
        counter = self._by_rpc_and_status.get((rpc, status))
        if counter is None:
            counter = self._by_rpc_and_status[rpc, status] = self._requests.labels(rpc, str(int(status)))
        counter.inc()

    def count_dropped_row(self) -> None:
        """Count one row for which the ledger had no room."""
        self._dropped_rows.inc()

    def ends(self, served: Served, sent: int) -> None:
        """See :class:`~web.answers.Observer`."""
        self.count_request(served.environ["SCRIPT_NAME"].strip("/"), served.status)
        self._sent_by_us.inc(sent)

    def count_front(self, status: int, sent: int) -> None:
        """Count what nginx, in front of this server, answered without asking it."""
        self.count_request(STATIC, status)
        self._sent_by_nginx.inc(sent)


class KeepingCounters:
    """Counts what is done with builds that are staged: those that are removed for room, and files that are verified."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._evictions = Counter(
            "devserver_evictions",
            "Builds that were removed to make room, by the reason.",
            ["reason"],
            registry=registry,
        )
        self._evicted = Counter(
            "devserver_evicted_bytes", "Bytes of builds that were removed to make room.", ["reason"], registry=registry
        )
        self._verified = Counter(
            "devserver_verified_files", "Staged files that were read again and compared.", registry=registry
        )
        self._verified_bytes = Counter(
            "devserver_verified_bytes", "Bytes of staged files that were read again and compared.", registry=registry
        )
        self._wrong = Counter(
            "devserver_verified_wrong_files", "Staged files that were found to be wrong.", registry=registry
        )
        for reason in EVICTION_REASONS:
            self._evictions.labels(reason)
            self._evicted.labels(reason)

    def count_eviction(self, build_path: str, reason: str, size: int) -> None:
        """Count a build of ``size`` bytes that was removed for the ``reason``, one of ``EVICTION_REASONS``."""
        del build_path  # there are too many for a label each
        self._evictions.labels(reason).inc()
        self._evicted.labels(reason).inc(size)

    def count_verified(self, files: int, size: int, wrong: int) -> None:
        """Count so many files of ``size`` bytes in all that were verified, and how many of them were ``wrong``."""
        self._verified.inc(files)
        self._verified_bytes.inc(size)
        self._wrong.inc(wrong)


class Metrics:
    """The counters of one server, and the registry that is its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.staging = StagingCounters(self.registry)
        self.serving = ServingCounters(self.registry)
        self.keeping = KeepingCounters(self.registry)

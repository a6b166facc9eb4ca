"""What serves the files of builds, and who is told of that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from staging.usage import LastUse
from web.answers import Observer, Read
from web.files.application import StaticFiles
from web.files.kept_objects import KeptObjects
from web.front.use_log import FrontAnswer
from web.ledger.writer import LedgerWriter
from web.logs import AccessLog
from web.metrics.counters import Metrics


class Files(NamedTuple):
    """What serves the files of builds, and knows when they were used and to whom they were served.

    Attributes:
        readers: how many clients read a build, by its path; None where nginx serves them, and nobody knows.

    """

    application: StaticFiles
    objects: KeptObjects
    last_use: LastUse
    readers: Callable[[str], int | None]
    ledger: LedgerWriter | None = None


def make_files(options: dict[str, Any], static_dir: Path, metrics: Metrics, bus: Any) -> Files:
    """What serves files; its ledger starts and stops with the server."""
    last_use = LastUse(static_dir)
    ledger = _ledger(options, metrics, bus)
    observers: list[Observer] = [access_log(options), metrics.serving, *([ledger] if ledger else [])]
    application = StaticFiles(static_dir, observers, last_use.note)
    objects = KeptObjects(static_dir, observers, last_use.note, application.readers)
    return Files(application, objects, last_use, _unknown if options["front"] else application.readers.of, ledger)


def make_unserved_files(static_dir: Path) -> Files:
    """The same where nothing is served: a command works on the builds."""
    last_use = LastUse(static_dir)
    application, objects = StaticFiles(static_dir, [], last_use.note), KeptObjects(static_dir, [], last_use.note)
    return Files(application, objects, last_use, _unknown)


def _unknown(_build_path: str) -> None:
    """How many read a build, where nobody knows."""


def access_log(options: dict[str, Any]) -> AccessLog:
    """The log of the requests that CherryPy knows nothing of."""
    return AccessLog(options["log_format"])


def front_listener(metrics: Metrics, ledger: LedgerWriter | None) -> Callable[[FrontAnswer, Read | None], None]:
    """Who is told of what nginx answers in front of this server."""

    def listen(answer: FrontAnswer, read: Read | None) -> None:
        metrics.serving.count_front(answer.status, answer.sent)
        if ledger is not None:
            ledger.note_front(answer, read)

    return listen


def _ledger(options: dict[str, Any], metrics: Metrics, bus: Any) -> LedgerWriter | None:
    if options["ledger"] is None:
        return None
    drop = metrics.serving.count_dropped_row
    ledger = LedgerWriter(bus, options["ledger"], options["ledger_max_rows"], drop)
    ledger.subscribe()
    return ledger

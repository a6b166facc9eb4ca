"""Everything that stages builds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cherrypy

from artifacts.catalogue import DEFAULT_CATALOGUE, Catalogue, read_catalogue
from downloader import Downloader
from staging.admission import Admission
from staging.board import StatusBoard
from staging.clock import CLOCK
from staging.eviction import Limits
from staging.executors.base import Executor
from staging.inventory import Stocktaker
from staging.layout import clock_file
from staging.room import Room, described
from web.event_log import log_event, log_note
from web.metrics.counters import Metrics
from wiring.checks import allowed_archives, usable_directory
from wiring.executors import make_executor, staging_options
from wiring.files import Files, make_unserved_files
from wiring.reloading import Part

_TIME_TO_STOP = 3.0  # seconds


class Staging(NamedTuple):
    """Everything that stages builds."""

    catalogue: Catalogue
    board: StatusBoard
    executor: Executor
    room: Room
    downloader: Downloader


def make_staging(options: dict[str, Any], static_dir: Path, metrics: Metrics, files: Files) -> Staging:
    """Everything that stages builds into ``static_dir``.

    Raises:
        ConfigurationError: an option's value cannot be used.

    """
    catalogue = read_catalogue(options["catalog"] or DEFAULT_CATALOGUE)
    board = _board(metrics)
    executor = make_executor(options)
    room = _room(options, static_dir, board, metrics, files)
    admission = Admission(options["max_downloads"], options["max_queue"], options["max_downloads_per_client"])
    allowed = allowed_archives(options["allow_archive"])
    how = staging_options(options, static_dir)
    downloader = Downloader(catalogue, how, executor, board, files.last_use, room, admission, allowed)
    return Staging(catalogue, board, executor, room, downloader)


def catalogue_part(options: dict[str, Any], catalogue: Catalogue) -> Part:
    """The catalogue, as a part that can be read anew."""

    def read() -> Callable[[], None]:
        return partial(catalogue.become, read_catalogue(options["catalog"] or DEFAULT_CATALOGUE))

    return Part("the catalogue", read)


@contextmanager
def without_a_server(options: dict[str, Any]) -> Iterator[Downloader]:
    """What stages builds, for a command that needs no server; it says nothing of its own."""
    cherrypy.log.screen = False
    static_dir = usable_directory("--static-dir", options["static_dir"])
    staging = make_staging(options, static_dir, Metrics(), make_unserved_files(static_dir))
    try:
        yield staging.downloader
    finally:
        staging.downloader.stop(0)
        staging.executor.stop()
        staging.downloader.stop(_TIME_TO_STOP)


def _board(metrics: Metrics) -> StatusBoard:
    """The board, and who is told of everything."""
    board = StatusBoard()
    board.subscribe(log_event)
    board.subscribe_to_notes(log_note)
    board.subscribe(metrics.staging.listen)
    board.subscribe_to_notes(metrics.staging.listen_to_notes)
    return board


def _room(options: dict[str, Any], static_dir: Path, board: StatusBoard, metrics: Metrics, files: Files) -> Room:
    """What makes room on the disk, and who is told of it."""
    CLOCK.subscribe(lambda news: cherrypy.log(news, "DEVSERVER"))
    CLOCK.restore(clock_file(static_dir))
    CLOCK.save(clock_file(static_dir))  # a server that ends soon tells the next one, too
    limits = Limits(options["max_bytes"], options["min_free"], options["max_age"])
    room = Room(static_dir, limits, files.last_use, Stocktaker(static_dir, files.last_use, files.readers, board))
    room.subscribe(lambda build, reason, size: board.removed(build, described(reason, size)))
    room.subscribe(metrics.keeping.count_eviction)
    return room

"""What background work runs on: processes of this machine, or the workers of a cluster, of which this may be one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any

import cherrypy
from cherrypy._cplogging import LogManager

from artifacts.bounds import JobBounds
from artifacts.job import NAME, StageRequest, StagingOptions
from staging.archives import AllowedArchives
from staging.board import StatusBoard
from staging.errors import ConfigurationError
from staging.executors import reach
from staging.executors.base import Executor
from staging.executors.confinement import Confinement, tighten_umask, what_holds
from staging.executors.orphans import adopt_orphans
from staging.executors.process import ProcessExecutor
from staging.log_lines import log_to_stderr, stamp
from staging.records.decoding import as_data
from staging.retry import Patience
from staging.tree import UnpackLimits
from wiring.checks import allowed_archives, peer_settings, usable_directory
from wiring.signals import MEANINGLESS, leave_unanswered

_WORKERS_IMPORT = ["artifacts.job", "staging.archives.gcs"]
_SECRETS = ("tokens", "tls_key")
_LARGEST_OBJECT = 256 * 1024**3  # bytes; the largest file that a worker may write, where tarballs may hold less
_AFTER_COMING_BACK = 95  # the place among what starts
_BEFORE_THE_DOWNLOADS = 5  # and among what stops: what is given up then is for others to take up
_RIGHT = "give the address of a Redis, as in redis://127.0.0.1:6379/0"


def make_executor(options: dict[str, Any]) -> Executor:
    """What the options say that background work runs on.

    Raises:
        ConfigurationError: an option's value cannot be used.

    """
    if options["executor"] == "process":
        if options["broker"]:
            raise ConfigurationError("--broker", "it goes with --executor celery, which hands jobs to workers by it")
        return _local_executor(options)
    broker = _checked_broker(options)
    from staging.cluster.executor import ClusterExecutor  # what it needs need not be installed

    silence, patience = options["worker_silence"], options["retry_deadline"]
    return ClusterExecutor(broker, silence, patience, lambda text: cherrypy.log(text, "CLUSTER"))


def keep_in_touch(
    bus: Any, options: dict[str, Any], static_dir: Path, board: StatusBoard, take_over: Callable[[], None]
) -> None:
    """Keep in touch with the other devservers of a cluster, from the moment that the bus starts until it stops."""
    if options["executor"] == "process":
        return
    from staging.cluster.neighbours import Neighbours

    neighbours = Neighbours(options["broker"], static_dir, board, take_over, lambda text: cherrypy.log(text, "CLUSTER"))
    bus.subscribe("start", neighbours.start, priority=_AFTER_COMING_BACK)
    bus.subscribe("stop", neighbours.stop, priority=_BEFORE_THE_DOWNLOADS)


def staging_options(options: dict[str, Any], static_dir: Path) -> StagingOptions:
    """How staging is done, in a devserver and in a worker of a cluster alike."""
    return StagingOptions(
        static_dir=static_dir,
        # Links in it stay: URLs name them too.
        archive_roots=tuple(Path(os.path.abspath(root)) for root in (*options["archive_root"], static_dir)),  # noqa: PTH100
        patience=Patience(options["stall_timeout"], options["retry_deadline"]),
        unpack_limits=UnpackLimits(
            options["unpack_max_bytes"],
            options["unpack_max_files"],
            options["unpack_max_ratio"],
            options["unpack_max_memory"],
        ),
        run_packager=options["run_packager"],
        artifacts_at_once=options["max_artifacts"],
        log_format=options["log_format"],
        stage_inline=options["stage_inline"],
        keep_objects=options["keep_objects"] or bool(options["peer"]),
        peers=peer_settings(options),
        user_project=options["user_project"] or "",
    )


def work(options: dict[str, Any], at_once: int) -> int:
    """Be a worker of a cluster until a signal says to stop; the exit status.

    Raises:
        ConfigurationError: an option's value cannot be used.

    """
    tighten_umask()
    adopt_orphans()
    leave_unanswered(MEANINGLESS)
    broker = _checked_broker(options)
    from staging.cluster.worker import ClusterWorker

    static_dir = usable_directory("--static-dir", options["static_dir"])
    executor = _local_executor(options)
    log_to_stderr(options["log_format"], tag="WORKER")
    LogManager.time = lambda _: stamp(time())  # which has no zone of its own
    say_what_holds()
    jobs = Jobs(staging_options(options, static_dir), allowed_archives(options["allow_archive"]))
    silence, patience = options["worker_silence"], options["retry_deadline"]
    return ClusterWorker(broker, {NAME: jobs.as_we_stage}, executor, silence, patience).serve(at_once)


class Jobs:
    """What a worker makes of requests, which come from whoever can write to the broker."""

    def __init__(self, options: StagingOptions, allowed: AllowedArchives) -> None:
        self._options = options
        self._allowed = allowed

    def as_we_stage(self, request: dict[str, Any]) -> Any:
        """The request with this worker's own options: nobody else chooses directories and limits here.

        Raises:
            RequestError: it asks for what may not be staged.

        """
        wanted = StageRequest.from_json({**request, "options": as_data(self._options)})
        self._allowed.check(wanted.url)
        return wanted.to_json()


def say_what_holds() -> None:
    """Log what the kernel holds workers to, and what it cannot."""
    cherrypy.log(what_holds(), "DEVSERVER")


def _local_executor(options: dict[str, Any]) -> ProcessExecutor:
    return ProcessExecutor(_WORKERS_IMPORT, options["worker_silence"], _bounds(options))


def _bounds(options: dict[str, Any]) -> JobBounds:
    """What workers may do to this machine."""
    writable = tuple(usable_directory("--worker-writes", path) for path in options["worker_writes"])
    largest = max(options["unpack_max_bytes"], _LARGEST_OBJECT)
    machine = Confinement(readable=reach.readable(), runnable=reach.runnable(), largest_file=largest)
    for path in reach.exposed(_secrets(options), (*machine.readable, *machine.runnable)):
        cherrypy.log(f"workers may read {path}: keep it apart from what they are made of", "DEVSERVER")
    return JobBounds(machine, writable)


def _secrets(options: dict[str, Any]) -> list[Path]:
    """The files that are for the server alone."""
    return [options[name] for name in _SECRETS if options.get(name)]


def _checked_broker(options: dict[str, Any]) -> str:
    """The address of the broker."""
    try:
        from staging.cluster.broker import connected
    except ImportError as error:
        wanted = "it needs Celery and Redis' client; install them with: pip install 'devserver[cluster]'"
        raise ConfigurationError("--broker", wanted) from error
    if not options["broker"]:
        raise ConfigurationError("--broker", f"a cluster needs one; {_RIGHT}")
    try:
        connected(options["broker"])
    except ValueError as error:
        raise ConfigurationError("--broker", f"it is no such address; {_RIGHT}") from error
    return str(options["broker"])

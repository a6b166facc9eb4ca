#!/usr/bin/env python3
"""The devserver's command line, and the one place that wires everything together."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from commands.local import LOCAL, MACHINERY
from commands.printing import printable
from commands.remote import REMOTE
from devserver_settings import SETTINGS
from staging.errors import ConfigurationError

if TYPE_CHECKING:
    from artifacts.catalogue import Catalogue
    from artifacts.job import StagingOptions
    from downloader import Downloader
    from staging.archives import AllowedArchives
    from staging.board import StatusBoard
    from staging.cluster.worker import Jobs
    from staging.executors.base import Executor
    from staging.executors.confinement import Confinement
    from staging.executors.process import ProcessExecutor
    from staging.room import Room
    from staging.usage import LastUse
    from web.access.tokens import TokenFile
    from web.answers import Observer, Read, Served
    from web.files.application import StaticFiles
    from web.front.use_log import FrontAnswer
    from web.health import Load
    from web.http.clients import WaitingRoom
    from web.http.tls import Certificate
    from web.ledger.writer import LedgerWriter
    from web.metrics.counters import Metrics
    from web.metrics.gauges import Sources

_LARGEST_OBJECT = 256 * 1024**3  # bytes; the largest file that a worker may write, where tarballs may hold less
_FAILED = 1
_USAGE_ERROR = 2
_TIME_TO_STOP = 3.0  # seconds


def serve(options: dict[str, Any]) -> None:
    """Serve until a signal says to stop; ``options`` has a value for every setting.

    Raises:
        ConfigurationError: an option's value cannot be used.

    """
    # Imported here, as everything below, so that worker processes, which import this module as their main one, start
    # without the web.
    import cherrypy

    from artifacts.catalogue import DEFAULT_CATALOGUE, read_catalogue
    from staging.executors.confinement import tighten_umask
    from web.http import server
    from web.logs import configure_logs
    from web.metrics.counters import Metrics

    tighten_umask()
    static_dir = _checked(options)
    catalogue = read_catalogue(options["catalog"] or DEFAULT_CATALOGUE)
    bus = cherrypy.engine
    configure_logs(options["logfile"], options["log_dir"], options["production"], options["log_format"])
    server.configure(options["host"], options["port"], options["max_threads"], _certificate(options))
    metrics = Metrics()
    files = _files(options, static_dir, metrics, bus)
    _web(options, static_dir, _staging(options, static_dir, catalogue, metrics, files), metrics, files, bus)
    end_was_asked_for = _end_on_signals(bus)
    cherrypy.log(f"devserver {_version()}, staging to and serving {static_dir}", "DEVSERVER")
    bus.start()
    if end_was_asked_for.is_set():
        bus.exit()
    bus.block()


def _checked(options: dict[str, Any]) -> Path:
    """Find out what cannot be used before anything starts; the static directory, made and resolved."""
    static_dir = _usable_directory("--static-dir", options["static_dir"])
    _check_address(options["host"], options["port"])
    for option in ("portfile", "pidfile", "logfile", "ledger"):
        if options[option]:
            _check_writable(f"--{option}", options[option], options[option].absolute().parent)
    if options["log_dir"]:
        _usable_directory("--log-dir", options["log_dir"])
    if options["portfile"]:
        options["portfile"].unlink(missing_ok=True)  # of an earlier run, whose port is not ours
    return static_dir


class _Staging(NamedTuple):
    """Everything that stages builds."""

    catalogue: Catalogue
    board: StatusBoard
    executor: Executor
    room: Room
    downloader: Downloader


class _Files(NamedTuple):
    """What serves the files of builds, and knows when they were used."""

    application: StaticFiles
    last_use: LastUse
    ledger: LedgerWriter | None


def _files(options: dict[str, Any], static_dir: Path, metrics: Metrics, bus: Any) -> _Files:
    """Set up what serves files."""
    from staging.usage import LastUse
    from web.files.application import StaticFiles

    last_use = LastUse(static_dir)
    ledger = _ledger(options, metrics, bus)
    return _Files(StaticFiles(static_dir, _observers(options, metrics, ledger), last_use.note), last_use, ledger)


def _staging(
    options: dict[str, Any], static_dir: Path, catalogue: Catalogue, metrics: Metrics, files: _Files
) -> _Staging:
    """Set up everything that stages builds."""
    from downloader import Downloader
    from staging.admission import Admission
    from staging.board import StatusBoard
    from staging.eviction import Limits
    from staging.inventory import Stocktaker
    from staging.room import Room, described
    from web.event_log import log_event, log_note

    board = StatusBoard()
    board.subscribe(log_event)
    board.subscribe_to_notes(log_note)
    board.subscribe(metrics.staging.listen)
    board.subscribe_to_notes(metrics.staging.listen_to_notes)
    executor = _executor(options, static_dir)
    readers = _readers(options, files.application)
    limits = Limits(options["max_bytes"], options["min_free"], options["max_age"])
    room = Room(static_dir, limits, files.last_use, Stocktaker(static_dir, files.last_use, readers, board))
    room.subscribe(lambda build, reason, size: board.removed(build, described(reason, size)))
    room.subscribe(metrics.keeping.count_eviction)
    admission = Admission(options["max_downloads"], options["max_queue"], options["max_downloads_per_client"])
    allowed = _allowed_archives(options["allow_archive"])
    downloader = Downloader(
        catalogue, _staging_options(options, static_dir), executor, board, files.last_use, room, admission, allowed
    )
    return _Staging(catalogue, board, executor, room, downloader)


def _staging_options(options: dict[str, Any], static_dir: Path) -> StagingOptions:
    """How staging is done, here and in a worker alike."""
    from artifacts.job import StagingOptions
    from staging.retry import Patience
    from staging.tree import UnpackLimits

    return StagingOptions(
        static_dir=static_dir,
        # Links in it stay: URLs name them too.
        archive_roots=tuple(Path(os.path.abspath(root)) for root in (*options["archive_root"], static_dir)),  # noqa: PTH100
        patience=Patience(options["stall_timeout"], options["retry_deadline"]),
        unpack_limits=UnpackLimits(options["unpack_max_bytes"], options["unpack_max_files"]),
        run_packager=options["run_packager"],
        artifacts_at_once=options["max_artifacts"],
        log_format=options["log_format"],
        stage_inline=options["stage_inline"],
    )


def _executor(options: dict[str, Any], static_dir: Path) -> Executor:
    """What background work runs on."""
    import cherrypy

    if options["executor"] == "process":
        if options["broker"]:
            raise ConfigurationError("--broker", "it goes with --executor celery, which hands jobs to workers by it")
        return _local_executor(options, static_dir)
    broker = _checked_broker(options)
    from staging.cluster.executor import ClusterExecutor

    silence, patience = options["worker_silence"], options["retry_deadline"]
    return ClusterExecutor(broker, silence, patience, lambda text: cherrypy.log(text, "CLUSTER"))


def _local_executor(options: dict[str, Any], static_dir: Path) -> ProcessExecutor:
    """What runs jobs in processes of this machine."""
    from staging.executors.process import ProcessExecutor

    modules = ["artifacts.job", "staging.archives.gcs", "devserver"]
    return ProcessExecutor(modules, options["worker_silence"], _confinement(options, static_dir))


def _checked_broker(options: dict[str, Any]) -> str:
    """The address of the broker."""
    try:
        from staging.cluster.broker import connected
    except ImportError as error:
        wanted = "it needs Celery and Redis' client; install them with: pip install 'devserver[cluster]'"
        raise ConfigurationError("--executor celery", wanted) from error
    right = "give the address of a Redis, as in redis://127.0.0.1:6379/0"
    if not options["broker"]:
        raise ConfigurationError("--broker", f"a cluster needs one; {right}")
    try:
        connected(options["broker"])
    except ValueError as error:
        raise ConfigurationError("--broker", f"it is no such address; {right}") from error
    return str(options["broker"])


@contextmanager
def _without_a_server(options: dict[str, Any]) -> Iterator[Downloader]:
    """What stages builds, for a command that needs no server; it says nothing of its own."""
    import cherrypy

    from artifacts.catalogue import DEFAULT_CATALOGUE, read_catalogue
    from staging.usage import LastUse
    from web.files.application import StaticFiles
    from web.metrics.counters import Metrics

    cherrypy.log.screen = False
    static_dir = _usable_directory("--static-dir", options["static_dir"])
    last_use = LastUse(static_dir)
    files = _Files(StaticFiles(static_dir, [], last_use.note), last_use, None)
    catalogue = read_catalogue(options["catalog"] or DEFAULT_CATALOGUE)
    staging = _staging(options, static_dir, catalogue, Metrics(), files)
    try:
        yield staging.downloader
    finally:
        staging.downloader.stop(0)
        staging.executor.stop()
        staging.downloader.stop(_TIME_TO_STOP)


def _confinement(options: dict[str, Any], static_dir: Path) -> Confinement:
    """What workers may do to this machine."""
    import cherrypy

    from staging.executors.confinement import Confinement, has_landlock

    if not has_landlock():
        cherrypy.log("this kernel has no Landlock: workers may write wherever this user may", "DEVSERVER")
    writable = (static_dir, *(_usable_directory("--worker-writes", path) for path in options["worker_writes"]))
    return Confinement(writable, max(options["unpack_max_bytes"], _LARGEST_OBJECT))


def _allowed_archives(prefixes: Sequence[str]) -> AllowedArchives:
    """The archives that may be staged from."""
    from staging.archives import AllowedArchives
    from staging.errors import InvalidArchiveUrl

    try:
        return AllowedArchives.parse(prefixes)
    except InvalidArchiveUrl as error:
        raise ConfigurationError("--allow-archive", str(error)) from error


def _web(
    options: dict[str, Any], static_dir: Path, staging: _Staging, metrics: Metrics, files: _Files, bus: Any
) -> None:
    """Set up everything that answers requests, and what starts and stops with the server."""
    from cherrypy.process.plugins import PIDFile

    from staging.holds import BuildHolds
    from web import application
    from web.api.application import Api
    from web.api.events import EventStreams
    from web.api.operations import Handlers
    from web.front.use_log import UseLog
    from web.health import HealthSampler
    from web.http import server
    from web.http.clients import WaitingRoom
    from web.metrics.page import MetricsPage
    from web.plugins import BEFORE_THE_SERVER, ConnectionsPlugin, DownloadsPlugin, EvictorPlugin, PortFile
    from web.site.pages import Pages
    from web.verification import VerificationPlugin

    downloader = staging.downloader
    holds = BuildHolds(static_dir, downloader.build)
    waiting_room = WaitingRoom(options["max_threads"])
    load = _load(downloader, waiting_room)
    health = HealthSampler(
        bus,
        static_dir,
        lambda: downloader.active_count,
        server.clients_being_served,
        load,
        lambda: staging.executor.figures,
    )
    pages = Pages(downloader, holds, staging.catalogue, _readers(options, files.application), str(static_dir))
    tokens = _tokens(options)
    metrics_page = MetricsPage(metrics.registry, _sources(static_dir, staging, waiting_room))
    root = application.Root(downloader, health, waiting_room, static_dir, pages, metrics_page, tokens)
    streams = EventStreams(downloader.build, downloader.is_under_way, downloader.builds_under_way)
    staging.board.subscribe(streams.listen)
    staging.board.subscribe_to_removals(streams.listen_to_removals)
    bus.subscribe("stop", streams.close, priority=BEFORE_THE_SERVER)
    api = Api(Handlers(downloader, holds, staging.catalogue, health, _version()), streams, waiting_room, _version())
    application.mount(root, api, files.application, metrics.serving.count_request, is_proxied=bool(options["front"]))
    if tokens is not None:
        _put_a_gate_in_front(options, tokens, metrics)
    health.subscribe()
    EvictorPlugin(bus, staging.room).subscribe()
    DownloadsPlugin(bus, downloader, staging.executor, options["resume"]).subscribe()
    if options["verify_every"]:
        VerificationPlugin(bus, static_dir, options["verify_every"], staging.board.note).subscribe()
    ConnectionsPlugin(bus, server.busy_connections).subscribe()
    if options["front"]:
        UseLog(
            bus, options["front_log"], files.application.note_use, _front_listener(metrics, files.ledger)
        ).subscribe()
    if options["portfile"]:
        PortFile(bus, options["portfile"], server.bound_port).subscribe()
    if options["pidfile"]:
        PIDFile(bus, str(options["pidfile"])).subscribe()


def _put_a_gate_in_front(options: dict[str, Any], tokens: TokenFile, metrics: Metrics) -> None:
    """Let nobody read who may not, and tell the rest of the server whose token came with a request."""
    from web.access.gate import Gate
    from web.http import server
    from web.logs import AccessLog

    log = AccessLog(bool(options["front"]), options["log_format"])

    def on_refusal(answer: Served) -> None:
        log.begins(answer)
        metrics.serving.count_request("refused", answer.status)

    reads_freely = not options["require_token_to_read"]
    server.put_in_front(lambda whole: Gate(whole, tokens, reads_freely, on_refusal))


def _load(downloader: Downloader, waiting_room: WaitingRoom) -> Callable[[], Load]:
    """What the server has taken on, as it is when asked."""
    from web.health import Load
    from web.http import server

    return lambda: Load(
        queued_downloads=downloader.queue_length,
        waiting_clients=waiting_room.taken,
        free_seats=waiting_room.free,
        is_overloaded=downloader.is_congested or not waiting_room.free or server.is_crowded(),
    )


def _ledger(options: dict[str, Any], metrics: Metrics, bus: Any) -> LedgerWriter | None:
    """What writes the ledger, where there is to be one."""
    from web.ledger.writer import LedgerWriter

    if options["ledger"] is None:
        return None
    is_proxied, drop = bool(options["front"]), metrics.serving.count_dropped_row
    ledger = LedgerWriter(bus, options["ledger"], options["ledger_max_rows"], is_proxied, drop)
    ledger.subscribe()
    return ledger


def _observers(options: dict[str, Any], metrics: Metrics, ledger: LedgerWriter | None) -> list[Observer]:
    """Who is told of the answers of /static."""
    from web.logs import AccessLog

    log = AccessLog(bool(options["front"]), options["log_format"])
    return [log, metrics.serving, *([ledger] if ledger else [])]


def _front_listener(metrics: Metrics, ledger: LedgerWriter | None) -> Callable[[FrontAnswer, Read | None], None]:
    """Who is told of what nginx answers in front of this server."""

    def listen(answer: FrontAnswer, read: Read | None) -> None:
        metrics.serving.count_front(answer.status, answer.sent)
        if ledger is not None:
            ledger.note_front(answer, read)

    return listen


def _sources(static_dir: Path, staging: _Staging, waiting_room: WaitingRoom) -> Sources:
    """Where the metrics' gauges come from."""
    from web.http import server
    from web.metrics.gauges import Sources

    downloader, executor = staging.downloader, staging.executor
    return Sources(
        version=_version(),
        static_dir=static_dir,
        builds=downloader.builds,
        waiting=lambda: waiting_room.taken,
        busy_threads=server.clients_being_served,
        idle_threads=server.idle_threads,
        queue_lengths=lambda: downloader.queue_lengths,
        downloads=lambda: downloader.active_count,
        workers=lambda: executor.worker_count,
    )


def _certificate(options: dict[str, Any]) -> Certificate | None:
    """The certificate to serve HTTPS with; None for plain HTTP."""
    from web.http.tls import Certificate

    chain, key = options["tls_cert"], options["tls_key"]
    if (chain is None) != (key is None):
        raise ConfigurationError("--tls-cert, --tls-key", "they go together; one of them is missing")
    if chain is None:
        return None
    if options["front"]:
        raise ConfigurationError("--tls-cert", "with --front, it is nginx that speaks TLS: give it to nginx-config")
    return Certificate(chain, key)


def _tokens(options: dict[str, Any]) -> TokenFile | None:
    """The tokens that changing something takes; None where it takes none."""
    import cherrypy

    from web import rendering
    from web.access.tokens import TokenFile

    if options["tokens"] is None:
        if options["require_token_to_read"]:
            raise ConfigurationError("--require-token-to-read", "it goes with --tokens, which says which there are")
        return None
    rendering.offer_login()
    return TokenFile(options["tokens"], lambda text: cherrypy.log(text, "DEVSERVER"))


def _readers(options: dict[str, Any], files: StaticFiles) -> Callable[[str], int | None]:
    """How many clients read a build, by its path; where nginx serves them, that is not known."""
    return (lambda _: None) if options["front"] else files.readers.of


def _end_on_signals(bus: Any) -> Flag:
    """End the server on SIGTERM and on Ctrl-C, also where a shell started it with Ctrl-C switched off.

    Returns:
        A flag that is set by a signal that comes too early: a bus that is still starting forgets that it was ended.

    """
    too_early = Flag()

    def end() -> None:
        if bus.state is bus.states.STARTED:
            bus.exit()
        else:
            too_early.set()

    bus.signal_handler.handlers.update({"SIGTERM": end, "SIGINT": end})
    bus.signals.subscribe()
    return too_early


def _usable_directory(option: str, path: Path) -> Path:
    """The directory ``path``, made if need be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(option, f"{path} cannot be made ({error.strerror})") from error
    _check_writable(option, path, path)
    return path.resolve()


def _check_writable(option: str, path: Path, directory: Path) -> None:
    """Find out before anything starts whether files can be made in ``directory``.

    Another file than ``path``: wrappers watch for some of them.
    """
    try:
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise ConfigurationError(option, f"{path} cannot be written ({error.strerror})") from error


def _check_address(host: str, port: int) -> None:
    """Find out before anything starts whether the address is free, to say so in one line."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigurationError("--host, --port", f"cannot listen on {host}:{port} ({error.strerror})") from error


def _version() -> str:
    """The version that is installed; a checkout that was never installed has none."""
    try:
        return version("devserver")
    except PackageNotFoundError:
        return "(not installed)"


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    for setting in reversed(SETTINGS):
        command = setting.as_option()(command)
    return command


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}, invoke_without_command=True
)
@click.version_option(_version(), prog_name="devserver")
@_with_settings
@click.pass_context
def command_line(context: click.Context, /, **options: Any) -> None:
    """Stage builds from an archive, and serve them to the devices of a lab.

    \b
    devserver --static-dir /srv/builds

    Every option can also be given in the environment variable that stands with it. The commands that ask a running
    devserver have options of their own.
    """  # noqa: D301 - click's own mark for lines that stay as they are
    if context.invoked_subcommand is None:
        serve(options)
    else:
        context.obj = options
        context.meta[MACHINERY] = lambda: _without_a_server(options)


@command_line.command("serve")
@_with_settings
@click.pass_context
def serve_command(context: click.Context, /, **options: Any) -> None:
    """Stage and serve builds, as without a command.

    The options may stand before it or behind it.

    \b
    devserver serve --static-dir /srv/builds
    """  # noqa: D301
    typed = ParameterSource.COMMANDLINE
    behind = {key: value for key, value in options.items() if context.get_parameter_source(key) is typed}
    serve({**context.obj, **behind})


@command_line.command("worker")
@click.option("--at-once", type=click.IntRange(min=1), default=6, show_default=True, help="Artifacts to stage at once.")
@click.pass_obj
def worker(options: dict[str, Any], at_once: int) -> None:
    """Stage artifacts for the devservers of a cluster.

    On any machine that mounts their static directory. The devserver's own options stand before this command: those of
    staging and unpacking hold here as they are given here.

    \b
    devserver --static-dir /srv/builds --broker redis://broker:6379/0 worker

    Exit status: 0 after SIGTERM, 2 usage.
    """  # noqa: D301
    from staging.executors.confinement import tighten_umask

    tighten_umask()
    broker = _checked_broker(options)
    from staging.cluster.worker import ClusterWorker
    from staging.log_lines import log_to_stderr

    log_to_stderr(options["log_format"], tag="WORKER")
    static_dir = _usable_directory("--static-dir", options["static_dir"])
    jobs = _jobs(_staging_options(options, static_dir), _allowed_archives(options["allow_archive"]))
    executor = _local_executor(options, static_dir)
    silence, patience = options["worker_silence"], options["retry_deadline"]
    sys.exit(ClusterWorker(broker, jobs, executor, silence, patience).serve(at_once))


def _jobs(staging_options: StagingOptions, allowed: AllowedArchives) -> Jobs:
    """The jobs that a worker runs."""
    from artifacts.job import NAME, StageRequest
    from staging.archives import ArchiveUrl

    def as_we_stage(request: dict[str, Any]) -> dict[str, Any]:
        """The request with this worker's own options: whoever can write to the broker chooses no directory here."""
        wanted = StageRequest.from_json({**request, "options": staging_options.to_json()})
        allowed.check(ArchiveUrl.parse(wanted.archive_url, staging_options.archive_roots, any_depth=True))
        return wanted.to_json()

    return {NAME: as_we_stage}


for _command in (*REMOTE, *LOCAL):
    command_line.add_command(_command)


@command_line.command("nginx-config")
@click.option("--listen", default="0.0.0.0:80", show_default=True, help="Address of nginx, host:port.")
@click.option(
    "--run-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("nginx"),
    show_default=True,
    help="Directory of nginx' own files; it is made.",
)
@click.pass_obj
def nginx_config(options: dict[str, Any], listen: str, run_dir: Path) -> None:
    """Print the configuration of an nginx in front.

    The devserver's own options stand before this command.

    \b
    devserver --static-dir /srv/builds nginx-config --run-dir /run/devserver > /etc/devserver-nginx.conf
    nginx -p /run/devserver -c /etc/devserver-nginx.conf
    devserver --static-dir /srv/builds --front nginx --front-log /run/devserver/use.log
    """  # noqa: D301 - click's own mark for lines that stay as they are
    from web.front.nginx import configuration

    static_dir = _usable_directory("--static-dir", options["static_dir"])
    run_dir = _usable_directory("--run-dir", run_dir)
    devserver = f"{options['host']}:{options['port']}"
    click.echo(
        configuration(
            static_dir,
            devserver,
            listen,
            run_dir,
            owner=f"{static_dir.owner()} {static_dir.group()}" if os.geteuid() == 0 else "",
            reads_freely=not options["require_token_to_read"],
            certificate=_certificate(options),
        ),
        nl=False,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status. Whatever goes wrong is one line on standard error."""
    try:
        command_line.main(arguments, prog_name="devserver", standalone_mode=False)
    except click.Abort:
        return _FAILED
    except click.ClickException as error:
        print(f"devserver: {printable(error.format_message())}", file=sys.stderr)
        return error.exit_code
    except ConfigurationError as error:
        print(f"devserver: {printable(str(error))}", file=sys.stderr)
        return _USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())

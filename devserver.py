#!/usr/bin/env python3
"""The devserver's command line, and the one place that wires everything together."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from commands.local import LOCAL
from commands.options import server_in_front
from commands.printing import printable
from commands.remote import REMOTE
from devserver_settings import SETTINGS
from staging.errors import ConfigurationError

if TYPE_CHECKING:
    from artifacts.catalogue import Catalogue
    from downloader import Downloader
    from staging.board import StatusBoard
    from staging.executors.base import Executor
    from web.files.application import StaticFiles

_FAILED = 1
_USAGE_ERROR = 2


def serve(options: dict[str, Any]) -> None:
    """Serve until a signal says to stop; ``options`` has a value for every setting.

    Raises:
        ConfigurationError: an option's value cannot be used.

    """
    # Imported here, as everything below, so that worker processes, which import this module as their main one, start
    # without the web.
    import cherrypy

    from artifacts.catalogue import DEFAULT_CATALOGUE, read_catalogue
    from web.bus_log import speak_plainly
    from web.http import server
    from web.logs import configure_logs

    static_dir = _checked(options)
    catalogue = read_catalogue(options["catalog"] or DEFAULT_CATALOGUE)
    bus = cherrypy.engine
    speak_plainly(bus)
    configure_logs(options["logfile"], options["log_dir"], options["production"])
    server.configure(options["host"], options["port"], options["max_threads"])
    _web(options, static_dir, _staging(options, static_dir, catalogue), bus)
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
    for option in ("portfile", "pidfile", "logfile"):
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
    downloader: Downloader


def _staging(options: dict[str, Any], static_dir: Path, catalogue: Catalogue) -> _Staging:
    """Set up everything that stages builds."""
    from artifacts.job import StagingOptions
    from downloader import Downloader
    from staging.board import StatusBoard
    from staging.executors.process import ProcessExecutor
    from staging.retry import Patience
    from staging.tree import UnpackLimits
    from staging.usage import LastUse
    from web.event_log import log_event, log_note

    board = StatusBoard()
    board.subscribe(log_event)
    board.subscribe_to_notes(log_note)
    executor = ProcessExecutor(["artifacts.job", "staging.archives.gcs", "devserver"], options["worker_silence"])
    staging_options = StagingOptions(
        static_dir=static_dir,
        # Links in it stay: URLs name them too.
        archive_roots=tuple(Path(os.path.abspath(root)) for root in (*options["archive_root"], static_dir)),  # noqa: PTH100
        patience=Patience(options["stall_timeout"], options["retry_deadline"]),
        unpack_limits=UnpackLimits(options["unpack_max_bytes"], options["unpack_max_files"]),
        run_packager=options["run_packager"],
        artifacts_at_once=options["max_artifacts"],
    )
    last_use = LastUse(static_dir)
    downloader = Downloader(catalogue, staging_options, executor, board, last_use, options["max_downloads"])
    return _Staging(catalogue, board, executor, downloader)


def _web(options: dict[str, Any], static_dir: Path, staging: _Staging, bus: Any) -> None:
    """Set up everything that answers requests, and what starts and stops with the server."""
    from cherrypy.process.plugins import PIDFile

    from staging.usage import LastUse
    from web import application
    from web.api.application import Api
    from web.api.events import EventStreams
    from web.api.operations import Handlers
    from web.files.application import StaticFiles
    from web.front.use_log import UseLog
    from web.health import HealthSampler
    from web.http import server
    from web.http.clients import WaitingRoom
    from web.logs import log_file_request
    from web.plugins import BEFORE_THE_SERVER, ConnectionsPlugin, DownloadsPlugin, PortFile
    from web.site.pages import Pages

    downloader = staging.downloader
    files = StaticFiles(static_dir, log_file_request, LastUse(static_dir).note)
    health = HealthSampler(bus, static_dir, lambda: downloader.active_count, server.clients_being_served)
    waiting_room = WaitingRoom(options["max_threads"])
    pages = Pages(downloader, staging.catalogue, _readers(options, files), str(static_dir))
    root = application.Root(downloader, health, waiting_room, static_dir, pages)
    streams = EventStreams(downloader.build, downloader.is_under_way, downloader.builds_under_way)
    staging.board.subscribe(streams.listen)
    staging.board.subscribe_to_removals(streams.listen_to_removals)
    bus.subscribe("stop", streams.close, priority=BEFORE_THE_SERVER)
    api = Api(Handlers(downloader, staging.catalogue, health, _version()), streams, waiting_room, _version())
    application.mount(root, api, files, is_proxied=bool(options["front"]))
    health.subscribe()
    DownloadsPlugin(bus, downloader, staging.executor).subscribe()
    ConnectionsPlugin(bus, server.busy_connections).subscribe()
    if options["front"]:
        UseLog(bus, options["front_log"], files.note_use).subscribe()
    if options["portfile"]:
        PortFile(bus, options["portfile"], server.bound_port).subscribe()
    if options["pidfile"]:
        PIDFile(bus, str(options["pidfile"])).subscribe()


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
@server_in_front
@click.pass_context
def command_line(context: click.Context, /, server: str | None, **options: Any) -> None:
    """Stage builds from an archive, and serve them to the devices of a lab.

    \b
    devserver --static-dir /srv/builds

    Every option can also be given in the environment variable that stands with it. The commands that ask a running
    devserver have options of their own.
    """  # noqa: D301 - click's own mark for lines that stay as they are
    if context.invoked_subcommand is None:
        if server:
            raise click.UsageError("--server goes with a command that asks a devserver: devserver builds --server URL")
        serve(options)
    else:
        context.obj = options


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

#!/usr/bin/env python3
"""The devserver's command line."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from commands import environment, old_options, streams
from commands.encoding import use_utf8
from commands.help import GroupedHelp
from commands.local import LOCAL, MACHINERY
from commands.options import check_environment, server_in_front
from commands.remote import REMOTE
from devserver_settings import SETTINGS
from staging.errors import ConfigurationError

if TYPE_CHECKING:
    from downloader import Downloader

_FAILED = 1
_USAGE_ERROR = 2
# Of commands that do not use every setting, those that they do use.
_USED = {**{one.name: () for one in REMOTE}, "catalog": ("catalog",), "ledger": ("ledger",), "token": (), "demo": ()}


def serve(options: dict[str, Any]) -> None:
    """Serve until a signal says to stop; ``options`` has a value for every setting.

    Raises:
        ConfigurationError: an option's value cannot be used.

    """
    streams.silence_closed()
    # Not above: worker processes import this module as their main one.
    from wiring.signals import Signals

    signals = Signals()  # before the imports, which take half a second
    from wiring import serving

    serving.serve(options, _version(), signals)


@contextmanager
def _without_a_server(options: dict[str, Any]) -> Iterator[Downloader]:
    """What stages builds, for a command that needs no server."""
    from wiring.staging import without_a_server

    with without_a_server(options) as downloader:
        yield downloader


def _version() -> str:
    """The version that is installed; a checkout that was never installed has none."""
    try:
        return version("devserver")
    except PackageNotFoundError:
        return "(not installed)"


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    for setting in reversed(SETTINGS):
        command = setting.as_option()(command)
    return old_options.take_old_options(command)


@click.group(
    cls=GroupedHelp,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    invoke_without_command=True,
)
@click.version_option(_version(), prog_name="devserver")
@_with_settings
@server_in_front
@click.pass_context
def command_line(context: click.Context, /, server: Sequence[str], **options: Any) -> None:
    """Stage builds from an archive, and serve them to the devices of a lab.

    \b
    devserver --static-dir /srv/builds

    Every option can also be given in the environment variable that stands with it. The commands that ask a running
    devserver have options of their own.
    """  # noqa: D301 - click's own mark for lines that stay as they are
    asked = context.invoked_subcommand
    check_environment(context, None if asked is None else _USED.get(asked))
    _point_out_variables(is_to_serve=asked in (None, "serve", "worker"))
    if asked is None:
        if server:
            raise click.UsageError("--server goes with a command that asks a devserver: devserver builds --server URL")
        _serve_unless_told_not_to(context, options)
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
    _serve_unless_told_not_to(context, {**context.obj, **behind})


def _serve_unless_told_not_to(context: click.Context, options: dict[str, Any]) -> None:
    """Serve, unless an option of earlier devservers says that no server is wanted."""
    is_to_serve = not old_options.is_no_server_wanted(context)
    if told := old_options.told_of(context):
        streams.complain(told)
    if is_to_serve:
        serve(options)


def _point_out_variables(*, is_to_serve: bool) -> None:
    """Say which variables of the environment look like options and are none."""
    known = [*(setting.environment_variable for setting in SETTINGS), *environment.OF_COMMANDS]
    for text in environment.unknown_variables(os.environ, known, is_sure=is_to_serve):
        streams.complain(text)
    if is_to_serve and _of_kubernetes:
        streams.complain(f"Kubernetes' own, of a service: {', '.join(_of_kubernetes)}; it is no option here")


_of_kubernetes: list[str] = []


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
@click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    metavar="HOST:PORT",
    help="A devserver of several, each with a disk of its own, among which nginx shares out the builds; repeatable.",
)
@click.pass_obj
def nginx_config(options: dict[str, Any], listen: str, run_dir: Path, upstreams: tuple[str, ...]) -> None:
    """Print the configuration of an nginx in front.

    The devserver's own options stand before this command. With --upstream, it is for a front of several devservers.

    \b
    devserver --static-dir /srv/builds nginx-config --run-dir /run/devserver > /etc/devserver-nginx.conf
    nginx -p /run/devserver -c /etc/devserver-nginx.conf
    devserver --static-dir /srv/builds --front nginx --front-log /run/devserver/use.log
    devserver nginx-config --upstream devserver1:8080 --upstream devserver2:8080 > /etc/devserver-front.conf
    """  # noqa: D301 - click's own mark for lines that stay as they are
    from web.front import nginx, spread
    from web.front.values import asked_address, user_of
    from wiring.checks import certificate, named_proxies, usable_directory

    run_dir = usable_directory("--run-dir", run_dir)
    tls, trusted = certificate(options), named_proxies(options)
    if upstreams:
        text = spread.configuration(upstreams, listen, run_dir, user_of(run_dir), tls, trusted)
    else:
        static_dir = usable_directory("--static-dir", options["static_dir"])
        devserver = asked_address("--host", options["host"], options["port"])
        reads_freely = not options["require_token_to_read"]
        text = nginx.configuration(static_dir, devserver, listen, run_dir, reads_freely, tls, trusted)
    click.echo(text.encode(), nl=False)  # whatever the terminal's own encoding is, nginx reads UTF-8


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
    from wiring.executors import work

    sys.exit(work(options, at_once))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status. Whatever goes wrong is one line on standard error."""
    streams.open_all()
    try:
        if arguments is None:
            use_utf8()
        _of_kubernetes.extend(environment.drop_addresses_of_services(os.environ))
        command_line.main(arguments, prog_name="devserver", standalone_mode=False)
    except click.Abort:
        return _FAILED
    except click.ClickException as error:
        streams.complain(error.format_message())
        return error.exit_code
    except ConfigurationError as error:
        streams.complain(str(error))
        return _USAGE_ERROR
    except OSError as error:
        if not _is_of_output(error):
            raise
        streams.complain(f"the standard output cannot be written: {error.strerror}")
        streams.give_up_output()
        return _FAILED
    return 0


def _is_of_output(error: OSError) -> bool:
    """Whether it was met in printing, which click does."""
    return any(frame.f_code is click.echo.__code__ for frame, _ in traceback.walk_tb(error.__traceback__))


if __name__ == "__main__":
    sys.exit(main())

"""What the commands' options have in common: which devserver to ask, how long to wait, and JSON."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

Command = TypeVar("Command", bound=Callable[..., Any])


_IN_FRONT = "devserver.server"  # where the context holds what --server in front of the command says


class Option(click.Option):
    """An option whose errors name the environment where the value is from there, and there alone."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """See click's own."""
        hint = click.Parameter.get_error_hint(self, ctx)
        is_set_there = ctx is not None and ctx.get_parameter_source(self.name or "") is ParameterSource.ENVIRONMENT
        return f"{hint} (env var: '{self.envvar}')" if is_set_there else hint


class WholeNumber(click.IntRange):
    """A whole number within bounds."""

    name = "whole number"


class Number(click.FloatRange):
    """A number within bounds."""

    name = "number"


def _address(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """The address of a devserver: ``http://devserver:8080``, or without the scheme."""
    if context.get_parameter_source(parameter.name or "") is not ParameterSource.COMMANDLINE:
        value = context.meta.get(_IN_FRONT) or value
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise click.BadParameter(f"{value!r} is no address of a devserver; it should look like http://devserver:8080")
    return url.rstrip("/")


def asks_a_server(command: Command) -> Command:
    """Give a command the option ``--server``, and its errors their exit statuses."""

    @wraps(command)
    def asking(*args: Any, **options: Any) -> Any:
        from commands.failures import told  # the client takes a tenth of a second to import

        with told():
            return command(*args, **options)

    return click.option(
        "--server",
        callback=_address,
        metavar="URL",
        default="http://127.0.0.1:8080",
        cls=Option,
        envvar="DEVSERVER_SERVER",
        show_envvar=True,
        show_default=True,
        help="The devserver to ask.",
    )(asking)  # type: ignore[return-value]


def as_json(what: str) -> Callable[[Command], Command]:
    """The decorator that gives a command the option ``--json``, which prints ``what``."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as JSON.")


def _note_server(context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        context.meta[_IN_FRONT] = value
    return value


# Its place is behind the command, where the help shows it; whoever writes it in front is understood as well.
server_in_front = click.option("--server", hidden=True, metavar="URL", callback=_note_server)


timeout = click.option(
    "--timeout",
    type=Number(min=0, min_open=True, max=1e6),
    metavar="SECONDS",
    help="Wait no longer than that; the devserver goes on.",
)

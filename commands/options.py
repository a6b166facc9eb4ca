"""What the commands' options have in common: which devserver to ask, how long to wait, and JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from web.client import Client

Command = TypeVar("Command", bound=Callable[..., Any])


class Server(NamedTuple):
    """The devserver to ask: its address, the token to send, and the file of the certificates to trust."""

    url: str
    token: str | None = None
    ca_file: str | None = None

    def client(self, patience: float | None = None) -> Client:
        """A client that asks it, with the client's own patience or another."""
        from web.client import Client

        limit: dict[str, Any] = {} if patience is None else {"patience": patience}
        return Client(self.url, token=self.token, ca=self.ca_file, **limit)


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
    """Give a command the options that say which server to ask, and how, and its errors their exit statuses."""

    @wraps(command)
    def asking(*args: Any, server: str, token: str | None, ca_file: str | None, **options: Any) -> Any:
        from commands.failures import told  # the client takes a tenth of a second to import

        with told():
            return command(*args, server=Server(server, token, ca_file), **options)

    for option in (_CA_FILE, _TOKEN):
        asking = option(asking)
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


class Rate(click.ParamType[float]):
    """So many bytes a second: ``50M``."""

    name = "rate"
    _UNITS: ClassVar = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}

    def convert(self, value: Any, _parameter: click.Parameter | None, _context: click.Context | None) -> float:
        """The bytes per second of ``50M``, ``500K`` or ``2G``."""
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([KMG]?)", str(value).upper())
        rate = float(match[1]) * self._UNITS[match[2]] if match else 0.0
        if rate <= 0:
            raise click.BadParameter(f"{value!r} is no rate; it should look like 50M: bytes a second, with K, M or G")
        return rate


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

_TOKEN = click.option(
    "--token",
    metavar="TOKEN",
    envvar="DEVSERVER_TOKEN",
    show_envvar=True,
    help="The token to send. Other users of this machine see what a command line holds; the variable they do not.",
)
_CA_FILE = click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False),
    envvar="DEVSERVER_CA_FILE",
    show_envvar=True,
    help="The certificates to trust, where the server's is not of a usual authority.",
)

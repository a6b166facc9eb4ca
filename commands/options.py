"""What the commands' options have in common: which devserver to ask, how long to wait, and JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from commands.environment import fault_of_value

if TYPE_CHECKING:
    from web.client import Client

    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic from click 8.4 on

Command = TypeVar("Command", bound=Callable[..., Any])


class Server(NamedTuple):
    """The devservers to ask: their addresses, the token to send, and the file of the certificates to trust."""

    urls: tuple[str, ...]
    token: str | None = None
    ca_file: str | None = None

    def client(self, patience: float | None = None) -> Client:
        """A client that asks them, with the client's own patience or another."""
        from web.client import Client

        limit: dict[str, Any] = {} if patience is None else {"patience": patience}
        return Client(self.urls, token=self.token, ca=self.ca_file, **limit)

    def each(self) -> list[Server]:
        """One for each of them."""
        return [self._replace(urls=(url,)) for url in self.urls]


_IN_FRONT = "devserver.server"  # where the context holds what --server in front of the command says
_WRONG = "devserver.wrong"  # and what was wrong with values of the environment


class Option(click.Option):
    """An option whose errors name the environment where the value is from there, and there alone."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """As click's own, but for what is no value: a badly read file of variables left its quotation marks."""
        value = super().resolve_envvar_value(ctx)
        if value and (fault := fault_of_value(value)) and not (self.name == "token" and value.strip() == value[:-1]):
            ctx.set_parameter_source(self.name or "", ParameterSource.ENVIRONMENT)
            raise click.BadParameter(fault, ctx, self)
        return value

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """See click's own."""
        hint = click.Parameter.get_error_hint(self, ctx)
        is_set_there = ctx is not None and ctx.get_parameter_source(self.name or "") is ParameterSource.ENVIRONMENT
        return f"{hint} (env var: '{self.envvar}')" if is_set_there else hint

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """As click's own, but a wrong environment variable is left to :func:`check_environment`."""
        try:
            return super().handle_parse_result(ctx, opts, args)
        except click.BadParameter as error:
            is_set_there = ctx.get_parameter_source(self.name or "") is ParameterSource.ENVIRONMENT
            if not (is_set_there and isinstance(ctx.command, click.Group)):
                raise
            ctx.meta.setdefault(_WRONG, {})[self.name] = error
            ctx.params[self.name or ""] = None
            return None, args


def check_environment(context: click.Context, used: Collection[str] | None) -> None:
    """Hold what the environment has for options to what they may be; only of those ``used``, where that is known.

    Raises:
        click.BadParameter

    """
    for name, error in context.meta.get(_WRONG, {}).items():
        if used is None or name in used:
            raise error


class WholeNumber(click.IntRange):
    """A whole number within bounds."""

    name = "whole number"


class Number(click.FloatRange):
    """A number within bounds."""

    name = "number"


class Written(ParamType):
    """A number that people write with a unit."""

    def __init__(self, name: str, parsed: Callable[[str], float | None], right: str) -> None:
        """``parsed`` reads it, and ``right`` says what it can."""
        self.name = name
        self._parsed = parsed
        self._right = right

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click's own."""
        number = self._parsed(value) if isinstance(value, str) else value
        if not number:
            self.fail(f"{value!r} is not what it should be: {self._right}", param, ctx)
        return number


class Address(ParamType):
    """The address of a devserver."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click's own."""
        del param, ctx
        return _address(str(value))


class ClientAddress(ParamType):
    """The address of a client, in the spelling in which it is logged."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click's own."""
        try:
            address = ip_address(str(value)) if value else ""
        except ValueError:
            self.fail(f"{value!r} is no address; it should look like 10.0.0.7 or 2001:db8::7", param, ctx)
        return str(getattr(address, "ipv4_mapped", None) or address)


def _addresses(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    """The addresses of devservers; each value is one, or some with commas between them."""
    if context.get_parameter_source(parameter.name or "") is not ParameterSource.COMMANDLINE:
        values = context.meta.get(_IN_FRONT) or values
    return tuple(dict.fromkeys(_address(one.strip()) for value in values for one in value.split(",")))


def _address(value: str) -> str:
    """The address of a devserver: ``http://devserver:8080``, or without the scheme."""
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
    def asking(*args: Any, server: tuple[str, ...], token: str | None, ca_file: str | None, **options: Any) -> Any:
        from commands.failures import told  # the client takes a tenth of a second to import

        with told():
            return command(*args, server=Server(server, token, ca_file), **options)

    for option in (_CA_FILE, _TOKEN):
        asking = option(asking)
    return click.option(
        "--server",
        callback=_addresses,
        multiple=True,
        metavar="URL",
        default=["http://127.0.0.1:8080"],
        cls=Option,
        envvar="DEVSERVER_SERVER",
        show_envvar=True,
        show_default=True,
        help="The devserver to ask; repeatable, or with commas between them, where several share out the builds.",
    )(asking)  # type: ignore[return-value]


def as_json(what: str) -> Callable[[Command], Command]:
    """The decorator that gives a command the option ``--json``, which prints ``what``."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as JSON.")


def _note_servers(context: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> Sequence[str]:
    if values:
        context.meta[_IN_FRONT] = values
    return values


# Its place is behind the command, where the help shows it; whoever writes it in front is understood as well.
server_in_front = click.option("--server", hidden=True, multiple=True, metavar="URL", callback=_note_servers)


timeout = click.option(
    "--timeout",
    type=Number(min=0, min_open=True, max=1e6),
    metavar="SECONDS",
    help="Wait no longer than that; the devserver goes on.",
)


def _checked_token(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """The token, without the line end that a file has; what cannot be one is not shown."""
    if value is None:
        return None
    from web.client import RequestRefused, checked_token

    try:
        return checked_token(value)
    except RequestRefused as error:
        raise click.BadParameter(str(error)) from None


_TOKEN = click.option(
    "--token",
    cls=Option,
    callback=_checked_token,
    metavar="TOKEN",
    envvar="DEVSERVER_TOKEN",
    show_envvar=True,
    help="The token to send. Other users of this machine see what a command line holds; the variable they do not.",
)
_CA_FILE = click.option(
    "--ca-file",
    cls=Option,
    type=click.Path(exists=True, dir_okay=False),
    envvar="DEVSERVER_CA_FILE",
    show_envvar=True,
    help="The certificates to trust, where the server's is not of a usual authority.",
)

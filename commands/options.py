"""What the commands' options have in common: which devserver to ask, how long to wait, and JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
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


timeout = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True, max=1e6),
    metavar="SECONDS",
    help="Wait no longer than that; the devserver goes on.",
)

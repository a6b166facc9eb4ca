"""What the commands' options have in common: which devserver to ask, how long to wait, and JSON."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
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


timeout = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True, max=1e6),
    metavar="SECONDS",
    help="Wait no longer than that; the devserver goes on.",
)

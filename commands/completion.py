"""What a shell completes: the builds and the artifacts of the devserver that the command would ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from web.client import Client

_PATIENCE = 0.7  # seconds; somebody has pressed Tab
_MOST = 100


def artifact_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of the devserver's catalogue; of the built-in one where it does not answer at once."""
    names = _asked(context, lambda client: [entry["name"] for entry in client.catalogue()])
    if not names:
        from artifacts.catalogue import read_catalogue

        names = [entry.name for entry in read_catalogue().entries]
    return [name for name in names if name.startswith(incomplete)]


def build_paths(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The builds on the devservers that the command would ask; none where they do not answer at once."""
    return _asked(context, lambda client: (build["build"] for build in islice(client.builds(incomplete), _MOST)))


def _asked(context: click.Context, ask: Callable[[Client], Iterable[str]]) -> list[str]:
    """The devserver's answer to a request made as the command makes it: with its token, certificates and proxy."""
    from commands.deadline import Deadline
    from commands.options import Server
    from web.client import ClientError

    options = context.params
    if not options.get("server"):  # what is written there is none
        return []
    server = Server(options["server"], options.get("token"), options.get("ca_file"))
    try:
        return Deadline(_PATIENCE).answer(lambda: list(ask(server.client(0.0))))
    except (ClientError, KeyError, TypeError):
        return []

"""Having builds staged, and waiting for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from commands.failures import left_alone
from commands.following import check, follow
from commands.naming import find
from commands.options import Server
from commands.printing import print_json, say
from commands.progress import fitting_display
from web.client import Client, StagingFailed, StillStaging

# A devserver that is not there when it is asked first is told at once; one that starts anew meanwhile is waited for.
_NO_PATIENCE = 0.0
_FILE = "file:"  # what the name of an artifact begins with that is files somebody named


class Wish(NamedTuple):
    """What to stage: all of a build, where neither artifacts nor files are named."""

    archive_url: str
    artifacts: Sequence[str]
    files: Sequence[str]
    clean: bool

    @property
    def names(self) -> list[str]:
        """The artifacts that are named, as events call them."""
        return [*self.artifacts, *(f"{_FILE}{pattern}" for pattern in self.files)]


class Manner(NamedTuple):
    """How long to wait, and how to tell."""

    timeout: float | None
    as_json: bool


def stage(server: Server, wish: Wish, to_the_end: bool, manner: Manner) -> None:
    """Have it staged; wait ``to_the_end``, or only for what devices need first.

    Raises:
        ClientError

    """
    client = server.client(_NO_PATIENCE)
    path = client.start(*wish)
    names = _awaited(client, wish, to_the_end)
    _follow(server, path, names, wish.names, manner)
    if not manner.as_json:
        is_over = to_the_end or not client.build(path)["under_way"]
        say(f"{path}: staged" if is_over else f"{path}: {_so_far(wish)}; `devserver wait {path}` waits for the rest")


def wait(server: Server, name: str, manner: Manner) -> None:
    """Wait until nothing of the build is being staged any more.

    Raises:
        ClientError

    """
    path = find(server.client(_NO_PATIENCE), name)["build"]
    _follow(server, path, None, (), manner)
    if not manner.as_json:
        say(f"{path}: staged")


def _awaited(client: Client, wish: Wish, to_the_end: bool) -> list[str]:
    """Which artifacts to wait for."""
    if wish.names:
        return wish.names if to_the_end else []
    usual = [entry for entry in client.catalogue() if not entry["on_request"]]
    return [entry["name"] for entry in usual if to_the_end or entry["synchronous"]]


def _so_far(wish: Wish) -> str:
    return "staging has begun" if wish.names else "what devices need first is staged"


def _follow(
    server: Server, path: str, names: Collection[str] | None, required: Collection[str], manner: Manner
) -> None:
    """Wait for artifacts and show how they are doing; as JSON, the build is shown however it ends."""
    failure: StagingFailed | StillStaging | None = None
    with left_alone(path):
        try:
            if names is None or names:
                latest = follow(server.client(), path, names, fitting_display(manner.as_json), manner.timeout)
                check(latest, names, required)
        except (StagingFailed, StillStaging) as error:
            failure = error
        if manner.as_json:
            print_json(server.client(_NO_PATIENCE).build(path))
    if failure:
        raise failure

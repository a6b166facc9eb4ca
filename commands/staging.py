"""Having builds staged, and waiting for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from shlex import quote
from typing import Any, NamedTuple

from commands.deadline import Deadline
from commands.failures import left_alone
from commands.following import Events, check, follow
from commands.naming import find
from commands.options import Server
from commands.printing import print_json, say
from commands.progress import fitting_display
from web.client import Artifact, Build, Client, StagingFailed, StillStaging

# A devserver that is not there when it is asked first is told at once; one that starts anew meanwhile is waited for.
_NO_PATIENCE = 0.0
_FILE = "file:"  # what the name of an artifact begins with that is files somebody named
# Of several artifacts, the first of these states that one is in is the state of them all.
_DECISIVE = ("failed", "cancelled", "staging", "downloading", "pending")


class Wish(NamedTuple):
    """What to stage: all of a build, where neither artifacts nor files are named."""

    archive_url: str
    artifacts: Sequence[str] = ()
    files: Sequence[str] = ()
    clean: bool = False

    @property
    def names(self) -> list[str]:
        """The artifacts that are named, as events call them."""
        return [*self.artifacts, *(f"{_FILE}{pattern}" for pattern in self.files)]

    @property
    def options(self) -> str:
        """The same as options of a command."""
        named = [("--artifact", name) for name in self.artifacts] + [("--file", pattern) for pattern in self.files]
        return "".join(f" {option} {quote(value)}" for option, value in named)


class Manner(NamedTuple):
    """How long to wait, and how to tell."""

    timeout: float | None
    as_json: bool


class _Awaited(NamedTuple):
    """What is waited for.

    Attributes:
        names: artifacts; None for all that is under way.
        shown: those that are shown; None for all.
        required: those that have to be in the archive.
        ignored: those of which nothing is told.

    """

    names: Collection[str] | None
    shown: Collection[str] | None
    required: Collection[str] = ()
    ignored: Collection[str] = ()


def stage(server: Server, wish: Wish, to_the_end: bool, manner: Manner) -> None:
    """Have it staged; wait ``to_the_end``, or only for what devices need first.

    Raises:
        ClientError

    """
    client, deadline = server.client(_NO_PATIENCE), Deadline(manner.timeout)
    path = deadline.answer(lambda: client.start(*wish))
    awaited = deadline.answer(lambda: _awaited(client, wish, to_the_end))
    _follow(server, path, awaited, deadline, manner.as_json, awaited.shown)
    build = deadline.answer(lambda: client.build(path))
    is_over = to_the_end or not build["under_way"]
    if wish.names or is_over:
        _check_settled(build, awaited)
    if not manner.as_json:
        waiting = f"devserver wait {path}{wish.options}"
        say(f"{path}: staged" if is_over else f"{path}: {_so_far(wish)}; `{waiting}` waits for the rest")


def wait(server: Server, wish: Wish, manner: Manner) -> None:
    """Wait until nothing of the build is being staged any more, or what is named of it is staged.

    Raises:
        ClientError

    """
    deadline = Deadline(manner.timeout)
    build = deadline.answer(lambda: find(server.client(_NO_PATIENCE), wish.archive_url))
    path, names = build["build"], wish.names or None
    # What somebody asked for by name, and failed before, is not a part of a complete build.
    bad = [one["name"] for one in build["artifacts"] if one["state"] in ("failed", "cancelled")]
    awaited = _Awaited(names, names, wish.names, bad if build["complete"] and not names else ())
    _follow(server, path, awaited, deadline, manner.as_json)
    build = server.client(_NO_PATIENCE).build(path)
    if build["in_part"] and not names:
        raise StagingFailed(
            f"only a part of {path} is here, and no more is on its way; "
            f"`devserver stage {quote(build['archive_url'])}` stages the rest"
        )
    if not manner.as_json:
        say(f"{path}: staged")


def _awaited(client: Client, wish: Wish, to_the_end: bool) -> _Awaited:
    """Which artifacts to wait for."""
    if wish.names:
        return _Awaited(wish.names if to_the_end else [], wish.names, wish.names)
    usual = [entry for entry in client.catalogue() if not entry["on_request"]]
    names = [entry["name"] for entry in usual if to_the_end or entry["synchronous"]]
    return _Awaited(names, [entry["name"] for entry in usual])


def _check_settled(build: Build, awaited: _Awaited) -> None:
    """Find out whether anything that was asked for has failed already, whether or not it was waited for.

    Raises:
        StagingFailed: the cause.

    """
    names = awaited.shown or ()
    settled: Events = {one["name"]: {**one, "artifact": one["name"]} for one in build["artifacts"] if _is_settled(one)}
    check(settled, [name for name in names if name in settled], awaited.required)


def _is_settled(artifact: Artifact) -> bool:
    return artifact["state"] in ("staged", "absent", "failed", "cancelled")


def _so_far(wish: Wish) -> str:
    return "staging has begun" if wish.names else "what devices need first is staged"


def _follow(
    server: Server,
    path: str,
    awaited: _Awaited,
    deadline: Deadline,
    as_json: bool,
    asked: Collection[str] | None = None,
) -> None:
    """Wait for artifacts and show how they are doing; as JSON, the build is shown however it ends, and the state of
    what was ``asked`` for, if that is given.
    """
    failure: StagingFailed | StillStaging | None = None
    names = awaited.names
    with left_alone(path):
        try:
            if names is None or names:
                display = fitting_display(as_json, awaited.shown, awaited.ignored)
                latest = follow(server.client(), path, names, display, deadline)
                counted = {name: event for name, event in latest.items() if name not in awaited.ignored}
                check(counted, names, awaited.required)
        except (StagingFailed, StillStaging) as error:
            failure = error
        if as_json:
            build = server.client(_NO_PATIENCE).build(path)
            print_json(build if asked is None else {**build, "asked": _state_of(build, asked)})
    if failure:
        raise failure


def _state_of(build: Build, asked: Collection[str]) -> dict[str, Any]:
    """The state of what was asked for, of each and of all."""
    artifacts = {one["name"]: one["state"] for one in build["artifacts"] if one["name"] in asked}
    states = {artifacts.get(name, "pending") for name in asked}
    return {"state": next((state for state in _DECISIVE if state in states), "staged"), "artifacts": artifacts}

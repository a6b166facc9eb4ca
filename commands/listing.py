"""What is on a devserver: its builds, one of them, and how the server itself is doing."""

from __future__ import annotations

from collections.abc import Callable

from rich.filesize import decimal

from commands.naming import find
from commands.options import Server
from commands.printing import columns, print_json, say
from web.client import Artifact, Build, ServerUnreachable

_NO_PATIENCE = 0.0  # who looks wants to know now


def show_builds(server: Server, prefix: str, as_json: bool) -> None:
    """List the builds whose paths begin with ``prefix``."""
    builds = list(server.client(_NO_PATIENCE).builds(prefix))
    if as_json:
        print_json(builds)
        return
    for line in columns([(build["build"], _state(build), _amount(build), _last_use(build)) for build in builds]):
        say(line)


def show_build(server: Server, name: str, as_json: bool) -> None:
    """Show one build, with its artifacts."""
    build = find(server.client(_NO_PATIENCE), name)
    if as_json:
        print_json(build)
        return
    say(f"{build['build']}: {_state(build)}, {_amount(build)}, from {build['archive_url']}")
    for hold in _holds(build):
        say(f"  {hold}")
    for line in columns([(one["name"], one["state"], _amount(one), _cause(one)) for one in build["artifacts"]]):
        say(f"  {line}")


def show_server(server: Server, as_json: bool) -> None:
    """Show how the server is doing, or each of several.

    Raises:
        ServerUnreachable: one of them is not there; the others were shown.

    """
    lost: list[ServerUnreachable] = []
    for one in server.each():
        try:
            _show_one(one, as_json)
        except ServerUnreachable as error:
            lost.append(error)
    if lost:
        raise lost[0]


def _show_one(server: Server, as_json: bool) -> None:
    client, url = server.client(_NO_PATIENCE), server.urls[0]
    version, health = client.version(), client.health()
    if as_json:
        print_json({"server": url, "version": version, "health": health})
        return
    say(f"devserver {version} at {url}")
    for line in columns([(name, f"{figure:.6g}") for name, figure in sorted(health.items())]):
        say(f"  {line}")


def remove(server: Server, name: str, confirm: Callable[[str], None]) -> None:
    """Remove a build, after ``confirm`` was asked the question and has not raised anything."""
    client = server.client(_NO_PATIENCE)
    build = find(client, name)
    confirm(f"Remove {build['build']} ({_state(build)}, {_amount(build)})?")
    client.remove(build["build"])
    say(f"{build['build']}: removed")


def pin(server: Server, name: str) -> None:
    """Keep a build until it is unpinned."""
    client = server.client(_NO_PATIENCE)
    path = client.pin(find(client, name)["build"])["build"]
    say(f"{path}: pinned")


def unpin(server: Server, name: str) -> None:
    """Keep it no longer than its leases say."""
    client = server.client(_NO_PATIENCE)
    build = client.unpin(find(client, name)["build"])
    leases = len(build["leases"])
    say(f"{build['build']}: not pinned{f', but leased by {leases}' if leases else ''}")


def _state(build: Build) -> str:
    left = build["seconds_left"]
    return build["state"] if left is None else f"{build['state']} ({left:.0f} s left)"


def _amount(one: Build | Artifact) -> str:
    done, total = one["bytes_done"], one["bytes_total"]
    return decimal(total) if done >= total else f"{decimal(done)} of {decimal(total)}"


def _last_use(build: Build) -> str:
    return f"used {build['last_used'][:16]}" if build["last_used"] else ""


def _holds(build: Build) -> list[str]:
    leases = [f"leased until {one['until'][:19]} by {one['holder'] or 'somebody'}" for one in build["leases"]]
    return ["pinned", *leases] if build["pinned"] else leases


def _cause(artifact: Artifact) -> str:
    cause = artifact["cause"]
    return f"{cause['kind']}: {cause['text']}" if cause else ""

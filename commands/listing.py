"""What is on a devserver: its builds, one of them, and how the server itself is doing; and ending what is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from commands.display import is_not_tried
from commands.naming import find
from commands.options import Server
from commands.printing import columns, moment, print_json, say
from staging.units import in_bytes
from web.client import Artifact, Build, ServerUnreachable, shown

_NO_PATIENCE = 0.0  # who looks wants to know now
_GIB = 1024**3
# How the figures of /check_health are said to people; one that is not among them is shown as it is.
_FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "free_disk": ("free on the disk", lambda gib: in_bytes(gib * _GIB)),
    "cpu_percent": ("processors busy", lambda percent: f"{percent:.0f} %"),
    "disk_total_bytes_per_second": ("disk, read and written", lambda rate: f"{in_bytes(rate)}/s"),
    "network_total_bytes_per_second": ("network, in and out", lambda rate: f"{in_bytes(rate)}/s"),
    "staging_thread_count": ("builds being staged", lambda count: f"{count:.0f}"),
    "queued_downloads": ("downloads that queue", lambda count: f"{count:.0f}"),
    "apache_client_count": ("clients being served", lambda count: f"{count:.0f}"),
    "waiting_clients": ("clients that wait", lambda count: f"{count:.0f}"),
    "free_seats": ("more that may", lambda count: f"{count:.0f}"),
    "figures_age_seconds": ("age of the machine's figures", lambda seconds: f"{seconds:.0f} s"),
    "overloaded": ("overloaded", lambda flag: "yes" if flag else "no"),
}


def show_builds(server: Server, prefix: str, as_json: bool) -> None:
    """List the builds whose paths begin with ``prefix``.

    Raises:
        ServerUnreachable: one of several servers is not there; the builds of the others were listed.

    """
    client = server.client(_NO_PATIENCE)
    builds = list(client.builds(prefix))
    if as_json:
        print_json(builds)
    else:
        for line in columns([_line_of(build) for build in builds]):
            say(line)
    if away := client.away():
        raise ServerUnreachable(f"the builds of {', '.join(away)} are missing: no answer came from there")


def _line_of(build: Build) -> tuple[str, ...]:
    held = "pinned" if build["pinned"] else "leased" if build["leases"] else ""
    return (build["build"], _state(build), _on_disk(build), _last_use(build), held)


def show_build(server: Server, name: str, as_json: bool) -> None:
    """Show one build, with its artifacts."""
    build = find(server.client(_NO_PATIENCE), name)
    if as_json:
        print_json(build)
        return
    say(f"{build['build']}: {_state(build)}, {_on_disk(build)}, from {build['archive_url']}")
    for hold in _holds(build):
        say(f"  {hold}")
    rows = [
        (one["name"], _state_of(one), _fetched(one), _cause(one) or one.get("trouble", ""))
        for one in build["artifacts"]
    ]
    for line in columns(rows):
        say(f"  {line}")


def show_server(server: Server, as_json: bool) -> None:
    """Show how the server is doing, or each of several.

    Raises:
        ServerUnreachable: one of them is not there; the others were shown.

    """
    lost: list[ServerUnreachable] = []
    told: list[dict[str, Any]] = []
    for one in server.each():
        url = shown(one.urls[0])
        try:
            told.append({"server": url, **_state_of_server(one)})
        except ServerUnreachable as error:
            lost.append(error)
            told.append({"server": url, "error": str(error)})
            continue
        if not as_json:
            _say_state(told[-1])
    if as_json and len(told) > 1:
        print_json(told)
    elif as_json and not lost:
        print_json(told[0])
    if lost:
        raise ServerUnreachable("; ".join(map(str, lost)))


def _state_of_server(server: Server) -> dict[str, Any]:
    client = server.client(_NO_PATIENCE)
    return {"version": client.version(), "health": client.health()}


def _say_state(state: dict[str, Any]) -> None:
    health = state["health"]
    say(f"devserver {state['version']} at {state['server']}")
    for line in columns([_figure(name, health[name]) for name in _in_order(health)]):
        say(f"  {line}")


def remove(server: Server, name: str, confirm: Callable[[str], None]) -> None:
    """Remove a build, after ``confirm`` was asked the question and has not raised anything."""
    client = server.client(_NO_PATIENCE)
    build = find(client, name)
    confirm(f"Remove {build['build']} ({_state(build)}, {_on_disk(build)})?")
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


def cancel(server: Server, name: str) -> None:
    """Stop what is being staged of a build."""
    client = server.client(_NO_PATIENCE)
    path = find(client, name)["build"]
    client.cancel(path)
    say(f"{path}: cancelled; what was staged of it stays")


def _state(build: Build) -> str:
    if build["in_part"]:
        return "in part"
    left = build["seconds_left"]
    return build["state"] if left is None else f"{build['state']} ({left:.0f} s left)"


def _state_of(artifact: Artifact) -> str:
    return "waiting" if artifact["state"] == "pending" else "not tried" if is_not_tried(artifact) else artifact["state"]


def _on_disk(build: Build) -> str:
    """What a build takes on the disk; of one on its way, how much has come."""
    if build["under_way"] and build["bytes_total"]:
        return f"{in_bytes(build['bytes_done'])} of {in_bytes(build['bytes_total'])} fetched"
    return f"{in_bytes(build['size'])} on disk"


def _fetched(one: Artifact) -> str:
    done, total = one["bytes_done"], one["bytes_total"]
    if not total:
        return ""
    return in_bytes(total) if one["state"] == "pending" or done >= total else f"{in_bytes(done)} of {in_bytes(total)}"


def _last_use(build: Build) -> str:
    return f"used {moment(build['last_used'])}" if build["last_used"] else ""


def _holds(build: Build) -> list[str]:
    leases = [f"leased until {moment(one['until'])} by {one['holder'] or 'somebody'}" for one in build["leases"]]
    return ["pinned", *leases] if build["pinned"] else leases


def _cause(artifact: Artifact) -> str:
    cause = artifact["cause"]
    return f"{cause['kind']}: {cause['text']}" if cause and not is_not_tried(artifact) else ""


def _in_order(health: dict[str, float]) -> list[str]:
    return [*(name for name in _FIGURES if name in health), *sorted(health.keys() - _FIGURES.keys())]


def _figure(name: str, value: float) -> tuple[str, str]:
    label, said = _FIGURES.get(name, (name, lambda figure: f"{figure:.6g}"))
    return label, said(value)

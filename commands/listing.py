"""What is on a devserver: its builds, one of them, and how the server itself is doing; and ending what is there."""

from __future__ import annotations

from collections.abc import Callable

from commands.display import is_not_tried
from commands.naming import find
from commands.options import Server
from commands.printing import columns, print_json, say
from staging.units import in_bytes
from web.client import Artifact, Build, ServerUnreachable

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
    """List the builds whose paths begin with ``prefix``."""
    builds = list(server.client(_NO_PATIENCE).builds(prefix))
    if as_json:
        print_json(builds)
        return
    for line in columns([(build["build"], _state(build), _on_disk(build), _last_use(build)) for build in builds]):
        say(line)


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
    return f"used {build['last_used'][:16]}" if build["last_used"] else ""


def _holds(build: Build) -> list[str]:
    leases = [f"leased until {one['until'][:19]} by {one['holder'] or 'somebody'}" for one in build["leases"]]
    return ["pinned", *leases] if build["pinned"] else leases


def _cause(artifact: Artifact) -> str:
    cause = artifact["cause"]
    return f"{cause['kind']}: {cause['text']}" if cause and not is_not_tried(artifact) else ""


def _in_order(health: dict[str, float]) -> list[str]:
    return [*(name for name in _FIGURES if name in health), *sorted(health.keys() - _FIGURES.keys())]


def _figure(name: str, value: float) -> tuple[str, str]:
    label, said = _FIGURES.get(name, (name, lambda figure: f"{figure:.6g}"))
    return label, said(value)

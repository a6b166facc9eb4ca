"""The help of `devserver --help`: commands first, by what they need, and then the options, by what they are of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import click

_COMMANDS = {
    "Commands that ask a devserver": ("stage", "wait", "status", "builds", "cancel", "remove", "pin", "unpin"),
    "Commands that need none": (
        *("serve", "worker", "catalog", "gc", "verify", "ledger", "token", "nginx-config", "demo"),
    ),
}
_OPTIONS = {
    "Where it listens, and what it serves": ("host", "port", "static-dir", "portfile", "pidfile", "resume"),
    "Logs": ("logfile", "log-dir", "production", "log-format", "ledger", "ledger-max-rows"),
    "Archives and artifacts": (
        *(
            "archive-root",
            "allow-archive",
            "user-project",
            "catalog",
            "run-packager",
            "stackwalk",
            "stall-timeout",
            "retry-deadline",
        ),
    ),
    "Who may ask": ("allow-host", "tls-cert", "tls-key", "tokens", "require-token-to-read"),
    "A server in front": ("front", "front-log", "trusted-proxy"),
    "Room on the disk": ("max-bytes", "min-free", "max-age", "keep-objects", "verify-every"),
    "How much at once": ("max-downloads", "max-queue", "max-downloads-per-client", "max-artifacts", "max-threads"),
    "Unpacking": ("unpack-max-bytes", "unpack-max-files", "unpack-max-memory", "unpack-max-ratio"),
    "Workers, clusters and peers": (
        *("executor", "broker", "stage-inline", "worker-writes", "worker-silence", "peer", "peer-token"),
    ),
    "About it": ("version", "help"),
}
_OTHERS = "Others"


class GroupedHelp(click.Group):
    """A group whose help has its commands and its options in sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click's own, which writes all options before all commands."""
        commands = {name: self.commands[name].get_short_help_str(formatter.width) for name in self.list_commands(ctx)}
        records = [(one, one.get_help_record(ctx)) for one in self.get_params(ctx)]
        options = {_name_of(one): record for one, record in records if record is not None}
        for title, names in _grouped(_COMMANDS, commands):
            _write(formatter, title, [(name, commands[name]) for name in names])
        for title, names in _grouped(_OPTIONS, options):
            _write(formatter, title, [options[name] for name in names])


def _name_of(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len).lstrip("-").replace("_", "-")


def _grouped(groups: Mapping[str, Sequence[str]], names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """The names by their groups, and those that are in none in a group of their own."""
    left = dict.fromkeys(names)
    found = [(title, [name for name in group if name in left]) for title, group in groups.items()]
    known = {name for _, group in found for name in group}
    return [*found, (_OTHERS, [name for name in left if name not in known])]


def _write(formatter: click.HelpFormatter, title: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)

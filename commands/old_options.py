"""The options of earlier devservers that wrappers still pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_NOTED = "devserver.old-options"  # where the context holds which of them were given
_NOTHING = (
    *("--critical_update", "--remote_payload", "--host_log", "--xbuddy_manage_builds", "--for_vm"),
    *("--no_patch_kernel", "--pregenerate_update"),
)
_NOTHING_WITH_VALUE = (
    *("--board", "--src_image", "--payload", "--urlbase", "--max_updates", "--proxy_port", "--private_key"),
    *("--image",),
)
_NOT_TO_SERVE = ("--exit", "--clear_cache")
# What served other files than those of the static directory, and what does so today.
_OTHERWISE = {
    "--archive_dir": "give the directory of the builds as --static-dir",
    "--data_dir": "give its directory static as --static-dir",
    "--factory_config": "there are no factory configurations any more",
}


def take_old_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The decorator that has a command take the options of earlier devservers, which the help does not show."""
    for name in (*_NOTHING, *_NOT_TO_SERVE):
        more = ("-p",) if name == "--pregenerate_update" else ()
        command = _option(name, *more, is_flag=True)(command)
    for name in (*_NOTHING_WITH_VALUE, *_OTHERWISE):
        command = _option(name)(command)
    return command


def _option(name: str, *more: str, is_flag: bool = False) -> Callable[[Any], Any]:
    names = dict.fromkeys((name, name.replace("_", "-"), *more))
    return click.option(*names, f"old_{name[2:]}", is_flag=is_flag, hidden=True, expose_value=False, callback=_note)


def _note(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value not in (None, False):
        context.meta.setdefault(_NOTED, []).append(option.opts[0])


def is_no_server_wanted(context: click.Context) -> bool:
    """Whether one of those that were given says so."""
    return any(name in _NOT_TO_SERVE for name in context.meta.get(_NOTED, ()))


def told_of(context: click.Context) -> str:
    """What is to be said of those that were given; empty where none was.

    Raises:
        click.UsageError: one of them had other files served.

    """
    given = context.meta.get(_NOTED, ())
    for name in given:
        if name in _OTHERWISE:
            raise click.UsageError(f"{name} is an option of earlier devservers: {_OTHERWISE[name]}")
    if is_no_server_wanted(context):
        return f"not serving, as {', '.join(given)} of earlier devservers had it"
    return f"options of earlier devservers that do nothing here: {', '.join(given)}" if given else ""

"""What runs a demonstration: in a directory of its own, to its end or until a signal; no process of it outlives it."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import click

from demo.reference_build import BuildSizes
from demo.servers import DemoError, tail

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 120}  # of a command

# A hangup ends it too, unless it was started with nohup. A shell without job control has its background jobs ignore
# SIGINT; whoever sends one to this process means it.
_HANGUP = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []
_ENDING_SIGNALS = [signal.SIGINT, signal.SIGTERM, *_HANGUP]
_MEGABYTE = 1_000_000
_FAILED = 1
_INTERRUPTED = 130  # what shells say of a command that Ctrl-C ended


class Interrupted(BaseException):
    """A signal says to end."""


def _as_sizes(_context: click.Context, _parameter: click.Parameter, megabytes: int) -> BuildSizes:
    return BuildSizes.of_total(megabytes * _MEGABYTE)


size_option = click.option(
    "--size-mb",
    "sizes",
    type=click.IntRange(min=20),
    default=120,
    show_default=True,
    callback=_as_sizes,
    help="Megabytes of files to make a build of; its tarballs are then compressed.",
)
keep_option = click.option(
    "--keep", is_flag=True, help="Keep the temporary directory, with what was staged and the logs."
)


def demonstrate(name: str, keep: bool, show: Callable[[Path, ExitStack], None]) -> NoReturn:
    """Have ``show`` do what it shows, in a directory that is ``name``'s own, with servers that end with it; exit."""
    try:
        directory = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    except OSError as error:
        raise click.ClickException(f"no temporary directory can be made: {error}") from error
    try:
        status = _shown(directory, show)
    finally:
        if keep:
            click.echo(f"\nKept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    sys.exit(status)


def _shown(directory: Path, show: Callable[[Path, ExitStack], None]) -> int:
    """The exit status."""
    with ExitStack() as servers:
        try:
            _signal_with(_interrupt)
            show(directory, servers)
        except Interrupted:
            click.echo("\nInterrupted.")
            return _INTERRUPTED
        except Exception as error:
            _tell_failure(error, directory)
            return _FAILED
        finally:
            _signal_with(signal.SIG_IGN)  # nothing interrupts the end
    return 0


def _tell_failure(error: Exception, directory: Path) -> None:
    """Say what failed in one line, and what each devserver and worker logged last."""
    _signal_with(signal.SIG_IGN)
    for log in sorted([*directory.glob("devserver*.log"), *directory.glob("worker*.log")]):
        click.echo(f"\nThe end of {log.name}:\n\n{tail(log)}", err=True)
    text = " ".join(str(error).split())
    kind = "" if isinstance(error, DemoError) else f"{type(error).__name__}: "
    click.secho(f"\ndemo: {kind}{text}", fg="red", err=True)


def _signal_with(handler: Any) -> None:
    """Set what the signals that end a program do."""
    for number in _ENDING_SIGNALS:
        signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    _signal_with(signal.SIG_IGN)  # once is enough
    raise Interrupted

"""``python -m demo``: stages a build before your eyes, and leaves the devserver up for you to try."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from time import sleep
from typing import Any

import click

from demo.archive import ARCHIVE_URL, use_emulator
from demo.reference_build import BUILD_PATH, BuildSizes
from demo.served_build import Client
from demo.servers import DemoError, Server, devserver, emulator, tail
from demo.story import make_build, publish_build, stage_build, step

# A hangup ends it too, unless it was started with nohup. A shell without job control has its background jobs ignore
# SIGINT; whoever sends one to this process means it.
_HANGUP = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []
_ENDING_SIGNALS = [signal.SIGINT, signal.SIGTERM, *_HANGUP]
_MEGABYTE = 1_000_000
_FAILED = 1
_INTERRUPTED = 130  # what shells say of a command that Ctrl-C ended


class Interrupted(BaseException):
    """A signal says to end."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--once", is_flag=True, help="End when all is shown, instead of leaving the devserver up.")
@click.option(
    "--size-mb",
    type=click.IntRange(min=20),
    default=120,
    show_default=True,
    help="Megabytes of files to make the build of; its tarballs are then compressed.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The devserver's port, instead of a free one.")
@click.option("--keep", is_flag=True, help="Keep the temporary directory, with the staged build and the logs.")
def command_line(once: bool, size_mb: int, port: int, keep: bool) -> None:
    """Make a build out of real files, publish it in an emulator of Google Cloud Storage, and have a devserver stage it.

    Then the devserver stays up until Ctrl-C.

    \b
    devserver demo --once
    """  # noqa: D301 - click's own mark for lines that stay as they are
    try:
        directory = Path(tempfile.mkdtemp(prefix="devserver-demo-"))
    except OSError as error:
        raise click.ClickException(f"no temporary directory can be made: {error}") from error
    try:
        status = run(directory, BuildSizes.of_total(size_mb * _MEGABYTE), port, once)
    finally:
        if keep:
            click.echo(f"\nKept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    sys.exit(status)


def run(directory: Path, sizes: BuildSizes, port: int, once: bool) -> int:
    """The demonstration, in ``directory``; returns the exit status. No process that it starts outlives it."""
    is_over = False
    with ExitStack() as servers:
        try:
            signal_with(_interrupt)
            objects = make_build(directory / "build", sizes)
            archive = servers.enter_context(emulator(directory))
            use_emulator(archive.url)
            publish_build(objects, archive)
            with step("Starting the devserver"):
                server = servers.enter_context(devserver(directory, port))
            click.echo(f"It is up at {server.url}/ and logs to {server.log}")
            stage_build(objects, Client(server), server)
            is_over = True
            if not once:
                wait_for_ctrl_c(archive, server)
        except Interrupted:
            click.echo("\nEnding." if is_over else "\nInterrupted.")
            return 0 if is_over else _INTERRUPTED
        except Exception as error:
            tell_failure(error, directory)
            return _FAILED
        finally:
            signal_with(signal.SIG_IGN)  # nothing interrupts the end
    return 0


def wait_for_ctrl_c(archive: Server, server: Server) -> None:
    """Leave the servers up until a signal comes; raises :class:`DemoError` if one of them ends by itself."""
    click.secho(f"\nThe devserver stays up at {server.url}/static/{BUILD_PATH}/ until Ctrl-C.")
    click.echo(
        "\nA devserver of your own stages from the same emulator; in two other terminals:\n\n"
        f"  STORAGE_EMULATOR_HOST={archive.url} devserver --static-dir /tmp/builds\n"
        f"  devserver stage {ARCHIVE_URL} --wait\n"
    )
    while True:
        for one in (archive, server):
            one.check()
        sleep(0.25)


def tell_failure(error: Exception, directory: Path) -> None:
    """Say what failed in one line, and what each devserver and worker logged last."""
    signal_with(signal.SIG_IGN)
    for log in sorted([*directory.glob("devserver*.log"), *directory.glob("worker*.log")]):
        click.echo(f"\nThe end of {log.name}:\n\n{tail(log)}", err=True)
    text = " ".join(str(error).split())
    kind = "" if isinstance(error, DemoError) else f"{type(error).__name__}: "
    click.secho(f"\ndemo: {kind}{text}", fg="red", err=True)


def signal_with(handler: Any) -> None:
    """Set what the signals that end a program do."""
    for number in _ENDING_SIGNALS:
        signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    signal_with(signal.SIG_IGN)  # once is enough
    raise Interrupted


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    command_line.main(arguments, prog_name="python -m demo")


if __name__ == "__main__":
    main()

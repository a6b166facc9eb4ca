"""``python -m demo``: stages a build before your eyes, and leaves the devserver up for you to try."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from time import sleep

import click

from demo.archive import ARCHIVE_URL, use_emulator
from demo.reference_build import BUILD_PATH, BuildSizes
from demo.running import SETTINGS, Interrupted, demonstrate, keep_option, size_option
from demo.served_build import Client
from demo.servers import Server, devserver, emulator
from demo.story import make_build, publish_build, stage_build, step


@click.command(context_settings=SETTINGS)
@click.option("--once", is_flag=True, help="End when all is shown, instead of leaving the devserver up.")
@size_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The devserver's port, instead of a free one.")
@keep_option
def command_line(once: bool, sizes: BuildSizes, port: int, keep: bool) -> None:
    """Make a build out of real files, publish it in an emulator of Google Cloud Storage, and have a devserver stage it.

    Then the devserver stays up until Ctrl-C.

    \b
    devserver demo --once
    """  # noqa: D301 - click's own mark for lines that stay as they are

    def show(directory: Path, servers: ExitStack) -> None:
        objects = make_build(directory / "build", sizes)
        archive = servers.enter_context(emulator(directory))
        use_emulator(archive.url)
        publish_build(objects, archive)
        with step("Starting the devserver"):
            server = servers.enter_context(devserver(directory, port))
        click.echo(f"It is up at {server.url}/ and logs to {server.log}")
        stage_build(objects, Client(server), server)
        if not once:
            wait_for_ctrl_c(archive, server)

    demonstrate("devserver-demo", keep, show)


def wait_for_ctrl_c(archive: Server, server: Server) -> None:
    """Leave the servers up until a signal comes; raises :class:`DemoError` if one of them ends by itself."""
    click.secho(f"\nThe devserver stays up at {server.url}/static/{BUILD_PATH}/ until Ctrl-C.")
    click.echo(
        "\nA devserver of your own stages from the same emulator; in two other terminals:\n\n"
        f"  STORAGE_EMULATOR_HOST={archive.url} devserver --static-dir /tmp/builds\n"
        f"  devserver stage {ARCHIVE_URL} --wait\n"
    )
    try:
        while True:
            for one in (archive, server):
                one.check()
            sleep(0.25)
    except Interrupted:
        click.echo("\nEnding.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    command_line.main(arguments, prog_name="python -m demo")


if __name__ == "__main__":
    main()

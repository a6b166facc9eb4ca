"""The commands that ask a devserver: what they are called, and what they take."""

from __future__ import annotations

import sys

import click

from commands.completion import artifact_names, build_paths
from commands.options import Server, asks_a_server
from commands.options import as_json as json_option
from commands.options import timeout as timeout_option


@click.command("stage")
@click.argument("archive_url", metavar="URL")
@click.option(
    "--artifact",
    "artifacts",
    multiple=True,
    metavar="NAME",
    shell_complete=artifact_names,
    help="Stage this artifact of the catalogue, instead of the whole build; repeatable.",
)
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="NAME",
    help="Stage this file, as it is; * and ? stand for any text and any character; repeatable.",
)
@click.option("--clean", is_flag=True, help="Remove what is staged of the build first.")
@click.option("--wait", "to_the_end", is_flag=True, help="Return when all that is asked for is staged.")
@timeout_option
@json_option("the build, instead of how it is doing,")
@asks_a_server
def stage(
    archive_url: str,
    artifacts: tuple[str, ...],
    files: tuple[str, ...],
    clean: bool,
    to_the_end: bool,
    timeout: float | None,
    as_json: bool,
    server: Server,
) -> None:
    """Have a build staged, and show how it is doing.

    Of a whole build, this waits for what devices need first; the rest follows. Where artifacts or files are named, it
    does not wait. With --wait, it waits for all. Ctrl-C ends this command alone: the devserver goes on.

    \b
    devserver stage gs://chromeos-image-archive/x86-mario-release/R17-1413.0.0-a1-b1346
    devserver stage --artifact stateful --artifact quick_provision --wait gs://bucket/target/version

    Exit status: 1 it failed, 2 usage, 3 the server cannot be reached, 4 it timed out, 130 Ctrl-C.
    """  # noqa: D301 - click's own mark for lines that stay as they are
    if timeout and (artifacts or files) and not to_the_end:
        raise click.UsageError("where artifacts or files are named, --timeout goes with --wait")
    from commands.staging import Manner, Wish
    from commands.staging import stage as do

    do(server, Wish(archive_url, artifacts, files, clean), to_the_end, Manner(timeout, as_json))


@click.command("wait")
@click.argument("build", shell_complete=build_paths)
@click.option(
    "--artifact",
    "artifacts",
    multiple=True,
    metavar="NAME",
    shell_complete=artifact_names,
    help="Wait for this artifact, instead of the whole build; repeatable.",
)
@click.option("--file", "files", multiple=True, metavar="NAME", help="Wait for this file; repeatable.")
@timeout_option
@json_option("the build, instead of how it is doing,")
@asks_a_server
def wait(
    build: str, artifacts: tuple[str, ...], files: tuple[str, ...], timeout: float | None, as_json: bool, server: Server
) -> None:
    """Wait until a build is staged.

    That is, until nothing of BUILD, a build path or an archive URL, is being staged any more, or until what is named
    of it is settled.

    \b
    devserver wait --timeout 600 x86-mario-release/R17-1413.0.0-a1-b1346

    Exit status: 0 it is staged, 1 something failed, or only a part of it is here and no more is on its way, 2 usage,
    3 the server cannot be reached, 4 it timed out, 130 Ctrl-C.
    """  # noqa: D301
    from commands.staging import Manner, Wish
    from commands.staging import wait as do

    do(server, Wish(build, artifacts, files), Manner(timeout, as_json))


@click.command("status")
@click.argument("build", required=False, shell_complete=build_paths)
@json_option("it")
@asks_a_server
def status(build: str | None, as_json: bool, server: Server) -> None:
    """Show a build, or how the server is doing.

    Of BUILD, a build path or an archive URL, this shows the artifacts.

    \b
    devserver status
    devserver status x86-mario-release/R17-1413.0.0-a1-b1346

    Exit status: 0 also where the build has failed, 1 nothing is known of it, 2 usage, 3 the server cannot be reached.
    """  # noqa: D301
    from commands.listing import show_build, show_server

    if build:
        show_build(server, build, as_json)
    else:
        show_server(server, as_json)


@click.command("builds")
@click.argument("prefix", default="")
@json_option("them")
@asks_a_server
def builds(prefix: str, as_json: bool, server: Server) -> None:
    """List the builds on the server.

    With PREFIX, those whose paths begin with it.

    \b
    devserver builds x86-mario-release/
    """  # noqa: D301
    from commands.listing import show_builds

    show_builds(server, prefix, as_json)


@click.command("cancel")
@click.argument("build", shell_complete=build_paths)
@asks_a_server
def cancel(build: str, server: Server) -> None:
    """Stop what is being staged of a build.

    BUILD is a build path or an archive URL. What is staged of it stays.

    \b
    devserver cancel x86-mario-release/R17-1413.0.0-a1-b1346

    Exit status: 1 it is not being staged, 2 usage, 3 the server cannot be reached.
    """  # noqa: D301
    from commands.listing import cancel as do

    do(server, build)


@click.command("remove")
@click.argument("build", shell_complete=build_paths)
@click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can answer.")
@asks_a_server
def remove(build: str, yes: bool, server: Server) -> None:
    """Remove what is staged of a build.

    BUILD is a build path or an archive URL. At a terminal, you are asked first.

    \b
    devserver remove --yes x86-mario-release/R17-1413.0.0-a1-b1346

    Exit status: 1 it was not removed, 2 usage, 3 the server cannot be reached, 130 Ctrl-C.
    """  # noqa: D301
    from commands.listing import remove as do

    if not yes and not sys.stdin.isatty():
        raise click.UsageError("there is nobody to ask; give --yes to remove the build")
    do(server, build, _nothing if yes else _confirm)


@click.command("pin")
@click.argument("build")
@asks_a_server
def pin(build: str, server: Server) -> None:
    """Keep a build, whatever room is needed.

    BUILD is a build path or an archive URL. It stays until `devserver unpin`.

    \b
    devserver pin x86-mario-release/R17-1413.0.0-a1-b1346

    Exit status: 1 nothing is known of the build, 2 usage, 3 the server cannot be reached.
    """  # noqa: D301
    from commands.listing import pin as do

    do(server, build)


@click.command("unpin")
@click.argument("build")
@asks_a_server
def unpin(build: str, server: Server) -> None:
    """Keep a build no longer than its leases say.

    BUILD is a build path or an archive URL.

    \b
    devserver unpin x86-mario-release/R17-1413.0.0-a1-b1346

    Exit status: 1 nothing is known of the build, 2 usage, 3 the server cannot be reached.
    """  # noqa: D301
    from commands.listing import unpin as do

    do(server, build)


def _nothing(_question: str) -> None:
    """Ask nothing."""


def _confirm(question: str) -> None:
    """Ask; anything but a yes ends the command."""
    from commands.failures import CommandFailed, Interrupted
    from commands.printing import printable

    try:
        is_meant = click.confirm(printable(question), err=True)
    except click.Abort as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            click.echo(err=True)
            raise Interrupted("interrupted; nothing was removed") from None
        is_meant = False
    if not is_meant:
        raise CommandFailed("nothing was removed")


REMOTE = (stage, status, wait, builds, cancel, remove, pin, unpin)

"""The commands that need no devserver: `verify`, `catalog` and `demo`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from commands.options import Rate
from commands.options import as_json as json_option

_EMULATOR = "gcp_storage_emulator"
# Under this name the context holds what stages builds, which is put together where everything is.
MACHINERY = "devserver.machinery"


@click.command("catalog")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@json_option("the artifacts")
@click.pass_obj
def catalog(options: dict[str, Any], file: Path | None, as_json: bool) -> None:
    """Show the catalogue of artifacts, or check one.

    Of a FILE, the artifacts are shown where there is nothing wrong with it.

    \b
    devserver catalog
    devserver catalog lab-catalogue.toml

    Exit status: 2 the file is no good catalogue.
    """  # noqa: D301 - click's own mark for lines that stay as they are
    from commands.catalog import show

    show(file or options["catalog"], as_json)


@click.command("verify")
@click.argument("builds", nargs=-1, metavar="[BUILD]...")
@click.option("--repair", is_flag=True, help="Stage the artifacts anew that something is wrong with.")
@click.option("--max-rate", type=Rate(), metavar="BYTES", help="Read no more than that in a second: 50M, 500K.")
@json_option("what was found")
@click.pass_context
def verify(
    context: click.Context, builds: tuple[str, ...], repair: bool, max_rate: float | None, as_json: bool
) -> None:
    """Read the builds again, and check every file.

    Each BUILD, a build path or an archive URL, or all that are here, are held against what was staged. A devserver may
    run beside it. What somebody else put beside a build is not looked at. The devserver's own options stand before this
    command.

    \b
    devserver --static-dir /srv/builds verify --max-rate 50M
    devserver --static-dir /srv/builds verify --repair x86-mario-release/R17-1413.0.0-a1-b1346

    Exit status: 0 all is right, or was repaired, 1 something is wrong, 2 usage, 130 Ctrl-C.
    """  # noqa: D301
    from commands.verify import Manner, verify_builds

    static_dir = context.obj["static_dir"]
    if not static_dir.is_dir():
        raise click.UsageError(f"--static-dir: {static_dir} is no directory")
    manner = Manner(max_rate, as_json, context.meta[MACHINERY] if repair else None)
    verify_builds(static_dir.resolve(), context.obj["archive_root"], builds, manner)


@click.command("demo", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """Stage a build before your eyes."""  # with --help, the demonstration speaks for itself
    from demo.__main__ import command_line

    if find_spec(_EMULATOR) is None and not {"-h", "--help"}.intersection(arguments):
        raise click.ClickException(
            "the demo needs gcp-storage-emulator; install it with: pip install 'devserver[demo]'"
        )
    command_line.main(list(arguments), prog_name="devserver demo", standalone_mode=False)


LOCAL = (verify, catalog, demo)

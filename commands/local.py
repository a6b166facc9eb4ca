"""The commands that need no devserver: `catalog` and `demo`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from commands.options import as_json as json_option

_EMULATOR = "gcp_storage_emulator"


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


@click.command("demo", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """Stage a build before your eyes."""  # with --help, the demonstration speaks for itself
    from demo.__main__ import command_line

    if find_spec(_EMULATOR) is None and not {"-h", "--help"}.intersection(arguments):
        raise click.ClickException(
            "the demo needs gcp-storage-emulator; install it with: pip install gcp-storage-emulator"
        )
    command_line.main(list(arguments), prog_name="devserver demo", standalone_mode=False)


LOCAL = (catalog, demo)

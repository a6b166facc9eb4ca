"""The commands that need no devserver: `catalog`, `gc`, `verify`, `ledger`, `token` and `demo`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from time import time
from typing import Any

import click

from commands.options import ClientAddress, Written
from commands.options import as_json as json_option
from staging.presence import real_path
from staging.units import DURATIONS, SIZES, parsed_duration, parsed_size

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


@click.command("ledger")
@click.option("--build", default="", metavar="BUILD", help="What was served of this build, a path or a URL, alone.")
@click.option("--client", default="", type=ClientAddress(), help="What was served to this client alone.")
@click.option(
    "--since",
    type=Written("time", parsed_duration, DURATIONS),
    metavar="TIME",
    help="What was served in the last 90s, 30m, 2h or 7d alone.",
)
@click.option("--json", "as_json", is_flag=True, help="Print an object of JSON in each line.")
@click.pass_obj
def ledger(options: dict[str, Any], build: str, client: str, since: float | None, as_json: bool) -> None:
    """Show which files of which builds were served to whom.

    The devserver's own --ledger, before this command, or DEVSERVER_LEDGER says where that is written; the devserver
    may be running.

    \b
    devserver --ledger /var/lib/devserver/ledger.db ledger --since 2h --client 10.0.0.7

    Exit status: 1 it cannot be read, 2 usage.
    """  # noqa: D301
    from commands.ledger import show

    if options["ledger"] is None:
        raise click.UsageError("which ledger? Give it as in devserver --ledger FILE ledger")
    show(options["ledger"], build, client, time() - since if since else 0.0, as_json)


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option("what goes and what stays")
@click.pass_obj
def gc(options: dict[str, Any], dry_run: bool, as_json: bool) -> None:
    """Remove the builds that the disk has no room for.

    This works on the static directory, with the options of the server (--max-bytes, --min-free, --max-age), which stand
    before this command; also while a server runs there.

    \b
    devserver --static-dir /srv/builds --max-bytes 500G gc --dry-run

    Exit status: 1 too much is held for the limits, 2 usage.
    """  # noqa: D301
    from commands.disk import collect

    collect(options, dry_run, as_json)


@click.command("verify")
@click.argument("builds", nargs=-1, metavar="[BUILD]...")
@click.option("--repair", is_flag=True, help="Stage the artifacts anew that something is wrong with.")
@click.option(
    "--max-rate",
    type=Written("rate", parsed_size, SIZES),
    metavar="BYTES",
    help="Read no more than that in a second: 50M, 500K.",
)
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
    verify_builds(real_path(static_dir), context.obj["archive_root"], builds, manner)


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


@click.command("token")
@click.argument("name")
@click.option(
    "--scope", "scopes", required=True, metavar="SCOPES", help="Of stage, remove and read, with commas between."
)
def token(name: str, scopes: str) -> None:
    """Make a token.

    The line for the file that --tokens names goes to standard output, the token itself to standard error: it is kept
    nowhere.

    \b
    devserver token lab-harness --scope stage,read >> /etc/devserver/tokens
    """  # noqa: D301
    from commands.token import make

    make(name, scopes)


LOCAL = (catalog, gc, verify, ledger, demo, token)

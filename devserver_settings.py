"""The options: one table that gives the command line, the environment, the help and the README's table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from commands.options import Address, Number, Option, WholeNumber, Written
from staging.log_lines import LINE_FORMATS, TEXT
from staging.tree import UnpackLimits
from staging.units import DURATIONS, SIZES, parsed_duration, parsed_size

_OURS = Path(__file__).resolve().parent


def default_static_dir() -> Path:
    """``static`` beside the devserver's code where that is a checkout; an installed one serves ``./static``."""
    # Of an installed one, what is called static there is another package's.
    is_checkout = (_OURS / "static").is_dir() and (_OURS / "setup.py").is_file()
    return _OURS / "static" if is_checkout else Path("static")


@dataclass(frozen=True)
class Setting:
    """One option.

    Attributes:
        name: as on the command line, without the dashes in front: ``static-dir``.
        type: what a value must be.
        default: the value where none is given; a function is called for it.
        help: one sentence.
        multiple: whether it may be given more than once.

    """

    name: str
    type: click.ParamType[Any]
    default: Any
    help: str
    multiple: bool = False

    @property
    def key(self) -> str:
        """The name as Python spells it: ``static_dir``."""
        return self.name.replace("-", "_")

    @property
    def environment_variable(self) -> str:
        """The variable that gives the value where the command line does not."""
        return f"DEVSERVER_{self.key.upper()}"

    @property
    def is_on_by_default(self) -> bool:
        """Whether it is a switch that is on unless somebody turns it off."""
        return self.type is click.BOOL and self.default is True

    def as_option(self) -> Callable[[Any], Any]:
        """The decorator that gives a click command this option, in both spellings of a name of several words."""
        names = dict.fromkeys((self.name, self.key))
        # What is on by default needs a way to say no.
        spellings = [f"--{name}/--no-{name}" if self.is_on_by_default else f"--{name}" for name in names]
        return click.option(
            *spellings,
            self.key,
            cls=Option,
            type=self.type,
            metavar="NUMBER" if isinstance(self.type, WholeNumber | Number) else None,
            default=self.default,
            is_flag=self.type is click.BOOL,
            multiple=self.multiple,
            help=self.help,
            envvar=self.environment_variable,
            show_envvar=True,
            show_default=not (self.multiple or self.default is None),
        )


_DIRECTORY = click.Path(file_okay=False, path_type=Path)
_EXISTING_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


_SIZE = Written("size", parsed_size, SIZES)
_DURATION = Written("time", parsed_duration, DURATIONS)
_COUNT = WholeNumber(min=1)
_DAYS = Number(min=0, min_open=True, max=36500)
_SECONDS = Number(min=0, min_open=True, max=1e6)

SETTINGS = (
    Setting("host", click.STRING, "127.0.0.1", "Address to listen on; 0.0.0.0 is every address of the machine."),
    Setting("port", WholeNumber(0, 65535), 8080, "Port to listen on; 0 picks a free one."),
    Setting(
        "static-dir",
        _DIRECTORY,
        default_static_dir,
        "Directory to stage builds in and to serve as /static; beside devserver.py in a checkout, else ./static.",
    ),
    Setting("portfile", _FILE, None, "File to write the port's number to, once the server listens."),
    Setting("pidfile", _FILE, None, "File to write the process id to."),
    Setting(
        "logfile", _FILE, None, "File to log to, instead of the screen; requests are not logged then, but in --log-dir."
    ),
    Setting("log-dir", _DIRECTORY, None, "Directory for devserver.log and, with a line for each request, access.log."),
    Setting("production", click.BOOL, False, "Do not log requests to the screen."),
    Setting("log-format", click.Choice(LINE_FORMATS), TEXT, "What a line of the logs is: text, or an object of JSON."),
    Setting("ledger", _FILE, None, "File to keep a ledger in of what was served to whom; `devserver ledger` shows it."),
    Setting("ledger-max-rows", _COUNT, 1_000_000, "Rows of the ledger; beyond that, the oldest go."),
    Setting(
        "archive-root",
        _EXISTING_DIRECTORY,
        (),
        "Directory that file:// URLs may name builds in; repeatable, or with : between them in the environment.",
        multiple=True,
    ),
    Setting(
        "allow-archive",
        click.STRING,
        (),
        "Archive to stage from, and no other: gs://bucket, gs://bucket/part or file:///directory, with all below it; "
        "repeatable, or with spaces between them in the environment.",
        multiple=True,
    ),
    Setting(
        "user-project",
        click.STRING,
        None,
        "Project that pays for what is read of buckets whose readers pay; it goes along where a bucket asks for one.",
    ),
    Setting(
        "allow-host",
        click.STRING,
        (),
        "Name that browsers may ask for this server by, besides localhost, addresses and the machine's own name, such "
        "as builds.lab.example or *.lab.example; repeatable, or with spaces between them in the environment.",
        multiple=True,
    ),
    Setting("tls-cert", _FILE, None, "Certificate, with its chain, to serve HTTPS with; goes with --tls-key."),
    Setting("tls-key", _FILE, None, "Key of the certificate."),
    Setting("tokens", _FILE, None, "File of tokens, one of which it takes then to stage or to remove a build."),
    Setting("require-token-to-read", click.BOOL, False, "Have reading take a token as well; goes with --tokens."),
    Setting("catalog", _FILE, None, "Catalogue of artifacts to use, a TOML file, instead of the built-in one."),
    Setting("run-packager", click.BOOL, False, "Run a build's own packager.py where its autotest lacks packages."),
    Setting("resume", click.BOOL, True, "Go on by itself with what an earlier devserver was staging when it ended."),
    Setting(
        "verify-every",
        _DAYS,
        None,
        "Days in which every build is read again and checked, gently; never by default.",
    ),
    Setting("max-downloads", _COUNT, 8, "Builds that may be staged at once; more of them queue."),
    Setting(
        "max-queue",
        click.IntRange(min=0),
        1000,
        "Downloads that may wait for a place, beyond those that are staged at once; more are told to come back (503).",
    ),
    Setting(
        "max-downloads-per-client",
        _COUNT,
        None,
        "Downloads that one address may have started and that are not over; more are told to come back (503).",
    ),
    Setting("max-artifacts", _COUNT, 6, "Artifacts of one build that may be staged at once."),
    Setting(
        "max-threads",
        _COUNT,
        4500,
        "Clients that may wait at once, in /download, /wait_for_status, /stage and event streams; more of them are "
        "told to come back (503).",
    ),
    Setting(
        "max-bytes",
        _SIZE,
        None,
        "Bytes that all builds may have, such as 500G; those that were not used for longest go, before new ones come.",
    ),
    Setting("min-free", _SIZE, None, "Bytes of the disk that stay free, such as 50G; builds go in the same way."),
    Setting("max-age", _DURATION, None, "Time without use after which a build goes, such as 14d."),
    Setting("front", click.Choice(["nginx"]), None, "What stands in front of this server, and passes requests on."),
    Setting(
        "front-log", _FILE, Path("nginx/use.log"), "Log of the files that nginx served; `devserver nginx-config` says."
    ),
    Setting(
        "trusted-proxy",
        click.STRING,
        (),
        "Address or network of a proxy whose X-Forwarded-For, -Proto and -Host are believed, such as 10.0.0.0/8; "
        "repeatable, or with spaces between them in the environment. With --front, loopback addresses are as well.",
        multiple=True,
    ),
    Setting("unpack-max-bytes", _COUNT, UnpackLimits.max_bytes, "Bytes that one tarball may hold, unpacked."),
    Setting("unpack-max-files", _COUNT, UnpackLimits.max_files, "Files, directories and links that one may hold."),
    Setting("unpack-max-ratio", _COUNT, UnpackLimits.max_ratio, "Times its own size that one may unpack to."),
    Setting(
        "unpack-max-memory", _SIZE, f"{UnpackLimits.max_memory // 1024**2}M", "Memory that decompressing one may take."
    ),
    Setting(
        "executor",
        click.Choice(["process", "celery"]),
        "process",
        "What background work runs on: a process here, or the workers of a cluster that share the static directory.",
    ),
    Setting("broker", click.STRING, None, "Redis between devservers and workers, as redis://host:6379/0; for celery."),
    Setting("stage-inline", click.BOOL, True, "Stage what a harness waits for in this process, not by the executor."),
    Setting(
        "peer",
        Address(),
        (),
        "Devserver to fetch from what it has, before the archive is asked, such as http://other-host:8080; repeatable, "
        "or with spaces between them in the environment. Turns --keep-objects on.",
        multiple=True,
    ),
    Setting("peer-token", _FILE, None, "File with the token to read from peers with, where they want one."),
    Setting(
        "keep-objects",
        click.BOOL,
        False,
        "Keep tarballs as they came as well, for peers to fetch; takes their size once more on the disk.",
    ),
    Setting(
        "worker-writes",
        _DIRECTORY,
        (),
        "Directory that workers may write to besides the static one; repeatable, or with : between them in the "
        "environment.",
        multiple=True,
    ),
    Setting("stall-timeout", _SECONDS, 30.0, "Seconds without a byte after which one read of the archive is given up."),
    Setting(
        "stackwalk",
        click.STRING,
        None,
        "Program that makes a stack of a minidump for /symbolicate_dump, such as minidump_stackwalk.",
    ),
    Setting("worker-silence", _SECONDS, 15.0, "Seconds without a sign of life after which a worker is taken for hung."),
    Setting("retry-deadline", _SECONDS, 60.0, "Seconds that reads may fail in a row before a download does."),
)

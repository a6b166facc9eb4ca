"""How a command ends that does not end well: one line on standard error, and an exit status that says which way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from web.client import ClientError, NotTrusted, ServerUnreachable, StillStaging


class CommandFailed(click.ClickException):
    """The command did not do what it was asked for."""


class NotReachable(CommandFailed):
    """There is no devserver to ask."""

    exit_code = 3


class TimedOut(CommandFailed):
    """The time that was given is over."""

    exit_code = 4


class Interrupted(CommandFailed):
    """The command was interrupted with Ctrl-C."""

    exit_code = 130  # what shells say of a command that Ctrl-C ended


@contextmanager
def told() -> Iterator[None]:
    """Turn what a client of the devserver raises into the end of the command."""
    try:
        yield
    except NotTrusted as error:
        raise NotReachable(error.with_option("--ca-file")) from error
    except ServerUnreachable as error:
        raise NotReachable(str(error)) from error
    except StillStaging as error:
        raise TimedOut(str(error)) from error
    except ClientError as error:
        raise CommandFailed(str(error)) from error
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what the devserver was told to do, it goes on with") from None


@contextmanager
def left_alone(build_path: str) -> Iterator[None]:
    """Say on Ctrl-C that it ends this command, and nothing else."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; the devserver goes on with {build_path}, and `devserver wait {build_path}` waits for it"
        ) from None

"""`devserver token`: makes a token."""

from __future__ import annotations

import sys

import click

from commands.printing import say
from web.access.tokens import make_token


def make(name: str, scopes: str) -> None:
    """Print the line for the file of tokens, and on standard error the token, which is shown only now.

    Raises:
        ConfigurationError: the name or a scope is none.
        ClickException: there is no standard error.

    """
    secret, token = make_token(name, [scope.strip() for scope in scopes.split(",") if scope.strip()])
    # First what is told this once: a line that nobody has the token of is of no use in the file.
    try:
        sys.stderr.write(f"The token, which is kept nowhere: {secret}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        raise click.ClickException("no token is made: standard error, which it is told on, cannot be written") from None
    say(token.line)

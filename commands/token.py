"""`devserver token`: makes a token."""

from __future__ import annotations

import sys

import click

from commands.printing import say
from web.access.tokens import make_token


def make(name: str, scopes: str) -> None:
    """Print the line for the file of tokens, and on standard error the token, which is told this once.

    Raises:
        ConfigurationError: the name or a scope is none.

    """
    secret, token = make_token(name, [scope.strip() for scope in scopes.split(",") if scope.strip()])
    say(token.line)
    click.echo(f"The token, which is kept nowhere: {secret}", file=sys.stderr)

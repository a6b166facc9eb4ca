"""What a request may do, by the token that came with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import cherrypy

from staging.errors import DevServerError, ScopeMissing, TokenNeeded

# Where the gate leaves a request's grant in its WSGI environment. There is none where the server has no tokens.
GRANT_KEY = "devserver.grant"

_REALM = 'Bearer realm="devserver"'


class Grant(NamedTuple):
    """What a request may do.

    Attributes:
        name: the token's; empty where none came that is known.
        scopes: the token's.
        has_token: whether any came.
        reads_freely: whether everybody may read.

    """

    name: str
    scopes: frozenset[str]
    has_token: bool
    reads_freely: bool

    def may(self, scope: str) -> bool:
        """Whether what needs ``scope`` is allowed."""
        return scope in self.scopes or (scope == "read" and self.reads_freely)

    def require(self, scope: str) -> None:
        """Go on where what needs ``scope`` is allowed.

        Raises:
            TokenNeeded, ScopeMissing

        """
        if self.may(scope):
            return
        if self.name:
            raise ScopeMissing(self.name, scope)
        raise TokenNeeded(scope, "the token that came is not known" if self.has_token else "no token came")


def present() -> Grant | None:
    """The grant of the request that this thread is at work on; None where the server has no tokens."""
    environment: Mapping[str, Any] = getattr(cherrypy.serving.request, "wsgi_environ", {})
    return environment.get(GRANT_KEY)


def may(scope: str) -> bool:
    """Whether the request that this thread is at work on may do what needs ``scope``."""
    grant = present()
    return grant is None or grant.may(scope)


def require(scope: str) -> None:
    """Go on where it may; raises like :meth:`Grant.require`."""
    grant = present()
    if grant is not None:
        grant.require(scope)


def challenge(error: DevServerError) -> dict[str, str]:
    """The header that goes with an answer that asks for a token, or for another one (RFC 6750, 3)."""
    if isinstance(error, ScopeMissing):
        return {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{error.scope}"'}
    if isinstance(error, TokenNeeded):
        return {"WWW-Authenticate": f'{_REALM}, scope="{error.scope}"'}
    return {}

"""The gate before the web application: it knows whose token came with a request, and lets nobody read who may not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from staging.errors import DevServerError, ScopeMissing
from web import rendering
from web.access.grants import GRANT_KEY, Grant, challenge
from web.access.tokens import TokenFile
from web.answers import Served
from web.cookies import cookies_of
from web.error_pages import error_answer
from web.visitors import is_person

COOKIE = "devserver-token"  # of a browser that somebody logged in with
LOGIN = "/login"

Environment = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[Environment, StartResponse], Iterable[bytes]]

# What everybody may ask for: whether the server lives, and how to log in. The front page shows no more than that then.
_OPEN = {"/", "/index", "/check_health", LOGIN, "/favicon.ico"}
_BEARER = "bearer "
_OF_VISITORS = {
    "Accept": "HTTP_ACCEPT",
    "User-Agent": "HTTP_USER_AGENT",
    "Sec-Fetch-Site": "HTTP_SEC_FETCH_SITE",
}


class Gate:
    """Leaves the grant of every request in its environment, for those who ask what it may do."""

    def __init__(
        self, application: Application, tokens: TokenFile, reads_freely: bool, on_refusal: Callable[[Served], None]
    ) -> None:
        """``reads_freely`` says whether reading takes no token; ``on_refusal`` is told of every answer given here."""
        self._application = application
        self._tokens = tokens
        self._reads_freely = reads_freely
        self._on_refusal = on_refusal
        self._open = _OPEN | {f"/assets/{path.name}" for path in rendering.ASSETS.iterdir()}

    def __call__(self, environ: Environment, start_response: StartResponse) -> Iterable[bytes]:
        """See PEP 3333."""
        grant = self._grant(environ)
        environ[GRANT_KEY] = grant
        if grant.name:
            environ["REMOTE_USER"] = grant.name
        try:
            if environ["PATH_INFO"] not in self._open:
                grant.require("read")
        except DevServerError as error:
            return self._refused(environ, start_response, error)
        return self._application(environ, start_response)

    def _refused(self, environ: Environment, start_response: StartResponse, error: DevServerError) -> Iterable[bytes]:
        """Say no; who looks with a browser is led to where he can log in."""
        accept, is_for_programs = environ.get("HTTP_ACCEPT", ""), environ["PATH_INFO"].startswith("/api/")
        headers = {name: environ[key] for name, key in _OF_VISITORS.items() if key in environ}
        code = HTTPStatus.FORBIDDEN if isinstance(error, ScopeMissing) else HTTPStatus.UNAUTHORIZED
        answer: dict[str, str] = {"Cache-Control": "no-store", **challenge(error)}
        body = b""
        if environ["REQUEST_METHOD"] == "GET" and not is_for_programs and is_person(headers):
            code = HTTPStatus.SEE_OTHER
            address = quote(environ["PATH_INFO"].encode("latin-1"))
            answer = {"Location": f"{LOGIN}?to={quote(address, safe='')}", "Cache-Control": "no-store"}
        else:
            accept = "application/json" if is_for_programs else accept
            content_type, body = error_answer(code, accept, error.kind, str(error))
            answer |= {**rendering.HEADERS, "Content-Type": content_type}
        answer["Content-Length"] = str(len(body))
        start_response(f"{code.value} {code.phrase}", list(answer.items()))
        self._on_refusal(Served(environ, code, len(body)))
        return () if environ["REQUEST_METHOD"] == "HEAD" else (body,)

    def _grant(self, environ: Environment) -> Grant:
        secret = _token_of(environ)
        token = self._tokens.find(secret) if secret else None
        if token is None:
            return Grant("", frozenset(), bool(secret), self._reads_freely)
        return Grant(token.name, token.scopes, True, self._reads_freely)


def _token_of(environ: Environment) -> str:
    """The token that came with a request: in its header, or in a browser's cookie."""
    header = str(environ.get("HTTP_AUTHORIZATION", ""))
    if header.lower().startswith(_BEARER):
        return header[len(_BEARER) :].strip()
    sent = cookies_of(environ.get("HTTP_COOKIE", "")).get(COOKIE)
    return sent.value if sent is not None else ""

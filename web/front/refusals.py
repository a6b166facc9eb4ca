"""What nginx answers by itself where it says no: the devserver's own pages, and problem details for programs."""

from __future__ import annotations

from collections.abc import Callable, Collection
from http import HTTPStatus

from web import rendering
from web.error_pages import RETRY_AFTER, advice_on, kind_and_text
from web.http.request import LARGEST_BODY, LARGEST_HEAD, LONGEST_LINE

# Where a refusal is made. The name begins as the devserver's own do: nobody has a file of it.
_PLACE = "/.devserver-refusal/"
MOVED = f"{_PLACE}moved"  # where a redirect is made
# The statuses that nginx says no with, and what it says where the status' own words are not enough.
_CODES = {
    HTTPStatus.BAD_REQUEST: "",
    HTTPStatus.FORBIDDEN: "",
    HTTPStatus.NOT_FOUND: "",
    HTTPStatus.METHOD_NOT_ALLOWED: "",
    HTTPStatus.REQUEST_TIMEOUT: "",
    HTTPStatus.LENGTH_REQUIRED: "",
    HTTPStatus.PRECONDITION_FAILED: "",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"the body is larger than {LARGEST_BODY} bytes",
    HTTPStatus.REQUEST_URI_TOO_LONG: f"the request line is longer than {LONGEST_LINE} bytes",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "",
    HTTPStatus.MISDIRECTED_REQUEST: "",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: f"the headers are larger than {LARGEST_HEAD} bytes",
    HTTPStatus.INTERNAL_SERVER_ERROR: "",
    HTTPStatus.NOT_IMPLEMENTED: "",
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: "",
}
# nginx' own numbers: a header that is too large, a client's certificate, plain HTTP where TLS is spoken.
_OWN_NUMBERS = {
    494: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    **dict.fromkeys((495, 496, 497), HTTPStatus.BAD_REQUEST),
}
_AWAY = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
# "Proxy Error": harnesses of two generations wait where they find that, and ask again.
_AWAY_WORDS = (
    "NotRunning",
    "Proxy Error: nginx is here, and the devserver behind it is not; try again in a few seconds",
)
_AWAY_PAGE = (
    '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="3">'
    "<title>The devserver is not running</title><h1>The devserver is not running</h1>"
    "<pre>\n\n$refusal_kind: $refusal_text\n</pre>"
    "<p>This page tries again every three seconds.</p></html>"
)
# The first of the types in Accept that is one of the two, as web/error_pages.py reads it.
_NO_PAGE = r"(?!\s*(?:text/html|application/xhtml\+xml)\s*(?:[;,]|$))"
_PREFERS_JSON = rf"~*^(?:{_NO_PAGE}[^,]*,)*\s*application/(?:problem\+)?json\s*(?:[;,]|$)"
_DETAILS = (
    '{"type": "urn:devserver:error:$refusal_kind", "title": "$refusal_kind", "status": $status, '
    '"detail": "$refusal_text"}'
)
_HEADERS = """
            add_header X-Content-Type-Options nosniff always;
            add_header Cache-Control no-store always;"""
_PAGE_HEADERS = f"""{_HEADERS}
            add_header Content-Security-Policy "{rendering.POLICY}" always;
            add_header Referrer-Policy {rendering.HEADERS["Referrer-Policy"]} always;"""


def maps() -> str:
    """The lines of ``http`` that know the words for each status."""
    words = {code: kind_and_text(code, "", text) for code, text in _CODES.items()} | dict.fromkeys(_AWAY, _AWAY_WORDS)
    return f"""
    # What nginx says no with, to people and to programs.
    map $http_accept $refusal_form {{
        default page;
        {_word(_PREFERS_JSON)} details;
    }}
    map $status $refusal_title {{
{_lines(words, lambda code: f"{int(code)} {code.phrase}")}
    }}
    map $status $refusal_kind {{
{_lines(words, lambda code: words[code][0])}
    }}
    map $status $refusal_text {{
{_lines(words, lambda code: words[code][1])}
    }}
    map $status $refusal_advice {{
{_lines(words, lambda code: advice_on(code, words[code][0]))}
    }}
"""


def error_pages(passed_on: Collection[int] = (), indent: str = " " * 12) -> str:
    """The lines that lead there, of a server or a location, but for those statuses that are ``passed_on``."""
    codes, away = (
        " ".join(str(int(code)) for code in sorted(some) if code not in passed_on) for some in (_CODES, _AWAY)
    )
    lines = [f"error_page {number} ={int(code)} {_PLACE}$refusal_form;" for number, code in _OWN_NUMBERS.items()]
    if away:
        lines.insert(0, f"error_page {away} {_PLACE}$refusal_form-away;")
    return "\n".join(indent + line for line in [f"error_page {codes} {_PLACE}$refusal_form;", *lines])


def locations() -> str:
    """The lines of ``server`` that answer so."""
    page = rendering.page(
        "error.html", title="$refusal_title", cause="$refusal_kind: $refusal_text", advice="$refusal_advice"
    ).decode()
    return f"""
        # nginx says no in the devserver's words. While the devserver is not there, programs are told so by the status,
        # and people by a page that comes back.
{error_pages(indent=" " * 8)}
        recursive_error_pages on;
        location = {_PLACE}page {{
            internal;
            default_type "{rendering.HTML}";{_PAGE_HEADERS}
            return 200 {_word(page)};  # with the status that led here
        }}
        location = {_PLACE}page-away {{
            internal;
            default_type "{rendering.HTML}";{_PAGE_HEADERS}
            add_header Retry-After {RETRY_AFTER} always;
            return 200 {_word(_AWAY_PAGE)};
        }}
        location = {_PLACE}details {{
            internal;
            default_type application/problem+json;{_HEADERS}
            return 200 {_word(_DETAILS)};
        }}
        location = {_PLACE}details-away {{
            internal;
            default_type application/problem+json;{_HEADERS}
            add_header Retry-After {RETRY_AFTER} always;
            return 200 {_word(_DETAILS)};
        }}
        location = {MOVED} {{
            internal;
            default_type "";{_HEADERS}
            return 200 "";
        }}
"""


def _lines(codes: Collection[HTTPStatus], text_of: Callable[[HTTPStatus], str]) -> str:
    texts = {"default": text_of(HTTPStatus.INTERNAL_SERVER_ERROR)}
    texts |= {str(int(code)): text_of(code) for code in sorted(codes)}
    return "\n".join(f"        {number} {_word(text)};" for number, text in texts.items())


def _word(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

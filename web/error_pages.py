"""What an error looks like to its reader: a page for people and old harnesses, problem details for programs.

Clients of three generations read these pages: the cause is the last line of a ``<pre>``, as ``Kind: message``.
"""

from __future__ import annotations

import json
from html import escape
from http import HTTPStatus

from markupsafe import Markup

from web import rendering

RETRY_AFTER = 5  # seconds after which a client that found no room should try again
_OWN_WORDS = {
    HTTPStatus.NOT_FOUND: ("NotFound", "there is nothing at this address"),
    HTTPStatus.FORBIDDEN: ("Forbidden", "this address is not served"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("MethodNotAllowed", "this address does not take that method"),
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: ("RangeNotSatisfiable", "the file has none of the bytes asked for"),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("InternalFailure", "the devserver failed; its log says why"),
}
# Of the others that have no kind of their own, the names that are not the same in every version of Python.
_KINDS = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "BodyTooLarge",
    HTTPStatus.REQUEST_URI_TOO_LONG: "UrlTooLong",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "HeadersTooLarge",
}

# What a person can do about it, by the kind of the cause.
_ADVICE = {
    "InvalidArchiveUrl": "Copy the build's URL from where builds are published; it looks like "
    "gs://chromeos-image-archive/x86-mario-release/R17-1413.0.0-a1-b1346.",
    "ArchiveNotAllowed": "Whoever runs this devserver chose which archives it stages from (--allow-archive).",
    "ObjectNotFound": "Compare the URL with what the archive lists. A build that is being made now may not have been "
    "published yet; try again once it is.",
    "AccessDenied": "Whoever runs this devserver can give it credentials that may read this bucket.",
    "ArchiveUnavailable": "This may pass: try again in a few minutes. What has been fetched so far is kept.",
    "ObjectChanged": "The build was published anew while it was fetched. Try again.",
    "ChecksumMismatch": "Try again; if it stays so, the object in the archive is damaged.",
    "BadTarball": "The archive holds it like that: the build has to be published anew.",
    "NotStaged": "The builds that are on this devserver are on its front page.",
    "DiskFull": "Remove builds that nobody needs on the front page, or ask whoever runs this devserver for room.",
    "NoRoom": "Unpin or remove builds that nobody needs, or try again when their leases have ended.",
    "BuildHeld": "The build's page says who keeps it, and can unpin it.",
    "BuildConflict": "Another build was staged in its place at the same moment. Ask for it again.",
    "NoDownload": "The front page can start it, too.",
    "UnknownArtifact": "The names are those of the catalogue, at /api/v1/artifacts.",
    "WorkerDied": "Try again; if it stays so, this devserver's log says more.",
    "Overloaded": "Many builds are being staged now. Try again in a few seconds.",
    "TokenNeeded": "Whoever runs this devserver gives tokens. With a browser, log in at /login.",
    "ScopeMissing": "Ask whoever runs this devserver for a token that allows it.",
    "UnknownHost": "Ask by the machine's address or its own name, or have whoever runs this devserver allow this one.",
    "OtherSite": "Open this devserver's front page and start from there.",
}
_ADVICE_BY_STATUS = {
    HTTPStatus.BAD_REQUEST: "The documentation says what can be asked, and how.",
    HTTPStatus.NOT_FOUND: "The builds that are on this devserver are on its front page.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Try again in a few seconds.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "This devserver's log says more.",
}


def error_answer(code: HTTPStatus, accept: str, kind: str = "", text: str = "") -> tuple[str, bytes]:
    """The type and the body of an answer that tells of an error, in what the Accept header ``accept`` prefers.

    Without ``kind``, it is told in words of the status' own.
    """
    kind, text = kind_and_text(code, kind, text)
    if prefers_json(accept):
        return "application/problem+json", problem(code, kind, text)
    title = f"{int(code)} {code.phrase}"
    # Quotes stay: the oldest clients read this as it is.
    cause = Markup(escape(f"{kind}: {text}".replace("\n", " "), quote=False))  # noqa: S704 - it is escaped
    return rendering.HTML, rendering.page("error.html", title=title, cause=cause, advice=advice_on(code, kind))


def kind_and_text(code: HTTPStatus, kind: str, text: str) -> tuple[str, str]:
    """What an error is told as: its own ``kind`` and ``text``, or where it has no kind, the words of the status."""
    if kind:
        return kind, text
    return _OWN_WORDS.get(code, (_KINDS.get(code) or code.phrase.replace(" ", ""), text or code.description))


def advice_on(code: HTTPStatus, kind: str) -> str:
    """What a person can do about an error; empty where nothing is known."""
    return _ADVICE.get(kind) or _ADVICE_BY_STATUS.get(code, "")


def problem(code: HTTPStatus, kind: str, text: str) -> bytes:
    """An error as problem details (RFC 9457), whose ``type`` is that of the kind for ever."""
    details = {"type": f"urn:devserver:error:{kind}", "title": kind, "status": int(code), "detail": text}
    return json.dumps(details).replace("<", "\\u003c").encode()  # it is no page, whatever a browser makes of it


def prefers_json(accept: str) -> bool:
    """Whether the client that sent this Accept header prefers JSON to HTML; who says nothing gets HTML."""
    for accepted in accept.split(","):
        kind = accepted.partition(";")[0].strip().lower()
        if kind in ("application/json", "application/problem+json"):
            return True
        if kind in ("text/html", "application/xhtml+xml"):
            return False
    return False

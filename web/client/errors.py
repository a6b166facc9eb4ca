"""What goes wrong for who asks a devserver, and how an answer says so."""

from __future__ import annotations

import json
import socket
from html import unescape
from typing import Any

import requests

LONGEST_PAUSE = 10.0  # seconds between two tries
_STOPPING = "Cancelled: the devserver is stopping"
_MOST_WRAPPED = 100  # errors within errors
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


class ClientError(Exception):
    """Anything that went wrong, as one line."""


class ServerUnreachable(ClientError):
    """The devserver cannot be reached, or broke off."""


class NotTrusted(ServerUnreachable):
    """The devserver has a certificate that nobody vouches for: it would be no better the next time."""


class ServerBusy(ClientError):
    """The devserver has no room for another client that waits; it may after ``retry_after`` seconds."""

    def __init__(self, text: str, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class RequestRefused(ClientError):
    """The request is wrong: asking again changes nothing."""


class NotHere(RequestRefused):
    """Nothing is known of it; another devserver may know more."""


class StagingFailed(ClientError):
    """The build cannot be staged; the text begins with the kind of the cause."""


class NoDownload(StagingFailed):
    """The build is neither staged nor being staged; on another devserver it may be."""


class StillStaging(ClientError):
    """The time that the caller gave was not enough; the devserver goes on."""


def object_in(text: str | bytes) -> dict[str, Any] | None:
    """The JSON object that ``text`` is; None where it is none."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def unreachable(url: str, error: requests.RequestException) -> ServerUnreachable:
    """What it means that a request did not get as far as an answer."""
    if _UNTRUSTED in str(error):
        return NotTrusted(f"{url} has a certificate that is not trusted here; ca= names a file of those that are")
    return ServerUnreachable(f"{url} cannot be reached: {_why(error)}")


def error_of(answer: requests.Response) -> ClientError:
    """What an answer that is an error says, on whichever of the two kinds of page."""
    if "json" in answer.headers.get("Content-Type", ""):
        details = object_in(answer.content) or {}
        cause = f"{details.get('title', '')}: {details.get('detail', '')}"
    else:
        cause = _cause_on(answer.text) or f"status {answer.status_code}"
    if answer.status_code == 503:
        return ServerBusy(cause, _seconds(answer.headers.get("Retry-After", "")))
    if cause.startswith(_STOPPING):  # a new one will follow
        return ServerUnreachable(cause)
    if answer.status_code == 502:  # of the web server in front, while the devserver is starting anew
        return ServerUnreachable(cause)
    if answer.status_code == 504:
        return StillStaging(cause)
    if answer.status_code == 404:
        return NotHere(cause)
    if cause.startswith("NoDownload:"):
        return NoDownload(cause)
    return StagingFailed(cause) if answer.status_code >= 500 else RequestRefused(cause)


def _cause_on(page: str) -> str:
    """The last line of the ``<pre>`` on a page; empty where there is none."""
    inside, end, _ = page.partition("</pre>")
    text = inside.rstrip()
    has_line = end and "\n" in inside[len(text) :]
    return unescape(text.rpartition("\n")[2]) if has_line else ""


def _seconds(retry_after: str) -> float:
    return min(float(retry_after), LONGEST_PAUSE) if retry_after.isascii() and retry_after.isdigit() else 0.0


def _why(error: BaseException) -> str:
    """Why a server cannot be reached, in the system's words; the HTTP library wraps them in errors of its own."""
    if isinstance(error, requests.Timeout):
        return "timed out"
    wrapped: list[object] = [error]
    for one in wrapped:  # it grows meanwhile
        if isinstance(one, socket.gaierror):
            return "the name is not known"
        if isinstance(one, OSError) and one.strerror:
            return one.strerror.lower()
        if isinstance(one, BaseException) and len(wrapped) < _MOST_WRAPPED:
            wrapped += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return "the connection broke off" if isinstance(error, requests.ConnectionError) else type(error).__name__

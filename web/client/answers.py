"""What an answer says that is an error, or that no devserver gave."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import requests

from .errors import (
    LONGEST_PAUSE,
    ClientError,
    NeverReachable,
    NoDownload,
    NotHere,
    RequestRefused,
    ServerBusy,
    ServerUnreachable,
    StagingFailed,
    StillStaging,
)
from .routes import Route

_STOPPING = "Cancelled: the devserver is stopping"
_NOT_RUNNING = "NotRunning"  # the kind of the web server in front, while the devserver is starting anew
_TIME_IS_OVER = "WaitTimedOut"  # the devserver's, where the time that its caller gave is over
_CAUSE = re.compile(r"([A-Z]\w*): ")  # how each cause of a devserver begins
_PASSING = (408, 425, 429)  # beside 5xx, of what may do better the next time
_WANTS_A_PASSWORD = 407


def object_in(text: str | bytes) -> dict[str, Any] | None:
    """The JSON object that ``text`` is; None where it is none."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def error_of(answer: requests.Response, route: Route) -> ClientError:
    """What an answer that is an error says, on whichever of the two kinds of page.

    What has no cause on it is no devserver's: something between says it, and nothing of the build.
    """
    cause = cause_of(answer)
    kind = _CAUSE.match(cause)
    if kind is None:
        return _of_another(answer, route)
    later = _seconds(answer.headers.get("Retry-After", ""))
    if kind[1] == _NOT_RUNNING or cause.startswith(_STOPPING):  # a new one will follow
        return ServerUnreachable(cause, later)
    by_status: dict[int, ClientError] = {
        502: ServerUnreachable(cause, later),
        503: ServerBusy(cause, later),
        504: StillStaging(cause) if kind[1] == _TIME_IS_OVER else ServerUnreachable(cause, later),
        404: NotHere(cause),
        408: ServerUnreachable(cause, later),
    }
    if answer.status_code in by_status:
        return by_status[answer.status_code]
    if kind[1] == "NoDownload":
        return NoDownload(cause)
    return StagingFailed(cause) if answer.status_code >= 500 else RequestRefused(cause)


def no_answer(route: Route) -> ClientError:
    """An answer that is none of a devserver's, though its status says that all is well: a page to sign in on."""
    return NeverReachable(f"{route.who_answers} does not answer as a devserver does")


def _of_another(answer: requests.Response, route: Route) -> ClientError:
    status = answer.status_code
    text = f"{route.who_answers} answers {status} {answer.reason or ''}".rstrip() + ", and not as a devserver does"
    if status == _WANTS_A_PASSWORD:
        return NeverReachable(text)
    if status in _PASSING or status >= 500:
        return ServerUnreachable(text, _seconds(answer.headers.get("Retry-After", "")))
    return NotHere(text) if status == 404 else RequestRefused(text)


def cause_of(answer: requests.Response) -> str:
    """The cause that an answer tells of, ``Kind: text``; empty where there is none."""
    if "json" in answer.headers.get("Content-Type", ""):
        details = object_in(answer.content) or {}
        return f"{details.get('title', '')}: {details.get('detail', '')}"
    return _cause_on(answer.text)


def _cause_on(page: str) -> str:
    """The last line of the ``<pre>`` on a page; empty where there is none."""
    inside, end, _ = page.partition("</pre>")
    text = inside.rstrip()
    has_line = end and "\n" in inside[len(text) :]
    return unescape(text.rpartition("\n")[2]) if has_line else ""


def _seconds(retry_after: str) -> float:
    return min(float(retry_after), LONGEST_PAUSE) if retry_after.isascii() and retry_after.isdigit() else 0.0

"""What an archive says when it refuses, as people are told it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from staging.errors import AccessDenied, ArchiveError, ArchiveRefused, ArchiveUnavailable, ObjectNotFound
from staging.paths import UNPRINTABLE

MOST_BYTES = 64 * 1024  # of an answer that is no success, which are looked at
_LONGEST_SENTENCE = 300  # characters
_PASSING_STATUSES = (408, 425, 429)  # the 4xx that are worth another try
_FORBIDDEN = (401, 403)
_TOO_OFTEN = "ratelimitexceeded"  # how a 403 ends that is a 429: rateLimitExceeded, userRateLimitExceeded
_PAYER_WANTED = re.compile(r"requester.?pays", re.IGNORECASE)
# What may pass for a credential: Google's tokens and keys, JSON web tokens, and what a word before it names as one.
_SECRETS = re.compile(
    r"\b(?:ya29\.|eyJ|1//|AIza|GOOG1|GOCSPX-)[\w./+=-]+"
    r"|(?i:\b(bearer|assertion|signature|(?:\w+_)?token|(?:\w+_)?secret|password)\b[\s:='\"]+)[\w./+~=%-]{8,}"
)


@dataclass(eq=False)
class Refusal(Exception):
    """An answer of the archive that is no success.

    Attributes:
        status: of HTTP.
        sentence: what the archive says, cleaned; empty where it says nothing that is meant for people.
        reasons: the archive's own words for programs, in small letters.
        headers: of the answer.

    """

    status: int
    sentence: str = ""
    reasons: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str], body: bytes) -> Refusal:
        """What the answer says, whatever is in it."""
        try:
            error = json.loads(body)["error"]
            sentence, reasons = error["message"], [one.get("reason") for one in error.get("errors", ())]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            is_text = headers.get("Content-Type", "").startswith("text/plain")
            sentence, reasons = body.decode(errors="replace") if is_text else "", []
        said = sentence if isinstance(sentence, str) else ""
        return cls(status, in_a_sentence(said), tuple(str(one).lower() for one in reasons), headers)

    @property
    def wants_a_payer(self) -> bool:
        """Whether the bucket's readers pay, and the request named no project that does."""
        return self.status == 400 and bool(_PAYER_WANTED.search(self.sentence))

    @property
    def text(self) -> str:
        """The refusal in a few words."""
        return f"the archive answered {self.status}" + (f": {self.sentence}" if self.sentence else "")

    def about(self, url: str) -> ArchiveError:
        """The error that it is, of what was asked about ``url``."""
        if self.status == 404:
            return ObjectNotFound(url)
        is_asked_too_often = any(reason.endswith(_TOO_OFTEN) for reason in self.reasons)
        if self.status >= 500 or self.status in _PASSING_STATUSES or is_asked_too_often:
            seconds = _seconds(self.headers.get("Retry-After", ""), self.headers.get("Date", ""))
            return ArchiveUnavailable(url, self.text, seconds)
        if self.status in _FORBIDDEN:
            return AccessDenied(url, self.text)
        hint = "; --user-project names the project that pays" if self.wants_a_payer else ""
        return ArchiveRefused(url, f"{self.text}{hint}")


def in_a_sentence(text: Any, *secrets: str) -> str:
    """``text``, which a stranger wrote, as a part of one line: bounded, printable, and without anything secret."""
    said = str(text)[: 10 * _LONGEST_SENTENCE]
    for secret in filter(None, secrets):
        said = said.replace(secret, "(a secret)")
    said = _SECRETS.sub("(a secret)", said)
    said = " ".join(UNPRINTABLE.sub(" ", said).split())
    return said if len(said) <= _LONGEST_SENTENCE else f"{said[:_LONGEST_SENTENCE]}…"


def _seconds(retry_after: str, date: str) -> float:
    """The seconds that a Retry-After header asks for, as a number or as a date (RFC 9110, 10.2.3); 0 for none.

    A date is compared with the one of the answer: the clock here may say anything.
    """
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - parsedate_to_datetime(date).timestamp())
    except ValueError:
        return 0.0

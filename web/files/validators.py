"""Validators of a file, and the conditions that clients put on them (RFC 9110, 8.8 and 13)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime

_TAG = re.compile(r'(?P<weak>W/)?(?P<tag>"[^"]*")|(?P<any>\*)')


@dataclass(frozen=True)
class Validators:
    """What tells one state of a file from another.

    Attributes:
        etag: strong, with its quotes.
        modified: whole seconds since the epoch.
        also: other tags that name this state: an nginx in front gives files tags of its own.
        changed: of a file whose time names no state, since when at the latest it is as it is, in seconds since the
            epoch; None of all others.

    """

    etag: str
    modified: int
    also: tuple[str, ...] = ()
    changed: int | None = None

    @property
    def last_modified(self) -> str:
        """As the header of that name has it."""
        return formatdate(self.modified, usegmt=True)

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags that name this state."""
        return (self.etag, *self.also)

    def is_of(self, moment: int | None) -> bool:
        """Whether a ``moment`` that a client was told is that of this very state."""
        return self.changed is None and moment == self.modified


def is_failed_precondition(headers: Mapping[str, str], validators: Validators) -> bool:
    """Whether the client wants the file only in another state than it is in (412)."""
    if "If-Match" in headers:
        return not _is_among(headers["If-Match"], validators.tags, is_strong=True)
    since = _seconds(headers.get("If-Unmodified-Since"))
    return since is not None and max(validators.modified, validators.changed or 0) > since


def is_known(headers: Mapping[str, str], validators: Validators) -> bool:
    """Whether the client has the file as it is (304)."""
    if "If-None-Match" in headers:
        return _is_among(headers["If-None-Match"], validators.tags)
    return validators.is_of(_seconds(headers.get("If-Modified-Since")))


def is_range_wanted(headers: Mapping[str, str], validators: Validators) -> bool:
    """Whether a range is still a range of what the client has a part of; otherwise it wants all of the new file."""
    condition = headers.get("If-Range")
    if not condition:
        return True
    if condition.endswith('"'):
        return condition in validators.tags
    return validators.is_of(_seconds(condition))


def _is_among(tags: str, known: Collection[str], is_strong: bool = False) -> bool:
    """Whether one of the ``tags`` is ``known``; in a strong comparison, a weak tag is none (RFC 9110, 8.8.3.2)."""
    return any(one["any"] or (one["tag"] in known and not (is_strong and one["weak"])) for one in _TAG.finditer(tags))


def _seconds(date: str | None) -> int | None:
    try:
        return int(parsedate_to_datetime(date).timestamp()) if date else None
    except (ValueError, TypeError, OverflowError):
        return None

"""What comes from the broker is input: whoever can write there may write anything. Each message is read here, strictly.

What a later version says more is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from staging.archives import ArchiveUrl
from staging.errors import DevServerError, InvalidArchiveUrl, error_from_json
from staging.status import Event, State

LONGEST = 1024 * 1024  # characters of a message
_LONGEST_TEXT = 16 * 1024
_MOST_ARTIFACTS = 1000
_LARGEST_NUMBER = 2**60
_ID = re.compile(r"[0-9a-f]{1,64}")


class BadMessage(ValueError):
    """What came is none of the messages of a cluster."""


def data_of(text: Any, longest: int = LONGEST) -> Any:
    """The JSON data that ``text`` is.

    Raises:
        BadMessage

    """
    if not isinstance(text, str) or len(text) > longest:
        raise BadMessage("it is no text, or too long")
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadMessage("it is no JSON") from None


def field_of(data: Any, name: str, is_right: Callable[[Any], bool]) -> Any:
    """A field of an object.

    Raises:
        BadMessage: it is not there, or is not right.

    """
    if not isinstance(data, dict) or name not in data or not is_right(data[name]):
        raise BadMessage(f"it has no {name!r}, or a wrong one")
    return data[name]


def build_of(data: Any) -> str:
    """The field ``build`` of an object: the path of a build, in its one spelling."""
    build: str = field_of(data, "build", is_text)
    try:
        is_right = ArchiveUrl.parse(f"gs://x/{build}", any_depth=True).build_path == build
    except InvalidArchiveUrl:
        is_right = False
    if not is_right:
        raise BadMessage("its 'build' is none")
    return build


def event_of(data: Any, artifacts: Collection[str], build: str | None = None) -> Event:
    """An event of one of the ``artifacts``, of the ``build`` where that is known.

    Raises:
        BadMessage

    """
    found = build_of(data)
    artifact = field_of(data, "artifact", is_text)
    if artifact not in artifacts or build not in (None, found):
        raise BadMessage("it is of another job")
    numbers = {name: field_of(data, name, is_count) for name in _NUMBERS if name in data}
    texts = {name: field_of(data, name, is_text) for name in _TEXTS if name in data}
    cause = None if data.get("cause") is None else error_of(data["cause"])
    return Event(found, artifact, State(field_of(data, "state", _is_state)), cause=cause, **numbers, **texts)


def names_of_artifacts(request: Mapping[str, Any]) -> Collection[str]:
    """The artifacts of a job, whose request is that of staging; everything where it is another job's."""
    names = [one["entry"]["name"] for one in request.get("artifacts", ())]
    return names or _Everything()


def error_of(data: Any) -> DevServerError:
    """The cause of a failure.

    Raises:
        BadMessage

    """
    field_of(data, "kind", is_text)
    field_of(data, "args", lambda value: isinstance(value, list) and len(json.dumps(value)) <= 4 * _LONGEST_TEXT)
    try:
        error = error_from_json(data)
        str(error)
    except Exception:  # a constructor may do anything with arguments of other kinds
        raise BadMessage("it is no cause") from None
    return error


def is_text(value: Any) -> bool:
    """Whether a field is a text of bounded length."""
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def is_count(value: Any) -> bool:
    """Whether a field is a number of something."""
    return type(value) is int and 0 <= value <= _LARGEST_NUMBER


def is_id(value: Any) -> bool:
    """Whether a field is the id of a run, a download or a devserver."""
    return isinstance(value, str) and bool(_ID.fullmatch(value))


def is_flags(value: Any) -> bool:
    """Whether a field says of each of some artifacts whether it is so."""
    is_mapping = isinstance(value, Mapping) and 0 < len(value) <= _MOST_ARTIFACTS
    return is_mapping and all(is_text(name) and isinstance(flag, bool) for name, flag in value.items())


_NUMBERS = ("bytes_done", "bytes_total", "bytes_fetched", "bytes_from_peers")
_TEXTS = ("note", "retry")


class _Everything(Collection[str]):
    """What has every name."""

    def __contains__(self, _: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _is_state(value: Any) -> bool:
    return isinstance(value, str) and value in {state.value for state in State}


def _refuse(constant: str) -> Any:
    raise ValueError(constant)

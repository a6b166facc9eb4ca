"""What a query string's values mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from threading import TIMEOUT_MAX
from typing import Any

from staging.archives import ArchiveUrl
from staging.errors import InvalidArchiveUrl, InvalidParameter, NotStaged
from staging.holds import LONGEST_LEASE, SHORTEST_LEASE, Term
from staging.units import DURATIONS, parsed_duration

_TRUE = ("true", "1", "yes", "y")
_MOST = 100  # parameters of one request


def check_count(parameters: Mapping[str, Any]) -> None:
    """Go on where no more parameters came than anybody needs.

    Raises:
        InvalidParameter

    """
    if len(parameters) > _MOST:
        raise InvalidParameter(next(iter(parameters)), f"there are more than {_MOST} parameters")


def text(name: str, value: Any, example: str = "") -> str:
    """The value of the parameter ``name``, which has to be given, once; ``example`` shows how."""
    given = optional_text(name, value)
    if not given:
        # The words of the first devservers, which clients look for and print.
        raise InvalidParameter("", f"Error: {name}= is required! Give it as in {name}={example}")
    return given


def optional_text(name: str, value: Any) -> str:
    """The value of the parameter ``name``, or nothing: an empty value means that it was not given."""
    if isinstance(value, list):
        raise InvalidParameter(name, "this parameter was given more than once")
    if not isinstance(value, str | None):
        raise InvalidParameter(name, "this parameter should be text")
    return value or ""


def names(name: str, value: Any) -> list[str]:
    """The names in the parameter ``name``, which has commas between them; empty ones are none."""
    return [part.strip() for part in optional_text(name, value).split(",") if part.strip()]


def texts(name: str, value: Any) -> list[str]:
    """The values of the parameter ``name``, which may be given several times, as they stand; empty ones are none."""
    values = value if isinstance(value, list) else [value]
    return [one for one in (optional_text(name, each) for each in values) if one]


def flag(name: str, value: Any, default: bool) -> bool:
    """Whether the parameter ``name`` is true, which only ``true``, ``1``, ``yes`` and ``y`` are, in any case."""
    given = optional_text(name, value)
    return given.lower() in _TRUE if given else default


def seconds(name: str, value: Any) -> float | None:
    """The parameter ``name`` as a number of seconds; None where it was not given."""
    given = optional_text(name, value)
    if not given:
        return None
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise InvalidParameter(name, f"{given!r} is not a number of seconds; write for example {name}=60")
    return min(number, TIMEOUT_MAX)


def lease(name: str, value: Any, holder: str) -> Term | None:
    """The parameter ``name`` as the time for which the ``holder`` wants a build kept; None where it was not given."""
    given = optional_text(name, value)
    if not given:
        return None
    number = parsed_duration(given)
    if number is None:
        raise InvalidParameter(name, f"{given!r} is no time; give {DURATIONS}, as in {name}=2h")
    return Term(checked_lease(name, number), holder)


def checked_lease(name: str, number: float) -> float:
    """A number of seconds for which a build can be leased."""
    if not SHORTEST_LEASE <= number <= LONGEST_LEASE:
        days = LONGEST_LEASE / 86400
        raise InvalidParameter(name, f"a build is leased for a second at least, and {days:.0f} days at most; or pin it")
    return number


def build_path_of(build: str) -> str:
    """A build path in its one spelling.

    Raises:
        NotStaged: there can be no such build.

    """
    try:
        return ArchiveUrl.parse(f"gs://x/{build}", any_depth=True).build_path
    except InvalidArchiveUrl:
        raise NotStaged(f"{build!r} is no build path; it should look like target/version") from None


def build_name_of(name_of: Callable[[str], str], build: str, bucket: str = "") -> str:
    """What the build is called here that a request names: by its path, with the ``bucket`` it is of where there are
    several of that path, or by its archive URL, of which ``name_of`` knows the name.

    Raises:
        NotStaged: there can be no such build.

    """
    archive_url = build if "://" in build else f"gs://{bucket}/{build_path_of(build)}" if bucket else ""
    if not archive_url:
        return build_path_of(build)
    try:
        return name_of(archive_url)
    except InvalidArchiveUrl as error:
        raise NotStaged(str(error)) from None

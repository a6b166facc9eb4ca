"""What comes from the broker is input: whoever can write there may write anything. Each message is read here, strictly.

What a later version says more is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from staging.archives import ArchiveUrl
from staging.build_names import fault_of_name, of_request
from staging.messages import ANYTHING, BadMessage, Expected
from staging.records import text as records_text
from staging.records.decoding import Text
from staging.records.names import understood

LONGEST = 1024 * 1024  # characters of a message
_MOST_ARTIFACTS = 1000
_ID = re.compile(r"[0-9a-f]{1,64}")

Id = Annotated[str, msgspec.Meta(pattern=rf"^{_ID.pattern}\Z")]  # of a run, a download or a devserver
Flags = Annotated[dict[Text, bool], msgspec.Meta(min_length=1, max_length=_MOST_ARTIFACTS)]  # of some artifacts


def data_of(text: Any, longest: int = LONGEST) -> Any:
    """The JSON data that ``text`` is.

    Raises:
        BadMessage

    """
    if not isinstance(text, str) or len(text) > longest:
        raise BadMessage("what is no text, or too long")
    try:
        return records_text.data_of(text)
    except (ValueError, RecursionError):
        raise BadMessage("what is no JSON") from None


def check_build(build: str) -> None:
    """Raise ``BadMessage`` where ``build`` is not the name of a build, in its one spelling."""
    if fault_of_name(build):
        raise BadMessage("a build that is called as none can be")


def expected_of(request: Mapping[str, Any]) -> Expected:
    """What a job may be told of, whose request is that of staging; anything where it is another job's."""
    if "archive_url" not in request:
        return ANYTHING
    roots = tuple(Path(understood(root)) for root in request["options"]["archive_roots"])
    archive_url, is_of_its_own = of_request(request["archive_url"])
    url = ArchiveUrl.parse(archive_url, roots, any_depth=True)
    build = str(url) if is_of_its_own else url.build_path
    return Expected(build, frozenset(one["entry"]["name"] for one in request["artifacts"]))


def is_id(value: Any) -> bool:
    """Whether a field is the id of a run, a download or a devserver."""
    return isinstance(value, str) and bool(_ID.fullmatch(value))

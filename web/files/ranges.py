"""The Range header: which bytes of a file a client asks for (RFC 9110, 14.2).

Where the standard leaves a choice, the answer is nginx's: in a lab, it is what stands in front.
"""

from __future__ import annotations

import re

from web.http.gateway import FileRange

_UNIT = "bytes="
_ONE = re.compile(r" *(?:(?P<start>[0-9]+) *- *(?P<stop>[0-9]+)?|-(?P<suffix>[0-9]+)) *")
_LONGEST = 100  # characters of one range; Python refuses to read numbers of thousands of digits
MOST_RANGES = 500  # ranges in one request, beyond which the whole file is sent (RFC 9110, 14.2)
_LARGEST = 2**63 - 1


class NotSatisfiable(Exception):
    """No byte of the file is among those that were asked for, or nobody can tell which those are."""


def parse_ranges(header: str | None, size: int) -> list[FileRange] | None:
    """The ranges that ``header`` asks for of a file of ``size`` bytes; None where that is the whole file.

    Raises:
        NotSatisfiable

    """
    if header is None or len(header) <= len(_UNIT) or not header.lower().startswith(_UNIT):
        return None
    ranges = []
    texts = header[len(_UNIT) :].split(",")
    if len(texts) > MOST_RANGES:
        return None
    for text in texts:
        one = _one_range(text, size)
        if one.start < one.stop:
            ranges.append(one)
        elif one.start == 0:  # all of an empty file, or its last 0 bytes
            return None
    if not ranges:
        raise NotSatisfiable
    # Ranges that overlap, to have more sent than there is, are an attack.
    return ranges if sum(stop - start for start, stop in ranges) <= size else None


def _one_range(text: str, size: int) -> FileRange:
    match = _ONE.fullmatch(text)
    if match is None or len(text.lstrip()) > _LONGEST:
        raise NotSatisfiable
    numbers = {name: int(digits) for name, digits in match.groupdict().items() if digits is not None}
    if max(numbers.values()) > _LARGEST:
        raise NotSatisfiable
    if "suffix" in numbers:
        return FileRange(max(size - numbers["suffix"], 0), size if numbers["suffix"] else 0)
    return FileRange(numbers["start"], min(numbers.get("stop", size) + 1, size))

"""The JSON text of records and messages: any bytes are data, or a ``ValueError`` or ``RecursionError``, at once."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

import msgspec

DEEPEST = 12  # levels of a record, those of later versions too; this version's have at most five
MOST_VALUES = 2_000_000  # of a record: 64 MiB of empty objects would take 1.6 GB of memory


def data_of(text: bytes | str, most: int = MOST_VALUES) -> Any:
    """The JSON data that ``text`` is, of bounded depth, with about as many values as ``most`` or fewer.

    Raises:
        ValueError, RecursionError

    """
    data = raw_data_of(text, most)
    if is_deep(data):
        raise ValueError("nested too deep")
    return data


def check_size(text: bytes | str, most: int = MOST_VALUES) -> None:
    """Raise ``ValueError`` where a JSON text has more values than ``most``: they take far more memory than the text."""
    whole = text if isinstance(text, bytes) or len(text) <= most else text.encode("utf-8", "surrogatepass")
    if len(text) > most and sum(map(whole.count, b",[{")) > most:  # type: ignore[arg-type]
        raise ValueError("it holds too much")


def raw_data_of(text: bytes | str, most: int = MOST_VALUES) -> Any:
    """The same, of any depth that can be read."""
    check_size(text, most)
    try:
        return msgspec.json.decode(text)
    except ValueError as error:
        # Versions before wrote names that are no UTF-8 with lone surrogates, which Python's own reader takes.
        whole = text if isinstance(text, str) else text.decode()
        if "\\u" not in whole and not isinstance(error, UnicodeEncodeError):
            raise
        return json.loads(whole, parse_constant=_refused, parse_float=_finite)


def is_deep(data: Any, deepest: int = DEEPEST) -> bool:
    """Whether ``data`` has more levels than any record."""
    level = [data] if isinstance(data, (dict, list)) else []
    for _ in range(deepest):
        level = [child for one in level for child in _children(one) if isinstance(child, (dict, list))]
        if not level:
            return False
    return True


def encoded(data: Any) -> bytes:
    """The JSON text of data; names that are no UTF-8, in the spelling of earlier versions."""
    try:
        return msgspec.json.encode(data)
    except UnicodeEncodeError:
        return json.dumps(data, allow_nan=False).encode()


def _children(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value


def _refused(constant: str) -> Any:
    raise ValueError(constant)


def _finite(number: str) -> float:
    if not isfinite(value := float(number)):
        raise ValueError(number)
    return value

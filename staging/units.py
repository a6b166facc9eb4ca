"""Sizes and times as people write them: ``500G``, ``2h``."""

from __future__ import annotations

import re
from datetime import datetime, timezone

SIZES = "a number of bytes, or 500M, 20G, 2T (K, M, G and T are 1024 and its powers; KB, MB, GB and TB those of 1000)"
DURATIONS = "a number of seconds, or 90s, 30m, 2h, 1d"

_NUMBER = r"(\d{1,15}(?:\.\d{1,6})?)"
_SIZE = re.compile(rf"{_NUMBER} ?(?:([kmgt])(i?b|i)?|b)?", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(rf"{_NUMBER} ?([smhd]?)", re.ASCII | re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def parsed_size(text: str) -> int | None:
    """The bytes that ``text`` says; None where it says none."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    base = 1000 if (match[3] or "").lower() == "b" else 1024
    return int(float(match[1]) * base ** (" kmgt".index((match[2] or " ").lower())))


def parsed_duration(text: str) -> float | None:
    """The seconds that ``text`` says; None where it says none."""
    match = _DURATION.fullmatch(text.strip())
    return float(match[1]) * _SECONDS[match[2].lower()] if match else None


def in_bytes(count: float) -> str:
    """A number of bytes as people say it: ``1.5 GiB``."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 or count >= 100 else f"{count:.1f} {_UNITS[unit]}"


def in_utc(moment: float) -> str:
    """A moment, in seconds since the epoch, as a date and a time."""
    return datetime.fromtimestamp(int(moment), timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")

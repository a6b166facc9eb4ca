"""Sizes and times as people write them."""

from __future__ import annotations

import pytest

from staging.units import in_bytes, parsed_duration, parsed_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("500M", 500 * 1024**2),
        ("1.5g", 3 * 1024**3 // 2),
        ("2TiB", 2 * 1024**4),
        ("2 TB", 2 * 10**12),
        ("7k", 7168),
        ("9B", 9),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parsed_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "1e9", "5 gigs", "1GG", "1,5G", "9" * 30])
def test_what_is_no_size_is_none(text: str) -> None:
    assert parsed_size(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), ("0.5h", 1800)]
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert parsed_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-2h", "2w", "1h30m", "inf", "nan", "1e3"])
def test_what_is_no_time_is_none(text: str) -> None:
    assert parsed_duration(text) is None


def test_what_is_written_can_be_read() -> None:
    assert [in_bytes(size) for size in (1, 1536, 200 * 1024**2)] == ["1 bytes", "1.5 KiB", "200 MiB"]
    assert parsed_size(in_bytes(1536)) == 1536

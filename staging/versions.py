"""Which of two builds' versions is newer."""

from __future__ import annotations

import re

_MILESTONE = re.compile(r"[Rr](\d+)-")
_RUNS = re.compile(r"\d+|[^\W\d_]+")

VersionKey = tuple[int, list[tuple[int, int, str]]]


def version_key(version: str) -> VersionKey:
    """What versions are ordered by: the milestone, then their numbers and words, one after the other.

    Versions of before there were milestones, such as ``0.15.938.2011_08_23_0941-a1``, are older than all that have one.
    Where a number stands against a word, the word is older, as in what is not released yet.
    """
    milestone = milestone_of(version)
    rest = version if milestone is None else version.partition("-")[2]
    runs = [
        (1, int(run), "") if run.isdigit() and run.isascii() else (0, 0, run.lower()) for run in _RUNS.findall(rest)
    ]
    return (-1 if milestone is None else milestone, runs)


def milestone_of(version: str) -> int | None:
    """The milestone of a version such as ``R17-1413.0.0-a1-b1346``; None for one that has none."""
    match = _MILESTONE.match(version)
    return int(match[1]) if match else None

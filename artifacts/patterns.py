"""Which objects are an artifact's: shell patterns, with fields that are the same or differ.

No pattern and no name makes a match expensive. The positions that a pattern has reached in a name are the bits of one
integer, which each sign of the pattern moves on at once (the marker streams of Cameron et al., "Bitwise data
parallelism in regular expression matching", PACT 2014): a match takes as many steps as the pattern has signs. A
regular expression tries one way after the other, and two dozen wildcards have more of them than a server has time.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

_WILDCARD = re.compile(r"[*?]")
_WILDCARD_OR_FIELD = re.compile(r"[*?]|\{[a-z]\}")
_LITERAL, _FIELD = "=", "{"
_MOST_WAYS = 1000  # in which the fields of a pattern are looked for in one name


class _Sign(NamedTuple):
    """A part of a pattern: ``*``, ``?``, a literal text, or a field with its name."""

    kind: str
    text: str = ""


@functools.lru_cache(maxsize=1000)
class Pattern:
    """A pattern such as ``chromeos_{a}_{a}_*_delta_*.bin``.

    ``*`` and ``?`` are the shell's, within one part of a path. ``{a}`` stands for one field: text without an
    underscore or a slash. The same letter twice is the same text twice; two letters are two different texts. A pattern
    that has no fields takes braces as they are.

    Fields are looked for from the left, each as long as it can be. A name in which they could lie in thousands of ways
    is not of the pattern: the time for a name is bounded, whatever it is.
    """

    def __init__(self, pattern: str, has_fields: bool = True) -> None:
        wild = list((_WILDCARD_OR_FIELD if has_fields else _WILDCARD).finditer(pattern))
        self._is_literal = not wild
        start, stop = (wild[0].start(), wild[-1].end()) if wild else (len(pattern), len(pattern))
        self._before, self._behind = pattern[:start], pattern[stop:]
        self._signs: list[_Sign] = []
        for match in wild:
            literal = pattern[start : match.start()]
            self._signs += [_Sign(_LITERAL, literal)] if literal else []
            self._signs.append(_Sign(match[0][0], match[0][1:-1]))
            start = match.end()

    def matches(self, name: str) -> bool:
        """Whether the whole of ``name`` is of this pattern."""
        if self._is_literal:
            return name == self._before
        stop = len(name) - len(self._behind)
        if stop < len(self._before) or not (name.startswith(self._before) and name.endswith(self._behind)):
            return False
        text = _Text(name[len(self._before) : stop])
        fields = next(_found(self._signs, text, 0, {}, iter(range(_MOST_WAYS))), None)
        return fields is not None and all(one != other for one, other in combinations(fields.values(), 2))


def literal_start(pattern: str, has_fields: bool = False) -> str:
    """What every name that is of a ``pattern`` begins with: all of it, up to the first ``*``, ``?`` or field."""
    return (_WILDCARD_OR_FIELD if has_fields else _WILDCARD).split(pattern, maxsplit=1)[0]


def wildcards_in(pattern: str) -> int:
    """How many ``*`` and ``?`` a pattern has."""
    return len(_WILDCARD.findall(pattern))


class _Text:
    """What patterns are looked for in. Bit ``i`` of an integer stands for the position before the character ``i``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.end = 1 << len(text)
        self._places: dict[str, int] = {}
        self._in_a_part = (self.end - 1) & ~self._places_of("/")

    def reached(self, signs: Sequence[_Sign], positions: int) -> int:
        """Where ``signs``, of which none is a field, lead from any of ``positions``."""
        inside = self._in_a_part
        for kind, literal in signs:
            if kind == "*":  # the carry of an addition runs on through a row of ones, which is a part of a path
                positions |= ((positions & inside) + inside) ^ inside
            elif kind == "?":
                positions = (positions & inside) << 1
            else:
                positions = (positions & self._places_of(literal)) << len(literal)
            if not positions:
                break
        return positions

    def field_ends(self, start: int, behind: str) -> Iterator[int]:
        """Where a field that begins at ``start`` may end, with the text ``behind`` it, the farthest first."""
        ends = [end for end in (self.text.find("_", start), self.text.find("/", start)) if end >= 0]
        stops = range(min(ends, default=len(self.text)), start, -1)
        return (stop for stop in stops if self.text.startswith(behind, stop))

    def _places_of(self, literal: str) -> int:
        places = self._places.get(literal)
        if places is None:
            places, position = 0, self.text.find(literal)
            while position >= 0:
                places |= 1 << position
                position = self.text.find(literal, position + 1)
            self._places[literal] = places
        return places


def _found(
    signs: Sequence[_Sign], text: _Text, start: int, fields: Mapping[str, str], ways: Iterator[int]
) -> Iterator[Mapping[str, str]]:
    """What the fields are where ``signs`` are all that ``text`` holds from ``start`` on; each attempt takes a way."""
    signs = [_with_known(sign, fields) for sign in signs]
    index = next((index for index, sign in enumerate(signs) if sign.kind == _FIELD), len(signs))
    positions = text.reached(signs[:index], 1 << start)
    if index == len(signs):
        if positions & text.end:
            yield fields
        return
    behind = next((sign.text for sign in signs[index + 1 : index + 2] if sign.kind == _LITERAL), "")
    for begin in _farthest_first(positions):
        for stop in text.field_ends(begin, behind):
            if next(ways, None) is None:
                return
            known = {**fields, signs[index].text: text.text[begin:stop]}
            yield from _found(signs[index + 1 :], text, stop, known, ways)


def _with_known(sign: _Sign, fields: Mapping[str, str]) -> _Sign:
    """The sign; of a field that is known, its text."""
    if sign.kind == _FIELD and sign.text in fields:
        return _Sign(_LITERAL, fields[sign.text])
    return sign


def _farthest_first(positions: int) -> Iterator[int]:
    while positions:
        position = positions.bit_length() - 1
        positions ^= 1 << position
        yield position

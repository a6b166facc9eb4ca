"""Which objects are an artifact's: shell patterns, with fields that are the same or differ."""

from __future__ import annotations

import functools
import re
from itertools import combinations

_TOKEN = re.compile(r"\{([a-z])\}|(\*)|(\?)|(.)", re.DOTALL)


@functools.lru_cache(maxsize=1000)
class Pattern:
    """A pattern such as ``chromeos_{a}_{a}_*_delta_*.bin``.

    ``*`` and ``?`` are the shell's, within one part of a path. ``{a}`` stands for one field: text without an
    underscore or a slash. The same letter twice is the same text twice; two letters are two different texts. A pattern
    that has no fields takes braces as they are.
    """

    def __init__(self, pattern: str, has_fields: bool = True) -> None:
        fields: list[str] = []
        expression = ""
        for field, star, question_mark, character in _TOKEN.findall(pattern):
            if field and not has_fields:
                expression += re.escape(f"{{{field}}}")
            elif field in fields:
                expression += f"(?P={field})"
            elif field:
                fields.append(field)
                expression += f"(?P<{field}>[^_/]+)"
            else:
                expression += "[^/]*" if star else "[^/]" if question_mark else re.escape(character)
        self._expression = re.compile(expression)
        self._fields = fields

    def matches(self, name: str) -> bool:
        """Whether the whole of ``name`` is of this pattern."""
        match = self._expression.fullmatch(name)
        if match is None:
            return False
        return all(match[one] != match[other] for one, other in combinations(self._fields, 2))


def literal_start(pattern: str) -> str:
    """What every name that is of a file's ``pattern`` begins with: all of it, up to the first ``*`` or ``?``."""
    return re.split(r"[*?]", pattern, maxsplit=1)[0]

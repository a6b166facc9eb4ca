"""The map from suites to control files that a build brings: a Python literal, read without Python's own parser.

``ast.literal_eval`` makes an object of every sign, and holds the interpreter for as long as it takes: a map of one
mebibyte that nobody means well with took eleven seconds and half a gibibyte.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

_TEXT = r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\""""
_TOKEN = re.compile(rf"(?P<space>[ \t\r\n]+|#[^\n]*)|(?P<sign>[{{}}\[\]:,])|(?P<text>[uU]?(?:{_TEXT}))")
_MOST_TOKENS = 500_000
_AFTER = {  # each sign: what comes before it, where the suites' lists end, and what comes then
    ("start", "{"): "suite or end",
    ("suite or end", "text"): "colon",
    ("suite or end", "}"): "over",
    ("colon", ":"): "list",
    ("list", "["): "path or end",
    ("path or end", "text"): "path ended",
    ("path or end", "]"): "suite ended",
    ("path ended", ","): "path or end",
    ("path ended", "]"): "suite ended",
    ("suite ended", ","): "suite or end",
    ("suite ended", "}"): "over",
}


def parsed_suites(literal: str) -> dict[str, list[str]]:
    """The paths of each suite.

    Raises:
        ValueError: it is not a dictionary of lists of strings, or too large a one.

    """
    suites: dict[str, list[str]] = {}
    paths: list[str] = []
    state = "start"
    for kind, token in _tokens(literal):
        before, state = state, _AFTER.get((state, kind), "")
        if not state:
            raise ValueError(f"{token[:20]!r} does not belong here")
        if state == "colon":
            paths = suites[_text(token)] = []
        elif before == "path or end" and kind == "text":
            paths.append(_text(token))
    if state != "over":
        raise ValueError("it ends too early")
    return suites


def _tokens(literal: str) -> Iterator[tuple[str, str]]:
    """The kind of each token, which of a sign is the sign itself, and the token."""
    position = count = 0
    while position < len(literal):
        match = _TOKEN.match(literal, position)
        count += 1
        if match is None or count > _MOST_TOKENS:
            raise ValueError("it holds something else, or too much")
        position = match.end()
        if match.lastgroup != "space":
            yield "text" if match.lastgroup == "text" else match[0], match[0]


def _text(token: str) -> str:
    """What a string literal stands for."""
    plain = token.lstrip("uU")
    if "\\" not in plain:
        return plain[1:-1]
    try:
        return str(ast.literal_eval(plain))
    except SyntaxError as error:  # an escape that is none
        raise ValueError("a string cannot be read") from error

"""How a record spells a name that is no UTF-8, which JSON cannot hold: as percent-encoded bytes, marked by ``./``.

All other names are written as they are. No name that is published begins with ``./``, so that nobody can take the one
for the other. Versions before this one wrote such a name with lone surrogates; that is still read.
"""

from __future__ import annotations

import os
from urllib.parse import quote_from_bytes, unquote_to_bytes

MARK = "./"


def spelled(name: str) -> str:
    """The name as a record has it."""
    return name if _is_text(name) else MARK + quoted(name)


def understood(text: str) -> str:
    """The name that a record spells ``text``, as Python names files."""
    return unquoted(text[len(MARK) :]) if text.startswith(MARK) else text


def quoted(name: str) -> str:
    """The bytes of a name, percent-encoded; slashes stay."""
    return quote_from_bytes(name.encode("utf-8", "surrogateescape"))


def unquoted(text: str) -> str:
    """The name that :func:`quoted` wrote."""
    return os.fsdecode(unquote_to_bytes(text))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

"""The one check of paths and names, whoever wrote them: a URL, an archive, a tarball or a record on the disk."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

OWN_NAME = ".devserver"  # reserved at every level: see staging.layout

# What no name holds that a build brings along: whoever writes names one to a line would write two.
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# What no archive URL holds, and no name of a file that somebody asks for.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

ARTIFACT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")  # an artifact's name in a catalogue
FILE = "file:"  # what the name of an artifact begins with that is a file somebody named; no catalogue's has a colon

MAX_PATH_BYTES = 1024  # of a build path: the longest object name that GCS allows
MAX_PART_BYTES = (
    255  # of every part of a path: what Linux file systems take; no file of ours is called by another's name
)

_LONGEST_PATH = 4095  # bytes that Linux takes
_DEEPEST, _LONGEST_STAGED = 100, 3072  # directories, and bytes, of what is staged below the static directory
_OWN_FILES = f"{OWN_NAME}/objects/"  # below this, an artifact publishes tarballs that are kept for peers
_WRONG_PARTS = ("//", "/./", "/../", f"/{OWN_NAME}/")


def fault_of_parts(parts: Sequence[str]) -> str:
    """Why ``parts`` are not those of a path below some directory, in a few words; empty where they are."""
    if "" in parts:
        return "it has an empty part: a slash at one of its ends, or two in a row"
    if "." in parts or ".." in parts:
        return "it must not hold '.' or '..'"
    if OWN_NAME in parts:
        return f"{OWN_NAME!r} is the devserver's own"
    if any("\0" in part for part in parts):
        return "it holds a null character"
    return ""


def fault_of_path(path: str) -> str:
    """The same of a relative path with ``/`` between its parts, which Linux has to take as well."""
    parts = path.split("/")
    return fault_of_parts(parts) or ("" if _fits(path, parts) else "it is too long")


def fault_of_file(path: str) -> str:
    """Why no file can be staged under ``path``, whoever brings it: an archive, a tarball or a request.

    This is the one rule for names that are yet to come: whatever passes it can be listed, fetched by the link that the
    list has, verified and removed. A name is bytes, as :func:`os.fsencode` gives them, and need not be UTF-8.
    """
    if CONTROL_CHARACTERS.search(path):
        return "it holds a control character"
    parts = path.split("/")
    return fault_of_parts(parts) or ("it is too long, or too deep" if is_too_long(path, parts) else "")


def is_too_long(path: str, parts: Sequence[str]) -> bool:
    """Whether no file below a static directory can have the ``path`` of these ``parts``, by its bytes or its depth."""
    if len(parts) > _DEEPEST:
        return True
    if len(path) <= MAX_PART_BYTES // 4:  # whatever its characters are
        return False
    sizes = list(map(_size, parts))
    return max(sizes, default=0) > MAX_PART_BYTES or sum(sizes) + len(sizes) > _LONGEST_STAGED


def may_be_file(path: str) -> bool:
    """Whether a file can be staged under ``path``: whether :func:`fault_of_file` finds none."""
    return not fault_of_file(path)


def fault_of_build_path(path: str) -> str:
    """Why ``path`` is no build path in its one spelling; empty where it is. The whole bucket's is empty."""
    if not path:
        return ""
    if UNPRINTABLE.search(path):
        return "it holds a control character"
    for character in "\\?#":
        if character in path:
            return f"it must not hold a {character!r}"
    return fault_of_parts(path.split("/")) or fault_of_length(path.split("/"))


def fault_of_length(parts: Sequence[str]) -> str:
    """Why ``parts`` are too long for a build path; empty where they are not."""
    if len("/".join(parts).encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        return f"at most {MAX_PATH_BYTES} bytes, and {MAX_PART_BYTES} for each part"
    return ""


def fault_of_published(path: str) -> str:
    """Why an artifact cannot have published a file at ``path`` of its build; empty where it can have."""
    kept = path.removeprefix(_OWN_FILES)
    return fault_of_path(path) if kept == path or "/" in kept else fault_of_path(kept)


def fault_of_artifact(name: str) -> str:
    """Why no artifact can be called ``name``; empty where one can."""
    is_known = ARTIFACT.fullmatch(name) or (name.startswith(FILE) and not UNPRINTABLE.search(name))
    return "" if is_known else "no artifact has such a name"


def are_published(paths: Iterable[str]) -> bool:
    """Whether nothing is wrong with any of the ``paths``: :func:`fault_of_published` of very many."""
    listed = list(paths)
    if not listed:
        return True
    text = "".join(("/", "/\0/".join(listed), "/"))
    is_plain = text.count("\0") == len(listed) - 1 and not any(part in text for part in _WRONG_PARTS)
    if is_plain and text.isascii() and max(map(len, listed)) <= MAX_PART_BYTES:
        return True
    return not any(map(fault_of_published, listed))


def _fits(path: str, parts: Sequence[str]) -> bool:
    if len(path) <= MAX_PART_BYTES and path.isascii():
        return True
    return max(map(_size, parts)) <= MAX_PART_BYTES and _size(path) <= _LONGEST_PATH


def _size(name: str) -> int:
    """Bytes of a name on the disk; what no file system takes is too long."""
    try:
        return len(os.fsencode(name))
    except UnicodeEncodeError:
        return _LONGEST_PATH + 1

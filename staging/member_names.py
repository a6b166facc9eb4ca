"""Which names, and which links, the member of a tarball or a zip file may have."""

from __future__ import annotations

import os
from collections.abc import Iterator

from staging.layout import RESERVED_NAME
from staging.paths import CONTROL_CHARACTERS, MAX_PART_BYTES, is_too_long

_LONGEST_LINK = 4000  # bytes


class UnsafeMember(Exception):
    """What a member is that may not be; its text follows upon "it holds"."""


def plain(path: str) -> str:
    """``path`` without what makes no difference: slashes at its ends or doubled, and parts that are ``.``."""
    if "//" not in path and "./" not in path and not path.endswith(("/", "/.")) and path != ".":
        return path
    is_absolute = path.startswith("/")
    return "/" * is_absolute + "/".join(part for part in path.split("/") if part not in ("", "."))


def checked(path: str) -> str:
    """``path`` in its one spelling; empty for the directory that all lies in.

    The rule is that of :func:`staging.paths.fault_of_file`, with the words for a member.

    Raises:
        UnsafeMember: it leaves that, or is no name that a file may have.

    """
    if path.startswith("/"):
        raise UnsafeMember(f"the absolute name {path!r}")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnsafeMember(f"the name {path!r}, which leaves it")
    if CONTROL_CHARACTERS.search(path):
        raise UnsafeMember(f"the name {path!r}, with a control character")
    if is_too_long(path, parts):
        raise UnsafeMember(f"a name that is too long or too deep: {path[:100]!r}...")
    if RESERVED_NAME in parts:
        raise UnsafeMember(f"{path!r}, and {RESERVED_NAME!r} is the devserver's own")
    return "/".join(parts)


def is_harmless(name: str) -> bool:
    """Whether a name without slashes is known at a glance to be one that a file may have."""
    if name in ("", ".", "..", RESERVED_NAME):
        return False
    return name.isascii() and name.isprintable() and len(name) <= MAX_PART_BYTES


def directories_passed(path: str, directory: str, link: str) -> list[str]:
    """The directories that a symbolic link at ``path``, which lies in ``directory``, leads into and out of again.

    Where each of them is a directory, and no link, what the link leads to is what it says.

    Raises:
        UnsafeMember: it is no link that may be: it leads out of the tree, or nowhere at all.

    """
    if not link or len(os.fsencode(link)) > _LONGEST_LINK:
        raise UnsafeMember(f"the link {path!r} to nothing that could be")
    if CONTROL_CHARACTERS.search(link):
        raise UnsafeMember(f"the link {path!r} to {link!r}, with a control character")
    if link.startswith("/"):
        raise UnsafeMember(f"the link {path!r} to {link!r}, which may leave it")
    return list(_passed(path, directory, link))


def _passed(path: str, directory: str, link: str) -> Iterator[str]:
    where = directory.split("/") if directory else []
    real = len(where)  # so many of its parts are directories that were made here
    for part in link.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            where.append(part)
            continue
        if not where:
            raise UnsafeMember(f"the link {path!r} to {link!r}, which may leave it")
        if len(where) > real:
            yield "/".join(where)
        where.pop()
        real = min(real, len(where))

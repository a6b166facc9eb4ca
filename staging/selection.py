"""Which members of a tarball or of a zip file are unpacked, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from staging.left_out import LeftOut
from staging.member_names import plain


class Selection(NamedTuple):
    """Which members of a tarball are unpacked. A path stands for itself and for all that lies below it.

    Attributes:
        includes: paths that alone are; empty for all.
        excludes: paths that are not.

    """

    includes: Sequence[str] = ()
    excludes: Sequence[str] = ()

    @classmethod
    def of(cls, includes: Sequence[str], excludes: Sequence[str]) -> Selection:
        """The selection of these paths, in whatever spelling: slashes at their ends make no difference."""
        return cls(tuple(map(plain, includes)), tuple(map(plain, excludes)))

    def takes(self, name: str) -> bool:
        """Whether the member of that plain name is unpacked."""
        if self.includes and self.included(name) is None:
            return False
        return not any(_is_at_or_below(name, path) for path in self.excludes)

    def included(self, name: str) -> str | None:
        """The path that has the member of that plain name included; None where none has."""
        return next((path for path in self.includes if _is_at_or_below(name, path)), None)


EVERYTHING = Selection()


@dataclass(frozen=True)
class Unpacked:
    """What became of a tarball.

    Attributes:
        checksums: the crc32c of every file that was written, by its path below the directory.
        holes: bytes of the files that take no room on the disk.
        left_out: what may not be.
        found: the paths that were to be included, and of which there was something.

    """

    checksums: Mapping[str, str]
    holes: int
    left_out: LeftOut
    found: frozenset[str] = frozenset()


def _is_at_or_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")

"""Which archives a devserver may stage from: all of them, or what lies under the prefixes that its operator names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from staging.archives.url import ArchiveUrl
from staging.errors import ArchiveNotAllowed

_WHOLE_MACHINE = (Path("/"),)


@dataclass(frozen=True)
class AllowedArchives:
    """The prefixes that archive URLs have to lie under, as their parts; with none, every archive is allowed."""

    prefixes: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> AllowedArchives:
        """Those that ``texts`` name: ``gs://bucket``, ``gs://bucket/part``, ``file:///directory``.

        Raises:
            InvalidArchiveUrl: one of them is no prefix of an archive URL.

        """
        return cls(tuple(_parts(ArchiveUrl.parse(text, _WHOLE_MACHINE, any_depth=True)) for text in texts))

    def check(self, url: ArchiveUrl) -> None:
        """Go on where ``url`` lies under one of the prefixes: whole parts of it are compared, in their one spelling.

        Raises:
            ArchiveNotAllowed

        """
        parts = _parts(url)
        if self.prefixes and not any(parts[: len(prefix)] == prefix for prefix in self.prefixes):
            raise ArchiveNotAllowed(str(url))


EVERY_ARCHIVE = AllowedArchives()


def _parts(url: ArchiveUrl) -> tuple[str, ...]:
    return (url.scheme, *(part for part in f"{url.root}/{url.build_path}".split("/") if part))

"""Archive URLs: which build one names, and where under the static directory that build lives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from staging.archives.patient import Hangs, patiently
from staging.build_names import BUCKET
from staging.errors import ArchiveUnavailable, InvalidArchiveUrl
from staging.paths import UNPRINTABLE, fault_of_length, fault_of_parts
from staging.presence import real_path

_PATIENCE = 10.0  # seconds with the file server that an archive root may lie on


@dataclass(frozen=True)
class ArchiveUrl:
    """The URL of one build, in its one spelling.

    Attributes:
        scheme: ``gs`` or ``file``.
        root: the bucket, or the archive root's absolute path.
        build_path: the URL's path below that root, without slashes at its ends: ``target/version``. Files may be asked
            for of any depth, down to the bucket itself, whose path is empty.

    """

    scheme: str
    root: str
    build_path: str

    @classmethod
    def parse(cls, text: str, archive_roots: Sequence[Path] = (), any_depth: bool = False) -> ArchiveUrl:
        """The build that ``text`` names; doubled slashes and one at the end make no difference.

        ``file://`` URLs must lie below one of the ``archive_roots``. With ``any_depth``, it need not have two parts.

        Raises:
            InvalidArchiveUrl: says what is wrong, and what would be right.

        """
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in ("gs", "file"):
            directory = ", or for a directory like file:///srv/archive/target/version" if archive_roots else ""
            raise InvalidArchiveUrl(text, f"it should look like gs://bucket/target/version{directory}")
        _check_characters(text, rest)
        if scheme == "gs":
            root, _, path = rest.partition("/")
            if not BUCKET.fullmatch(root):
                raise InvalidArchiveUrl(text, "it names no bucket; it should look like gs://bucket/target/version")
        else:
            root, path = _below_an_archive_root(text, rest, archive_roots)
        parts = [part for part in path.split("/") if part]
        if len(parts) < 2 and not any_depth:
            raise InvalidArchiveUrl(text, "it should name a target and a version, as in gs://bucket/target/version")
        _check_parts(text, parts)
        return cls(scheme, root, "/".join(parts))

    @property
    def target(self) -> str:
        """The part before the version: ``x86-mario-release``; empty where there is none."""
        return self.build_path.rpartition("/")[0].rpartition("/")[2]

    @property
    def version(self) -> str:
        """The last part: ``R17-1413.0.0-a1-b1346``."""
        return self.build_path.split("/")[-1]

    def __str__(self) -> str:
        return f"{self.scheme}://{self.root}/{self.build_path}".rstrip("/")


def _check_characters(text: str, rest: str) -> None:
    if UNPRINTABLE.search(text):
        raise InvalidArchiveUrl(text, "it holds a control character")
    for character in "\\?#":
        if character in rest:
            raise InvalidArchiveUrl(text, f"it must not hold a {character!r}")


def _below_an_archive_root(text: str, rest: str, archive_roots: Sequence[Path]) -> tuple[str, str]:
    """The archive root that the absolute path ``rest`` lies below, and the path from there."""
    rest = rest.removeprefix("localhost")
    if not rest.startswith("/"):
        raise InvalidArchiveUrl(text, "a file URL has an absolute path: file:///root/target/version")
    if ".." in rest.split("/"):
        raise InvalidArchiveUrl(text, "it must not hold '.' or '..'")
    try:
        root = patiently(lambda: _root_above(rest, archive_roots), _PATIENCE)
    except Hangs as error:
        raise ArchiveUnavailable(text, "its file server did not answer for too long") from error
    if root is not None:
        return str(root), str(Path(rest).relative_to(root))
    raise InvalidArchiveUrl(
        text, "it lies neither in the static directory nor below an --archive-root of this devserver"
    )


def _root_above(rest: str, archive_roots: Sequence[Path]) -> Path | None:
    """The archive root that a path lies below, as it is written and as links lead; None where there is none."""
    above = [root for root in archive_roots if Path(rest).is_relative_to(root)]
    path = real_path(rest) if above else Path(rest)
    for root in sorted(above, key=lambda root: len(root.parts), reverse=True):
        # A link may lead elsewhere within the root: the build is still the one that was named.
        if path.is_relative_to(real_path(root)):
            return root
    return None


def _check_parts(text: str, parts: list[str]) -> None:
    fault = fault_of_parts(parts) or fault_of_length(parts)
    if fault:
        raise InvalidArchiveUrl(text, fault)

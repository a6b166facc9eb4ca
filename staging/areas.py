"""Who works in a staging area: one at a time, for as long as he lives; and of two who think so, one publishes.

Whoever works in an area holds its lock, which dies with him. A machine that was taken for dead may still hold it, or be
about to go on: then the area is renamed, and the artifact made ready in another. Each area holds its owner's token, and
who does not find his own in it publishes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from threading import Event as Flag

from staging.errors import RecordMalformed
from staging.layout import BuildPlaces, as_file_name
from staging.locks import FileLock, if_free
from staging.presence import is_directory, names_in
from staging.records.files import read_bytes, write_bytes

_OWNER = "owner"
_LONGEST_TOKEN = 64  # bytes
_OTHER = "++"  # which no artifact has in its file name


def areas_of(places: BuildPlaces, name: str) -> list[Path]:
    """The areas that there are of the artifact ``name``."""
    usual = places.staging / as_file_name(name)
    names = [name for name in names_in(places.staging) if name.startswith(f"{usual.name}{_OTHER}")]
    return [path for path in (usual, *(places.staging / name for name in names)) if is_directory(path)]


def another_area(places: BuildPlaces, name: str) -> Path:
    """Where to make the artifact ready while the usual place is somebody's."""
    return places.staging / f"{as_file_name(name)}{_OTHER}{token_hex(8)}"


def take_away(path: Path) -> None:
    """Rename an area: whoever works in it, or hangs there, publishes nothing from now on."""
    with suppress(FileNotFoundError):
        path.rename(path.with_name(f"{path.name.partition(_OTHER)[0]}{_OTHER}{token_hex(8)}"))


def lock_area(places: BuildPlaces, path: Path, cancelled: Flag, patience: float) -> FileLock | None:
    """The right to work in the area ``path``; None where another has had it for ``patience`` seconds.

    Raises:
        Cancelled

    """
    return FileLock.acquire_within(places.area_lock(path.name), patience, cancelled)


def is_another(path: Path) -> bool:
    """Whether the area is none of the usual ones."""
    return _OTHER in path.name


@contextmanager
def nobodys(places: BuildPlaces, path: Path) -> Iterator[bool]:
    """Whether nobody works in the area, and nobody begins to while the context lasts."""
    with if_free(places.area_lock(path.name)) as is_nobodys:
        yield is_nobodys


def sign(path: Path, token: str) -> None:
    """Make the area the token's."""
    write_bytes(path / _OWNER, token.encode())


def is_signed(path: Path, token: str) -> bool:
    """Whether the area still is; what is no token is nobody's.

    Raises:
        RecordUnreadable

    """
    try:
        return read_bytes(path / _OWNER, most=_LONGEST_TOKEN) == token.encode()
    except RecordMalformed:
        return False

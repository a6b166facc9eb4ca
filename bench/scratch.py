"""Where a run writes, on a disk that is not busy with what was written or deleted before."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

_LARGE = 1024**2  # bytes of a file
# Without a journal, ext4 gives no inode away again for so many seconds, and making files is several times slower while
# it looks past those of thousands that were deleted.
_REST = 360.0


@contextmanager
def scratch_directory(data: Path, is_quick: bool) -> Iterator[Path]:
    """A directory below ``data`` for a whole run, which begins once the disk has rested from the last one's removal."""
    cleared = data / "cleared"
    with suppress(FileNotFoundError):
        _rest(0 if is_quick else _REST - (time.time() - cleared.stat().st_mtime))
    for left in data.glob("scratch-*"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    directory = data / f"scratch-{os.getpid()}"
    directory.mkdir()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if not is_quick:
            cleared.touch()


@contextmanager
def empty_directory(scratch: Path) -> Iterator[Path]:
    """A directory for one method's run; of what it leaves there, the small files stay until the scratch is removed."""
    directory = scratch / "run"
    directory.mkdir()
    os.sync()  # what was written before is no part of what comes
    try:
        yield directory
    finally:
        for folder, _, names in os.walk(directory):
            for path in (Path(folder, name) for name in names):
                if path.lstat().st_size > _LARGE:
                    path.unlink()
        directory.rename(directory.with_name(f"done-{time.monotonic_ns()}"))


def _rest(seconds: float) -> None:
    if seconds > 0:
        click.echo(f"Letting the disk rest for {seconds:.0f} s: thousands of files were deleted on it")
        time.sleep(seconds)

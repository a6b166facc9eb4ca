"""What unpacks objects as the devserver does, without one, and looks at what came of it."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from threading import Event as Flag

from staging.archives import ArchiveUrl, open_archive
from staging.extraction import unpack_stream
from staging.retry import Patience
from staging.selection import EVERYTHING, Selection, Unpacked
from staging.transfer import Transfer
from staging.tree import UnpackLimits
from staging.zip_files import unpack_zip


def unpacked(
    packed: Path, target: Path, limits: UnpackLimits | None = None, selection: Selection = EVERYTHING
) -> Unpacked:
    """Unpack the file ``packed`` into ``target``, as an object of its name."""
    settings = (selection, limits or UnpackLimits(), Flag())
    if packed.name.endswith(".zip"):
        return unpack_zip(packed, packed.name, target, *settings)
    archive = open_archive(ArchiveUrl.parse(f"file://{packed.parent}", [packed.parent.parent], any_depth=True), 5)
    transfer = Transfer(archive, Patience(5, 5), Flag())
    with transfer.reader(archive.describe(packed.name), lambda _: None) as reader:
        done = unpack_stream(reader, packed.name, target, *settings)
        reader.finish()
    return done


def run(directory: Path, command: str | Sequence[str]) -> bytes:
    """The output of a program, or of a line for the shell, in ``directory``, which is as right as it says."""
    shell = isinstance(command, str)
    done = subprocess.run(command, shell=shell, cwd=directory, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def listed(directory: Path) -> dict[str, tuple[str, int, object]]:
    """All that is below ``directory``: of what kind, with which mode, and what is in it."""
    found = {}
    for folder, folders, names in os.walk(directory):
        for name in (*folders, *names):
            path = Path(folder, name)
            found[path.relative_to(directory).as_posix()] = _described(path)
    return found


def _described(path: Path) -> tuple[str, int, object]:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return "link", 0, path.readlink().as_posix()
    return ("directory", mode, None) if path.is_dir() else ("file", mode, path.read_bytes())

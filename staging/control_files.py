"""The tests' control files in a staged build, and the suites that they belong to."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from staging.errors import InvalidParameter, NotStaged
from staging.layout import RESERVED_NAME
from staging.presence import is_absence, real_path
from staging.suite_map import parsed_suites

AUTOTEST = "autotest"
_SUITES = f"{AUTOTEST}/test_suites/suite_to_control_file_map"
_LARGEST_MAP = 4 * 1024**2  # bytes


class ControlFiles:
    """The control files of the build in ``directory``, which clients call ``build``."""

    def __init__(self, directory: Path, build: str) -> None:
        self._directory = directory
        self._build = build
        self._autotest = directory / AUTOTEST

    @property
    def are_there(self) -> bool:
        """Whether the build has any tests here."""
        try:
            return stat.S_ISDIR(self._autotest.stat().st_mode)
        except OSError as error:
            _check_absence(error)
            return False

    def all(self) -> list[str]:
        """The paths, relative to ``autotest/``, of all files named ``control`` or ``control.*``."""
        found = []
        for folder, folders, names in os.walk(self._autotest, onerror=_check_absence):
            folders[:] = [name for name in folders if name != RESERVED_NAME]
            relative = Path(folder).relative_to(self._autotest)
            found += [
                (relative / name).as_posix() for name in names if name == "control" or name.startswith("control.")
            ]
        return sorted(found)

    def of_suite(self, suite: str) -> list[str]:
        """Those of a suite; all of them where the build's map does not know it.

        Raises:
            NotStaged: the build has no map.

        """
        suites = self._suites()
        return suites[suite] if suite in suites else self.all()

    def text(self, path: str) -> bytes | None:
        """What the file at ``path``, relative to ``autotest/``, holds; None where there is none.

        Raises:
            InvalidParameter: the path leads out of the build.

        """
        relative = path.lstrip("/")
        if ".." in relative.split("/") or "\0" in relative:
            raise InvalidParameter("control_path", f"{path!r} leads out of the build")
        file = self._autotest / relative
        try:
            # Links of a build stay in it; what somebody else put here might not.
            is_inside = real_path(file).is_relative_to(real_path(self._directory))
            return file.read_bytes() if is_inside and file.is_file() else None
        except OSError as error:
            _check_absence(error)
            return None

    def _suites(self) -> dict[str, list[str]]:
        """The build's own map from suites to control files: a Python literal."""
        file = self._directory / _SUITES
        try:
            with file.open("rb") as stream:
                data = stream.read(_LARGEST_MAP + 1)
        except OSError as error:
            _check_absence(error)
            raise NotStaged(f"Could not find {self._build}/{_SUITES}. Is it staged?") from None
        try:
            return parsed_suites(data.decode() if len(data) <= _LARGEST_MAP else "")
        except ValueError:
            raise NotStaged(
                f"Could not read {self._build}/{_SUITES}: it is no map from suites to lists of paths"
            ) from None


def _check_absence(error: OSError) -> None:
    """Go on where an error says that there is no such file, and raise any other."""
    if not is_absence(error) and error.errno not in (errno.ELOOP, errno.EISDIR):
        raise error

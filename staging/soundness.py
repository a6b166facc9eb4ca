"""Builds are looked at when they are used, and once after the start: what is not there is not called staged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Flag
from threading import Lock
from time import monotonic

from staging.errors import DISK_ERRORS, RecordError, as_devserver_error
from staging.healing import set_broken_manifest_aside, take_out
from staging.inspection import Inspection, check_at_a_glance, inspect
from staging.layout import BuildPlaces
from staging.overview import builds_below
from staging.threads import in_a_line

_GOOD_FOR = 60.0  # seconds
_MOST_IN_MIND = 10_000  # builds


@dataclass
class _Look:
    lock: Lock = field(default_factory=Lock)
    at: float = -_GOOD_FOR


class Soundness:
    """Looks at the presence and the size of every file of a build, at most once a minute."""

    def __init__(self, static_dir: Path, note: Callable[[str, str], None]) -> None:
        """``note`` is told the build path and a sentence of all that is wrong."""
        self._static_dir = static_dir
        self._note = note
        self._lock = Lock()
        self._looks: dict[str, _Look] = {}

    def make_sure(self, build_path: str) -> None:
        """Look at the build, unless that was done within the minute; what is wrong is staged no more from then on.

        Raises:
            DevServerError: it cannot be looked at now, so that nobody may say that it is staged.

        """
        with self._lock:
            if len(self._looks) >= _MOST_IN_MIND:
                self._looks.clear()
            look = self._looks.setdefault(build_path, _Look())
        with look.lock:
            if monotonic() >= look.at + _GOOD_FOR:
                self._look(BuildPlaces(self._static_dir, build_path))
                look.at = monotonic()

    def sweep(self, stopped: Flag) -> None:
        """Look at every build once, resting for as long as each took."""
        for places in builds_below(self._static_dir):
            began = monotonic()
            try:
                self.make_sure(places.build_path)
            except Exception as error:  # of one build, which must not keep the others from being looked at
                self._note(places.build_path, f"could not be looked at: {in_a_line(error)}")
            if stopped.wait(monotonic() - began):
                return

    def _look(self, places: BuildPlaces) -> None:
        try:
            for line in told(wrong) if (wrong := self._healed(places)) is not None else ():
                self._note(places.build_path, line)
        except DISK_ERRORS as error:
            cause = as_devserver_error(error, places.build_path)
            self._note(places.build_path, f"could not be looked at: {cause}")
            raise cause from error
        except RecordError as error:  # a later version's: it is served, and to stage it is refused elsewhere
            self._note(places.build_path, f"could not be looked at: {error}")

    def _healed(self, places: BuildPlaces) -> Inspection | None:
        """What was found wrong, and is staged no more."""
        if set_broken_manifest_aside(places):
            self._note(places.build_path, "its manifest cannot be understood: nothing of it counts as staged")
        found = inspect(places, check_at_a_glance)
        return take_out(places, found, check_at_a_glance) if found is not None else None


def told(found: Inspection) -> list[str]:
    """What was taken out of a manifest, as lines of a log."""
    lines = []
    for artifact in found.artifacts:
        wrong = [one for one in found.wrong if one.artifact == artifact]
        more = f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        lines.append(f"{artifact} is not as it was staged, and counts as staged no more: {wrong[0]}{more}")
    return lines

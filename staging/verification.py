"""Every byte of a build, read again and held against what was staged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag

from staging.clock import CLOCK, STEP
from staging.errors import Cancelled
from staging.healing import is_broken, take_out
from staging.inspection import ByContent, Inspection, Wrong, inspect
from staging.layout import BuildPlaces, verifying_lock
from staging.locks import FileLock
from staging.overview import builds_below
from staging.pace import Pace, step_back
from staging.publishing_lock import publishing
from staging.records.files import touch
from staging.soundness import told

# Told of a build that was verified: its path, how many files and bytes that was, and how many of the files are wrong.
OnVerified = Callable[[str, int, int, int], None]

_DAY = 86400.0  # seconds
_BYTES_PER_SECOND = 32 * 1024**2  # of the rounds: 80 TB in thirty days
_EARLY = 0.9  # of the period is when a build's turn comes, so that the last one's is not over too late
_LONGEST_PAUSE = 600.0  # seconds between two looks at whether a build's turn has come
_NO_MANIFEST = Wrong("", "", "its manifest cannot be understood")


def verify(places: BuildPlaces, pace: Pace) -> Inspection | None:
    """Read every file of the build; None where nothing was staged of it, or it is gone by the end.

    What is found wrong is looked at once more while nobody publishes: it may have been staged anew while it was read.

    Raises:
        Cancelled: of the pace.

    """
    found = inspect(places, ByContent(pace))
    if found is None:
        return Inspection("", wrong=(_NO_MANIFEST,)) if is_broken(places) else None
    if not found.wrong:
        return found
    with publishing(places):
        again = inspect(places, ByContent(), {one.path for one in found.wrong})
    return replace(found, wrong=again.wrong) if again is not None else None


class Rounds:
    """Verifies every build once in so many days, whatever restarts lie between; one devserver of a directory at a time.

    What is wrong is taken out of the manifest, so that it is staged anew when it is asked for: *staged* says that the
    bytes are right.
    """

    def __init__(
        self, static_dir: Path, days: float, note: Callable[[str, str], None], on_verified: OnVerified, stopped: Flag
    ) -> None:
        self._static_dir = static_dir
        self._period = days * _DAY
        self._note = note
        self._on_verified = on_verified
        self._stopped = stopped
        self._pace = Pace(_BYTES_PER_SECOND, stopped)
        self._put_off: dict[str, float] = {}  # until when, of builds that could not be read: no other waits for one

    def run(self) -> None:
        """Go on until the flag is set."""
        step_back()
        while not self._stopped.is_set():
            wait = self._wait_or_verify()
            self._stopped.wait(min(wait, _LONGEST_PAUSE))

    def _wait_or_verify(self) -> float:
        """Verify the build whose turn has come; how long to wait before the next."""
        turns = [(self._due(places), places) for places in builds_below(self._static_dir)]
        if not turns:
            return self._period
        due, places = min(turns, key=lambda turn: turn[0])
        wait = due - CLOCK.now()
        if wait > 0:
            return wait
        lock = FileLock.try_once(verifying_lock(self._static_dir))
        if lock is None:  # another devserver is at it
            return _LONGEST_PAUSE
        try:
            self._verify(places)
        except Cancelled:
            pass
        except Exception as error:  # of one build, which must not keep the others from being verified
            reason = error.strerror if isinstance(error, OSError) else error
            self._note(places.build_path, f"could not be verified: {reason}; it is tried again in a day")
            self._put_off[places.build_path] = CLOCK.now() + _DAY
        finally:
            lock.release()
        return 0.0

    def _due(self, places: BuildPlaces) -> float:
        """When the build is to be read again."""
        return max(_verified_at(places) + _EARLY * self._period, self._put_off.get(places.build_path, 0.0))

    def _verify(self, places: BuildPlaces) -> None:
        found = verify(places, self._pace)
        if found is None:  # it is gone, or of a later version
            self._put_off[places.build_path] = CLOCK.now() + _DAY
            return
        self._note(places.build_path, f"verified: {found.files} files, {found.bytes} bytes, {len(found.wrong)} wrong")
        wrong = take_out(places, found, ByContent())
        for line in told(wrong) if wrong is not None else ():
            self._note(places.build_path, line)
        with publishing(places):
            if places.manifest.exists():
                touch(places.verified)
        self._on_verified(places.build_path, found.files, found.bytes, len(found.wrong))


def _verified_at(places: BuildPlaces) -> float:
    """When the build was last verified, or else when the last of it was staged: its bytes were right then."""
    for record in (places.verified, places.manifest):
        try:
            moment = record.stat().st_mtime
        except OSError:
            continue
        return moment if moment <= CLOCK.now() + STEP else 0.0  # when it was, nobody knows: the clock was ahead
    return CLOCK.now()

"""What a campaign did and saw: figures, a log of the round, and what must never happen."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from time import monotonic

REQUESTS, BYTES, WRONG = "requests", "bytes read and compared", "wrong bytes"
BROKEN, COME_BACK = "connections broken by a kill", "told to come back"


class Ledger:
    """Counts and violations, written to by any number of threads."""

    def __init__(self, log: Path) -> None:
        """``log`` is the file that the present round is told in."""
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self._log = log
        self._lock = threading.Lock()
        self._began = monotonic()

    def begin_round(self, title: str) -> None:
        """Start the log anew."""
        self._log.write_text(f"{title}\n")
        self._began = monotonic()

    def count(self, what: str, number: int = 1) -> None:
        """Add to a figure."""
        with self._lock:
            self.counts[what] += number

    def note(self, text: str) -> None:
        """Add a line to the log of the round."""
        with self._lock, self._log.open("a") as log:
            log.write(f"{monotonic() - self._began:7.3f} {threading.current_thread().name}: {text}\n")

    def violation(self, text: str) -> None:
        """Take note of what must never happen."""
        self.note(f"VIOLATION: {text}")
        with self._lock:
            self.violations.append(text)

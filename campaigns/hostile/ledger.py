"""What a hostile campaign counts, and tells in the end."""

from __future__ import annotations

from collections import Counter
from threading import Lock

import click

_MOST_TOLD = 60


class Ledger:
    """Requests and files by kind, and what must never happen and did; safe to use from many threads."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.files: Counter[str] = Counter()
        self.violations: dict[str, list[str]] = {}
        self._lock = Lock()

    def count_request(self, kind: str) -> None:
        """One more request of that kind was sent."""
        with self._lock:
            self.requests[kind] += 1

    def count_file(self, kind: str) -> None:
        """One more file of that kind was staged."""
        with self._lock:
            self.files[kind] += 1

    def violation(self, what: str, where: str = "") -> None:
        """Record something that must never happen."""
        with self._lock:
            self.violations.setdefault(what, []).append(where)

    def tell(self, silent: int, slowest: float, seconds: float) -> None:
        """Print the table of the campaign, and what must never have happened."""
        rows = {
            "requests": sum(self.requests.values()),
            "kinds of requests": len(self.requests),
            "files": sum(self.files.values()),
            "kinds of files": len(self.files),
            "silent connections": silent,
            "/check_health, 99th percentile": f"{slowest * 1000:.0f} ms",
            "violations": sum(map(len, self.violations.values())),
            "seconds": f"{seconds:.0f}",
        }
        click.echo("| what | count |\n|---|---|")
        for name, value in rows.items():
            click.echo(f"| {name} | {value:,} |" if isinstance(value, int) else f"| {name} | {value} |")
        for what, where in list(self.violations.items())[:_MOST_TOLD]:
            click.echo(f"{what} ({len(where)} times, first {where[0]})", err=True)

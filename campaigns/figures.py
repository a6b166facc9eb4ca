"""What a devserver that is at rest holds, and whether that grew by more than it may."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from campaigns import checks

_MIB = 1024**2


@dataclass(frozen=True)
class Bound:
    """How much a figure may grow: by ``share`` of itself, or by ``amount``, whichever is more."""

    share: float
    amount: int

    def allows(self, first: int, last: int) -> bool:
        """Whether a figure may have grown from the one to the other."""
        return last <= first + max(self.share * first, self.amount)

    def __str__(self) -> str:
        if not self.share:
            return f"+{self.amount}"
        return f"+{self.share:.0%} or +{self.amount / _MIB:.0f} MiB"


_MEMORY = Bound(0.1, 20 * _MIB)
BOUNDS = {
    "memory of the server, its own": _MEMORY,
    "memory of the server, resident": _MEMORY,
    "memory of the workers' maker, its own": _MEMORY,
    "threads": Bound(0, 16),
    "open files": Bound(0, 16),
    "processes": Bound(0, 0),
    "locks, staging areas and temporary files": Bound(0, 0),
}


@dataclass(frozen=True)
class Figures:
    """A devserver at one moment: a number for each name in ``BOUNDS``."""

    values: Sequence[int]

    @classmethod
    def taken(cls, process_id: int, static_dir: Path) -> Figures:
        """The figures of now."""
        server = psutil.Process(process_id)
        memory = server.memory_full_info()
        below = server.children(recursive=True)
        left = len(checks.leftovers(static_dir))
        return cls(
            (memory.uss, memory.rss, _of_fork_server(below), server.num_threads(), server.num_fds(), len(below), left)
        )


def compared(first: Figures, last: Figures) -> list[tuple[str, str, str, str, Bound, bool]]:
    """A row for each figure: its name, at first and at last, their ratio, its bound, and whether that holds."""
    rows = []
    for (name, bound), before, after in zip(BOUNDS.items(), first.values, last.values, strict=True):
        ratio = f"{after / before:.2f}" if before else "-"
        rows.append((name, _shown(before, bound), _shown(after, bound), ratio, bound, bound.allows(before, after)))
    return rows


def _shown(value: int, bound: Bound) -> str:
    return f"{value / _MIB:.1f} MiB" if bound is _MEMORY else str(value)


def _of_fork_server(children: Sequence[psutil.Process]) -> int:
    """Bytes that the process that workers are forked from holds alone; 0 where there is none yet."""
    for child in children:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if "forkserver" in " ".join(child.cmdline()):
                return int(child.memory_full_info().uss)
    return 0

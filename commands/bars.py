"""A progress bar for each artifact, at a terminal."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from commands.display import Display, is_not_tried
from commands.printing import printable
from commands.terminal import giving_back
from staging.units import in_bytes

_GOOD = ("staged", "absent")
_WIDEST_AMOUNT = 22  # 1023 KiB of 1023.9 MiB: what stands behind it does not jump
_WIDEST_BAR = 30
# Columns of the terminal from which on there is room for more than names and states: names are not cut for its sake.
_ROOM_FOR_AMOUNTS, _ROOM_FOR_BARS, _ROOM_FOR_ALL = 52, 72, 100
_NARROW_BAR = 10
_USUAL_WIDTH, _USUAL_HEIGHT = 80, 25
_ELLIPSIS = "\u2026"  # by which rich marks what it cuts
_STYLES = {"staged": "green", "absent": "green", "failed": "red", "cancelled": "dim", "not tried": "dim"}
_SPEED_OVER = 5.0  # seconds over which a rate is taken
_SHORTEST = 0.5  # seconds over which one can be told


def console() -> Console:
    """The terminal; one that is said to have no columns has 80."""
    found = Console()
    return found if found.width > 0 else Console(width=_USUAL_WIDTH, height=_USUAL_HEIGHT)


class Bars(Display):
    """Bars that move as the bytes come, and a line below them for all of it."""

    def __init__(self, where: Console) -> None:
        width = where.width
        self._progress = Progress(*_columns(width), console=where)
        self._tasks: dict[str, TaskID] = {}
        self._all: TaskID | None = None
        self._latest: dict[str, Mapping[str, Any]] = {}
        self._speed = _Speed()
        self._tells_speed = width >= _ROOM_FOR_ALL
        self._given_back = ExitStack()
        self._show_cursor = where.show_cursor

    def __enter__(self) -> Bars:  # noqa: PYI034 - typing has no Self before Python 3.11
        self._given_back.enter_context(giving_back(self._show_cursor))
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        self._given_back.close()

    def show(self, event: Mapping[str, Any]) -> None:
        """See :class:`Display`."""
        name = event["artifact"]
        self._latest[name] = event
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task("", name=name, amount="", state="")
        self._progress.update(self._tasks[name], **_looks(event))
        if len(self._tasks) > 1:
            self._show_all()

    def _show_all(self) -> None:
        """The line of all artifacts, which stays the last one."""
        done, total = (sum(event[key] for event in self._latest.values()) for key in ("bytes_done", "bytes_total"))
        is_over = all(event["state"] in (*_GOOD, "failed", "cancelled") for event in self._latest.values())
        told = "" if is_over or not self._tells_speed else self._speed.told(done, total)
        if self._all is not None and list(self._progress.task_ids)[-1] != self._all:
            self._progress.remove_task(self._all)
            self._all = None
        if self._all is None:
            self._all = self._progress.add_task("", name="all of it", amount="", state="")
        looks = {"amount": _amount(done, total), "state": told, "completed": done, "total": total or 1}
        self._progress.update(self._all, **looks)


class _Speed:
    """How fast bytes came in the last moments."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def told(self, done: int, total: int) -> str:
        """The rate and the time left; nothing where they cannot be told yet."""
        now = monotonic()
        self._samples.append((now, done))
        while now - self._samples[0][0] > _SPEED_OVER:
            self._samples.popleft()
        begun, before = self._samples[0]
        if now - begun < _SHORTEST or done <= before:
            return ""
        rate = (done - before) / (now - begun)
        return f"{in_bytes(rate)}/s, {_in_time((total - done) / rate)} left"


class _Field(ProgressColumn):
    """A field of the task as it is: no markup of rich's, nothing that moves the cursor."""

    def __init__(self, field: str, width: int | None = None) -> None:
        # Where the terminal is too narrow, names are what is shortened.
        super().__init__(Column(no_wrap=field != "name", min_width=width))
        self._field = field
        self._has_ellipsis = _is_printed(_ELLIPSIS)

    def render(self, task: Task) -> Text:
        """See rich's own column."""
        text = printable(task.fields[self._field])
        style = _STYLES.get(text, "") if self._field == "state" else ""
        return Text(text, style, no_wrap=True, overflow="ellipsis" if self._has_ellipsis else "crop")


def _is_printed(letter: str) -> bool:
    """Whether the terminal's encoding has a letter."""
    try:
        letter.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _columns(width: int) -> list[ProgressColumn]:
    """What there is room for."""
    columns: list[ProgressColumn] = [_Field("name")]
    if width >= _ROOM_FOR_BARS:
        columns.append(BarColumn(_WIDEST_BAR if width >= _ROOM_FOR_ALL else _NARROW_BAR))
    if width >= _ROOM_FOR_AMOUNTS:
        columns.append(_Field("amount", _WIDEST_AMOUNT))
    return [*columns, _Field("state")]


def _looks(event: Mapping[str, Any]) -> dict[str, Any]:
    """What an artifact's bar shows; one whose size is not known yet swings to and fro."""
    state, done, total = event["state"], event["bytes_done"], event["bytes_total"]
    if state in _GOOD:
        return {"state": state, "amount": _amount(done, total), "completed": 1, "total": 1}
    if state == "pending":
        return {"state": event.get("trouble") or "waiting", "amount": _amount(total, total), "completed": 0, "total": 1}
    if is_not_tried(event):
        return {"state": "not tried", "amount": "", "completed": 0, "total": 1}
    is_moving = state in ("downloading", "staging")
    has_come = is_moving and total and done >= total  # what takes its time now is to unpack and publish it
    return {
        "state": event.get("trouble") or ("unpacking" if has_come else state),
        "amount": _amount(done, total),
        "completed": done,
        "total": total or (None if is_moving else 1),
    }


def _amount(done: int, total: int) -> str:
    return f"{in_bytes(done)} of {in_bytes(total)}" if total and done < total else in_bytes(total) if total else ""


def _in_time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 60
        else f"{seconds / 60:.0f} min"
        if seconds < 3600
        else f"{seconds / 3600:.1f} h"
    )

"""A progress bar for each artifact, at a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from commands.display import Display
from commands.printing import printable

_GOOD = ("staged", "absent")
_WIDEST_AMOUNT = 20  # 999.9 MB of 999.9 MB: what stands behind it does not jump
_STYLES = {"staged": "green", "absent": "green", "failed": "red", "cancelled": "red", "pending": "dim"}


class Bars(Display):
    """Bars that move as the bytes come."""

    def __init__(self) -> None:
        self._progress = Progress(_Field("name"), BarColumn(30), _Field("amount", _WIDEST_AMOUNT), _Field("state"))
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:  # noqa: PYI034 - typing has no Self before Python 3.11
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: Mapping[str, Any]) -> None:
        """See :class:`Display`."""
        name = event["artifact"]
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task("", name=name, amount="", state="")
        self._progress.update(self._tasks[name], **_looks(event))


class _Field(ProgressColumn):
    """A field of the task as it is: no markup of rich's, nothing that moves the cursor."""

    def __init__(self, field: str, width: int | None = None) -> None:
        # Where the terminal is too narrow, names are what is shortened.
        super().__init__(Column(no_wrap=field != "name", min_width=width))
        self._field = field

    def render(self, task: Task) -> Text:
        """See rich's own column."""
        text = printable(task.fields[self._field])
        style = _STYLES.get(text, "") if self._field == "state" else ""
        return Text(text, style, no_wrap=True, overflow="ellipsis")


def _looks(event: Mapping[str, Any]) -> dict[str, Any]:
    """What an artifact's bar shows; one whose size is not known yet swings to and fro."""
    state, done, total = event["state"], event["bytes_done"], event["bytes_total"]
    amount = f"{decimal(done)} of {decimal(total)}" if total and done < total else decimal(total) if total else ""
    if state in _GOOD:
        return {"state": state, "amount": amount, "completed": 1, "total": 1}
    is_moving = state in ("downloading", "staging")
    return {"state": state, "amount": amount, "completed": done, "total": total or (None if is_moving else 1)}

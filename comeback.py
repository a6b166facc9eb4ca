"""Coming back: what a devserver that died was at work on goes on by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from staging.board import StatusBoard
from staging.errors import as_devserver_error
from staging.orders import OrderBook, WrittenOrder

MOST_DEATHS = 3  # of devservers in a row that had taken one order up


def take_up(orders: OrderBook, board: StatusBoard, again: Callable[[WrittenOrder], None], resumes: bool) -> None:
    """Order ``again`` what devservers that are no more left undone; all of that without ``resumes`` is dropped.

    An order whose resumption was followed by the devserver's death ``MOST_DEATHS`` times in a row may be the cause of
    that, and is dropped too. Whatever is dropped is a line in the log.
    """
    for found in orders.take_over():
        if isinstance(found, Path):
            board.note("(unknown)", "an order that an earlier devserver left cannot be understood, and is dropped")
            continue
        reason = _taken_up(found, board, again, resumes)
        if reason:
            board.note(found.record.build_path, f"the download that was cut off does not go on: {reason}")
        if not found.is_in_use:
            found.remove()


def _taken_up(found: WrittenOrder, board: StatusBoard, again: Callable[[WrittenOrder], None], resumes: bool) -> str:
    """Why the order was not taken up; empty where it was."""
    record = found.record
    if not resumes:
        return "--no-resume"
    if record.resumed > MOST_DEATHS:
        return f"{MOST_DEATHS} devservers in a row died after they had taken it up"
    board.note(record.build_path, "the download that was cut off goes on")
    try:
        again(found)
    except Exception as error:
        cause = as_devserver_error(error, record.build_path)
        return f"{cause.kind}: {cause}"
    return ""

"""Tells the other devservers of this one's downloads."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from threading import Condition
from threading import Event as Flag

import redis

from staging import threads
from staging.board import StatusBoard
from staging.cluster.broker import UNREACHABLE
from staging.cluster.news import Bulletin, Newsstand
from staging.status import BuildStatus

_AT_MOST_EVERY = 0.2  # seconds between two bulletins of a download
_RENEWED_EVERY = 1.0  # seconds


class Announcer:
    """Leaves a bulletin of every download that changed; while the broker is away, the latest of each waits."""

    def __init__(self, newsstand: Newsstand, board: StatusBoard, tell: Callable[[str], None]) -> None:
        """``tell`` is told in a sentence what an operator should know."""
        self._newsstand = newsstand
        self._tell_operator = tell
        self._ended = Flag()
        self._changed = Condition()
        self._ids: dict[BuildStatus, str] = {}
        self._news: set[BuildStatus] = set()
        self._stopped = False
        board.subscribe(lambda status, _event, _change: self._note(status))
        board.subscribe_to_beginnings(self._note)

    def start(self) -> None:
        """Begin to tell."""
        threads.start("announcer", self._work, self._ended, self._tell_operator)

    def stop(self) -> None:
        """Tell no more: what this devserver gives up at its end, others take up."""
        with self._changed:
            self._stopped = True
            self._ended.set()
            self._changed.notify_all()

    def _note(self, status: BuildStatus) -> None:
        if status.is_followed:
            return
        with self._changed:
            self._ids.setdefault(status, uuid.uuid4().hex)
            self._news.add(status)
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._news or self._stopped, _RENEWED_EVERY)
                self._changed.wait_for(lambda: self._stopped, _AT_MOST_EVERY)
                if self._stopped:
                    return
                news, self._news = self._news, set()
                ids = dict(self._ids)
            try:
                self._tell(news, ids)
            except BaseException as error:
                with self._changed:
                    self._news |= news
                if isinstance(error, redis.ResponseError):
                    self._newsstand.clear()
                if isinstance(error, redis.ResponseError) or not isinstance(error, UNREACHABLE):
                    raise  # that it cannot be reached, the executor tells

    def _tell(self, news: set[BuildStatus], ids: dict[BuildStatus, str]) -> None:
        others = [download for status, download in ids.items() if status not in news]
        forgotten = set(self._newsstand.renew(others)) if others else set()
        news = news | {status for status, download in ids.items() if download in forgotten}
        bulletins = [Bulletin.of(status, ids[status], self._newsstand.devserver) for status in news]
        # Over is what was so when its bulletin was made.
        over = [one.download for one in bulletins if all(event.state.is_final for event in one.events)]
        self._newsstand.publish(bulletins, over)
        with self._changed:
            self._ids = {status: one for status, one in self._ids.items() if one not in over}

"""What devservers tell each other of their downloads, through Redis.

    devserver:news              a stream of bulletins
    devserver:download:<id>     the latest bulletin of a download that is under way; gone soon after its devserver is

A bulletin says all of a download: whoever missed one is told by the next.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis import Redis

from staging.cluster.broker import PREFIX
from staging.cluster.messages import Flags, Id, check_build, data_of
from staging.messages import BadMessage, Expected, checked, message_of
from staging.records.decoding import Text, as_data
from staging.records.text import encoded
from staging.status import BuildStatus, Event

_NEWS = f"{PREFIX}:news"
_MOST_NEWS = 2000  # bulletins that the stream keeps
_LIFETIME = 5000  # milliseconds that a devserver may say nothing and be alive


@dataclass(frozen=True)
class Bulletin:
    """A download as it is.

    Attributes:
        download: its id.
        devserver: the id of whose it is.
        archive_url, build, request_id: as those of a :class:`BuildStatus`.
        synchronous: the artifacts, and whether each is.
        has_begun: whether the archive has what is wanted.
        events: the latest of each.

    """

    download: Id
    devserver: Id
    archive_url: Text
    build: Text
    request_id: Text
    synchronous: Flags
    has_begun: bool
    events: Sequence[Event]

    @classmethod
    def of(cls, status: BuildStatus, download: str, devserver: str) -> Bulletin:
        """The bulletin of a download."""
        events = status.artifacts
        synchronous = {name: name in status.synchronous for name in events}
        about = (status.archive_url, status.build, status.request_id)
        return cls(download, devserver, *about, synchronous, status.has_begun, list(events.values()))

    def to_text(self) -> str:
        """The bulletin as text."""
        return encoded(as_data(self)).decode()

    @classmethod
    def from_text(cls, text: Any) -> Bulletin:
        """The bulletin that :meth:`to_text` wrote.

        Raises:
            BadMessage: it wrote no such thing.

        """
        found = message_of(cls, data_of(text), "a bulletin")
        check_build(found.build)
        expected = Expected(found.build, frozenset(found.synchronous))
        return replace(found, events=[checked(event, expected) for event in found.events])


class Newsstand:
    """Where bulletins are left and found. Every method may raise what ``UNREACHABLE`` of :mod:`broker` names.

    What lies there and is no bulletin is told, and left out.
    """

    def __init__(self, client: Redis, tell: Callable[[str], None]) -> None:
        self._client = client
        self._tell = tell
        self.devserver = uuid.uuid4().hex
        self._place = "$"

    def publish(self, bulletins: Iterable[Bulletin], over: Iterable[str]) -> None:
        """Tell everybody, and forget the downloads that are ``over``."""
        with self._client.pipeline() as pipeline:
            for bulletin in bulletins:
                text = bulletin.to_text()
                pipeline.set(_key(bulletin.download), text, px=_LIFETIME)
                pipeline.xadd(_NEWS, {"bulletin": text}, maxlen=_MOST_NEWS, approximate=True)
            for download in over:
                pipeline.delete(_key(download))
            pipeline.execute()

    def renew(self, downloads: Sequence[str]) -> list[str]:
        """Have downloads known for longer; those that are not any more."""
        with self._client.pipeline() as pipeline:
            for download in downloads:
                pipeline.pexpire(_key(download), _LIFETIME)
            answers = pipeline.execute()
        return [download for download, is_known in zip(downloads, answers, strict=True) if not is_known]

    def alive(self, downloads: Sequence[str]) -> set[str]:
        """Those of the downloads whose devservers are alive."""
        found: list[Any] = self._client.mget([_key(download) for download in downloads]) if downloads else []
        return {download for download, text in zip(downloads, found, strict=True) if text}

    def all(self) -> list[Bulletin]:
        """The downloads of others that are under way; what is told from now on is what :meth:`news` returns."""
        latest: Any = self._client.xrevrange(_NEWS, count=1)
        self._place = latest[0][0] if latest else "0"
        keys = list(self._client.scan_iter(_key("*"), 1000))
        found: list[Any] = self._client.mget(keys) if keys else []
        return self._of_others(text for text in found if text)

    def news(self, seconds: float) -> list[Bulletin]:
        """What others told meanwhile; waits for something for so long."""
        answer: Any = self._client.xread({_NEWS: self._place}, 500, int(1000 * seconds))
        entries = answer[0][1] if answer else []
        if entries:
            self._place = entries[-1][0]
        return self._of_others(fields.get("bulletin") for _, fields in entries)

    def clear(self) -> None:
        """Remove what lies in the stream's place and is none."""
        if self._client.type(_NEWS) not in ("stream", "none"):
            self._client.delete(_NEWS)
            self._tell(f"the broker's key {_NEWS} was of a wrong type, and was removed")

    def _of_others(self, texts: Iterable[Any]) -> list[Bulletin]:
        bulletins, wrong = [], ""
        for text in texts:
            try:
                bulletins.append(Bulletin.from_text(text))
            except BadMessage as error:
                wrong = str(error)
        if wrong:  # once, for all that came at the same time
            self._tell(f"the broker holds what no devserver told, which is left out: {wrong}")
        return [bulletin for bulletin in bulletins if bulletin.devserver != self.devserver]


def _key(download: str) -> str:
    return f"{PREFIX}:download:{download}"

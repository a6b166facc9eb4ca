"""What workers and the broker send: any bytes are a message, or an error that has words."""

from __future__ import annotations

import json

from artifacts.catalogue import fault_of_entry
from artifacts.job import StageRequest
from staging.cluster import messages
from staging.cluster.news import Bulletin
from staging.errors import RecordError
from staging.executors.status_queue import parsed
from staging.messages import ANYTHING, BadMessage
from staging.paths import fault_of_path
from staging.records.text import encoded


def status(data: bytes) -> None:
    """A message of the status queue."""
    try:
        message = parsed(data, ANYTHING)
    except BadMessage as error:
        assert str(error).isprintable(), "what is said of it is no line"
        return
    if message.event is not None:
        written = message.event.to_json()
        assert message.event.note.isprintable(), "a text leaves its line"
        again = parsed(encoded(["event", written]), ANYTHING).event
        assert again is not None, "it is not read as it was written"
        assert again.to_json() == written, "it is read as something else"
    if message.cause is not None:
        assert str(message.cause), "the cause has no words"


def bulletin(data: bytes) -> None:
    """Messages by which a devserver tells the others of its downloads."""
    try:
        found = Bulletin.from_text(data.decode(errors="replace"))
    except BadMessage:
        return
    assert Bulletin.from_text(found.to_text()).to_text() == found.to_text(), "it is read as something else"


def job(data: bytes) -> None:
    """The request of a job, by the broker."""
    try:
        request = messages.data_of(data.decode(errors="replace"))
        wanted = StageRequest.from_json(request)
    except (BadMessage, RecordError):
        return
    for item in wanted.artifacts:
        assert not fault_of_entry(item.entry), "no client can ask for it"
        assert not [one for one in item.objects if fault_of_path(one.name)], "it leads outside"
    assert StageRequest.from_json(json.loads(json.dumps(wanted.to_json()))) == wanted, "it is read as something else"

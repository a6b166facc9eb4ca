"""One request to a devserver whose life may end at any moment; every answer is held to what may be answered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from campaigns.ledger import BROKEN, COME_BACK, REQUESTS
from campaigns.world import World

# Seconds: no failure of the archive lasts for so long, and workers leave the processor to others where it is busy.
LONGEST_ANSWER = 120.0
_REFUSALS = (400, 404, 408, 409, 416, 504)
_COMES_BACK = 503
_FAILED = 500
_FAULT = "InternalFailure"  # of the devserver itself: no client should ever see it


# Where the newest harness looks for the cause on a page.
_CAUSE = re.compile(r"(?m)^(.*)\n\s*</pre>")


class Answer(NamedTuple):
    """What the devserver answered."""

    status: int
    headers: Message
    content: bytes

    @property
    def is_good(self) -> bool:
        """Whether it did what it was asked for."""
        return self.status < 300

    @property
    def cause(self) -> str:
        """Why not: what a page says, or problem details."""
        text = self.content.decode(errors="replace")
        if "json" in self.headers.get("Content-Type", ""):
            return text
        found = _CAUSE.search(text)
        return found[1] if found else ""


def ask(world: World, path: str, query: Mapping[str, str], method: str = "GET", range_: str = "") -> Answer | None:
    """The answer to one request; None where the devserver was killed over it, and where it broke off without that,
    which the ledger is told.
    """
    world.is_up.wait(LONGEST_ANSWER)
    epoch = world.epoch
    target = f"{path}?{urlencode(query)}" if query else path
    what = f"{method} {target} {range_}"
    world.ledger.count(REQUESTS)
    try:
        answer = _asked(world.address, method, target, {"Range": range_} if range_ else {})
    except TimeoutError:
        world.ledger.violation(f"no answer within {LONGEST_ANSWER:g} s: {what}")
        return None
    except (OSError, HTTPException) as error:
        world.ledger.count(BROKEN)
        if world.epoch == epoch:
            world.ledger.violation(f"broken off without a kill: {what}: {error!r}")
        return None
    _check(world, method, what, answer)
    return answer


def _asked(address: str, method: str, target: str, headers: Mapping[str, str]) -> Answer:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=LONGEST_ANSWER)
    try:
        connection.request(method, target, headers={**headers, "Connection": "close"})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def _check(world: World, method: str, what: str, answer: Answer) -> None:
    """Hold an answer that is not a good one to what harnesses expect of it."""
    if answer.is_good or answer.status in _REFUSALS or method == "HEAD":
        return
    world.ledger.note(f"{what}: {answer.status} {answer.cause}")
    if answer.status == _COMES_BACK:
        world.ledger.count(COME_BACK)
        if "Retry-After" not in answer.headers:
            world.ledger.violation(f"503 without Retry-After: {what}")
    elif answer.status != _FAILED or not answer.cause or _FAULT in answer.cause:
        world.ledger.violation(f"{answer.status} {answer.cause!r}: {what}")

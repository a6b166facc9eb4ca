"""The clients of a campaign: harnesses that stage, wait and remove, and devices that read; all of them check all."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote, urlsplit

from campaigns.asking import Answer, ask
from campaigns.builds import EXTRA_FILE, SYNCHRONOUS, WHOLE, CampaignBuild
from campaigns.ledger import BYTES, REQUESTS, WRONG
from campaigns.world import World

_MOST_FILES = 6  # of a build that are read at once
_OK, _PARTIAL, _NOT_THERE = 200, 206, 404


class Client:
    """One of them; what it does is a function of its random numbers, and of what it is answered."""

    def __init__(self, world: World, numbers: random.Random, pause: float = 0.0) -> None:
        """It rests for ``pause`` seconds, more or less, after everything that it does."""
        self._world = world
        self._pause = pause
        self._random = numbers
        self._habits: list[tuple[Callable[[CampaignBuild], object], int]] = [
            (self.read_some, 8),
            (self.read_range, 8),
            (self.download_and_wait, 4),
            (self.download, 2),
            (self.wait, 3),
            (self.wait_impatiently, 2),
            (self.stage_parts, 4),
            (self.ask_whether_staged, 3),
            (self.look_around, 3),
            (self.break_off, 3),
            (self.remove, 2),
            (self.cancel, 1),
        ]

    def run(self) -> None:
        """Do one thing after the other until the round is over."""
        habits, weights = zip(*self._habits, strict=True)
        while not self._world.is_over.is_set():
            (habit,) = self._random.choices(habits, weights)
            habit(self._random.choice(self._world.builds))
            if self._pause:
                self._world.is_over.wait(self._random.expovariate(1 / self._pause))

    # Harnesses

    def download(self, build: CampaignBuild) -> Answer | None:
        """Ask for what a device needs first."""
        answer = self._ask("/download", archive_url=build.url)
        if answer is not None and answer.is_good:
            self._called_staged(build, SYNCHRONOUS, answer)
        return answer

    def wait(self, build: CampaignBuild) -> Answer | None:
        """Wait for all of it."""
        answer = self._ask("/wait_for_status", archive_url=build.url)
        if answer is not None and answer.is_good:
            self._called_staged(build, WHOLE, answer)
        return answer

    def wait_impatiently(self, build: CampaignBuild) -> None:
        """Wait for a moment."""
        self._ask("/wait_for_status", archive_url=build.url, timeout=f"{self._random.uniform(0, 0.2):.3f}")

    def download_and_wait(self, build: CampaignBuild) -> None:
        """As the harness of 2012 does."""
        answer = self.download(build)
        if answer is not None and answer.is_good:
            self.wait(build)

    def stage_parts(self, build: CampaignBuild) -> None:
        """As that of 2023 does: some artifacts, perhaps a file, perhaps anew, perhaps without waiting."""
        names = self._random.sample(WHOLE, self._random.randint(1, 3))
        files = [EXTRA_FILE] if self._random.random() < 0.3 else []
        flags = {"async": "True"} if self._random.random() < 0.4 else {}
        if build.path not in self._world.steady and self._random.random() < 0.3:
            flags["clean"] = "True"
        self.stage(build, names, files, **flags)

    def stage(
        self, build: CampaignBuild, artifacts: Sequence[str] = (), files: Sequence[str] = (), **flags: str
    ) -> Answer | None:
        """Ask for parts of it by name."""
        names = {"artifacts": ",".join(artifacts), "files": ",".join(files)}
        answer = self._ask("/stage", archive_url=build.url, **names, **flags)
        if answer is not None and answer.is_good and "async" not in flags:
            self._called_staged(build, [*artifacts, *files], answer)
        return answer

    def ask_whether_staged(self, build: CampaignBuild) -> None:
        """The question that goes with it."""
        names = self._random.sample(WHOLE, self._random.randint(1, 3))
        must_be_there = self._world.promised(build).issuperset(names)
        answer = self._ask("/is_staged", archive_url=build.url, artifacts=",".join(names))
        if answer is None or not answer.is_good:
            return
        if answer.content == b"True":
            self._called_staged(build, names)
        elif answer.content != b"False":
            self._world.ledger.violation(f"/is_staged of {build.path} answered {answer.content!r}")
        elif must_be_there:
            self._world.ledger.violation(f"/is_staged of {build.path} forgot {names}")

    def remove(self, build: CampaignBuild) -> None:
        """Remove a build, if that is allowed."""
        if build.path not in self._world.steady:
            self._ask(f"/api/v1/builds/{build.path}", method="DELETE")

    def cancel(self, build: CampaignBuild) -> None:
        """Cancel what is under way of a build; what is staged stays."""
        self._ask(f"/api/v1/builds/{build.path}/cancel", method="POST")

    def look_around(self, build: CampaignBuild) -> None:
        """As people and monitors do."""
        pages = ["/", "/check_health", "/api/v1/builds", "/api/v1/health", "/doc/stage"]
        path = self._random.choice([*pages, f"/builds/{build.path}", f"/static/{build.path}/"])
        self._ask(path, method=self._random.choice(["GET", "GET", "HEAD"]) if path.startswith("/static") else "GET")

    def break_off(self, build: CampaignBuild) -> None:
        """Ask for something that takes a while, and go away."""
        asked = self._random.choice(
            [
                f"/wait_for_status?archive_url={quote(build.url, safe='')}",
                f"/download?archive_url={quote(build.url, safe='')}",
                f"/static/{build.path}/update.gz",
                f"/api/v1/builds/{build.path}/events",
                "/api/v1/events",
            ]
        )
        address = urlsplit(self._world.address)
        self._world.ledger.count(REQUESTS)
        try:
            with socket.create_connection((address.hostname or "", address.port or 0), timeout=1) as connection:
                connection.sendall(f"GET {asked} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                connection.settimeout(self._random.uniform(0.001, 0.1))
                connection.recv(self._random.choice([1, 1000, 60_000]))
        except OSError:
            pass

    # Devices

    def read_some(self, build: CampaignBuild) -> None:
        """Read some files, whole."""
        self.read(build, self._random.sample(build.files, _MOST_FILES))

    def read(self, build: CampaignBuild, paths: Iterable[str]) -> None:
        """Read files, and check every byte."""
        for path in paths:
            must_be_there = self._is_promised(build, path)
            answer = ask(self._world, f"/static/{quote(f'{build.path}/{path}')}", {})
            if answer is None:
                continue
            if answer.status == _OK:
                self._world.ledger.count(BYTES, len(answer.content))
                if not build.is_whole(path, answer.content):
                    self._wrong(f"{build.path}/{path}: {len(answer.content)} bytes are not what they should be")
            else:
                self._check_refused(build, path, answer, must_be_there)

    def read_range(self, build: CampaignBuild) -> None:
        """Read a range of a file."""
        path = self._random.choice([path for path in build.files if len(build.content(0, path) or b"") > 1])
        size = len(build.content(0, path) or b"")
        start = self._random.randrange(size)
        stop = self._random.randint(start + 1, size)
        must_be_there = self._is_promised(build, path)
        answer = ask(self._world, f"/static/{quote(f'{build.path}/{path}')}", {}, range_=f"bytes={start}-{stop - 1}")
        if answer is None:
            return
        if answer.status == _PARTIAL:
            self._world.ledger.count(BYTES, len(answer.content))
            if not build.is_right(path, answer.content, start) or len(answer.content) not in _lengths(
                build, path, start, stop
            ):
                self._wrong(f"{build.path}/{path}: bytes {start} to {stop} are not what they should be")
        else:
            self._check_refused(build, path, answer, must_be_there)

    def _check_refused(self, build: CampaignBuild, path: str, answer: Answer, must_be_there: bool) -> None:
        if must_be_there and answer.status == _NOT_THERE:
            self._world.ledger.violation(f"{build.path}/{path} was called staged, and is not there")

    def _called_staged(self, build: CampaignBuild, artifacts: Sequence[str], answer: Answer | None = None) -> None:
        """The devserver said so: then it is there."""
        if answer is not None and answer.content != b"Success":
            self._world.ledger.violation(f"an RPC of {build.path} answered {answer.content!r}")
        self._world.promise(build, artifacts)
        files = [path for name in artifacts for path in build.of_artifact(name)]
        self.read(build, self._random.sample(files, min(len(files), _MOST_FILES)))

    def _is_promised(self, build: CampaignBuild, path: str) -> bool:
        return any(path in build.of_artifact(name) for name in self._world.promised(build))

    def _wrong(self, text: str) -> None:
        self._world.ledger.count(WRONG)
        self._world.ledger.violation(text)

    def _ask(self, path: str, method: str = "GET", **query: str) -> Answer | None:
        return ask(self._world, path, query, method)


def _lengths(build: CampaignBuild, path: str, start: int, stop: int) -> set[int]:
    """How many bytes a range may have, of either version."""
    return {min(stop, len(build.content(version, path) or b"")) - start for version in (0, 1)}


def start(clients: Sequence[Client]) -> list[threading.Thread]:
    """Have each of them begin, in a thread of its own."""
    threads = [
        threading.Thread(target=client.run, name=f"client {number}", daemon=True)
        for number, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    return threads

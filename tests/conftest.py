"""What tests of a running devserver start from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.builds import Build, make_build
from tests.fake_archive import FakeArchive
from tests.servers import DevServer

StartServer = Callable[..., DevServer]


@pytest.fixture
def archive() -> Iterator[FakeArchive]:
    """A scripted archive."""
    with FakeArchive() as archive:
        yield archive


@pytest.fixture
def start_server(tmp_path: Path, archive: FakeArchive) -> Iterator[StartServer]:
    """Starts devservers that read from the scripted archive; they end with the test."""
    servers: list[DevServer] = []

    def start(*options: str, name: str = "devserver", wrapper: Sequence[str] = (), **environment: str) -> DevServer:
        variables = {"STORAGE_EMULATOR_HOST": archive.url, **environment}
        servers.append(DevServer(tmp_path, *options, environment=variables, name=name, wrapper=wrapper))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def server(start_server: StartServer) -> DevServer:
    """A devserver that reads from the scripted archive."""
    return start_server()


@pytest.fixture
def build(archive: FakeArchive) -> Build:
    """A small build in the scripted archive."""
    return make_build().upload(archive)

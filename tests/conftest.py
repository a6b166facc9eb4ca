"""What tests of a running devserver start from."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.builds import Build, make_build
from tests.fake_archive import FakeArchive
from tests.servers import FRONT, DevServer

StartServer = Callable[..., DevServer]

# What hundreds of devservers and commands import is compiled once for all of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


_NUMBERS = itertools.count()


def shares(request: pytest.FixtureRequest) -> bool:
    """Whether the test is of a module whose tests share a devserver, for to start one takes a second or two."""
    return bool(request.node.get_closest_marker("shared_server") and not request.node.get_closest_marker("own_server"))


def pytest_addoption(parser: pytest.Parser) -> None:
    kinds = ["nginx", "spread"]
    parser.addoption("--front", choices=kinds, help="have an nginx stand before every devserver: of one, or of several")


def pytest_configure(config: pytest.Config) -> None:
    os.environ[FRONT] = config.getoption("--front") or ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in item.iter_markers("not_behind"):
            if marker.args[0] == os.environ[FRONT]:
                item.add_marker(pytest.mark.skip(reason=marker.args[1]))


@pytest.fixture(scope="module")
def shared_archive() -> Iterator[FakeArchive]:
    """The scripted archive that the tests of a module share, each of which leaves it as it found it."""
    with FakeArchive() as archive:
        yield archive


@pytest.fixture(scope="module")
def shared_server(shared_archive: FakeArchive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """The devserver that they share, those that need no other options, and no other builds away."""
    server = DevServer(tmp_path_factory.mktemp("shared"), environment={"STORAGE_EMULATOR_HOST": shared_archive.url})
    yield server
    server.close()


@pytest.fixture
def archive(request: pytest.FixtureRequest) -> Iterator[FakeArchive]:
    """A scripted archive, in good health."""
    if not shares(request):
        with FakeArchive() as archive:
            yield archive
        return
    archive = request.getfixturevalue("shared_archive")
    yield archive
    archive.heal()
    archive.restore()
    archive.call_before_reads(lambda *_: None)
    archive.forget()


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
def server(request: pytest.FixtureRequest, start_server: StartServer) -> DevServer:
    """A devserver that reads from the scripted archive."""
    if not shares(request):
        return start_server()
    server: DevServer = request.getfixturevalue("shared_server")
    if server.process.poll() is not None:  # an earlier test killed it
        server.start_again()
    return server


@pytest.fixture
def build(request: pytest.FixtureRequest, archive: FakeArchive) -> Build:
    """A small build in the scripted archive, which no other test has."""
    build = make_build(version=f"R17-{next(_NUMBERS)}.0.0-a1-b1346") if shares(request) else make_build()
    return build.upload(archive)

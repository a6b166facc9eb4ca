"""The servers that a hostile campaign asks, and the ways to them."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from campaigns.hostile.files import CATALOGUE
from tests.builds import BUCKET, Build, make_build
from tests.fake_archive import FakeArchive
from tests.nginx import free_port, in_front_of, running_nginx
from tests.servers import DevServer, check_success
from tests.test_hostile import READER, TOKEN
from tests.test_spread import spread_configuration
from tests.test_tls import make_certificate

PATIENCE = 60.0  # seconds that one answer may take
SECRET_TEXT = "what nobody may read"  # noqa: S105 - of a file


class Way(NamedTuple):
    """One address under which a devserver is asked.

    Attributes:
        name: for people.
        port: on 127.0.0.1.
        context: of TLS; None for plain HTTP.

    """

    name: str
    port: int
    context: ssl.SSLContext | None = None

    def ask(self, content: bytes, ends: bool = False) -> bytes:
        """The bytes that come back for ``content``, until the connection ends.

        With ``ends``, the client says that nothing follows: an nginx then gives up what it passes on.

        Raises:
            TimeoutError: it did not end within ``PATIENCE`` seconds.

        """
        deadline = time.monotonic() + PATIENCE
        with self._connected() as connection:
            with suppress(OSError):  # what is refused early is not read to its end
                connection.sendall(content)
                if ends and self.context is None:
                    connection.shutdown(socket.SHUT_WR)
            return b"".join(_pieces(connection, deadline))

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as plain:
            if self.context is None:
                yield plain
                return
            with self.context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                yield connection


def _pieces(connection: socket.socket, deadline: float) -> Iterator[bytes]:
    with suppress(ConnectionError, ssl.SSLError):  # a reset: what the client had sent beyond the answer was not read
        while time.monotonic() < deadline:
            if not (piece := connection.recv(65536)):
                return
            yield piece
        raise TimeoutError


class Lab(NamedTuple):
    """Everything that a campaign attacks.

    Attributes:
        directory: whose content but for the static directories nobody may change.
        servers: the devservers.
        ways: to them.
        archive: that they stage from.
        build: a good build, staged on each of them.

    """

    directory: Path
    servers: list[DevServer]
    ways: list[Way]
    archive: FakeArchive
    build: Build


@contextmanager
def make_lab(directory: Path, server_options: Sequence[str] = ()) -> Iterator[Lab]:
    """Four devservers and eight nginx, with a good build staged on each devserver."""
    catalogue = directory / "catalogue.toml"
    catalogue.write_text(CATALOGUE)
    tokens = directory / "tokens.txt"
    tokens.write_text(f"{TOKEN.line}\n{READER.line}\n")
    tokens.chmod(0o600)
    (directory / "secret").write_text(SECRET_TEXT)
    (directory / "static-secret").write_text(SECRET_TEXT)
    chain, key = make_certificate(directory)
    with ExitStack() as stack:
        archive = stack.enter_context(FakeArchive())
        build = make_build().upload(archive)
        lab = Lab(directory, [], [], archive, build)
        options = ("--catalog", str(catalogue), "--allow-archive", f"gs://{BUCKET}", *server_options)
        for name, own in (("open", ()), ("tokens", ("--tokens", str(tokens), "--require-token-to-read"))):
            _add(stack, lab, name, (*options, *own), ("--tls-cert", str(chain), "--tls-key", str(key)))
        yield lab


def _add(stack: ExitStack, lab: Lab, name: str, options: tuple[str, ...], tls: tuple[str, ...]) -> None:
    """Add a devserver with these options, the same with TLS, and what stands in front of them."""
    context = ssl.create_default_context(cafile=tls[1])
    context.check_hostname = False
    plain = _server(stack, lab, name, options)
    encrypted = _server(stack, lab, f"{name}-tls", (*options, *tls))
    lab.ways.append(Way(f"{name}, direct", plain.port))
    lab.ways.append(Way(f"{name}, direct, TLS", encrypted.port, context))
    for label, more, used in (("", (), None), (", TLS", tls, context)):
        folder = lab.directory / f"front-{name}{label.strip(', ')}"
        front = stack.enter_context(in_front_of(plain, folder, *more, *_reading(options)))
        lab.ways.append(Way(f"{name}, nginx{label}", _port_of(front), used))
        port = free_port()
        folder = lab.directory / f"spread-{name}{label.strip(', ')}"
        text = spread_configuration([f"127.0.0.1:{plain.port}"], port, folder, *more)
        stack.enter_context(running_nginx(folder, text, port))
        lab.ways.append(Way(f"{name}, nginx of several{label}", port, used))


def _server(stack: ExitStack, lab: Lab, name: str, options: tuple[str, ...]) -> DevServer:
    folder = lab.directory / name
    folder.mkdir()
    server = DevServer(folder, *options, environment={"STORAGE_EMULATOR_HOST": lab.archive.url})
    stack.callback(server.close)
    _stage(server, options, lab.build)
    lab.servers.append(server)
    return server


def _stage(server: DevServer, options: tuple[str, ...], build: Build) -> None:
    """Stage the good build, as the command line does."""
    import requests

    from tests.test_hostile import SECRET

    headers = {"Authorization": f"Bearer {SECRET}"} if "--tokens" in options else {}
    verify = options[options.index("--tls-cert") + 1] if "--tls-cert" in options else True
    for rpc in ("download", "wait_for_status"):
        url = f"{server.url}/{rpc}"
        check_success(requests.get(url, {"archive_url": build.url}, headers=headers, verify=verify, timeout=PATIENCE))


def _reading(options: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a devserver's options that its nginx has to know as well."""
    if "--tokens" not in options:
        return ()
    return ("--tokens", options[options.index("--tokens") + 1], "--require-token-to-read")


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])

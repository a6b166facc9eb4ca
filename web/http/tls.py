"""TLS: connections are encrypted where there is a certificate, which may be renewed while the server runs.

cheroot's own adapters shake hands where connections are accepted, one after the other: a client that says nothing would
keep all others waiting. Here the thread that serves the client does it.
"""

from __future__ import annotations

import _ssl
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Any, NamedTuple

from cheroot.errors import FatalSSLAlert
from cheroot.makefile import MakeFile
from cheroot.ssl import Adapter

from staging.errors import ConfigurationError
from web.reloaded import Reloaded

_PLAIN_HTTP = "HTTP_REQUEST"  # OpenSSL's reason where a client speaks no TLS
_TIMED_OUT = "timed out"  # what cheroot knows a timeout by


class SpeaksPlainHttp(Exception):
    """The client speaks no TLS."""


class Certificate(NamedTuple):
    """The files of a certificate, with those of its authorities behind it, and of its key."""

    chain: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """What connections are encrypted with.

        Raises:
            ConfigurationError: one of the files cannot be used.

        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = TlsSocket
        for option, path in (("--tls-cert", self.chain), ("--tls-key", self.key)):
            try:
                path.open("rb").close()
            except OSError as error:
                raise ConfigurationError(option, f"{path} cannot be read ({error.strerror})") from error
        try:
            context.load_cert_chain(self.chain, self.key, password="")
        except (ssl.SSLError, OSError, ValueError) as error:
            reason = "the key is not the certificate's" if "MISMATCH" in str(error) else _plain(error)
            raise ConfigurationError("--tls-cert, --tls-key", f"{self.chain}, {self.key}: {reason}") from error
        return context

    def seconds_left(self) -> float:
        """How long the certificate is valid still."""
        # The one way that needs no library of its own.
        decoded = _ssl._test_decode_cert(str(self.chain))  # type: ignore[attr-defined]
        return ssl.cert_time_to_seconds(decoded["notAfter"]) - time()


class TlsAdapter(Adapter):
    """What cheroot's server asks of its TLS: connections become encrypted ones, with the certificate of this moment."""

    def __init__(self, certificate: Certificate, log: Callable[[str], None]) -> None:
        """``log`` is told when the certificate is read anew, and when it is out of date.

        Raises:
            ConfigurationError

        """
        self._certificate = certificate
        self._log = log
        self._context = Reloaded(certificate, self._loaded, self._tell)

    def read_anew(self) -> Callable[[], None]:
        """Read the certificate now; the function returned has new connections encrypted with it.

        Raises:
            ConfigurationError: as when it was first read.

        """
        return self._context.read_anew()

    def bind(self, sock: socket.socket) -> socket.socket:
        """The socket that listens stays as it is."""
        return sock

    def wrap(self, sock: socket.socket) -> tuple[socket.socket, dict[str, str]]:
        """A connection that will be encrypted, once hands are shaken."""
        context = self._context.now()
        try:
            wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError as error:  # the client is gone again
            raise FatalSSLAlert(*error.args) from error
        return wrapped, {}

    def get_environ(self) -> dict[str, str]:
        """Nothing that an application here asks for."""
        return {}

    def makefile(self, sock: socket.socket, mode: str = "r", bufsize: int = -1) -> Any:
        """The file that cheroot writes to."""
        return MakeFile(sock, mode, bufsize)

    def _tell(self, news: ssl.SSLContext | ConfigurationError) -> None:
        is_bad = isinstance(news, ConfigurationError)
        self._log(f"the certificate stays as it was: {news}" if is_bad else "read the certificate anew")

    def _loaded(self) -> ssl.SSLContext:
        context = self._certificate.context()
        if self._certificate.seconds_left() <= 0:
            self._log(f"the certificate {self._certificate.chain} has expired: clients will not trust it")
        return context


class TlsSocket(ssl.SSLSocket):
    """An encrypted connection, whose errors are those of a plain one."""

    def recv_into(self, *args: Any, **options: Any) -> int:
        """See :class:`socket.socket`."""
        with _told_as_of_a_socket():
            return super().recv_into(*args, **options)

    def send(self, *args: Any, **options: Any) -> int:
        """See :class:`socket.socket`."""
        with _told_as_of_a_socket():
            return super().send(*args, **options)

    def shake_hands(self) -> bool:
        """Go on to agree on how to encrypt, as far as the client has answered; returns whether that is done.

        Raises:
            SpeaksPlainHttp
            OSError: the client is gone, or there is nothing to agree on.

        """
        usual = self.gettimeout()
        self.settimeout(0)
        try:
            self.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            if error.reason == _PLAIN_HTTP:
                raise SpeaksPlainHttp from None
            raise
        finally:
            self.settimeout(usual)
        return True

    def say_goodbye(self) -> None:
        """Tell the client that nothing follows, so that it knows that nothing was cut off; wait for no answer."""
        self.settimeout(0)
        self.unwrap()


@contextmanager
def _told_as_of_a_socket() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise TimeoutError(_TIMED_OUT) from None
    except ssl.SSLError as error:
        raise ConnectionResetError(errno.ECONNRESET, _plain(error)) from error


def _plain(error: Exception) -> str:
    return str(getattr(error, "reason", None) or "it is no PEM file").replace("_", " ").lower()

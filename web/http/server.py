"""The HTTP server: CherryPy's, with the project's pool of threads and its way of sending files."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import cherrypy
from cherrypy._cpwsgi_server import CPWSGIServer

from web.errors import error_page
from web.http.accepting import PatientConnections, most_connections, most_files
from web.http.connection import LingeringConnection
from web.http.forwarded import TrustedProxies
from web.http.gateway import SendfileGateway
from web.http.request import LARGEST_DUMP, BoundedRequest
from web.http.thread_pool import ElasticThreadPool
from web.http.tls import Certificate, TlsAdapter
from web.http.unfinished import UNFINISHED
from web.rendering import SERVER_NAME

_BACKLOG = 1024  # connections that the kernel keeps until the server takes them
_THREADS_AT_LEAST = 10
# For whatever does not wait: files that are being read, among them by slow clients, and questions that are answered
# at once. They never compete with those who wait.
_THREADS_OF_OTHERS = 1024
_RESERVE = 16  # threads more, that tell who asks for anything but how the server is doing to come back
_IDLE_CONNECTIONS = 4096  # that are kept for their clients' next request
_SILENCE = 10.0  # seconds that a client may take between two pieces of its request


class WebServer(CPWSGIServer):  # type: ignore[misc]
    """CherryPy's server, where threads come and go and files are sent by the kernel."""

    keep_alive_conn_limit = _IDLE_CONNECTIONS
    ConnectionClass = LingeringConnection

    def __init__(self, waiting: int) -> None:
        """``waiting`` threads at most are for clients that wait."""
        super().__init__(cherrypy.server)
        self.gateway = SendfileGateway
        self.ConnectionClass.RequestHandlerClass = BoundedRequest  # in place of CherryPy's own
        self.max_request_body_size = LARGEST_DUMP  # of which most addresses take less: BoundedRequest says so
        self.server_name = "devserver"
        self.on_refusal: Callable[[int], None] = lambda _: None
        self.trusted_proxies = TrustedProxies()
        most = waiting + _THREADS_OF_OTHERS + _RESERVE
        self.requests = ElasticThreadPool(self, _THREADS_AT_LEAST, most, _RESERVE)

    def prepare(self) -> None:
        """Listen; see cheroot's."""
        super().prepare()
        idle: Any = self._connections
        self._connections: Any = PatientConnections(self, lambda text: cherrypy.log(text, "DEVSERVER"))
        idle._selector.close()

    def open_connections(self) -> int:
        """How many connections there are, served or idle."""
        return self.ConnectionClass.open_count()

    @property
    def can_add_keepalive_connection(self) -> bool:
        """Whether one more client may keep its connection; those that have not asked for anything take no place."""
        idle: int = self._connections._num_connections - len(UNFINISHED)
        return bool(self.ready) and idle < self.keep_alive_conn_limit


def configure(host: str, port: int, waiting: int, tls: Certificate | None = None) -> None:
    """Set up CherryPy's server for ``host`` and ``port``, with TLS or without; port 0 picks a free one."""
    cherrypy.config.update(
        {
            "server.socket_host": host,
            "server.socket_port": port,
            "server.socket_queue_size": _BACKLOG,
            "server.socket_timeout": _SILENCE,
            "engine.autoreload.on": False,
            "checker.on": False,
            "error_page.default": error_page,
            "request.show_tracebacks": False,
            "response.headers.server": SERVER_NAME,
        }
    )
    cherrypy.server.instance = WebServer(waiting)
    if tls is not None:
        cherrypy.server.instance.ssl_adapter = TlsAdapter(tls, lambda text: cherrypy.log(text, "DEVSERVER"))
        cherrypy.server.ssl_certificate = str(tls.chain)  # for the log, which names the address
    _allow_open_files(waiting + _THREADS_OF_OTHERS + _IDLE_CONNECTIONS)


def certificate_reader() -> Callable[[], Callable[[], None]] | None:
    """What reads the certificate anew; see :meth:`~web.http.tls.TlsAdapter.read_anew`. None for plain HTTP."""
    adapter = cherrypy.server.instance.ssl_adapter
    return adapter.read_anew if isinstance(adapter, TlsAdapter) else None


def put_in_front(gate: Callable[[Any], Any]) -> None:
    """Have every request pass what ``gate`` makes of the WSGI application."""
    cherrypy.server.instance.wsgi_app = gate(cherrypy.server.instance.wsgi_app)


def trust_proxies(networks: Sequence[str]) -> None:
    """Take the word of proxies at these addresses for who asks, and how."""
    cherrypy.server.instance.trusted_proxies = TrustedProxies(networks)


def tell_refusals(on_refusal: Callable[[int], None]) -> None:
    """Call ``on_refusal`` with the status of every answer that no application gave: to what is no request, or is too
    large, or comes when all threads are at work.
    """
    cherrypy.server.instance.on_refusal = on_refusal


def _allow_open_files(connections: int) -> None:
    """Have the process open as many files as it may, each connection being one: many shells allow no more than 1,024
    unless a program asks for them.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # what a container allows may be less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most_connections(most_files()) < connections:
        cherrypy.log(
            f"only {most_files()} files may be open at once, too few for the {connections} connections that there may "
            "be; raise the limit (ulimit -Hn, or LimitNOFILE= of systemd), or lower --max-threads",
            "DEVSERVER",
        )


def bound_port() -> int:
    """The port that the server listens on."""
    return int(cherrypy.server.bound_addr[1])


def bound_address() -> tuple[str, int]:
    """The address and the port that the server listens on."""
    host, port = cherrypy.server.bound_addr[:2]
    return str(host), int(port)


def busy_connections() -> list[socket.socket]:
    """The connections of the clients that are being served."""
    pool: ElasticThreadPool = cherrypy.server.httpserver.requests
    return [connection.socket for connection in pool.busy_connections()]


def is_crowded() -> bool:
    """Whether all threads are at work but for the reserve."""
    pool: ElasticThreadPool = cherrypy.server.httpserver.requests
    return pool.is_crowded


def clients_being_served() -> int:
    """How many of the server's threads are at work on a request."""
    pool: ElasticThreadPool = cherrypy.server.httpserver.requests
    return pool.size - pool.idle


def idle_threads() -> int:
    """How many have nothing to do."""
    pool: ElasticThreadPool = cherrypy.server.httpserver.requests
    return pool.idle

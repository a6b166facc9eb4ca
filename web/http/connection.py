"""A client's connection, which is asked for its next request before it is let go of."""

from __future__ import annotations

import select

from cheroot.server import HTTPConnection

# How long a thread stays with a client that has its answer. One that goes on asking is served twice as fast as if
# another thread had to look out for its next request.
_LINGER = 5  # milliseconds


class LingeringConnection(HTTPConnection):
    """cheroot's connection, which serves one request after the other as long as they come at once."""

    def communicate(self) -> bool:
        """Serve requests; whether the connection is to be kept for another that may come."""
        while super().communicate():  # type: ignore[no-untyped-call]
            if not self._has_another_request():
                return True
        return False

    def _has_another_request(self) -> bool:
        if self.rfile.has_data():
            return True
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(_LINGER))

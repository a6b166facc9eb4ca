"""Google Cloud Storage on this machine: gcp-storage-emulator, in memory, on a free port.

    python -m demo.emulator PORTFILE

Its own command line neither picks a free port nor answers two requests at once, as the real one does.
"""

from __future__ import annotations

import sys
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


def main(portfile: Path) -> None:
    """Serve until killed; ``portfile`` gets the port's number, in one step, once there is somebody to answer."""
    server = _Server(("127.0.0.1", 0), partial(RequestHandler, Storage(use_memory_fs=True)))
    temporary = portfile.with_suffix(".tmp")
    temporary.write_text(str(server.server_port))
    temporary.replace(portfile)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

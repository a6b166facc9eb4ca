"""gsutil over plain HTTP, like everybody else here: it speaks nothing but HTTPS, and with that the TLS of an archive
written in Python would be measured instead of gsutil. Its addresses stay ``https://``; its connections are plain.

Run by the Python of gsutil's own environment, as ``gsutil`` is.
"""

from __future__ import annotations

import http.client
import sys
from importlib import import_module


def main() -> int:
    """What the program ``gsutil`` does."""
    import_module("httplib2").HTTPSConnectionWithTimeout.connect = http.client.HTTPConnection.connect
    status: int = import_module("gslib.__main__").main()
    return status


if __name__ == "__main__":
    sys.exit(main())

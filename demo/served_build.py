"""The build as the devserver serves it: what a client sees over HTTP."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping
from typing import Any

import requests

from demo.reference_build import BUILD_PATH
from demo.servers import DemoError, Server

_TIMEOUT = (5.0, 600.0)  # seconds to connect, and for each read
_PIECE = 1024 * 1024
_CAUSE = re.compile(r"<pre>\n(.*)\n</pre>")

Tree = Mapping[str, int]  # every file's path in the build's directory, and its bytes


class Client:
    """Asks a devserver, without a proxy between.

    Its methods raise :class:`DemoError` where the devserver answers an error, with the cause, or does not answer.
    """

    def __init__(self, server: Server, build_path: str = BUILD_PATH) -> None:
        self._server = server
        self.build_url = f"{server.url}/static/{build_path}/"
        self._session = requests.Session()
        self._session.trust_env = False

    def text(self, url: str) -> str:
        """What a GET of ``url`` answers, whichever of the devserver's URLs that is."""
        return self._get(url).text

    def tree(self, folder: str = "") -> Tree:
        """Every file below ``folder``, which is empty or ends with a slash."""
        files: dict[str, int] = {}
        for entry in self._get(self.build_url + folder, headers={"Accept": "application/json"}).json():
            path = folder + entry["name"]
            files.update(self.tree(path) if path.endswith("/") else {path: entry["size"]})
        return files

    def sha256(self, path: str) -> str:
        """The digest of the file ``path``, fetched whole."""
        digest = hashlib.sha256()
        with self._get(self.build_url + path, stream=True) as response:
            for piece in response.iter_content(_PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def _get(self, url: str, **options: Any) -> requests.Response:
        try:
            response = self._session.get(url, timeout=_TIMEOUT, **options)
        except requests.RequestException as error:
            self._server.check(patience=1.0)
            raise DemoError(f"GET {url} got no answer ({type(error).__name__})") from error
        if response.status_code != requests.codes.ok:
            cause = _CAUSE.search(response.text)
            reason = html.unescape(cause[1]) if cause else response.reason
            raise DemoError(f"GET {url} answered {response.status_code}: {reason}")
        return response

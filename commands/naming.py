"""The build that a command names: by its path, or by its archive URL."""

from __future__ import annotations

from staging.archives import ArchiveUrl
from staging.errors import InvalidArchiveUrl
from web.client import Build, Client, RequestRefused


def find(client: Client, text: str) -> Build:
    """The build that ``text`` names, as the devserver knows it.

    Raises:
        RequestRefused: it knows none.
        ServerUnreachable, ServerBusy

    """
    if "://" not in text:
        return client.build(text.strip("/"))
    if text.startswith("file:"):
        return _of_a_directory(client, text)
    try:
        url = ArchiveUrl.parse(text, any_depth=True)
    except InvalidArchiveUrl as error:
        raise RequestRefused(f"{error.kind}: {error}") from None
    return client.build(str(url))


def _of_a_directory(client: Client, url: str) -> Build:
    """The same; the devserver alone knows where the build path begins in the URL of a directory."""
    path = "/".join(filter(None, url.removeprefix("file://").removeprefix("localhost").split("/")))
    for build in client.builds():
        if build["archive_url"] == f"file:///{path}":
            return build
    raise RequestRefused(f"{url} is neither staged nor being staged on this devserver")

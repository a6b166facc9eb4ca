"""The WSGI application of /objects: objects of archives as they came, for devservers that would fetch the same."""

from __future__ import annotations

from urllib.parse import parse_qs

from staging.archives import ArchiveUrl
from staging.errors import InvalidArchiveUrl
from web.files import paths
from web.files.application import Environment, StaticFiles
from web.files.objects import file_of_object


class KeptObjects(StaticFiles):
    """Serves the object that a query names: by its build's ``archive_url``, its ``name`` and its ``generation``.

    Only what the archive's own checksum was seen to hold for is there; who asks holds it to that again.
    """

    def find(self, environ: Environment, url_path: str) -> paths.Found:
        """See :class:`StaticFiles`."""
        query = {key: values[-1] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
        archive_url, name, generation = (query.get(key, "") for key in ("archive_url", "name", "generation"))
        try:
            build_path = ArchiveUrl.parse(archive_url, any_depth=True).build_path
        except InvalidArchiveUrl as error:
            raise paths.NothingThere from error
        file = file_of_object(self.directory, build_path, archive_url, name, generation)
        if url_path or file is None:
            raise paths.NothingThere
        return paths.find_own(self.directory, file)

"""The WSGI application of /objects: objects of archives as they came, for devservers that would fetch the same."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs

from staging.archives import ArchiveUrl
from staging.errors import DevServerError, InvalidArchiveUrl
from staging.placing import Placing
from web.files import paths
from web.files.application import Environment, StaticFiles
from web.files.objects import files_of_object


class KeptObjects(StaticFiles):
    """Serves the object that a query names: by its build's ``archive_url``, its ``name`` and its ``generation``.

    Who asks holds it to the archive's checksum.
    """

    tells_encodings = False

    def find(self, environ: Environment, url_path: str) -> paths.Found:
        """See :class:`StaticFiles`."""
        query = {key: values[-1] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
        archive_url, name, generation = (query.get(key, "") for key in ("archive_url", "name", "generation"))
        try:
            url = ArchiveUrl.parse(archive_url, any_depth=True)
        except InvalidArchiveUrl as error:
            raise paths.NothingThere from error
        if not url_path:
            with suppress(OSError, DevServerError):  # a manifest that cannot be read: a peer asks elsewhere
                places = Placing(Path(self.directory)).of(url)
                for file in files_of_object(places, archive_url, name, generation):
                    with suppress(paths.NothingThere):
                        return paths.find_own(self.directory, file)
        raise paths.NothingThere

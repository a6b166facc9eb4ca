"""The RPCs that answer questions about builds that are here, and one about the archive."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cherrypy

from devserver_util import build_directory, latest_build, latest_official
from downloader import Downloader
from staging.archives import Archive, ArchiveUrl
from staging.control_files import AUTOTEST, ControlFiles
from staging.errors import InvalidParameter, NotStaged
from staging.layout import BuildPlaces
from staging.presence import is_absence
from staging.versions import milestone_of
from web.methods import answers, as_text, documented
from web.parameters import build_name_of, names, optional_text, text
from web.rpcs.staging import EXAMPLE_URL

_EXAMPLE_BUILD = "x86-mario-release/R17-1413.0.0-a1-b1346"
_IMAGE_ARCHIVE = "gs://chromeos-image-archive"  # where official builds are, unless the caller says otherwise
_LATEST_OFFICIAL = "latest-official"
_MOST_DIGITS = 9  # of a milestone
_PATIENCE = 20.0  # seconds that the archive may say nothing


class BuildRpcs:
    """The RPCs of who wants to know something of a build."""

    def __init__(self, downloader: Downloader, static_dir: Path) -> None:
        self._downloader = downloader
        self._static_dir = static_dir

    @answers("GET", "POST")
    @documented
    def latestbuild(
        self, /, *, target: Any = None, milestone: Any = None, gs_bucket: Any = None, **_ignored: Any
    ) -> bytes:
        """The newest version of a target's builds that are on this devserver.

        target
            For example x86-mario-release.
        milestone
            For example R17: of that milestone alone.
        gs_bucket
            Of that bucket's builds alone; of those at /static/<target>, if it is left out.

        Answers the version, or 500 where there is none.
        """
        wanted = _milestone(optional_text("milestone", milestone))
        bucket = optional_text("gs_bucket", gs_bucket)
        return as_text(latest_build(self._static_dir, text("target", target, "x86-mario-release"), wanted, bucket))

    @answers("GET", "POST")
    @documented
    def controlfiles(
        self,
        /,
        *,
        build: Any = None,
        control_path: Any = None,
        suite_name: Any = None,
        gs_bucket: Any = None,
        **_ignored: Any,
    ) -> bytes:
        """The control files of a build that is staged here, or the text of one.

        build
            For example x86-mario-release/R17-1413.0.0-a1-b1346.
        control_path
            A file below autotest/: its text is the answer.
        suite_name
            List those of this suite alone.
        gs_bucket
            The build's bucket, where builds of several have its path.

        Answers the paths below autotest/, one a line.
        """
        files = self._control_files(build, gs_bucket)
        path = optional_text("control_path", control_path)
        if path:
            content = files.text(path)
            return as_text(f"Unknown control path {path}") if content is None else as_text(content)
        suite = optional_text("suite_name", suite_name)
        if suite:
            return as_text("\n".join(files.of_suite(suite)))
        return as_text("\n".join(files.all()) if files.are_there else f"Unknown build path {build}/{AUTOTEST}")

    @answers("GET", "POST")
    @documented
    def list_suite_controls(
        self, /, *, build: Any = None, suite_name: Any = None, gs_bucket: Any = None, **_ignored: Any
    ) -> bytes:
        """The texts of a suite's control files, as JSON: path to text.

        build
            For example x86-mario-release/R17-1413.0.0-a1-b1346.
        suite_name
            The suite; all control files, if it is left out.
        gs_bucket
            The build's bucket, where builds of several have its path.
        """
        files = self._control_files(build, gs_bucket)
        suite = optional_text("suite_name", suite_name)
        texts = {path: files.text(path) for path in (files.of_suite(suite) if suite else files.all())}
        cherrypy.response.headers["Content-Type"] = "application/json"
        found = {path: content.decode(errors="replace") for path, content in texts.items() if content is not None}
        return json.dumps(found).encode()

    @answers("GET", "POST")
    def list_image_dir(self, /, *, archive_url: Any = None, **_ignored: Any) -> bytes:
        """The files that are staged of a build: a line each, with name, size, and when it was changed.

        archive_url
            The build: gs://bucket/target/version.
        """
        url = text("archive_url", archive_url, EXAMPLE_URL)
        places, files = self._downloader.staged_files(url)
        if not files:
            return as_text(f"{url} has not been staged on this devserver.")
        return as_text("\n".join(filter(None, (_line(places.published, path) for path in files))))

    @answers("GET", "POST")
    @documented
    def locate_file(
        self, /, *, archive_url: Any = None, artifacts: Any = None, file_name: Any = None, **_ignored: Any
    ) -> bytes:
        """Where a file of a staged build lies, relative to the build.

        archive_url
            The build: gs://bucket/target/version.
        artifacts
            The artifacts that it may be in, with commas between them.
        file_name
            Its name, without a directory.

        Answers the path, or 500 where there is none.
        """
        url = text("archive_url", archive_url, EXAMPLE_URL)
        name = text("file_name", file_name, "autotest_server_package.tar.bz2")
        places, paths = self._downloader.staged_files(url, names("artifacts", artifacts))
        found = [path for path in paths if path.rpartition("/")[2] == name]
        if not found:
            raise NotStaged(f"Could not find {name} in {places.build_path}. Is it staged?")
        return as_text(min(found, key=lambda path: (path.count("/"), path)))

    @answers("GET", "POST")
    def xbuddy_translate(self, /, *path: str, image_dir: Any = None, **_ignored: Any) -> bytes:
        """What an alias stands for: xbuddy_translate/remote/BOARD/latest-official is the path of the test image of the
        latest official build in the archive.

        image_dir
            The archive; gs://chromeos-image-archive, if it is left out.
        """
        if len(path) != 3 or (path[0], path[2]) != ("remote", _LATEST_OFFICIAL):
            raise InvalidParameter("path", f"the one alias that is known is remote/BOARD/{_LATEST_OFFICIAL}")
        archive = optional_text("image_dir", image_dir) or _IMAGE_ARCHIVE
        return as_text(latest_official(self._allowed_archive, archive, path[1], _PATIENCE))

    def _allowed_archive(self, url: ArchiveUrl) -> Archive:
        return self._downloader.opened_archive(url, _PATIENCE)

    def _control_files(self, build: Any, gs_bucket: Any) -> ControlFiles:
        given = text("build", build, _EXAMPLE_BUILD)
        bucket = optional_text("gs_bucket", gs_bucket)
        if bucket or "://" in given:
            name = build_name_of(self._downloader.name_of, given, bucket)
            self._downloader.note_use(name)
            return ControlFiles(BuildPlaces(self._static_dir, name).published, given.strip("/"))
        directory = build_directory(self._static_dir, "build", given)
        self._downloader.note_use(directory.relative_to(self._static_dir).as_posix())
        return ControlFiles(directory, given.strip("/"))


def _milestone(given: str) -> int | None:
    """The number of a milestone, with or without its R."""
    if not given:
        return None
    number = given.upper().removeprefix("R")
    if not (number.isdigit() and number.isascii() and len(number) <= _MOST_DIGITS):
        raise InvalidParameter("milestone", f"{given!r} is no milestone; write for example milestone=R17")
    return milestone_of(f"R{number}-")


def _line(directory: Path, path: str) -> str:
    """What there is to say of a file; nothing of one that is gone by now."""
    try:
        status = (directory / path).stat()  # of what is served, where it is a link
    except OSError as error:
        if is_absence(error):
            return ""
        raise
    return f"{path} {status.st_size} {datetime.fromtimestamp(int(status.st_mtime), timezone.utc).isoformat()}"

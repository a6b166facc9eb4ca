"""The work itself: staging some artifacts of a build, in this process or in a worker far away."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

from artifacts.artifact import DownloadableArtifact, Site, make_artifact
from artifacts.catalogue import REFUSE, CatalogueEntry, fault_of_entry
from staging import request_ids
from staging.archives import ArchiveObject, ArchiveUrl, open_archive
from staging.archives.peers import Peers, PeerSettings
from staging.build_names import in_request, of_request
from staging.errors import Cancelled, RecordMalformed, as_devserver_error
from staging.layout import BuildPlaces, synchronous_lock
from staging.log_lines import TEXT, log_to_stderr
from staging.priority import GiveWay
from staging.records.decoding import Count, Text, as_data, converted
from staging.retry import Patience
from staging.status import Report, State
from staging.transfer import Transfer
from staging.tree import UnpackLimits

# Seconds after which somebody who is at work at the same artifact is taken for dead, where nothing more is known of
# him: the worker of a devserver that died is told to stop before that.
_PATIENCE_WITH_OTHERS = 30.0

NAME = "artifacts.job:run_stage_request"  # of the job, where it is known by its name
_WHAT = "the request of a job"


@dataclass(frozen=True)
class StagingOptions:
    """What an operator may choose of staging: see ``devserver --help``."""

    static_dir: Path
    archive_roots: tuple[Path, ...] = ()
    patience: Patience = field(default_factory=Patience)
    unpack_limits: UnpackLimits = field(default_factory=UnpackLimits)
    run_packager: bool = False
    artifacts_at_once: int = 6
    log_format: str = TEXT
    stage_inline: bool = True
    keep_objects: bool = False
    peers: PeerSettings = field(default_factory=PeerSettings)
    user_project: str = ""

    def keeps_objects_of(self, url: ArchiveUrl) -> bool:
        """Whether tarballs of that build are kept: those without a checksum no peer asks for."""
        return self.keep_objects and url.scheme == "gs"


@dataclass(frozen=True)
class GatheredArtifact:
    """A catalogue entry, and the objects of one build that are it."""

    entry: CatalogueEntry
    objects: tuple[ArchiveObject, ...]

    def checked(self) -> GatheredArtifact:
        """The same, with every name checked.

        Raises:
            RecordMalformed

        """
        fault = fault_of_entry(self.entry, [item.name for item in self.objects])
        if fault:
            raise RecordMalformed(_WHAT, f"it has an artifact of which {fault}")
        try:
            objects = tuple(replace(item.checked(), unknown=None) for item in self.objects)
        except ValueError:
            raise RecordMalformed(_WHAT, "it has an object that is called as none can be") from None
        return replace(self, objects=objects)


@dataclass(frozen=True)
class StageRequest:
    """Which artifacts of a build to stage, and how; JSON-safe by :meth:`to_json`.

    ``attempt`` is more than 1 where a worker was given the job before, and is taken for dead. ``is_of_its_own`` says
    that another build has the build's path, and it lies in a place of its own.
    """

    archive_url: Text
    artifacts: Sequence[GatheredArtifact]
    options: StagingOptions
    request_id: Text = ""
    attempt: Count = 1
    is_of_its_own: bool = False

    @property
    def url(self) -> ArchiveUrl:
        """The build.

        Raises:
            InvalidArchiveUrl

        """
        return ArchiveUrl.parse(self.archive_url, self.options.archive_roots, any_depth=True)

    @property
    def places(self) -> BuildPlaces:
        """Where it lies; raises the same."""
        url = self.url
        return BuildPlaces(self.options.static_dir, str(url) if self.is_of_its_own else url.build_path)

    def to_json(self) -> Any:
        """The request as JSON-safe data. Workers of versions before know no ``unsafe``, and need not where it says what
        they do.
        """
        data = as_data(replace(self, archive_url=in_request(self.archive_url, self.is_of_its_own)))
        del data["is_of_its_own"]  # the URL says so
        for item in data["artifacts"]:
            if item["entry"].get("unsafe") == REFUSE:
                del item["entry"]["unsafe"]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StageRequest:
        """The request that :meth:`to_json` wrote, in this process or in one that may write anything.

        Raises:
            RecordMalformed

        """
        wanted = converted(cls, data, _WHAT)
        known = CatalogueEntry.__dataclass_fields__.keys()
        if not all(item["entry"].keys() <= known for item in data["artifacts"]):
            raise RecordMalformed(_WHAT, "it has an artifact as only a later version stages it")
        artifacts = [item.checked() for item in wanted.artifacts]
        archive_url, is_of_its_own = of_request(wanted.archive_url)
        return replace(
            wanted,
            archive_url=archive_url,
            artifacts=artifacts,
            request_id=request_ids.cleaned(wanted.request_id),
            is_of_its_own=is_of_its_own,
        )


def run_stage_request(request: dict[str, Any], report: Report, cancelled: Flag) -> None:
    """Stage what ``request``, a :class:`StageRequest` as JSON, asks for; this is the job that executors run."""
    wanted = StageRequest.from_json(request)
    log_to_stderr(wanted.options.log_format, tag="WORKER", request_id=wanted.request_id)
    stage_artifacts(wanted, report, cancelled)


def stage_artifacts(request: StageRequest, report: Report, cancelled: Flag) -> None:
    """Stage every artifact of ``request``, some at once; each outcome is an event, and a failure stops no other."""
    url = request.url
    patience = request.options.patience
    is_urgent = all(item.entry.synchronous for item in request.artifacts)
    give_way = None if is_urgent else GiveWay(synchronous_lock(request.options.static_dir), cancelled)
    site = Site(
        url=url,
        places=request.places,
        transfer=Transfer(
            open_archive(url, patience.stall_timeout, request.options.user_project),
            patience,
            cancelled,
            give_way=give_way,
            peers=Peers(request.options.peers, str(url), patience.stall_timeout),
        ),
        unpack_limits=request.options.unpack_limits,
        keep_objects=request.options.keeps_objects_of(url),
        run_packager=request.options.run_packager,
        report=report,
        cancelled=cancelled,
        patience_with_others=_PATIENCE_WITH_OTHERS if request.attempt == 1 else 0.0,
    )
    waiting = deque(make_artifact(item.entry, item.objects, site) for item in request.artifacts)
    threads = [
        Thread(target=_stage_while_there_are, args=(waiting, site, request.request_id), name="stage", daemon=True)
        for _ in range(min(len(waiting), request.options.artifacts_at_once))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _stage_while_there_are(waiting: deque[DownloadableArtifact], site: Site, request_id: str) -> None:
    request_ids.work_for(request_id)
    while True:
        try:
            artifact = waiting.popleft()
        except IndexError:
            return
        _stage(artifact, site)


def _stage(artifact: DownloadableArtifact, site: Site) -> None:
    try:
        with artifact.claimed():
            _stage_claimed(artifact)
    except BaseException as error:
        cause = as_devserver_error(error, artifact.name)
        state = State.CANCELLED if isinstance(cause, Cancelled) else State.FAILED
        site.report(artifact.event(state, cause=cause))


def _stage_claimed(artifact: DownloadableArtifact) -> None:
    if artifact.is_staged():
        artifact.tell_that_it_is_staged()
        return
    try:
        artifact.download()
        artifact.stage()
    except BaseException as error:
        if not isinstance(as_devserver_error(error, artifact.name), Cancelled):
            artifact.discard()  # before anybody is told, who may ask for it anew
        raise

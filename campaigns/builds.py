"""The builds of a campaign: two versions of each, so that what is put together from both would be noticed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tests.builds import BUCKET, FULL_PAYLOAD, Build, make_build
from tests.fake_archive import FakeArchive

SYNCHRONOUS = ("full_payload", "stateful", "test_suites")
BACKGROUND = ("nton_payload", "mton_payload", "autotest")
WHOLE = (*SYNCHRONOUS, *BACKGROUND)
EXTRA_FILE = "image.zip"  # an object that nobody stages but by its name
_SUITES = "autotest/test_suites/"


@dataclass(frozen=True)
class CampaignBuild:
    """One build, which is published anew now and then: all of it is of the one version, or of the other."""

    versions: tuple[Build, Build]

    @property
    def url(self) -> str:
        """The archive URL."""
        return self.versions[0].url

    @property
    def path(self) -> str:
        """The build path."""
        return self.versions[0].path

    @property
    def objects(self) -> list[str]:
        """The names of its objects."""
        return list(self.versions[0].objects)

    @property
    def files(self) -> list[str]:
        """The paths of all files that may be visible of it."""
        return [*self.versions[0].files, EXTRA_FILE]

    def content(self, version: int, path: str) -> bytes | None:
        """What a file of a version holds; None where no such file may be visible."""
        build = self.versions[version]
        return build.objects[EXTRA_FILE] if path == EXTRA_FILE else build.files.get(path)

    def is_right(self, path: str, content: bytes, start: int = 0) -> bool:
        """Whether the bytes of a file from ``start`` on may be those; an empty range is none."""
        return any(
            whole is not None and whole[start : start + len(content)] == content and (content or len(whole) == start)
            for whole in (self.content(0, path), self.content(1, path))
        )

    def is_whole(self, path: str, content: bytes) -> bool:
        """Whether all of a file may be those bytes."""
        return content in (self.content(0, path), self.content(1, path))

    def of_artifact(self, name: str) -> list[str]:
        """The files that the artifact publishes."""
        version = self.versions[0].version
        if name in ("nton_payload", "mton_payload"):
            return [f"au/{version}_{name.partition('_')[0]}/update.gz"]
        if name == "test_suites":
            return [path for path in self.versions[0].files if path.startswith(_SUITES)]
        if name == "autotest":
            files = self.versions[0].files
            return [path for path in files if path.startswith("autotest/") and not path.startswith(_SUITES)]
        return [{"full_payload": "update.gz", "stateful": "stateful.tgz"}.get(name, EXTRA_FILE)]

    def renamed(self, version: str) -> CampaignBuild:
        """The same, published as another version of the target: nothing of it is made anew."""
        old = self.versions[0].version
        first, second = (
            replace(build, version=version, files={path.replace(old, version): it for path, it in build.files.items()})
            for build in self.versions
        )
        return CampaignBuild((first, second))

    def upload(self, archive: FakeArchive, version: int, objects: Iterable[str] = ()) -> None:
        """Publish all objects of a version, or some, as new generations."""
        build = self.versions[version]
        for name in objects or build.objects:
            archive.put(BUCKET, f"{build.path}/{name}", build.objects[name])

    def take_back(self, archive: FakeArchive) -> None:
        """Publish it no more."""
        for name in self.objects:
            archive.remove(BUCKET, f"{self.path}/{name}")


def make_builds(count: int) -> list[CampaignBuild]:
    """Small builds, of about a megabyte each."""
    return [make_campaign_build(f"R17-{number}.0.0") for number in range(count)]


def make_campaign_build(version: str) -> CampaignBuild:
    """One of them, with an object that nobody stages but by its name."""
    first = make_build(version=version)
    second = replace(make_build(version=version, bucket="republished"), bucket=BUCKET)
    for build in (first, second):
        build.objects[EXTRA_FILE] = build.objects[FULL_PAYLOAD][:50_000]
    return CampaignBuild((first, second))

"""Many builds at once: who is waited for comes first, and the rest queues."""

from __future__ import annotations

from pathlib import Path
from threading import Event as Flag

from tests.builds import Build, make_build, noise
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import check_success, eventually


def test_background_work_gives_way_to_the_synchronous_work_of_another_build(
    start_server: StartServer, archive: FakeArchive, tmp_path: Path
) -> None:
    # Of the first build, a big object is on its way in the background; of the second, a synchronous one is held back.
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(
        '[[artifact]]\nname = "big"\npattern = "big"\nrequired = false\n'
        '[[artifact]]\nname = "urgent"\npattern = "urgent"\nrequired = false\nsynchronous = true\n'
    )
    archive.put("bucket", "target/1/big", noise(150_000_000, "big"))
    archive.put("bucket", "target/2/urgent", b"urgent")
    archive.bytes_per_second = 10_000_000
    server = start_server("--catalog", str(catalogue))
    check_success(server.download("gs://bucket/target/1"))
    eventually(lambda: archive.bytes_sent("big") > 0)
    with archive.holding("urgent") as reached:
        download = server.ask("/download", archive_url="gs://bucket/target/2")
        assert reached.wait(10)
        # What is asked for already still comes, 48 MiB at most; then the wire is left to the urgent one.
        Flag().wait(2.5)
        before = archive.bytes_sent("big")
        Flag().wait(1.0)
        assert archive.bytes_sent("big") - before <= 8 * 1024**2
        assert before < 80_000_000
    check_success(download.result(10))
    archive.bytes_per_second = 0
    check_success(server.wait_for_status("gs://bucket/target/1"))


def test_builds_beyond_the_limit_queue_and_say_so(start_server: StartServer, archive: FakeArchive) -> None:
    server = start_server("--max-downloads", "1")
    builds = [make_build(version=f"R17-{n}.0.0").upload(archive) for n in range(3)]
    with archive.holding("autotest.tar.bz2") as reached:
        for build in builds:
            check_success(server.download(build.url))
        assert reached.wait(10)
        eventually(lambda: server.log.count("queued: as many downloads as may run at once do") >= 2)
        eventually(lambda: len(server.workers()) == 1)
    for build in builds:
        check_success(server.wait_for_status(build.url))
        build.check_staged(server.static_dir)
    # The last one was told that it moved up.
    assert f"{builds[2].path}: queued: as many downloads as may run at once do, and 1 more are ahead" in server.log
    assert server.log.count("and 0 more are ahead") == 2


def test_one_artifact_at_a_time_is_enough(start_server: StartServer, build: Build) -> None:
    server = start_server("--max-artifacts", "1")
    server.stage(build.url)
    build.check_staged(server.static_dir)

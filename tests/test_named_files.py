"""Files that requests name: by whichever name the archive has, and with the reason where it cannot be staged."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
import requests

from tests.builds import BUCKET, Build
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, check_success
from web.client import Client

pytestmark = pytest.mark.shared_server
_NUMBERS = itertools.count()


@pytest.fixture
def named(archive: FakeArchive) -> Build:
    """A build with objects that are called like patterns, and unlike files."""
    build = Build(target="named", version=f"v{next(_NUMBERS)}")
    patterns = ("core?.bin", "core1.bin", "a**b", "axxb", "x[1]", "x1", "*" * 40)
    others = ("r#17", "Plans, final.bin", " blank.bin", "bob", "bob/sue", "/x.bin", "y//x.bin")
    spellings = ("U\u0308bung.bin", "both\u00dc", "bothU\u0308")
    names = (*patterns, *others, *spellings)
    build.objects = {name: name.encode() for name in names}
    return build.upload(archive)


def content(server: DevServer, build: Build, path: str) -> bytes | None:
    answer = server.get(f"/static/{build.path}/{path}")
    return answer.content if answer.ok else None


@pytest.mark.parametrize(
    ("name", "quoted"), [("core?.bin", "core%3F.bin"), ("a**b", "a**b"), ("*" * 40, "*" * 40), ("r#17", "r%2317")]
)
def test_an_objects_own_name_comes_before_what_is_a_pattern(
    server: DevServer, named: Build, name: str, quoted: str
) -> None:
    check_success(server.get("/stage", archive_url=named.url, files=name))
    assert server.get("/is_staged", archive_url=named.url, files=name).text == "True"
    assert content(server, named, quoted) == name.encode()
    assert [content(server, named, other) for other in ("core1.bin", "axxb")] == [None, None]


def test_a_pattern_is_one_where_no_object_is_called_so(server: DevServer, named: Build) -> None:
    check_success(server.get("/stage", archive_url=named.url, files="core*.bin,x[1]"))
    assert content(server, named, "core1.bin") == b"core1.bin"
    assert content(server, named, "core%3F.bin") == b"core?.bin"
    assert (content(server, named, "x%5B1%5D"), content(server, named, "x1")) == (b"x[1]", None)


def test_a_name_with_a_comma_or_a_blank_is_one_file(server: DevServer, named: Build) -> None:
    query = [("archive_url", named.url), ("file", "Plans, final.bin"), ("file", " blank.bin"), ("files", "bob,r#17")]
    for rpc, expected in (("is_staged", "False"), ("stage", "Success"), ("is_staged", "True")):
        assert requests.get(f"{server.url}/{rpc}", params=query, timeout=20).text == expected
    assert content(server, named, "Plans%2C%20final.bin") == b"Plans, final.bin"
    assert content(server, named, "%20blank.bin") == b" blank.bin"
    assert content(server, named, "bob") == b"bob"


def test_the_client_names_such_a_file_as_it_is(server: DevServer, named: Build) -> None:
    client = Client(server.url)
    wanted = ["Plans, final.bin", "bob"]
    client.stage(named.url, files=wanted)
    assert client.is_staged(named.url, files=wanted)
    assert content(server, named, "Plans%2C%20final.bin") == b"Plans, final.bin"


@pytest.mark.parametrize(("first", "second"), [("bob", "bob/sue"), ("bob/sue", "bob")])
def test_a_name_that_is_a_file_and_a_directory_is_told_as_that(
    server: DevServer, named: Build, first: str, second: str
) -> None:
    check_success(server.get("/stage", archive_url=named.url, files=first))
    answer = server.get("/stage", archive_url=named.url, files=second)
    assert answer.status_code == 500
    here, there = ("a directory", "a file") if first == "bob" else ("a file", "a directory")
    assert cause_of(answer) == (
        f"PathTaken: file:{second} has {here} at {named.path}/bob, where {there} of that name lies already: "
        "the two cannot be staged together"
    )
    assert content(server, named, first) == first.encode()


@pytest.mark.parametrize("files", ["bob,bob/sue", "bob/sue,bob"])
def test_of_a_file_and_a_directory_of_one_name_one_is_staged(server: DevServer, named: Build, files: str) -> None:
    answer = server.get("/stage", archive_url=named.url, files=files)
    assert cause_of(answer).startswith("PathTaken: file:bob")
    assert [content(server, named, name) == name.encode() for name in ("bob", "bob/sue")].count(True) == 1


@pytest.mark.parametrize("name", ["/x.bin", "y//x.bin", "/*.bin"])
def test_a_name_with_an_empty_part_is_refused_as_that(server: DevServer, named: Build, name: str) -> None:
    answer = server.get("/stage", archive_url=named.url, files=name)
    assert answer.status_code == 400
    assert cause_of(answer).startswith(f"InvalidParameter: files: {name!r} cannot be staged: it has an empty part")


def test_a_name_that_no_file_system_takes_is_refused_as_that(server: DevServer, named: Build) -> None:
    answer = server.get("/stage", archive_url=named.url, files="x" * 256)
    assert cause_of(answer) == f"InvalidParameter: files: {'x' * 256!r} cannot be staged: it is too long"


def test_names_are_bytes_and_no_spelling_is_another(server: DevServer, named: Build) -> None:
    answer = server.get("/stage", archive_url=named.url, files="\u00dcbung.bin")
    assert (answer.status_code, cause_of(answer).split(":")[0]) == (500, "ObjectNotFound")
    check_success(server.get("/stage", archive_url=named.url, files="U\u0308bung.bin,both\u00dc,bothU\u0308"))
    assert content(server, named, "%C3%9Cbung.bin") is None
    assert content(server, named, "U%CC%88bung.bin") == "U\u0308bung.bin".encode()
    assert content(server, named, "both%C3%9C") == "both\u00dc".encode()
    assert content(server, named, "bothU%CC%88") == "bothU\u0308".encode()
    listed = server.get(f"/static/{named.path}/").text
    assert [link in listed for link in ("./U%CC%88bung.bin", "./both%C3%9C", "./bothU%CC%88")] == [True] * 3


def test_what_marks_a_directory_is_no_file(server: DevServer, archive: FakeArchive) -> None:
    markers: Mapping[str, bytes] = {"": b"", "autotest/": b"", "other/": b"12345", "other/x.bin": b"x"}
    for name, marker in markers.items():
        archive.put(BUCKET, f"marked/v1/{name}", marker)
    url = f"gs://{BUCKET}/marked/v1"
    for name in ("autotest/", "other/", "autotest", "*/"):
        answer = server.get("/stage", archive_url=url, files=name)
        assert (answer.status_code, cause_of(answer).split(":")[0]) == (500, "ObjectNotFound"), name
    check_success(server.get("/stage", archive_url=url, files="other/*"))
    assert [entry["name"] for entry in listed(server, "marked/v1")] == ["other/"]
    assert [entry["name"] for entry in listed(server, "marked/v1/other")] == ["x.bin"]


def listed(server: DevServer, path: str) -> list[dict[str, object]]:
    answer = requests.get(f"{server.url}/static/{path}/", headers={"Accept": "application/json"}, timeout=20)
    found: list[dict[str, object]] = answer.json()
    return found

"""Several devservers, each with a disk of its own: nginx and the client send each build to the same one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nginx import free_port, running_nginx
from tests.servers import PROJECT
from tests.test_tls import make_certificate
from web.client.ring import Ring, key_of

BUILDS = [
    f"{target}-release/R{100 + number // 100}-{15000 + number}.0.0"
    for target in ("x86-mario", "eve", "octopus", "atlas-kernelnext")
    for number in range(250)
]
NAMES = ("one", "two", "three", "four", "five")

# Upstream servers that answer their own address; under /static, only the one that the query names has anything.
_UPSTREAMS = """
{user}
pid nginx.pid;
error_log error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
{listens}
        location / {{ return 200 "127.0.0.1:$server_port"; }}
        location = /busy {{ return 503 "127.0.0.1:$server_port"; }}
        location /static/ {{
            if ($arg_at = "127.0.0.1:$server_port") {{ return 200 "127.0.0.1:$server_port"; }}
            if ($arg_at = "") {{ return 200 "127.0.0.1:$server_port"; }}
            return 404;
        }}
    }}
}}
"""


class Front(NamedTuple):
    """An nginx in front of several upstream servers: their addresses, and a session that asks it."""

    address: str
    upstreams: list[str]
    session: requests.Session

    def get(self, path: str, **headers: str) -> str:
        """Who answered, or the status where that is none to be content with."""
        answer = self.session.get(self.address + path, headers=headers, timeout=60)
        return answer.text if answer.ok else str(answer.status_code)


def spread_configuration(upstreams: list[str], port: int, run_dir: Path, *options: str) -> str:
    """What the command line prints for these upstreams; ``options`` are the devserver's own."""
    command = [sys.executable, str(PROJECT / "devserver.py"), *options, "nginx-config"]
    command += ["--listen", f"127.0.0.1:{port}", "--run-dir", str(run_dir)]
    command += [f"--upstream={upstream}" for upstream in upstreams]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """An nginx in front of five servers that say who they are."""
    folder = tmp_path_factory.mktemp("spread")
    ports = [free_port() for _ in NAMES]
    listens = "\n".join(f"        listen 127.0.0.1:{port};" for port in ports)
    upstreams = [f"127.0.0.1:{port}" for port in ports]
    port = free_port()
    configuration = spread_configuration(upstreams, port, folder / "front")
    user = "user root;" if "\nuser " in configuration else ""
    with (
        running_nginx(folder / "upstreams", _UPSTREAMS.format(user=user, listens=listens), ports[0]),
        running_nginx(folder / "front", configuration, port) as address,
        requests.Session() as session,
    ):
        yield Front(address, upstreams, session)


def spellings(build: str) -> list[str]:
    """The requests that are about a build, as real clients write them."""
    url, encoded = f"gs://bucket/{build}", quote(f"gs://bucket/{build}", safe="")
    return [
        f"/download?archive_url={url}",
        f"/download?archive_url={encoded}",
        f"/wait_for_status?archive_url={quote(url)}&timeout=5",
        f"/is_staged?artifacts=stateful&archive_url={encoded}/",
        f"/stage?archive_url={encoded.replace('%2F', '%2f').replace('%3A', '%3a')}&artifacts=a,b",
        f"/list_image_dir?archive_url=gs://bucket//{build}/",
        f"/download?archive_url=file:///srv/archive/{build}",
        f"/download?archive_url={quote(f'file:///srv/archive/{build}', safe='')}",
        f"/controlfiles?build={build}&control_path=a/b",
        f"/controlfiles?suite_name=bvt&build={quote(build, safe='')}",
        f"/static/{build}/stateful.tgz",
        f"/static/{build}/autotest/client/control?gs_bucket=bucket",
        f"/controlfiles?build={url}",
        f"/builds/{build}?gs_bucket=bucket",
        f"/api/v1/builds/{encoded}",
        f"/api/v1/builds/{encoded}/leases",
        f"/builds/{build}",
        f"/builds/{quote(build, safe='')}/remove",
        f"/api/v1/builds/{quote(build, safe='')}",
        f"/api/v1/builds/{quote(build, safe='')}/events",
    ]


# The ring


def test_client_and_nginx_agree_on_a_thousand_builds(front: Front) -> None:
    ring = Ring(front.upstreams)
    assert len(set(BUILDS)) == 1000
    owners = {build: ring.order(key_of(build))[0] for build in BUILDS}
    assert set(owners.values()) == set(front.upstreams)
    for number, (build, owner) in enumerate(owners.items()):
        ways = spellings(build)
        assert front.get(ways[number % len(ways)]) == owner


def test_every_way_to_write_a_build_leads_to_the_same_devserver(front: Front) -> None:
    ring = Ring(front.upstreams)
    for build in [*BUILDS[:5], "a-1_b.c~d/R1-2.3.4-a1-b5"]:
        owner = ring.order(key_of(build))[0]
        assert {way: front.get(way) for way in spellings(build)} == dict.fromkeys(spellings(build), owner)


def test_a_header_says_what_a_body_would(front: Front) -> None:
    ring = Ring(front.upstreams)
    for build in BUILDS[:50]:
        owner = ring.order(build)[0]
        assert front.get("/api/v1/builds", **{"X-Build-Path": build}) == owner
        assert front.get("/download?archive_url=gs://bucket/other/build", **{"X-Build-Path": build}) == owner


def test_the_front_speaks_tls(front: Front, tmp_path: Path) -> None:
    chain, key = make_certificate(tmp_path)
    port, options = free_port(), ("--tls-cert", str(chain), "--tls-key", str(key))
    configuration = spread_configuration(front.upstreams, port, tmp_path / "front", *options)
    with running_nginx(tmp_path / "front", configuration, port):
        address = f"https://127.0.0.1:{port}/static/{BUILDS[0]}/file"
        assert requests.get(address, verify=str(chain), timeout=60).text == Ring(front.upstreams).order(BUILDS[0])[0]


def test_what_is_missing_is_asked_for_along_the_ring_and_not_without_end(front: Front) -> None:
    ring = Ring(front.upstreams)
    for build in BUILDS[:20]:
        first, second, third, fourth, _ = ring.order(build)
        for holder in (first, second, third):
            assert front.get(f"/static/{build}/file?at={holder}") == holder
        assert front.get(f"/static/{build}/file?at={fourth}") == "404"


def test_a_devserver_that_has_no_room_is_believed(front: Front) -> None:
    assert front.get(f"/busy?build={BUILDS[0]}") == "503"


@pytest.mark.parametrize(
    ("build", "key"),
    [
        ("target/version", "target/version"),
        ("/target//version/", "target/version"),
        ("gs://bucket/target/version", "target/version"),
        ("gs://bucket/target/version/more", "target/version"),
        ("gs://bucket/target", "target"),
        ("gs://bucket", ""),
        ("file:///srv/archive/target/version", "target/version"),
        ("", ""),
    ],
)
def test_builds_are_told_apart_by_target_and_version(build: str, key: str) -> None:
    assert key_of(build) == key


def test_a_fifth_devserver_takes_a_fifth_of_the_builds() -> None:
    names = [f"devserver{number}:8080" for number in range(1, 6)]
    four, five = Ring(names[:4]), Ring(names)
    moved = sum(four.order(build)[0] != five.order(build)[0] for build in BUILDS)
    assert 150 <= moved <= 250


ADDRESSES = st.lists(
    st.builds(
        "{}.{}:{}".format,
        st.sampled_from(["10.0.0", "lab", "chromeos1-devserver"]),
        st.integers(0, 255),
        st.sampled_from([80, 8080, 8082]),
    ),
    min_size=5,
    max_size=5,
    unique=True,
)


@settings(max_examples=25, deadline=None)
@given(ADDRESSES)
def test_only_what_goes_to_the_new_devserver_moves(names: list[str]) -> None:
    four, five = Ring(names[:4]), Ring(names)
    moved = [build for build in BUILDS if four.order(build)[0] != five.order(build)[0]]
    assert {five.order(build)[0] for build in moved} <= {names[4]}
    assert 100 <= len(moved) <= 320  # a fifth; how evenly it comes out depends on the names


@settings(max_examples=50, deadline=None)
@given(ADDRESSES, st.text())
def test_who_takes_over_is_the_next_on_the_ring(names: list[str], key: str) -> None:
    order = Ring(names).order(key)
    assert sorted(order) == sorted(names)
    assert Ring([name for name in names if name != order[0]]).order(key) == order[1:]


# The command line


@pytest.mark.parametrize("upstream", ["devserver", "devserver:", "devserver:0", "devserver:70000", "a b:80", "a;:80"])
def test_an_upstream_that_is_no_address_is_refused(upstream: str, tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT / "devserver.py"), "nginx-config", "--run-dir", str(tmp_path)]
    ended = subprocess.run([*command, "--upstream", upstream], check=False, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == f"devserver: --upstream: {upstream!r} should look like devserver:8080\n"


def test_an_upstream_is_named_once(tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT / "devserver.py"), "nginx-config", "--run-dir", str(tmp_path)]
    ended = subprocess.run([*command, "--upstream=a:1", "--upstream=a:1"], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (2, "devserver: --upstream: a:1 is there twice\n")

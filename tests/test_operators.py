"""What operators meet: streams that are closed, variables that are none, addresses, and wrappers of earlier years."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

import devserver_settings
from commands.environment import unknown_variables
from devserver import command_line
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.nginx import free_port
from tests.servers import PROJECT, DevServer, eventually
from tests.stub_server import Answer, stub
from tests.terminal import COMMAND, environment, in_a_pipe
from web.http.forwarded import TrustedProxies, peer_address
from web.ledger.records import Ledger, Row

pytestmark = pytest.mark.shared_server

NOBODY = "http://127.0.0.1:9"


def in_a_shell(line: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """How a line of sh ends, in which "$@" is the devserver with the arguments."""
    command = ["sh", "-c", line, "sh", *COMMAND, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment(**variables), stdin=subprocess.DEVNULL
    )


# Streams


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full"])
def test_no_token_is_made_where_it_cannot_be_told(closed: str, tmp_path: Path) -> None:
    ended = in_a_shell(f'"$@" >> {tmp_path}/tokens {closed}', "token", "lab", "--scope", "stage")
    assert ended.returncode == 1
    assert (tmp_path / "tokens").read_text() == ""


def test_a_token_stands_on_standard_error_alone() -> None:
    made = in_a_pipe("token", "lab", "--scope", "stage")
    secret = made.stderr.split()[-1]
    assert secret.startswith("devserver_")
    assert secret not in made.stdout


@pytest.mark.parametrize("where", [">&-", ">/dev/full"])
@pytest.mark.parametrize("words", [["catalog"], ["--help"], ["token", "lab", "--scope", "stage"], ["builds", "--json"]])
def test_an_output_that_cannot_be_written_is_one_line(server: DevServer, where: str, words: list[str]) -> None:
    ended = in_a_shell(f'"$@" {where}', *words, DEVSERVER_SERVER=server.url)
    assert ended.returncode == 1
    assert ended.stdout == ""
    complaints = [line for line in ended.stderr.splitlines() if not line.startswith("The token")]
    assert len(complaints) == 1
    assert complaints[0].startswith("devserver: the standard output cannot be written: ")


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize(("words", "status"), [(["builds", "--json"], 3), (["--port", "many"], 2)])
def test_an_error_that_cannot_be_told_changes_no_status(where: str, words: list[str], status: int) -> None:
    ended = in_a_shell(f'"$@" {where}', *words, DEVSERVER_SERVER=NOBODY)
    assert (ended.returncode, ended.stdout) == (status, "")


def test_who_reads_a_part_of_it_is_told_nothing() -> None:
    ended = in_a_shell('"$@" | head -1 >/dev/null', "catalog")
    assert ended.stderr == ""


def test_no_socket_and_no_file_has_the_number_of_a_standard_stream(tmp_path: Path) -> None:
    port = tmp_path / "port"
    words = ["--port", "0", "--portfile", str(port), "--static-dir", str(tmp_path / "static"), "--ledger", "ledger.db"]
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *COMMAND, *words, "--log-dir", str(tmp_path)],
        env=environment(),
        cwd=tmp_path,
    )
    try:
        eventually(lambda: port.exists() and port.read_text())
        assert requests.get(f"http://127.0.0.1:{port.read_text()}/check_health", timeout=10).ok
        for number in (0, 1, 2):
            assert str(Path(f"/proc/{process.pid}/fd/{number}").readlink()) == os.devnull
        assert "/check_health" in (tmp_path / "access.log").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_screen_that_nobody_reads_any_more_is_one_line(tmp_path: Path) -> None:
    port = tmp_path / "port"
    words = ["--port", "0", "--portfile", str(port), "--static-dir", str(tmp_path / "static")]
    read, write = os.pipe()
    errors = tmp_path / "errors"
    with errors.open("wb") as file:
        process = subprocess.Popen([*COMMAND, *words], stdout=write, stderr=file, env=environment())
    os.close(write)
    os.close(read)
    try:
        eventually(lambda: port.exists() and port.read_text())
        with requests.Session() as session:
            for _ in range(50):
                assert session.get(f"http://127.0.0.1:{port.read_text()}/check_health", timeout=10).ok
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    said = errors.read_text()
    assert said.count("the log cannot be written to <stdout> (Broken pipe)") == 1
    assert "Traceback" not in said
    assert "Logging error" not in said


# The environment


KUBERNETES = {
    "DEVSERVER_SERVICE_HOST": "10.43.0.1",
    "DEVSERVER_SERVICE_PORT": "8080",
    "DEVSERVER_SERVICE_PORT_HTTP": "8080",
    "DEVSERVER_PORT": "tcp://10.43.0.1:8080",
    "DEVSERVER_PORT_8080_TCP": "tcp://10.43.0.1:8080",
    "DEVSERVER_PORT_8080_TCP_PROTO": "tcp",
    "DEVSERVER_PORT_8080_TCP_PORT": "8080",
    "DEVSERVER_PORT_8080_TCP_ADDR": "10.43.0.1",
    "DEVSERVER_FRONT_SERVICE_HOST": "10.43.0.2",
    "DEVSERVER_FRONT_PORT": "tcp://10.43.0.2:80",
}


def test_a_service_of_kubernetes_is_no_option(start_server: StartServer) -> None:
    server = start_server(DEVSERVER_MAX_AGE="7d", DEVSERVER_MAX_AGEE="8d", **KUBERNETES)
    assert server.get("/check_health").ok
    lines = server.log.splitlines()
    assert [line for line in lines if "Kubernetes' own" in line and "DEVSERVER_PORT" in line]
    told = [line for line in lines if "means nothing to the devserver" in line]
    assert told == [
        "devserver: the variable DEVSERVER_MAX_AGEE means nothing to the devserver; did you mean DEVSERVER_MAX_AGE?"
    ]


def test_without_such_a_service_an_address_is_no_port() -> None:
    ended = in_a_pipe("serve", DEVSERVER_PORT="tcp://10.43.0.1:8080")
    assert ended.returncode == 2
    assert "DEVSERVER_PORT" in ended.stderr


def test_a_command_points_out_a_variable_that_is_nearly_one() -> None:
    ended = in_a_pipe("builds", DEVSERVER_SERVER=NOBODY, DEVSERVER_PORTT="1", DEVSERVER_OF_OURS="2")
    assert ended.returncode == 3
    assert ended.stderr.splitlines()[0] == (
        "devserver: the variable DEVSERVER_PORTT means nothing to the devserver; did you mean DEVSERVER_PORT?"
    )
    assert "DEVSERVER_OF_OURS" not in ended.stderr


def test_whoever_serves_is_told_of_every_variable_that_means_nothing() -> None:
    (told,) = unknown_variables(["DEVSERVER_OF_OURS", "PATH", "DEVSERVER_PORT"], ["DEVSERVER_PORT"], is_sure=True)
    assert told == "the variable DEVSERVER_OF_OURS means nothing to the devserver"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DEVSERVER_STATIC_DIR", '"builds"'),
        ("DEVSERVER_HOST", '"0.0.0.0"'),
        ("DEVSERVER_ALLOW_ARCHIVE", "'gs://a'"),
        ("DEVSERVER_STATIC_DIR", "builds\r"),
        ("DEVSERVER_PORT", "8080\r"),
    ],
)
def test_a_value_that_a_file_was_read_badly_for_is_told(tmp_path: Path, variable: str, value: str) -> None:
    variables = environment(**{variable: value})
    words = [] if variable == "DEVSERVER_PORT" else ["--port", "0"]
    ended = subprocess.run(
        [*COMMAND, *words], env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert variable in ended.stderr
    assert "the value " in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_token_with_quotation_marks_is_told_and_not_shown() -> None:
    ended = in_a_pipe("builds", DEVSERVER_SERVER=NOBODY, DEVSERVER_TOKEN='"the_secret"')
    assert ended.returncode == 2
    assert "DEVSERVER_TOKEN" in ended.stderr
    assert "secret" not in ended.stderr


# Addresses


def test_another_process_socket_activation_means_nothing(start_server: StartServer) -> None:
    assert start_server(LISTEN_PID="1", LISTEN_FDS="1").get("/check_health").ok


def test_a_socket_of_systemds_is_told() -> None:
    line = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3</dev/null'
    ended = in_a_shell(line, "--port", str(free_port()))
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "LISTEN_FDS: a socket was passed on by systemd" in ended.stderr


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("::", r"http://127.0.0.1:\d+, and on every other address of this machine"),
        ("0.0.0.0", r"http://127.0.0.1:\d+, and on every other address of this machine"),
        ("::1", r"http://\[::1\]:\d+"),
        ("localhost", r"http://127.0.0.1:\d+"),
    ],
)
def test_clients_and_the_server_are_called_by_addresses_that_others_take(
    start_server: StartServer, tmp_path: Path, host: str, shown: str
) -> None:
    server = start_server("--host", host, "--log-dir", str(tmp_path / "logs"), "--log-format", "json")
    port = server.own_port
    (told,) = re.findall(r"listening on ([^\"]*)", server.log)
    assert re.fullmatch(shown, told)
    url = told.partition(",")[0]
    requests.get(f"{url}/static/", timeout=10)
    requests.get(f"http://{'[::1]' if ':' in host else '127.0.0.1'}:{port}/static/nothing", timeout=10)
    log = tmp_path / "logs" / "access.log"
    eventually(lambda: log.read_text().count("\n") == 2)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    expected = {"::": ["127.0.0.1", "::1"], "::1": ["::1", "::1"]}
    assert [line["client"] for line in lines] == expected.get(host, ["127.0.0.1", "127.0.0.1"])


def test_an_address_has_no_zone_that_says_anything() -> None:
    proxies = TrustedProxies(["10.0.0.0/8"])
    for zone in ('%x" 200 5 "-" "-" <b>', "%" + "x" * 4000):
        environ = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": f"fe80::1{zone}, 10.0.0.9"}
        proxies.apply(environ)
        assert environ["REMOTE_ADDR"] == "fe80::1"


def test_an_ipv4_client_of_a_socket_of_both_is_called_by_its_own_address() -> None:
    assert peer_address("::ffff:10.0.0.7") == "10.0.0.7"
    assert peer_address("::1") == "::1"


# Earlier devservers


def test_autotests_own_start_up_line_starts_it(tmp_path: Path) -> None:
    words = [
        *("--payload=/tmp/update.gz", "--port=0", f"--pidfile={tmp_path}/pid", f"--portfile={tmp_path}/port"),
        *(f"--logfile={tmp_path}/log", "--remote_payload", "--urlbase=http://lab:8080", "--max_updates=3"),
        *("--host_log", f"--static_dir={tmp_path}/static", "--critical_update"),
    ]
    (tmp_path / "port").touch()
    line = '( "$@" ) </dev/null >out 2>&1 & wait'
    shell = subprocess.Popen(["sh", "-c", line, "sh", *COMMAND, *words], cwd=tmp_path, env=environment())
    try:
        port = eventually(lambda: (tmp_path / "port").exists() and (tmp_path / "port").read_text())
        assert requests.get(f"http://127.0.0.1:{port}/check_health", timeout=10).ok
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
        shell.wait(10)
    assert (tmp_path / "out").read_text() == (
        "devserver: options of earlier devservers that do nothing here: --payload, --remote_payload, --urlbase, "
        "--max_updates, --host_log, --critical_update\n"
    )


@pytest.mark.parametrize("words", [["--exit"], ["--clear_cache"], ["--board", "x86-mario", "--exit", "serve"]])
def test_what_says_not_to_serve_ends_well(words: list[str]) -> None:
    ended = in_a_pipe("--port", "0", *words)
    assert (ended.returncode, ended.stderr.count("\n")) == (0, 1)
    assert "not serving" in ended.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--board=x86-mario", "--src_image", "image.bin", "--proxy_port=1"],
        ["--private_key=k", "--xbuddy_manage_builds", "--for_vm", "-p", "--image", "x", "--no_patch_kernel"],
        ["serve", "--board=x86-mario", "--critical-update"],
    ],
)
def test_every_old_option_is_taken_and_told(words: list[str]) -> None:
    ended = in_a_pipe("--port", "0", "--exit", *words)
    assert ended.returncode == 0
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--archive_dir", "--data_dir", "--factory_config"])
def test_what_served_other_files_is_refused_with_what_does_so_today(option: str) -> None:
    ended = in_a_pipe("--port", "0", option, "x")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert f"{option} is an option of earlier devservers: " in ended.stderr


def test_a_missing_parameter_is_told_in_the_words_of_2012(server: DevServer) -> None:
    asked = {"target": "/latestbuild?milestone=R17", "build": "/controlfiles?suite_name=x", "archive_url": "/download"}
    for name, path in asked.items():
        answer = server.get(path)
        assert answer.status_code == 400
        assert f"Error: {name}= is required!" in answer.text


# The help


def test_the_help_has_commands_first_and_options_by_what_they_are_of() -> None:
    text = in_a_pipe("--help").stdout
    assert text.index("Commands that ask a devserver:") < text.index("Where it listens")
    assert "Others:" not in text
    for command in command_line.commands:
        assert len(re.findall(rf"^  {command}  ", text, re.MULTILINE)) == 1


# Several servers


def test_a_list_of_half_the_servers_says_so(server: DevServer) -> None:
    for more in ([], ["--json"]):
        ended = in_a_pipe("builds", "--server", f"{server.url},http://user:secret@127.0.0.1:9", *more)
        assert ended.returncode == 3
        assert ended.stderr == "devserver: the builds of http://127.0.0.1:9 are missing: no answer came from there\n"
        assert not more or json.loads(ended.stdout) == []


def test_the_state_of_several_servers_is_one_document(server: DevServer) -> None:
    ended = in_a_pipe("status", "--json", "--server", f"{server.url},{NOBODY}")
    first, second = json.loads(ended.stdout)
    assert ended.returncode == 3
    assert first["server"] == server.url
    assert first["health"]
    assert second["server"] == NOBODY
    assert "connection refused" in second["error"]


# Peers


def test_peers_are_asked_directly(tmp_path: Path, archive: FakeArchive) -> None:
    code = (
        "from staging.archives.peer_reads import _session_of; from requests.utils import select_proxy; "
        "settings = _session_of(1).merge_environment_settings('http://10.0.0.2:1/', {}, None, None, None); "
        "print(select_proxy('http://10.0.0.2:1/', settings['proxies']), settings['verify'])"
    )
    variables = environment(ALL_PROXY="http://corp:3128", http_proxy="http://corp:3128", REQUESTS_CA_BUNDLE="/lab.pem")
    ended = subprocess.run([sys.executable, "-c", code], env=variables, cwd=PROJECT, capture_output=True, text=True)
    assert ended.stdout == "None /lab.pem\n"


# Completion


def completed(words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What the shell is offered at the end of a line."""
    return in_a_pipe(
        **{
            "_DEVSERVER_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
            **variables,
        }
    )


def test_completion_asks_as_the_command_would() -> None:
    catalogue = '{"artifacts": [{"name": "stateful_of_ours"}]}'
    builds = '{"builds": [{"build": "lab/1"}], "next": null}'
    with stub(lambda _, path: Answer(200, builds if "/builds" in path else catalogue)) as server:
        offered = completed("devserver wait ", DEVSERVER_SERVER=server.url, DEVSERVER_TOKEN="the_token")
        assert "lab/1" in offered.stdout
        offered = completed(f"devserver stage --server {server.url} --token other --artifact stateful")
        assert "stateful_of_ours" in offered.stdout
        assert [headers["Authorization"] for headers in server.headers] == ["Bearer the_token", "Bearer other"]
    assert "stateful" in completed("devserver stage --artifact st", DEVSERVER_SERVER=NOBODY).stdout


@pytest.mark.parametrize("url", ["ftp://x", "http://[", NOBODY])
def test_completion_of_what_is_not_there_offers_and_says_nothing(url: str) -> None:
    offered = completed("devserver wait ", DEVSERVER_SERVER=url)
    assert (offered.stdout.strip(), offered.stderr) == ("", "")


# The ledger


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a row for each of two clients."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    written = Ledger(path, 10)
    written.add([Row(1.0, client, "t/v", "f", 200, 1, True, "") for client in ("2001:db8::7", "10.0.0.7")])
    written.close()
    return path


@pytest.mark.parametrize(
    ("words", "clients"),
    [
        (["--client", "2001:DB8:0::7"], ["2001:db8::7"]),
        (["--client", "::ffff:10.0.0.7"], ["10.0.0.7"]),
        (["--client", "10.0.0.7"], ["10.0.0.7"]),
        (["--build", "gs://bucket/t/v"], ["2001:db8::7", "10.0.0.7"]),
        (["--build", "/t/v/"], ["2001:db8::7", "10.0.0.7"]),
        (["--build", "gs://bucket/t/w"], []),
    ],
)
def test_clients_and_builds_of_the_ledger_are_named_in_any_spelling(
    ledger: Path, words: list[str], clients: list[str]
) -> None:
    ended = in_a_pipe("--ledger", str(ledger), "ledger", "--json", *words)
    assert ended.returncode == 0, ended.stderr
    assert [json.loads(line)["client"] for line in ended.stdout.splitlines()] == clients


@pytest.mark.parametrize("words", [["--client", "lab-7"], ["--build", "gs://"]])
def test_what_is_no_client_and_no_build_is_a_wrong_use(ledger: Path, words: list[str]) -> None:
    ended = in_a_pipe("--ledger", str(ledger), "ledger", *words)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


# What is installed beside it


def test_another_packages_static_directory_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "static").mkdir()
    monkeypatch.setattr(devserver_settings, "_OURS", tmp_path)
    assert devserver_settings.default_static_dir() == Path("static")
    (tmp_path / "setup.py").touch()
    assert devserver_settings.default_static_dir() == tmp_path / "static"


# What a port is asked that it does not speak


def test_a_compressed_body_is_refused_by_its_name(server: DevServer) -> None:
    for path in ("/api/v1/builds", "/stage"):
        answer = requests.post(server.url + path, data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}, timeout=10)
        assert answer.status_code == 415
        assert "Content-Encoding 'gzip'" in answer.json()["detail"] if "/api" in path else "gzip" in answer.text
    answer = requests.post(f"{server.url}/check_health", data=b"", headers={"Content-Encoding": "identity"}, timeout=10)
    assert answer.status_code == 405


@pytest.mark.not_behind("nginx", "which says so itself")
@pytest.mark.not_behind("spread", "which says so itself")
def test_who_greets_a_plain_port_in_tls_is_answered_at_once(server: DevServer) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 505  # without a line end in it
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(hello)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"this port speaks plain HTTP" in answer


# Builds


BUILD = {
    "build": "t/v",
    "archive_url": "gs://b/t/v",
    "state": "staged",
    "under_way": False,
    "complete": True,
    "in_part": False,
    "size": 1,
    "bytes_done": 1,
    "bytes_total": 1,
    "seconds_left": None,
    "pinned": False,
    "last_used": "2026-11-28T10:00:00+00:00",
    "leases": [],
    "artifacts": [],
}


def artifact(name: str, state: str, cause: str = "") -> dict[str, object]:
    """An artifact as the JSON API has it."""
    told = {"kind": "BadTarball", "text": cause} if cause else None
    return {"name": name, "state": state, "bytes_done": 0, "bytes_total": 0, "cause": told, "files": 0, "size": 0}


@pytest.mark.parametrize("under_way", [True, False])
def test_what_has_failed_by_now_is_a_failure_without_waiting_too(under_way: bool) -> None:
    artifacts = [artifact("stateful", "staged"), artifact("symbols", "failed", "symbols is none")]
    build = {**BUILD, "under_way": under_way, "state": "failed", "artifacts": artifacts}
    with stub(Answer(200, json.dumps(build))) as server:
        named = ["stage", "gs://b/t/v", "--artifact", "stateful", "--artifact", "symbols", "--server", server.url]
        ended = in_a_pipe(*named)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == "devserver: BadTarball: symbols is none\n"
        assert in_a_pipe(*named, "--json").returncode == 1
        assert in_a_pipe("stage", "gs://b/t/v", "--artifact", "stateful", "--server", server.url).returncode == 0


def test_a_list_says_which_builds_are_kept_and_times_have_a_zone() -> None:
    lease = {"id": "x", "holder": "suite", "until": "2026-11-28T12:00:00+00:00"}
    builds = [{**BUILD, "pinned": True}, {**BUILD, "build": "t/w", "leases": [lease]}, {**BUILD, "build": "t/x"}]
    with stub(Answer(200, json.dumps({"builds": builds, "next": None, **builds[1]}))) as server:
        lines = in_a_pipe("builds", "--server", server.url).stdout.splitlines()
        assert [line.split()[-1] for line in lines] == ["pinned", "leased", "UTC"]
        assert all("used 2026-11-28 10:00:00 UTC" in line for line in lines)
        shown = in_a_pipe("status", "t/w", "--server", server.url).stdout
        assert "leased until 2026-11-28 12:00:00 UTC by suite" in shown


def test_the_front_page_says_what_builds_and_disk_take(server: DevServer) -> None:
    assert re.search(r"0 builds,\s+0 bytes · .* of the disk used, .* free", server.get("/index").text)

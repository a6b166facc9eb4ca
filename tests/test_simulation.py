"""The model of a lab: what must be so of any, whatever its numbers, and what can be worked out by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
import simpy
from click.testing import CliRunner

from bench.archive.index import BUCKET, indexed, write_index
from bench.archive.profiles import Profile, archive_server
from bench.samples import BenchError
from bench.simulation.__main__ import command_line
from bench.simulation.findings import Findings
from bench.simulation.lab import Lab, Sizes, Speeds
from bench.simulation.measured import GIGABIT, REPORT, Assumed, parameters
from bench.simulation.model import Course, run
from bench.simulation.network import Link, Network, Transfer
from bench.simulation.placement import Ring
from bench.simulation.questions import Target, needed
from bench.simulation.report import to_markdown
from tests.servers import PROJECT, eventually

SIZES = Sizes(image=1000e6, synchronous=1100e6, background=400e6, packages=10e6, package_requests=10)
SPEEDS = Speeds(
    device=50e6,
    port=1000e6,
    internet=500e6,
    serving=2000e6,
    request_seconds=0.001,
    answer_seconds=0.01,
    one_synchronous=110e6,
    all_synchronous=400e6,
    one_background=40e6,
    all_background=50e6,
    connections=8,
)
SECONDS_TO_STAGE = 10.0  # 1100 MB at 110 MB/s
SECONDS_TO_IMAGE = 20.0  # 1000 MB at 50 MB/s


def course(lab: Lab, speeds: Speeds = SPEEDS, seed: int = 0) -> Course:
    return run(lab, SIZES, speeds, seed)


def nearly(seconds: float) -> Any:
    return pytest.approx(seconds, rel=1e-6)


# Worked out by hand


def test_one_device_waits_for_the_staging_and_for_its_own_link() -> None:
    (device,) = course(Lab(1, 1, 1)).devices
    assert device.waited == nearly(SECONDS_TO_STAGE + 0.01 + SECONDS_TO_IMAGE)


def test_one_devices_tests_begin_when_the_background_part_is_there() -> None:
    (device,) = course(Lab(1, 1, 1, spread=0.0, with_tests=True, restart=5.0)).devices
    assert device.imaged == nearly(30.01)
    # The background part takes 10 s more, and is there when the device is; the packages wait for 10 requests.
    assert device.tested == nearly(30.01 + 5.0 + 0.01 + 10 * 0.001 + 10e6 / 50e6)


def test_devices_that_fill_a_port_share_it() -> None:
    result = course(Lab(100, 1, 1, spread=0.0), replace(SPEEDS, answer_seconds=1e-9))
    assert max(device.imaged for device in result.devices) == nearly(SECONDS_TO_STAGE + 100 * 1000e6 / 1000e6)


def test_a_devserver_sends_no_more_than_was_measured() -> None:
    speeds = replace(SPEEDS, port=1e12, serving=500e6, answer_seconds=1e-9)
    result = course(Lab(100, 1, 1, spread=0.0), speeds)
    assert max(device.imaged for device in result.devices) == nearly(SECONDS_TO_STAGE + 100 * 1000e6 / 500e6)


def test_builds_that_are_staged_at_once_share_the_line() -> None:
    speeds = replace(SPEEDS, internet=55e6, answer_seconds=1e-9)
    result = course(Lab(2, 1, 2, spread=0.0), speeds)
    assert result.staged == nearly(2 * 1100e6 / 55e6)


def test_waiters_are_answered_one_after_the_other() -> None:
    speeds = replace(SPEEDS, port=1e12, serving=1e12, answer_seconds=0.5)
    result = course(Lab(10, 1, 1, spread=0.0), speeds)
    moments = sorted(device.imaged for device in result.devices)
    assert moments == [nearly(SECONDS_TO_STAGE + 0.5 * (number + 1) + SECONDS_TO_IMAGE) for number in range(10)]


def test_background_work_gives_way_to_what_a_harness_waits_for() -> None:
    # Two builds, one after the other: the first one's background part stands still while the second is staged.
    result = course(Lab(2, 1, 2, spread=0.0), replace(SPEEDS, one_background=50e6, all_synchronous=110e6))
    assert result.staged == nearly(20.0)
    assert result.whole == nearly(20.0 + 2 * 400e6 / 50e6)


# Bytes


@pytest.mark.parametrize("devservers", [1, 2, 5])
def test_every_byte_that_devices_read_was_sent(devservers: int) -> None:
    result = course(Lab(60, devservers, 6, with_tests=True))
    assert result.sent_bytes == nearly(60 * (SIZES.image + SIZES.packages))
    assert result.archive_bytes == nearly(6 * SIZES.build)


@pytest.mark.parametrize("devservers", [1, 2, 8])
def test_the_archive_is_read_once_for_each_devserver_and_with_peers_once(devservers: int) -> None:
    lab = Lab(40, devservers, 1, copies=devservers)
    assert course(lab).archive_bytes == nearly(devservers * SIZES.build)
    with_peers = course(replace(lab, peers=True))
    assert with_peers.archive_bytes == nearly(SIZES.build)
    assert with_peers.sent_bytes == nearly(40 * SIZES.image + (devservers - 1) * SIZES.build)


# More and less


def test_more_devservers_are_never_slower() -> None:
    labs = [Lab(120, number, 1, copies=number) for number in (1, 2, 4, 8)]
    waited = [course(lab, replace(SPEEDS, internet=1e12)).waited(0.95) for lab in labs]
    for fewer, more in pairwise(waited):
        assert more <= fewer * 1.05


def test_over_a_narrow_line_peers_are_quicker_than_the_archive() -> None:
    lab, narrow = Lab(40, 8, 1, copies=8), replace(SPEEDS, internet=110e6)
    assert course(replace(lab, peers=True), narrow).waited(0.95) < course(lab, narrow).waited(0.95) / 2


def test_a_wider_line_and_faster_devices_are_never_slower() -> None:
    lab = Lab(100, 2, 10)
    usual = course(lab).waited(0.95)
    assert course(lab, replace(SPEEDS, internet=5000e6)).waited(0.95) <= usual
    assert course(lab, replace(SPEEDS, device=500e6)).waited(0.95) <= usual


def test_the_same_seed_gives_the_same_course_and_another_one_another() -> None:
    lab = Lab(50, 3, 5)
    first, again, other = (course(lab, seed=seed).devices for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_as_many_devservers_as_needed_are_enough_and_one_less_is_not() -> None:
    assumed, target = Assumed(port=GIGABIT), Target(0.95, 400.0)
    found = needed(100, assumed, target=target)
    given = parameters(assumed)
    waited = [
        sorted(run(Lab(100, number, 2), given.sizes, given.speeds, seed).waited(0.95) for seed in range(3))[1]
        for number in (found.devservers, found.devservers - 1)
    ]
    assert waited[0] <= target.seconds < waited[1]
    assert found.devservers >= found.floor


def test_what_no_number_of_devservers_reaches_is_said() -> None:
    with pytest.raises(ValueError, match="too narrow"):
        needed(10, Assumed(device=1e6), target=Target(0.95, 60.0))


# Losing a devserver


@pytest.mark.parametrize(("copies", "peers"), [(1, False), (2, False), (3, True)])
def test_devices_whose_devserver_is_lost_begin_anew_elsewhere(copies: int, peers: bool) -> None:
    lab = Lab(36, 3, 6, copies, peers, spread=10.0, notice=7.0)
    lost = course(replace(lab, lost_at=20.0))
    undisturbed = course(lab)
    assert not any(device.restarts for device in undisturbed.devices)
    restarted = [device for device in lost.devices if device.restarts]
    assert restarted
    for device in restarted:
        assert device.path in lost.lost_paths
        assert device.imaged >= 20.0 + 7.0 + SECONDS_TO_IMAGE
    assert all(device.imaged for device in lost.devices)
    if copies == 1:  # each of its builds had to be staged anew
        moments = lost.staged_elsewhere()
        assert {device.path for device in restarted} == set(moments)
        assert min(moments.values()) >= 20.0 + 7.0 + SECONDS_TO_STAGE - 0.001


def test_those_who_fill_from_a_peer_that_is_lost_go_to_the_archive() -> None:
    # The first device's devserver has one device more than the others, and is fetching what they wait for.
    lab = Lab(31, 3, 1, copies=3, peers=True, spread=0.0, lost_at=5.0, notice=1.0)
    result = course(lab)
    assert all(device.imaged for device in result.devices)
    assert SIZES.build < result.archive_bytes < 2 * SIZES.build
    assert result.staged >= 5.0 + SECONDS_TO_STAGE


# The network and the ring


def moments(network: Network, env: simpy.Environment, transfers: Sequence[Transfer]) -> list[float]:
    found = dict.fromkeys(transfers, 0.0)

    def watch(transfer: Transfer) -> None:
        def note(_: simpy.Event) -> None:
            found[transfer] = env.now

        assert transfer.callbacks is not None
        transfer.callbacks.append(note)

    for transfer in transfers:
        watch(transfer)
    env.run()
    network.settle()
    return list(found.values())


def test_rates_are_max_min_fair() -> None:
    env = simpy.Environment()
    network, wide, narrow = Network(env), Link(100.0), Link(20.0)
    modest = network.transfer(10_000, [wide], limit=10.0)
    both = network.transfer(10_000, [wide, narrow], limit=1000.0)
    greedy = network.transfer(70_000, [wide], limit=1000.0)
    # 10 for who wants no more, 20 for who crosses the narrow link, and the rest for the third; then 100 is left to it.
    assert moments(network, env, [modest, both, greedy]) == [nearly(1000.0), nearly(500.0), nearly(500 + 35_000 / 90)]
    assert wide.carried == pytest.approx(90_000, abs=5)
    assert narrow.carried == pytest.approx(10_000, abs=5)


def test_who_has_more_connections_has_more_of_a_full_link() -> None:
    env = simpy.Environment()
    network, link = Network(env), Link(90.0)
    several = network.transfer(80_000, [link], limit=1000.0, connections=8)
    one = network.transfer(10_000, [link], limit=1000.0)
    assert moments(network, env, [several, one]) == [nearly(1000.0), nearly(1000.0)]


def test_who_is_cancelled_leaves_its_part_to_the_others() -> None:
    env = simpy.Environment()
    network, link = Network(env), Link(100.0)
    stays, goes = network.transfer(10_000, [link], 1000.0), network.transfer(10_000, [link], 1000.0)
    env.timeout(100.0).callbacks.append(lambda _: network.cancel(goes))
    assert moments(network, env, [stays])[0] == nearly(100.0 + 5000 / 100.0)
    assert link.carried == pytest.approx(15_000, abs=5)  # and what it had was carried


def test_a_link_that_stands_still_goes_on_where_it_was() -> None:
    env = simpy.Environment()
    network, link = Network(env), Link(100.0)
    transfer = network.transfer(10_000, [link], 1000.0)
    env.timeout(50.0).callbacks.append(lambda _: network.set_capacity(link, 0.0))
    env.timeout(80.0).callbacks.append(lambda _: network.set_capacity(link, 100.0))
    assert moments(network, env, [transfer])[0] == nearly(130.0)


def test_a_lost_devservers_builds_move_and_no_others() -> None:
    paths = [f"board/{number}" for number in range(500)]
    four, five = Ring(4), Ring(5)
    for path in paths:
        order = five.order(path)
        assert sorted(order) == list(range(5))
        assert [server for server in order if server != 4] == four.order(path)
    of_each = [sum(five.order(path)[0] == server for path in paths) for server in range(5)]
    assert min(of_each) > 50


# What it is given, and what it tells


def test_the_parameters_are_what_the_benchmarks_say(tmp_path: Path) -> None:
    data = json.loads(REPORT.read_text())
    changed = tmp_path / "benchmarks.json"
    for outcome in data["outcomes"]:
        if outcome["experiment"] == "serving-1-GiB-64":
            for sample in outcome["samples"]["front"]:
                sample["rate"] = 123e6
    changed.write_text(json.dumps(data))
    assert parameters(Assumed(), changed).speeds.serving == 123e6
    assert parameters(Assumed(is_fronted=False), changed).speeds.serving != 123e6
    data["outcomes"] = [one for one in data["outcomes"] if one["experiment"] != "crowd"]
    changed.write_text(json.dumps(data))
    with pytest.raises(BenchError, match="has no crowd"):
        parameters(Assumed(), changed)


def test_an_operator_asks_for_a_lab_of_his_own() -> None:
    answer = CliRunner().invoke(command_line, ["needed", "--devices", "20", "--devices", "40", "--line", "1"])
    assert answer.exit_code == 0
    assert [line.partition(";")[0] for line in answer.output.splitlines()] == [
        "20 devices, 1 builds: 1 devservers (1 if all were always busy)",
        "40 devices, 1 builds: 1 devservers (1 if all were always busy)",
    ]


@pytest.mark.parametrize("options", [["--port", "0"], ["--share", "1.5"], ["--minutes", "0"], ["--copies", "0"]])
def test_what_makes_no_lab_is_refused(options: list[str]) -> None:
    answer = CliRunner().invoke(command_line, ["needed", "--devices", "20", *options])
    assert answer.exit_code == 2
    assert "is not in the range" in answer.output


def test_the_page_tells_what_was_found() -> None:
    findings = Findings.read(PROJECT / "docs" / "scaling.json")
    assert findings.needed
    assert findings.validation
    assert to_markdown(findings) == (PROJECT / "docs" / "scaling.md").read_text()


def test_the_model_was_near_the_real_lab() -> None:
    validation = Findings.read(PROJECT / "docs" / "scaling.json").validation
    assert validation
    assert [one.text for one in validation.compared if not one.holds] == []


def test_connections_to_the_archive_share_its_line(tmp_path: Path) -> None:
    data = tmp_path / "object"
    data.write_bytes(bytes(500_000))
    write_index(tmp_path / "index.json", {"object": indexed(data)})
    with archive_server(tmp_path / "index.json", Profile("narrow", 0.0, 0, 2_000_000), tmp_path) as archive:
        url = f"{archive}/storage/v1/b/{BUCKET}/o/object?alt=media"
        begin = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: requests.get(url, timeout=30), range(2)))
        seconds = time.monotonic() - begin
        assert [len(answer.content) for answer in answers] == [500_000, 500_000]
        assert seconds > 0.4
        # A client has its last bytes a moment before they are counted.
        eventually(lambda: requests.get(f"{archive}/sent", timeout=30).json() == {"bytes": 1_000_000})

"""The progress of a build in terminals that can do less than others, and how they are given back."""

from __future__ import annotations

import signal

import pytest

from tests.builds import Build
from tests.fake_archive import FakeArchive
from tests.servers import DevServer
from tests.terminal import Terminal, in_a_terminal

pytestmark = pytest.mark.shared_server

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
HELD = "autotest.tar.bz2"


@pytest.mark.parametrize(
    "variables",
    [
        {"COLUMNS": "0"},
        {"COLUMNS": "40", "PYTHONIOENCODING": "latin-1"},
        {"COLUMNS": "40", "PYTHONIOENCODING": "latin-1", "LC_ALL": "C"},
    ],
    ids=lambda variables: "-".join(variables.values()),
)
def test_bars_are_shown_in_a_narrow_old_or_odd_terminal(
    server: DevServer, build: Build, variables: dict[str, str]
) -> None:
    named = ("--artifact", "stateful", "--file", "chromeos_" + "?" * 25 + "*")
    with in_a_terminal("stage", build.url, *named, "--wait", "--server", server.url, **variables) as terminal:
        status, shown = terminal.end()
    assert status == 0, shown
    assert "stateful" in shown
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR)


@pytest.mark.parametrize("variables", [{"TERM": "unknown"}, {"TERM": "dumb"}, {"TTY_COMPATIBLE": "0"}])
def test_where_no_cursor_moves_each_change_is_a_line(
    server: DevServer, build: Build, variables: dict[str, str]
) -> None:
    with in_a_terminal("stage", build.url, "--wait", "--server", server.url, **variables) as terminal:
        status, shown = terminal.end()
    assert status == 0
    assert "\x1b" not in shown
    assert "stateful: staged" in shown


def hidden(terminal: Terminal) -> None:
    """Wait until the bars are there."""
    terminal.see(HIDE_CURSOR)
    terminal.see("autotest")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_that_ends_it_gives_the_cursor_back(
    server: DevServer, archive: FakeArchive, build: Build, number: signal.Signals
) -> None:
    with (
        archive.holding(HELD),
        in_a_terminal("stage", build.url, "--wait", "--server", server.url) as terminal,
    ):
        hidden(terminal)
        terminal.signal(number)
        status, shown = terminal.end()
    assert status == 128 + number
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR)
    assert "Traceback" not in shown


def test_while_it_is_stopped_the_cursor_is_there(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with (
        archive.holding(HELD),
        in_a_terminal("stage", build.url, "--wait", "--server", server.url) as terminal,
    ):
        hidden(terminal)
        terminal.signal(signal.SIGTSTP)
        terminal.see(SHOW_CURSOR)
        terminal.signal(signal.SIGCONT)
        terminal.see(HIDE_CURSOR)
        terminal.signal(signal.SIGTERM)
        assert terminal.end()[0] == 128 + signal.SIGTERM

"""Patterns: what they match, and that no pattern and no name is expensive."""

from __future__ import annotations

import re
from itertools import combinations
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as some

from artifacts.catalogue import file_artifact
from artifacts.patterns import Pattern
from staging.errors import InvalidParameter

MOST_SECONDS = 2.0  # of processor time; what is not bounded takes years

SIGNS = some.sampled_from(["*", "*", "?", "{a}", "{b}", "a", "b", "_", "_", "/", ".", "{", "}", "\n", "é"])
NAMES = some.text("ab_/.é\n*?{}", max_size=10)
SLOW_NAMES = ["a" * 1024, "ab" * 512, "a_" * 512, "a/" * 512, "*?" * 512]


def by_expression(pattern: str, has_fields: bool, name: str) -> bool:
    """What a pattern means, as a regular expression, which is right and may take for ever."""
    fields: list[str] = []
    expression = ""
    for field, sign in re.findall(r"\{([a-z])\}|(.)", pattern, re.DOTALL):
        if not field or not has_fields:
            expression += {"*": "[^/]*", "?": "[^/]"}.get(sign, re.escape(sign or f"{{{field}}}"))
        elif field in fields:
            expression += f"(?P={field})"
        else:
            fields.append(field)
            expression += f"(?P<{field}>[^_/]+)"
    match = re.fullmatch(expression, name)
    return match is not None and all(match[one] != match[other] for one, other in combinations(fields, 2))


@given(some.lists(SIGNS, max_size=8).map("".join), some.booleans(), NAMES)
def test_a_pattern_means_what_its_regular_expression_means(pattern: str, has_fields: bool, name: str) -> None:
    assert Pattern(pattern, has_fields).matches(name) == by_expression(pattern, has_fields, name)


@given(some.lists(SIGNS, min_size=1, max_size=8), some.booleans(), some.data())
def test_a_name_made_of_a_pattern_is_of_it_wherever_its_expression_says_so(
    signs: list[str], has_fields: bool, data: some.DataObject
) -> None:
    parts = {"*": some.text("ab.", max_size=3), "?": some.sampled_from("ab")}
    fields = {"{a}": data.draw(some.text("ab", min_size=1, max_size=2)), "{b}": "ba"} if has_fields else {}
    name = "".join(data.draw(parts[sign]) if sign in parts else fields.get(sign, sign) for sign in signs)
    pattern = "".join(signs)
    assert Pattern(pattern, has_fields).matches(name) == by_expression(pattern, has_fields, name)


@pytest.mark.parametrize("name", SLOW_NAMES, ids=lambda name: name[:2])
@pytest.mark.parametrize(
    "pattern",
    ["*?" * 10 + "X", "*a" * 500 + "X", "*" * 1000 + "X", "?" * 500 + "*X", "*?*/" * 200 + "X", "*a?" * 300 + "*"],
    ids=lambda pattern: pattern[:4],
)
def test_no_wildcards_make_a_match_expensive(pattern: str, name: str) -> None:
    began = process_time()
    for _ in range(10):
        Pattern(pattern, has_fields=False).matches(name)
    assert process_time() - began < MOST_SECONDS


@pytest.mark.parametrize("name", [name + "_x" for name in SLOW_NAMES], ids=lambda name: name[:2])
@pytest.mark.parametrize(
    "pattern",
    ["*{a}*{a}*{a}X", "{a}{b}{c}{d}{e}{f}X", "*{a}*{b}*{c}*{d}*{a}{b}X", "{a}*" * 5 + "{a}" * 500 + "X"],
    ids=lambda pattern: pattern[:8],
)
def test_no_fields_make_a_match_expensive(pattern: str, name: str) -> None:
    began = process_time()
    Pattern(pattern).matches(name + "X")
    assert process_time() - began < MOST_SECONDS


def test_fields_are_found_in_long_names() -> None:
    version, words = "R17-1413.0.0-a1-b1346", "_".join(f"x86-mario-{number}" for number in range(50))
    pattern = Pattern("*_{a}_{a}_*_delta_{b}.bin")
    assert pattern.matches(f"{words}_{version}_{version}_{words}_delta_dev.bin")
    assert not pattern.matches(f"{words}_{version}_{version}1_{words}_delta_dev.bin")


@pytest.mark.parametrize("pattern", ["*?" * 17, "a*" * 33, "?" * 100])
def test_a_request_has_no_more_wildcards_than_anybody_needs(pattern: str) -> None:
    with pytest.raises(InvalidParameter, match="files: a pattern has more than 32 wildcards"):
        file_artifact(pattern)
    assert file_artifact(pattern[:32])

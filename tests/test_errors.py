"""Errors cross every boundary whole."""

from __future__ import annotations

import inspect
import json
import pickle
from typing import Any

import pytest

from staging.errors import DevServerError, error_classes
from staging.messages import cause_of
from tests.servers import PROJECT

EXAMPLES: dict[str, Any] = {"str": "some text", "float": 1.5, "list[str]": ["a", "b"]}
CONCRETE = [kind for kind in error_classes().values() if not kind.__subclasses__()]


def example_of(kind: type[DevServerError]) -> DevServerError:
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return kind(*(EXAMPLES[parameter.annotation] for parameter in parameters))


@pytest.mark.parametrize("kind", CONCRETE)
def test_an_error_survives_pickle_and_json(kind: type[DevServerError]) -> None:
    error = example_of(kind)
    for copy in (
        pickle.loads(pickle.dumps(error)),
        cause_of(json.loads(json.dumps(error.to_json())), (DevServerError,)),
        error.copy(),
    ):
        assert type(copy) is kind
        assert (str(copy), vars(copy)) == (str(error), vars(error))


@pytest.mark.parametrize("kind", CONCRETE)
def test_an_error_says_what_it_is_about(kind: type[DevServerError]) -> None:
    error = example_of(kind)
    assert "some text" in str(error) or not error.args


def test_the_tree_in_the_documentation_is_the_tree() -> None:
    text = (PROJECT / "staging" / "errors.py").read_text().partition('"""')[2].partition('"""')[0]
    for name in error_classes():
        assert f" {name}" in text

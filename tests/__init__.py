"""The tests: what the devserver promises, asked of a real one from outside wherever that is possible."""

import pytest

pytest.register_assert_rewrite("tests.builds", "tests.servers")

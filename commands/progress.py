"""Which display suits the place that standard output leads to."""

from __future__ import annotations

import os
import sys

from commands.display import Display, Lines


def fitting_display(as_json: bool) -> Display:
    """Bars at a terminal, lines elsewhere, and nothing beside JSON."""
    if as_json:
        return Display()
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from commands.bars import Bars  # rich takes a tenth of a second to import

        return Bars()
    return Lines()

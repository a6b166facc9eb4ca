"""File names and texts are UTF-8 here, whatever the locale says; and no terminal makes a command fail."""

from __future__ import annotations

import locale
import os
import sys
from io import TextIOWrapper

from staging.errors import ConfigurationError

_UTF8 = ("utf-8", "utf8")
_ASCII = ("ascii", "us-ascii", "ansi_x3.4-1968", "646")


def use_utf8() -> None:
    """Go on in Python's UTF-8 mode, where the locale would have names be read otherwise: the program starts anew.

    Raises:
        ConfigurationError: it cannot.

    """
    if sys.flags.utf8_mode or sys.getfilesystemencoding() in _UTF8:
        _fit_streams()
        return
    command = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    try:
        os.execve(sys.executable, command, {**os.environ, "PYTHONUTF8": "1"})  # noqa: S606 - this very program
    except OSError as error:
        raise ConfigurationError(
            "the locale",
            f"it has names be {sys.getfilesystemencoding()}, and Python cannot be started anew with UTF-8 "
            f"({error.strerror}); set PYTHONUTF8=1 or LC_ALL=C.UTF-8",
        ) from error


def _fit_streams() -> None:
    """Have what a terminal cannot show come out as something else, and never as an error."""
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, TextIOWrapper):
            continue
        if stream.isatty() and _is_another(encoding := locale.nl_langinfo(locale.CODESET)):
            stream.reconfigure(encoding=encoding, errors="replace")
        elif stream.errors == "strict":
            stream.reconfigure(errors="replace" if stream.isatty() else "backslashreplace")


def _is_another(encoding: str) -> bool:
    """Whether a terminal's encoding is none that Python takes for UTF-8: it does so with ASCII."""
    return encoding.lower() not in (*_UTF8, *_ASCII)

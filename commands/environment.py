"""What the environment holds beside options: names that are none, and what Kubernetes puts there for its own ends."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, MutableMapping
from difflib import get_close_matches

PREFIX = "DEVSERVER_"
OF_COMMANDS = ("DEVSERVER_SERVER", "DEVSERVER_TOKEN", "DEVSERVER_CA_FILE")
_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
# Of a service that is called devserver, or devserver-something, each container has these.
_OF_KUBERNETES = re.compile(
    r"DEVSERVER_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_QUOTES = "\"'"


def drop_addresses_of_services(environ: MutableMapping[str, str]) -> list[str]:
    """Take out the variables that hold the address of a service of Kubernetes'; returns which those were.

    One of them is called ``DEVSERVER_PORT``.
    """
    if not any(name.startswith(PREFIX) and name.endswith("_SERVICE_HOST") for name in environ):
        return []
    dropped = [name for name, value in environ.items() if name.startswith(PREFIX) and _ADDRESS.match(value)]
    for name in dropped:
        del environ[name]
    return dropped


def unknown_variables(environ: Collection[str], known: Collection[str], is_sure: bool) -> Iterator[str]:
    """What is to be said of variables that look like options and are none.

    Where not ``is_sure`` that all of them are meant for the devserver, it is of those that nearly are one.
    """
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known and not _OF_KUBERNETES.fullmatch(name):
            near = get_close_matches(name, known, n=1, cutoff=0.85)
            hint = f"; did you mean {near[0]}?" if near else ""
            if near or is_sure:
                yield f"the variable {name} means nothing to the devserver{hint}"


def fault_of_value(value: str) -> str:
    """What is wrong with a value that was read badly from a file of variables; empty where nothing is."""
    if len(value) > 1 and value[0] in _QUOTES and value[-1] == value[0]:
        return "the value has quotation marks around it, which whatever read it from a file should have taken off"
    if value.endswith(("\r", "\n")):
        return "the value ends with a line end, which whatever read it from a file should have taken off"
    return ""

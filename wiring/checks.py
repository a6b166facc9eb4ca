"""What can be found wrong with the options before anything starts."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from staging.archives import AllowedArchives
from staging.archives.peers import PeerSettings
from staging.errors import ConfigurationError, InvalidArchiveUrl
from staging.layout import RESERVED_NAME
from staging.presence import exists
from staging.stackwalker import Stackwalker
from web.access.hosts import checked_name
from web.http.forwarded import LOOPBACK, checked_network
from web.http.tls import Certificate

_FILES = ("portfile", "pidfile", "logfile", "ledger")


def checked_static_dir(options: dict[str, Any]) -> Path:
    """Find out what cannot be used of the options of a server; the static directory, made and resolved.

    Raises:
        ConfigurationError

    """
    static_dir = usable_directory("--static-dir", options["static_dir"])
    _check_address(own_address(options["host"]), options["port"])
    for option in _FILES:
        if options[option]:
            _check_writable(f"--{option}", options[option], options[option].absolute().parent)
    if options["log_dir"]:
        usable_directory("--log-dir", options["log_dir"])
    if options["portfile"]:
        options["portfile"].unlink(missing_ok=True)  # of an earlier run, whose port is not ours
    _check_case(static_dir)
    return static_dir


def _check_case(static_dir: Path) -> None:
    """Refuse a file system on which two names are one: a tarball's ``.DEVSERVER`` would be the devserver's records."""
    own = usable_directory("--static-dir", static_dir / RESERVED_NAME)
    if exists(own.with_name(RESERVED_NAME.upper())):
        raise ConfigurationError(
            "--static-dir",
            f"{static_dir} is on a file system that takes {RESERVED_NAME.upper()} for {RESERVED_NAME}, or has such a "
            "directory: files whose names differ by case alone would be one. Use a file system that tells them apart "
            "(of ext4, a directory without the attribute of chattr +F)",
        )


def own_address(host: str) -> str:
    """The address to listen on: ``localhost`` is 127.0.0.1, whichever of its two a hosts file has first, for that is
    where commands and scripts ask.
    """
    return "127.0.0.1" if host.lower() == "localhost" else host


def usable_directory(option: str, path: Path) -> Path:
    """The directory ``path``, made if need be.

    Raises:
        ConfigurationError: it cannot be made, or written to.

    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(option, f"{path} cannot be made ({error.strerror})") from error
    _check_writable(option, path, path)
    return path.resolve()


def allowed_archives(prefixes: Sequence[str]) -> AllowedArchives:
    """The archives that may be staged from.

    Raises:
        ConfigurationError: one of the ``prefixes`` is none.

    """
    try:
        return AllowedArchives.parse(prefixes)
    except InvalidArchiveUrl as error:
        raise ConfigurationError("--allow-archive", str(error)) from error


def allowed_hosts(names: Sequence[str]) -> list[str]:
    """The names that browsers may ask for.

    Raises:
        ConfigurationError: one of the ``names`` is none.

    """
    try:
        return [checked_name(name) for name in names]
    except ValueError as error:
        wanted = "it should be a name such as builds.lab.example or *.lab.example, without a port"
        raise ConfigurationError("--allow-host", f"{error}: {wanted}") from error


def peer_settings(options: dict[str, Any]) -> PeerSettings:
    """Which devservers to fetch from, and with which token.

    Raises:
        ConfigurationError: the token cannot be used.

    """
    settings = PeerSettings(options["peer"], options["peer_token"] and options["peer_token"].absolute())
    try:
        settings.token()
    except ValueError as error:
        raise ConfigurationError("--peer-token", str(error)) from error
    return settings


def stackwalker(options: dict[str, Any]) -> Stackwalker | None:
    """What makes stacks of minidumps; None where nobody named a program.

    Raises:
        ConfigurationError: it cannot be run.

    """
    named = options["stackwalk"]
    if named is None:
        return None
    program = shutil.which(named)
    if program is None:
        raise ConfigurationError("--stackwalk", f"{named} is no program that can be run")
    return Stackwalker(Path(program).absolute())


def certificate(options: dict[str, Any]) -> Certificate | None:
    """The certificate to serve HTTPS with; None for plain HTTP.

    Raises:
        ConfigurationError: it cannot be used.

    """
    chain, key = options["tls_cert"], options["tls_key"]
    if (chain is None) != (key is None):
        raise ConfigurationError("--tls-cert, --tls-key", "they go together; one of them is missing")
    if chain is None:
        return None
    if options["front"]:
        raise ConfigurationError("--tls-cert", "with --front, it is nginx that speaks TLS: give it to nginx-config")
    return Certificate(chain, key)


def trusted_proxies(options: dict[str, Any]) -> list[str]:
    """The proxies whose word counts for who asks: those that were named, and the server in front, if there is one.

    Raises:
        ConfigurationError: one is no address and no network.

    """
    return [*named_proxies(options), *(LOOPBACK if options["front"] else ())]


def named_proxies(options: dict[str, Any]) -> list[str]:
    """Those that were named; raises the same."""
    try:
        return [checked_network(text) for text in options["trusted_proxy"]]
    except ValueError as error:
        raise ConfigurationError("--trusted-proxy", f"{error}; it should look like 10.0.0.5 or 10.0.0.0/8") from None


def _check_writable(option: str, path: Path, directory: Path) -> None:
    """Find out whether files can be made in ``directory``.

    Another file than ``path``: wrappers watch for some of them.
    """
    try:
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise ConfigurationError(option, f"{path} cannot be written ({error.strerror})") from error


def _check_address(host: str, port: int) -> None:
    """Find out whether the address is free, to say so in one line."""
    if os.environ.pop("LISTEN_PID", "") == str(os.getpid()):  # of another process, it means nothing
        wanted = "the devserver opens its own: take the .socket unit away, and give --host and --port"
        raise ConfigurationError("LISTEN_FDS", f"a socket was passed on by systemd; {wanted}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigurationError("--host, --port", f"cannot listen on {host}:{port} ({error.strerror})") from error
    except UnicodeError as error:
        raise ConfigurationError("--host", f"{host!r} is no name of a machine, and no address") from error

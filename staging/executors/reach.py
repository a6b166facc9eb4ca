"""What every worker may read of this machine, and the ports of the archive: all else is none of its business."""

from __future__ import annotations

import json
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi

from staging.records.text import data_of

_SYSTEM = (
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/share",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/share",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/nix/store",
)
# Names, certificates, the time, and what the C library looks at: no keys, and nobody's passwords.
_CONFIGURATION = (
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/passwd",
    "/etc/group",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/mime.types",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
)
_PACKAGES = ("artifacts", "staging")  # of this project, that workers run
_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
_CREDENTIALS, _CLOUD_CONFIGURATION = "GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG"
_USUAL_CREDENTIALS = "application_default_credentials.json"
_LARGEST_CREDENTIALS = 1024 * 1024  # bytes
_USUAL_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_ADDRESS_VARIABLES = ("STORAGE_EMULATOR_HOST", "API_ENDPOINT_OVERRIDE")
_DNS = 53
_VOLUME = "..data/"
_ADDRESS = re.compile(r"https?://[^\s/\"]+")


def runnable() -> tuple[str, ...]:
    """The interpreter, the libraries, and the programs of the machine; none twice, for each costs every worker time."""
    found = sorted({Path(path).resolve() for path in (*_SYSTEM, *_interpreter()) if Path(path).exists()})
    highest: list[Path] = []
    for path in found:
        if not any(path.is_relative_to(one) for one in highest):
            highest.append(path)
    return tuple(map(str, highest))


def readable() -> tuple[str, ...]:
    """The configuration of names and certificates, and the archive's credentials."""
    certificates = (os.environ.get(name, "") for name in _CERTIFICATE_VARIABLES)
    found = (*_CONFIGURATION, certifi.where(), *certificates, *credentials())
    return tuple(dict.fromkeys(path for path in found if path.startswith("/")))


def _interpreter() -> Iterator[str]:
    project = Path(__file__).resolve().parents[2]
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix} - {"/usr"}:
        yield from (f"{prefix}/{name}" for name in ("bin", "lib", "lib64", "pyvenv.cfg"))
    yield from (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    yield str(Path(sys.executable).resolve().parent)
    for entry in sys.path:
        # This project may lie in a checkout, with the static directory and much else beside it.
        if os.path.isabs(entry) and Path(entry).resolve() != project:  # noqa: PTH117
            yield entry
    yield from (str(project / name) for name in _PACKAGES)


def credentials() -> Iterator[str]:
    """The files that Google's client reads its credentials from, and those that they name."""
    default = str(Path.home() / ".config" / "gcloud") if "HOME" in os.environ else ""
    usual = f"{os.environ.get(_CLOUD_CONFIGURATION) or default}/{_USUAL_CREDENTIALS}"
    named = os.environ.get(_CREDENTIALS) or usual
    yield from _with_what_replaces_it(os.path.abspath(named))  # noqa: PTH100 - a link stays one
    source = _read(named).get("credential_source")
    if isinstance(source, dict) and isinstance(source.get("file"), str):
        yield from _with_what_replaces_it(source["file"])


def _with_what_replaces_it(path: str) -> Iterator[str]:
    """The file; and its directory where that is a volume of Kubernetes, all files of which are links by way of a link
    ``..data`` that is put in place anew with every change.
    """
    yield path
    with suppress(OSError):
        if os.readlink(path).startswith(_VOLUME):  # noqa: PTH115
            yield os.path.dirname(path)  # noqa: PTH120


def archive_ports() -> set[int]:
    """The ports of the archive, of what gives tokens for it, of proxies on the way there, and of name servers."""
    addresses = [os.environ.get(name, "") for name in _ADDRESS_VARIABLES]
    addresses += [f"http://{os.environ.get('GCE_METADATA_HOST', '')}"]
    for name in _PROXY_VARIABLES:
        addresses += [os.environ.get(name, ""), os.environ.get(name.upper(), "")]
    for path in credentials():
        addresses += _ADDRESS.findall(json.dumps(_read(path)))
    return {80, 443, _DNS, *(port_of(address) for address in addresses if address)}


def port_of(address: str) -> int:
    """The port of a URL; 443 where that cannot be read."""
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        return parts.port or _USUAL_PORTS.get(parts.scheme, 443)
    except ValueError:
        return 443


def exposed(secrets: Sequence[Path], paths: Sequence[str]) -> list[Path]:
    """Those of the files that lie in what workers may read."""
    allowed = [Path(path).resolve() for path in paths]
    return [secret for secret in secrets if any(secret.resolve().is_relative_to(one) for one in allowed)]


def _read(path: str) -> dict[str, Any]:
    """What a file of credentials holds; nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - of any name
            found = data_of(file.read(_LARGEST_CREDENTIALS))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

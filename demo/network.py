"""A network of one's own: nothing that listens there can be reached from anywhere else, or be in anybody's way."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence

_MARK = "DEMO_NETWORK"  # set in who runs in one
_UP = 1  # IFF_UP, of linux/if.h
_GET_FLAGS, _SET_FLAGS = 0x8913, 0x8914  # SIOCGIFFLAGS and SIOCSIFFLAGS, of linux/sockios.h
_LOOPBACK = b"lo"


def in_a_network_of_its_own(arguments: Sequence[str]) -> None:
    """Go on in a network namespace that has a loopback interface and nothing else, where the machine allows that.

    This process is replaced by one that runs the same program with the same ``arguments``.
    """
    if os.environ.get(_MARK):
        _switch_loopback_on()
        return
    unshare = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if shutil.which("unshare") and subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode == 0:
        os.environ[_MARK] = "1"
        os.execvp("unshare", [*unshare, sys.executable, *arguments])  # noqa: S606, S607


def _switch_loopback_on() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", _LOOPBACK, 0)
        _, flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, _GET_FLAGS, request))
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14x", _LOOPBACK, flags | _UP))

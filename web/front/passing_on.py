"""How nginx passes requests on: within which bounds, and what it says of who asks."""

from __future__ import annotations

from collections.abc import Sequence

from web.http.forwarded import UNIX
from web.http.request import LARGEST_BODY, LARGEST_HEAD, LONGEST_LINE, TIME_FOR_BODY, TIME_FOR_HEAD

_LARGEST_WORD = max(LONGEST_LINE, LARGEST_HEAD)  # bytes, of the request line or of a header
_UNIX_SOCKET = "255.255.255.255"  # what nginx compares an address with that is none

# What a name of a server may consist of, here and in web/http/forwarded.py.
_NAME = r"(?<forwarded_host>[A-Za-z0-9._-]+(?::[0-9]+)?|\[[0-9A-Fa-f:.]+\](?::[0-9]+)?)"

LOCALLY = """
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
"""

# Each the devserver's own bound, which says no by itself where nginx does not.
BOUNDS = f"""
    large_client_header_buffers 4 {_LARGEST_WORD};
    client_max_body_size {LARGEST_BODY};
    client_header_timeout {int(TIME_FOR_HEAD)}s;
    client_body_timeout {int(min(TIME_FOR_BODY, 10))}s;
    ignore_invalid_headers off;  # the devserver refuses them
    keepalive_requests 100000;
    send_timeout 60s;
    lingering_close always;  # else a client that is still sending when it is refused may not read why
    lingering_time 10s;
    lingering_timeout 2s;
    absolute_redirect off;
    port_in_redirect off;
"""

# For every request that is passed on.
HEADERS = """proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $passed_host;
        proxy_set_header X-Forwarded-Host $passed_host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $passed_scheme;"""


def who_asks(trusted: Sequence[str]) -> str:
    """The lines of ``http`` that find out who asks, by which scheme and name; ``trusted`` proxies are believed."""
    real = "\n".join(f"    set_real_ip_from {network};" for network in trusted)
    known = "\n".join(f"        {_UNIX_SOCKET if network == UNIX else network} 1;" for network in trusted)
    return f"""
    # What the proxies of --trusted-proxy say of a client counts, and what anybody else says does not.
{real}
    real_ip_header X-Forwarded-For;
    real_ip_recursive on;
    geo $realip_remote_addr $is_trusted {{
        default 0;
{known}
    }}
    map "$is_trusted $http_x_forwarded_proto" $passed_scheme {{
        default $scheme;
        "~*^1 (?:.*,)? *(?<forwarded_scheme>https?) *$" $forwarded_scheme;
    }}
    map "$is_trusted $http_x_forwarded_host" $passed_host {{
        default $asked_host;
        "~^1 (?:.*,)? *{_NAME} *$" $forwarded_host;
    }}
    map $http_host $asked_host {{
        default $http_host;
        "" localhost;  # of HTTP/1.0, as health checks speak it
    }}
"""

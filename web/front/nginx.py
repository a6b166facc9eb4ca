"""The configuration of an nginx in front: files from the disk by nginx, everything else passed on."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

from staging.layout import RESERVED_NAME
from web.http.tls import Certificate

USE_LOG = "use.log"  # in nginx's own directory: a line for each file that was read
# What a line of that log is: the status, bytes of the body, the moment of its end, the client's address, and the path
# of the URL, decoded, to the line's end.
_LINE = "$status $body_bytes_sent $msec $remote_addr $uri"

_MOST_OPEN_FILES = 65536
_FILES_OF_A_CONNECTION = 4  # at the most: the client's, the devserver's, and what is sent

# Its <pre> is that of the devserver's own error pages, whose last line clients read.
_AWAY = (
    '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="3">'
    "<title>The devserver is not running</title><h1>The devserver is not running</h1>"
    "<pre>\n\nNotRunning: nginx is here, and the devserver behind it is not\n</pre>"
    "<p>This page tries again every three seconds.</p></html>"
).replace("\n", "\\n")

_CONFIGURATION = """\
# An nginx in front of a devserver, as `devserver nginx-config` writes it. Start it with
#     nginx -p {run_dir} -c this-file
# and the devserver with
#     --front nginx --front-log {run_dir}/{use_log}

worker_processes auto;
worker_rlimit_nofile {open_files};
pcre_jit on;
pid nginx.pid;
error_log error.log;
{user}
events {{
    worker_connections {connections};
}}

http {{
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;

    # A head and a small file in one packet wait up to 40 ms for the client's acknowledgement, now and then.
    sendfile on;
    tcp_nopush off;
    keepalive_requests 100000;
    send_timeout 60s;
    absolute_redirect off;
    index devserver-has-no-index;

    # Somebody else's page is not one of the devserver's.
    map $uri $policy {{
        ~\\.(html|xml)$ sandbox;
        default "";
    }}

    types {{
        text/html html;
        text/plain txt log;
        application/json json;
        application/xml xml;
    }}
    default_type application/octet-stream;
    charset utf-8;

    log_format use escape=none '{line}';
    # A line for each file that was sent: no name that is made up can break one, as what is not there is not logged.
    map $status$request_method $is_use {{
        ~^(200|206|304|412|416)(GET|HEAD)$ 1;
        default 0;
    }}
    access_log off;

    upstream devserver {{
        server {devserver};
        keepalive 64;
        keepalive_timeout 5s;  # the devserver's own is longer: no request meets a connection that it closes
    }}

    server {{
        listen {listen}{tls} backlog=4096 so_keepalive=10s:5s:3;{certificate}
        server_tokens off;

        # The devserver's own records.
        location ~ /{reserved}(/|$) {{
            return 404;
        }}

        # What nginx cannot give, the devserver answers: directories, links, what is not there.
        location /static/ {{{guard}
            alias {static_dir}/;
            disable_symlinks on from={static_dir};
            add_header X-Content-Type-Options nosniff;
            add_header Content-Security-Policy $policy;
            access_log {use_log} use buffer=64k flush=2s if=$is_use;
            error_page {passed_on}403 404 = @devserver;
        }}
{question}
        location / {{
            try_files /nothing-of-this-name @devserver;
        }}

        # While the devserver is not there, programs are told so by the status, and people by a page that comes back.
        error_page 502 @away;
        recursive_error_pages on;
        location @away {{
            default_type "text/html; charset=utf-8";
            add_header Cache-Control no-store always;
            add_header Retry-After 5 always;
            return 502 '{away}';
        }}

        # A harness may wait here for hours.
        location @devserver {{
            proxy_pass http://devserver;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_connect_timeout 10s;
            proxy_read_timeout 24h;
            proxy_send_timeout 60s;
            proxy_next_upstream off;
        }}
    }}
}}
"""

CERTIFICATE = """
        ssl_certificate {};
        ssl_certificate_key {};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:devserver:10m;"""
# Where reading takes a token, the devserver is asked of each file whether it came along.
_GUARD = """
            auth_request /may-read;"""
_QUESTION = """
        location = /may-read {
            internal;
            proxy_pass http://devserver/api/v1/version;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }
"""


def configuration(
    static_dir: Path,
    devserver: str,
    listen: str,
    run_dir: Path,
    reads_freely: bool = True,
    certificate: Certificate | None = None,
) -> str:
    """The text of the configuration.

    Args:
        static_dir: the devserver's.
        devserver: its address, ``host:port``.
        listen: nginx's address, ``host:port``.
        run_dir: the directory of what nginx writes.
        reads_freely: whether reading takes no token.
        certificate: what to speak TLS with; None for plain HTTP.

    """
    files = _open_files()
    return _CONFIGURATION.format(
        static_dir=static_dir,
        devserver=devserver,
        listen=listen,
        run_dir=run_dir,
        tls="" if certificate is None else " ssl",
        certificate="" if certificate is None else CERTIFICATE.format(*(path.absolute() for path in certificate)),
        guard="" if reads_freely else _GUARD,
        question="" if reads_freely else _QUESTION,
        passed_on="" if reads_freely else "401 500 ",  # 500: the devserver did not say whether it may be read
        user=_user(static_dir) if os.geteuid() == 0 else "",
        open_files=files,
        connections=files // _FILES_OF_A_CONNECTION,
        away=_AWAY,
        use_log=USE_LOG,
        line=_LINE,
        reserved=RESERVED_NAME.replace(".", r"\."),
    )


def _open_files() -> int:
    """How many files each of nginx' processes may open: no more than its user is allowed, or nginx complains."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _MOST_OPEN_FILES)


def _user(static_dir: Path) -> str:
    """Who the workers are to be of an nginx that root starts: the owner of the static directory.

    Workers are never root where they need not be: of a directory of root's that everybody may read they are who nginx
    has them be, and what one file or the other does not let them read, the devserver answers.
    """
    if static_dir.stat().st_uid != 0:
        return f"user {static_dir.owner()} {static_dir.group()};\n"
    if all(path.stat().st_mode & stat.S_IXOTH for path in (static_dir, *static_dir.parents)):
        return ""
    return (
        "# Only root may look into the static directory. Better give it, and the devserver, a user of their own.\n"
        "user root root;\n"
    )

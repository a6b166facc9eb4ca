"""The configuration of an nginx in front: files from the disk by nginx, everything else passed on."""

from __future__ import annotations

import os
import resource
import shlex
import stat
from collections.abc import Sequence
from pathlib import Path

from staging.encodings import ENCODED
from staging.layout import RESERVED_NAME
from web.files.application import DEFAULT_TYPE, FILE_POLICY, TYPES
from web.files.buckets import ACCEL, INTERNAL
from web.files.ranges import MOST_RANGES
from web.front import passing_on, refusals
from web.front.values import listening, quoted, user_of
from web.http.request import DUMPS, LARGEST_DUMP
from web.http.tls import Certificate

USE_LOG = "use.log"  # in nginx's own directory: a line for each file that was read
# What a line of that log is: an object with the status, bytes of the body, the moment of its end, the client's address,
# and the path of the URL, decoded. Whatever is in a name is escaped: a line is a line.
_LINE = '{"status":$status,"sent":$body_bytes_sent,"time":$msec,"client":"$remote_addr","path":"$uri"}'

_MOST_OPEN_FILES = 65536
_FILES_OF_A_CONNECTION = 4  # at the most: the client's, the devserver's, and what is sent
# What nginx says no to below /static/ and the devserver may know better: directories, links, what is not there, and
# other methods.
_PASSED_ON = (403, 404, 405)
_ASK_AT_ONCE = 418  # of nginx' own, for what the devserver is asked at once: no other answer has it
_PASSED_ON_GUARDED = (401, 500)  # the devserver did not say whether it may be read

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

http {{{locally}
    # A head and a small file in one packet wait up to 40 ms for the client's acknowledgement, now and then.
    sendfile on;
    tcp_nopush off;
    index devserver-has-no-index;
    map_hash_bucket_size 128;
{bounds}
    types {{
{types}
    }}
    default_type {default_type};

    log_format use escape=json '{line}';
    # A line for each file that was sent.
    map $status$request_method $is_use {{
        ~^(200|206|304)(GET|HEAD)$ 1;
        default 0;
    }}
    map $uri $mark {{
        "~^/static(?<mark_folder>/.*/|/)(?<mark_name>[^/]+)$" "$mark_folder{marks}/$mark_name";
        default "";
    }}
    access_log off;
    # A condition on the state of a file. nginx knows a state by time and size alone, and what two builds' tarballs hold
    # may have both in common.
    map "$http_if_range$http_if_none_match$http_if_match$http_if_modified_since$http_if_unmodified_since" $if_state {{
        default 1;
        "" 0;
    }}
{who_asks}{refusal_maps}
    upstream devserver {{
        server {devserver};
        keepalive 64;
        keepalive_timeout 5s;  # the devserver's own is longer: no request meets a connection that it closes
    }}

    server {{
        listen {listen};{certificate}
        server_tokens off;
        {headers}
        # For requests that name a bucket, the devserver says where the file lies.
        proxy_set_header X-Sendfile-Type {accel};
{refusal_locations}
        # The devserver's own records.
        location ~ "/{reserved}(/|$)" {{
            return 404;
        }}

        # What nginx cannot give, the devserver answers: directories, links, what is not there.
        location /static/ {{{guard}
            alias {static_dir};
            disable_symlinks on {links_from};
            add_header X-Content-Type-Options nosniff;
            # Whatever a file is called, it is none of the devserver's pages.
            add_header Content-Security-Policy {policy};
            access_log {use_log} use buffer=64k flush=2s if=$is_use;
            max_ranges {most_ranges};
            error_page {passed_on} {ask_at_once} = @devserver;
            # What is stored encoded is for the devserver to serve, which knows how.
            if (-f {marked}) {{
                return {ask_at_once};
            }}
            # Whose file is asked for, only the devserver knows: a path may be two buckets', and a name be encoded.
            if ($args ~* "bucket|%") {{
                return {ask_at_once};
            }}
            if ($if_state) {{
                return {ask_at_once};
            }}
            error_page 301 {moved};
{error_pages}
        }}

        # Where the devserver says that such a file lies; its tags are the devserver's own.
        location ^~ /static/{internal} {{
            internal;
            alias {static_dir};
            disable_symlinks on {links_from};
            etag off;
            add_header ETag $upstream_http_etag;
            add_header X-Goog-Hash $upstream_http_x_goog_hash;
            add_header X-Content-Type-Options nosniff;
            add_header Content-Security-Policy {policy};
            access_log {use_log} use buffer=64k flush=2s if=$is_use;
            max_ranges {most_ranges};
        }}
{question}
        location / {{
            try_files /nothing-of-this-name @devserver;
        }}
        location = {dumps} {{
            client_max_body_size {largest_dump};
            try_files /nothing-of-this-name @devserver;
        }}

        # A harness may wait here for hours.
        location @devserver {{
            proxy_pass http://devserver;
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

# Where reading takes a token, the devserver is asked of each file whether it came along.
_GUARD = """
            auth_request /may-read;"""
_QUESTION = f"""
        location = /may-read {{
            internal;
            proxy_pass http://devserver/api/v1/version;
            proxy_pass_request_body off;
            {passing_on.HEADERS}
            proxy_set_header Content-Length "";
        }}
"""


def configuration(
    static_dir: Path,
    devserver: str,
    listen: str,
    run_dir: Path,
    reads_freely: bool = True,
    certificate: Certificate | None = None,
    trusted: Sequence[str] = (),
) -> str:
    """The text of the configuration.

    Args:
        static_dir: the devserver's.
        devserver: its address, ``host:port``.
        listen: nginx's address, ``host:port``.
        run_dir: the directory of what nginx writes.
        reads_freely: whether reading takes no token.
        certificate: what to speak TLS with; None for plain HTTP.
        trusted: addresses and networks of the proxies in front of nginx that are believed.

    Raises:
        ConfigurationError: something of that cannot be told nginx.

    """
    files = _open_files()
    passed_on = _PASSED_ON if reads_freely else (*_PASSED_ON_GUARDED, *_PASSED_ON)
    return _CONFIGURATION.format(
        locally=passing_on.LOCALLY,
        bounds=passing_on.BOUNDS,
        dumps=DUMPS,
        largest_dump=LARGEST_DUMP,
        who_asks=passing_on.who_asks(trusted),
        headers=passing_on.HEADERS,
        refusal_maps=refusals.maps(),
        refusal_locations=refusals.locations(),
        error_pages=refusals.error_pages(passed_on),
        types="\n".join(f'        "{kind}" {ending};' for ending, kind in TYPES.items()),
        default_type=DEFAULT_TYPE,
        policy=FILE_POLICY,
        static_dir=quoted("--static-dir", f"{static_dir}/"),
        marked=f'{quoted("--static-dir", str(static_dir))[:-1]}$mark"',
        marks=f"{RESERVED_NAME}/{ENCODED}",
        links_from=quoted("--static-dir", f"from={static_dir}"),
        devserver=devserver,
        listen=listening("--listen", listen, certificate),
        certificate=certificate_lines(certificate),
        run_dir=shown(run_dir),
        guard="" if reads_freely else _GUARD,
        question="" if reads_freely else _QUESTION,
        passed_on=" ".join(map(str, passed_on)),
        user=_user(static_dir),
        open_files=files,
        connections=files // _FILES_OF_A_CONNECTION,
        most_ranges=MOST_RANGES,
        moved=refusals.MOVED,
        ask_at_once=_ASK_AT_ONCE,
        accel=ACCEL,
        internal=INTERNAL,
        use_log=USE_LOG,
        line=_LINE,
        reserved=RESERVED_NAME.replace(".", r"\."),
    )


def certificate_lines(certificate: Certificate | None) -> str:
    """The lines of ``server`` that have it speak TLS."""
    if certificate is None:
        return ""
    chain, key = (
        quoted(option, str(path.absolute()))
        for option, path in zip(("--tls-cert", "--tls-key"), certificate, strict=True)
    )
    return f"""
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:devserver:10m;"""


def shown(run_dir: Path) -> str:
    """The directory as a comment has it, for a shell."""
    quoted("--run-dir", str(run_dir).replace("$", ""))  # of what it holds, only the end of a line would end the comment
    return shlex.quote(str(run_dir))


def _open_files() -> int:
    """How many files each of nginx' processes may open: no more than its user is allowed, or nginx complains."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _MOST_OPEN_FILES)


def _user(static_dir: Path) -> str:
    """Who the workers are to be of an nginx that root starts: the owner of the static directory.

    Workers are never root where they need not be: of a directory of root's that everybody may read they are who nginx
    has them be, and what one file or the other does not let them read, the devserver answers.
    """
    if os.geteuid() != 0 or static_dir.stat().st_uid != 0:
        return user_of(static_dir)
    if all(path.stat().st_mode & stat.S_IXOTH for path in (static_dir, *static_dir.parents)):
        return ""
    return (
        "# Only root may look into the static directory. Better give it, and the devserver, a user of their own.\n"
        "user root root;\n"
    )

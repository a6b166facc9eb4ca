"""The configuration of an nginx in front of several devservers: each build belongs to one of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from staging.errors import ConfigurationError
from web.front import passing_on, refusals
from web.front.nginx import certificate_lines, shown
from web.front.values import listening
from web.http.request import DUMPS, LARGEST_DUMP
from web.http.tls import Certificate

_UPSTREAM = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\]):([0-9]{1,5})")

# How a build is written in a URL's query: nginx has it as it came, with or without its signs percent-encoded.
_COLON, _SLASH, _PART = "(?::|%3[Aa])", "(?:/|%2[Ff])", "(?:(?!%2[Ff])[^/])+"
_ARCHIVE = f"gs{_COLON}{_SLASH}{_SLASH}{_PART}{_SLASH}+"
_DIRECTORY = f"file{_COLON}{_SLASH}{_SLASH}(?:.*{_SLASH})?"
_END = f"{_SLASH}*$"

_CONFIGURATION = """\
# An nginx in front of several devservers, as `devserver nginx-config --upstream` writes it. Start it with
#     nginx -p {run_dir} -c this-file

worker_processes auto;
worker_rlimit_nofile 65536;
pcre_jit on;
pid nginx.pid;
error_log error.log;
{user}
events {{
    worker_connections 16384;
}}

http {{{locally}
    tcp_nopush off;
    access_log off;
    variables_hash_max_size 2048;
    map_hash_bucket_size 128;
{bounds}{who_asks}{refusal_maps}

    # Which build a request is about, target/version: the first of these that says so. What a body holds, nginx cannot
    # see: a client may send the header.
    map $http_x_build_path $build_path {{
        "~^/*(?<header_target>[^/]+)/+(?<header_version>[^/]+)" $header_target/$header_version;
        "~^/*(?<header_part>[^/]+)/*$" $header_part;
        default $archived_build;
    }}
    map $arg_archive_url $archived_build {{
        "~^{archive}(?<url_target>{part}){slash}+(?<url_version>{part})" $url_target/$url_version;
        "~^{archive}(?<url_part>{part}){end}" $url_part;
        "~^{directory}(?<file_target>{part}){slash}+(?<file_version>{part}){end}" $file_target/$file_version;
        default $named_build;
    }}
    map $arg_build $named_build {{
        "~^{archive}(?<named_target>{part}){slash}+(?<named_version>{part})" $named_target/$named_version;
        "~^{slash}*(?<query_target>{part}){slash}+(?<query_version>{part})" $query_target/$query_version;
        "~^{slash}*(?<query_part>{part}){end}" $query_part;
        default $addressed_build;
    }}
    map $uri $addressed_build {{
        "~^/(?:builds|api/v1/builds)/gs:/+[^/]+/(?<of_bucket_target>[^/]+)/(?<of_bucket_version>[^/]+)"
            $of_bucket_target/$of_bucket_version;
        "~^/(?:builds|api/v1/builds)/gs:/+[^/]+/(?<of_bucket_part>[^/]+)/?$" $of_bucket_part;
        "~^/(?:builds|api/v1/builds)/gs:/+[^/]+/?$" "";
        "~^/(?:builds|api/v1/builds)/file:/(?:.*/)?(?<own_target>[^/]+)/(?<own_version>[^/]+)$"
            $own_target/$own_version;
        "~^/(?:static|builds|api/v1/builds)/(?<path_target>[^/]+)/(?<path_version>[^/]+)" $path_target/$path_version;
        "~^/(?:static|builds|api/v1/builds)/(?<path_part>[^/]+)/?$" $path_part;
        default "";
    }}

    # Builds of one path belong to one devserver, of whichever buckets they are: a request that names no bucket is about
    # the first of them, and has to meet it.
    # A build has its place on a ring of hashes, as web/client/ring.py has it too; what is about no build goes round.
    # A devserver that failed twice within ten seconds is left out for ten: nginx looks at what it passes on, and asks
    # nobody how he is.
    upstream devservers {{
        zone devservers 256k;
        hash $build_path consistent;
{servers}
        keepalive 64;
        keepalive_timeout 5s;  # the devserver's own is longer: no request meets a connection that it closes
    }}

    server {{
        listen {listen};{certificate}
        server_tokens off;
{refusal_locations}
        # A harness may wait here for hours. Errors of the devserver's own are passed on as they are.
        {headers}
        proxy_set_header X-Sendfile-Type "";  # the files are the devservers'
        proxy_buffering off;
        proxy_connect_timeout 3s;
        proxy_read_timeout 24h;
        proxy_send_timeout 60s;
        proxy_next_upstream error timeout http_502;
        proxy_next_upstream_tries {tries};

        location / {{
            proxy_pass http://devservers;
        }}
        location = {dumps} {{
            client_max_body_size {largest_dump};
            proxy_request_buffering off;
            proxy_pass http://devservers;
        }}

        # What is not here may be with the next one, which had the build while this one was away, or not yet there.
        location ~ ^/(static|builds)/ {{
            proxy_next_upstream error timeout http_502 http_404;
            proxy_pass http://devservers;
            error_page 502 504 = @once_more;
{error_pages}
        }}

        # Where the last that was to be asked is gone, what nobody has is 404 all the same: as the others say.
        location @once_more {{
            if ($request_method !~ "^(GET|HEAD)$") {{
                return 502;
            }}
            proxy_pass http://devservers;
        }}
    }}
}}
"""
_TRIES = 3  # devservers that are asked, at the most


def configuration(
    upstreams: Sequence[str],
    listen: str,
    run_dir: Path,
    user: str,
    certificate: Certificate | None = None,
    trusted: Sequence[str] = (),
) -> str:
    """The text of the configuration.

    Args:
        upstreams: the devservers' addresses, ``host:port``. Clients that choose for themselves have to have them
            written alike.
        listen: nginx's address, ``host:port``.
        run_dir: the directory of what nginx writes.
        user: the line that says who nginx' workers are to be; empty where nginx is not started by root.
        certificate: what to speak TLS with; None for plain HTTP. With the devservers it speaks plain HTTP.
        trusted: addresses and networks of the proxies in front of it that are believed.

    Raises:
        ConfigurationError: one of the upstreams is no address, or is there twice, or nginx cannot be told something.

    """
    _check(upstreams)
    servers = [f"        server {upstream} max_fails=2 fail_timeout=10s;" for upstream in upstreams]
    return _CONFIGURATION.format(
        servers="\n".join(servers),
        listen=listening("--listen", listen, certificate),
        run_dir=shown(run_dir),
        tries=_TRIES,
        certificate=certificate_lines(certificate),
        user=user,
        locally=passing_on.LOCALLY,
        bounds=passing_on.BOUNDS,
        dumps=DUMPS,
        largest_dump=LARGEST_DUMP,
        who_asks=passing_on.who_asks(trusted),
        headers=passing_on.HEADERS,
        refusal_maps=refusals.maps(),
        refusal_locations=refusals.locations(),
        error_pages=refusals.error_pages((502, 504)),
        archive=_ARCHIVE,
        directory=_DIRECTORY,
        slash=_SLASH,
        part=_PART,
        end=_END,
    )


def _check(upstreams: Sequence[str]) -> None:
    for upstream in upstreams:
        match = _UPSTREAM.fullmatch(upstream)
        if match is None or not 0 < int(match[1]) < 65536:
            raise ConfigurationError("--upstream", f"{upstream!r} should look like devserver:8080")
        if upstreams.count(upstream) > 1:
            raise ConfigurationError("--upstream", f"{upstream} is there twice")

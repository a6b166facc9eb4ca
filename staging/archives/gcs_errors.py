"""What Google's client raises, and what the network does, as this project's errors."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3
from google.auth import exceptions as auth

from staging.archives.gcs_client import CredentialsUnusable, current_token, status_in
from staging.archives.refusals import Refusal, in_a_sentence
from staging.errors import AccessDenied, ArchiveError, ArchiveRefused, ArchiveUnavailable

_TRANSIENT = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
_NO_ADDRESS = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema)
# Asked in this order: what refused or broke a connection is often reported through an error that times out.
_IN_FEW_WORDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((ConnectionRefusedError,), "refused the connection"),
    ((socket.gaierror,), "has a name that cannot be resolved"),
    ((requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError), "sent nothing for too long"),
    ((urllib3.exceptions.ProtocolError, ConnectionError), "broke off in the middle"),
)
_ARCHIVE, _TOKENS = "the archive", "what gives tokens for the archive"
_PASSING = (408, 425, 429)


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn what is raised of ``url`` by Google's client, and below it, into this project's errors."""
    try:
        yield
    except Refusal as error:
        raise error.about(url) from error
    except auth.InvalidOperation as error:  # what anonymous credentials say to a 401
        raise AccessDenied(url, "the archive asks for credentials, and this devserver has none") from error
    except CredentialsUnusable as error:
        raise AccessDenied(url, f"the devserver's credentials cannot be used: {in_a_sentence(error)}") from error
    except auth.GoogleAuthError as error:
        raise _of_credentials(url, error) from error
    except _TRANSIENT as error:
        raise _of_network(url, error, _ARCHIVE) from error


def _of_credentials(url: str, error: auth.GoogleAuthError) -> ArchiveError:
    """What it means that a token could not be had, or renewed."""
    chain = _chain(error)
    if any(isinstance(link, _TRANSIENT) for link in chain):
        return _of_network(url, error, _TOKENS)
    said, status = in_a_sentence(error.args[0] if error.args else "", current_token()), status_in(error)
    is_of_another = "<html" in said.lower()  # a proxy, or what balances their load
    if error.retryable or is_of_another or (status is not None and (status >= 500 or status in _PASSING)):
        return ArchiveUnavailable(
            url, f"{_TOKENS} answered {status or 'an error'}{'' if is_of_another else f': {said}'}"
        )
    return AccessDenied(url, f"the devserver's credentials do not work ({type(error).__name__}: {said})")


def _of_network(url: str, error: BaseException, who: str) -> ArchiveError:
    """What a connection met on the way to ``who``."""
    chain = _chain(error)
    certificate = next((link for link in chain if isinstance(link, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return ArchiveRefused(
            url,
            f"the certificate of {who} is not trusted: {in_a_sentence(certificate.verify_message)}; the variable "
            "REQUESTS_CA_BUNDLE may name a file with the certificate of whoever signed it",
        )
    if any(isinstance(link, _NO_ADDRESS) for link in chain):
        return ArchiveRefused(url, f"the address of {who}, or that of the proxy on the way, cannot be used")
    said = " ".join(str(link) for link in chain if type(link) is OSError and link.errno is None)
    if "certificate" in said:  # what requests says of its files
        return ArchiveRefused(url, "the file that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names is not there")
    return ArchiveUnavailable(url, _plain(error, chain, who))


def _plain(error: BaseException, chain: list[BaseException], who: str) -> str:
    """``error`` in few words: the libraries' own texts name hosts, objects and addresses of memory."""
    for kinds, words in _IN_FEW_WORDS:
        if any(isinstance(link, kinds) for link in chain):
            return f"{who} {words}"
    return f"the connection to {who} failed ({type(error).__name__})"


def _chain(error: BaseException) -> list[BaseException]:
    """``error``, and all that it came about by."""
    chain: list[BaseException] = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) is not None and deeper not in chain:
        chain.append(deeper)
    for link in tuple(chain):  # urllib3 and requests hand some on as arguments
        chain += [one for one in (*link.args, getattr(link, "reason", None)) if isinstance(one, BaseException)]
    return chain

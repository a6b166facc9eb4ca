"""Tokens: random secrets, of which a file keeps the digests, each with a name and what it allows.

A line of the file is ``name scope,scope sha256:digest``. A fast digest is right for these: a token is 32 random bytes,
which nobody guesses however fast he tries, and not a password that a dictionary has. A slow one would only let whoever
sends wrong tokens keep the server busy.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from staging.errors import ConfigurationError
from web.reloaded import Reloaded

SCOPES = ("stage", "remove", "read")

_PREFIX = "devserver_"  # by which people, and programs that look for leaked secrets, know what it is
_BYTES = 32
_LONGEST = 256  # characters of what somebody sends as a token
_LARGEST_FILE = 1024 * 1024  # bytes
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_EXAMPLE = "it should be a name, scopes and a digest, as `devserver token` prints it"


@dataclass(frozen=True)
class Token:
    """One token, as its file describes it; the token itself is in nobody's file."""

    name: str
    scopes: frozenset[str]
    digest: str

    @property
    def line(self) -> str:
        """The line of the file."""
        return f"{self.name} {','.join(scope for scope in SCOPES if scope in self.scopes)} sha256:{self.digest}"


def make_token(name: str, scopes: Sequence[str]) -> tuple[str, Token]:
    """A new token, which is told this once, and what is kept of it.

    Raises:
        ConfigurationError: the name or a scope is none.

    """
    secret = _PREFIX + secrets.token_urlsafe(_BYTES)
    return secret, _token(f"token {name!r}", name, scopes, _digest(secret))


def parse_tokens(text: str, where: str) -> tuple[Token, ...]:
    """The tokens in the text of a file, which errors call ``where``.

    Raises:
        ConfigurationError: names the line, and what is wrong with it.

    """
    tokens: dict[str, Token] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        place = f"{where}, line {number}"
        match = _DIGEST.fullmatch(words[2]) if len(words) == 3 else None
        if match is None:
            raise ConfigurationError(place, _EXAMPLE)
        if words[0] in tokens:
            raise ConfigurationError(place, f"there is a token {words[0]!r} already")
        tokens[words[0]] = _token(place, words[0], words[1].split(","), match[1])
    return tuple(tokens.values())


def _token(where: str, name: str, scopes: Sequence[str], digest: str) -> Token:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(where, "a name is letters, digits, '.', '_', '@' and '-', 64 at most")
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise ConfigurationError(where, f"{','.join(unknown)!r} is no scope; there are {', '.join(SCOPES)}")
    return Token(name, frozenset(scopes), digest)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


class TokenFile:
    """The tokens of a file, which is read again when it has changed.

    What cannot be read then is told to ``log``, and the tokens stay as they were. To take a token back, take its line
    out.
    """

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        """Read the file.

        Raises:
            ConfigurationError: it cannot be read, or others may write to it.

        """
        self._log = log
        self._tokens = Reloaded([path], partial(_read, path), self._tell)

    def read_anew(self) -> Callable[[], None]:
        """Read the file now; the function returned has its tokens count.

        Raises:
            ConfigurationError: as when it was first read.

        """
        return self._tokens.read_anew()

    def find(self, secret: str) -> Token | None:
        """The token that ``secret`` is, or None. How long that takes tells nothing of any of them."""
        digest = _digest(secret[:_LONGEST])
        found = None
        for token in self._tokens.now():
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found

    def _tell(self, news: tuple[Token, ...] | ConfigurationError) -> None:
        if isinstance(news, ConfigurationError):
            self._log(f"the tokens stay as they were: {news}")
        else:
            self._log(f"read the tokens anew: there are {len(news)}")


def _read(path: Path) -> tuple[Token, ...]:
    """The tokens in a file that nobody but its owner, or root, may write to: who may, could let himself in.

    That others can read it is no harm: nobody finds the token that belongs to a digest.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(_LARGEST_FILE + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(str(path), f"others may write to it; chmod go-w {path}")
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(str(path), "it is neither root's nor the devserver's user's")
    if len(content) > _LARGEST_FILE:
        raise ConfigurationError(str(path), f"is larger than {_LARGEST_FILE} bytes")
    return parse_tokens(text, str(path))

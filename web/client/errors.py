"""What goes wrong for who asks a devserver."""

from __future__ import annotations

LONGEST_PAUSE = 10.0  # seconds between two tries
BUNDLE_ARGUMENT = "ca="  # by which a caller of the client names whose certificates to trust


class ClientError(Exception):
    """Anything that went wrong, as one line."""


class ServerUnreachable(ClientError):
    """The devserver cannot be reached, or broke off, or something between it and the client answers in its place.

    It may be there after ``retry_after`` seconds, where that is known.
    """

    def __init__(self, text: str, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class NeverReachable(ServerUnreachable):
    """What keeps the devserver from being reached would do so the next time as well."""


class Silent(ServerUnreachable):
    """Nothing came in the time that there was."""


class NotTrusted(NeverReachable):
    """Nobody vouches for the devserver's certificate, or the file of those who could cannot be used."""

    def with_option(self, name: str) -> str:
        """The text, for somebody who names that file by the option ``name``."""
        return str(self).replace(BUNDLE_ARGUMENT, name)


class ServerBusy(ClientError):
    """The devserver has no room for another client that waits; it may after ``retry_after`` seconds."""

    def __init__(self, text: str, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class RequestRefused(ClientError):
    """The request is wrong: asking again changes nothing."""


class NotHere(RequestRefused):
    """Nothing is known of it; another devserver may know more."""


class StagingFailed(ClientError):
    """The build cannot be staged; the text begins with the kind of the cause."""


class NoDownload(StagingFailed):
    """The build is neither staged nor being staged; on another devserver it may be."""


class StillStaging(ClientError):
    """The time that the caller gave was not enough; the devserver goes on."""

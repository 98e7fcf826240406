"""What obstore and object stores say of errors, as ours: one line, and whether to try again.

obstore keeps little but the text: the code and status that the server sent stand in it.
"""

from __future__ import annotations

import re

from ..errors import (
    HangarError,
    InvalidInputError,
    RemoteAuthenticationError,
    RemoteConnectionError,
    RemoteError,
    RemoteNotFoundError,
    RemotePermissionError,
    RemoteProtocolError,
)

_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")

_NO_CREDENTIALS = "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_CLOCK = "this machine's clock differs from the server's; set it right"
_EXPIRED = "the credentials have expired; log in again"
_REFUSED = "the credentials are not accepted"
_REGION = "the bucket is in another region; set AWS_REGION"
_FAILING = "the server is overloaded or failing"

_BY_CODE: dict[str, tuple[type[HangarError], str]] = {
    "NoSuchBucket": (RemoteNotFoundError, "the bucket does not exist"),
    "InvalidBucketName": (RemoteNotFoundError, "the bucket does not exist"),
    "InvalidAccessKeyId": (RemoteAuthenticationError, "the access key is unknown"),
    "SignatureDoesNotMatch": (RemoteAuthenticationError, "the secret key is wrong"),
    "InvalidClientTokenId": (RemoteAuthenticationError, _REFUSED),
    "InvalidToken": (RemoteAuthenticationError, "the session token is not accepted"),
    "ExpiredToken": (RemoteAuthenticationError, _EXPIRED),
    "TokenRefreshRequired": (RemoteAuthenticationError, _EXPIRED),
    "RequestTimeTooSkewed": (RemoteAuthenticationError, _CLOCK),
    "RequestExpired": (RemoteAuthenticationError, _CLOCK),
    "PermanentRedirect": (InvalidInputError, _REGION),
    "TemporaryRedirect": (InvalidInputError, _REGION),
    "AuthorizationHeaderMalformed": (InvalidInputError, _REGION),
    "SlowDown": (RemoteConnectionError, _FAILING),
    "ServiceUnavailable": (RemoteConnectionError, _FAILING),
    "InternalError": (RemoteConnectionError, _FAILING),
    "RequestTimeout": (RemoteConnectionError, "the connection is too slow, or was cut"),
}
# What obstore says itself, before or instead of a server: its types by name, then marks in the
# text, of obstore, reqwest and rustls, in the order in which they are looked for.
_BY_TYPE: dict[str, tuple[type[HangarError], str]] = {
    "UnauthenticatedError": (RemoteAuthenticationError, _REFUSED),
    "PermissionDeniedError": (RemotePermissionError, "not allowed"),
}
_BY_TEXT: tuple[tuple[str, type[HangarError], str], ...] = (
    ("incorrectly configured region", InvalidInputError, _REGION),
    ("certificate", RemoteError, "the server's certificate is not accepted"),
    ("dns error", RemoteConnectionError, "the host is unknown"),
    ("failed to lookup address", RemoteConnectionError, "the host is unknown"),
    ("Connection refused", RemoteConnectionError, "the connection was refused"),
    ("ConnectionRefused", RemoteConnectionError, "the connection was refused"),
    ("kind: Timeout", RemoteConnectionError, "no reply in time"),
    ("timed out", RemoteConnectionError, "no reply in time"),
    ("kind: Connect", RemoteConnectionError, "it cannot be reached"),
    ("HTTP error", RemoteConnectionError, "the connection was cut"),
    ("error decoding response body", RemoteConnectionError, "the connection was cut"),
)


def no_credentials(where: str) -> RemoteAuthenticationError:
    """The error where none are found."""
    return RemoteAuthenticationError(f"{where}: {_NO_CREDENTIALS}")


def status_of(text: str) -> int:
    """HTTP status in obstore's text of an error; 0 if the server did not answer."""
    match = _STATUS.search(text)
    return int(match[1]) if match else 0


def translate(error: Exception, where: str, doing: str) -> HangarError:
    """Our error for one of obstore, met while `doing` something at `where`."""
    text = str(error)
    if "://169.254.169.254/" in text:
        return no_credentials(where)  # where obstore asks machines of AWS for theirs
    status = status_of(text)
    code = match[1] if (match := _CODE.search(text)) else ""
    known = _BY_CODE.get(code) or _by_status(status, doing) or _BY_TYPE.get(type(error).__name__)
    if known is None and not status:
        known = next(((kind, why) for mark, kind, why in _BY_TEXT if mark in text), None)
    if known is not None:
        return known[0](f"{where}: {known[1]}")
    if status:
        return RemoteError(f"{where}: {doing} was refused: {code or status}")
    # A reply that does not parse. Printed as it came, a server's text could steer the terminal.
    line = "".join(c for c in text.partition("\n")[0] if c.isprintable())[:200]
    return RemoteProtocolError(f"{where}: {doing}: {line}", retryable=True)


def _by_status(status: int, doing: str) -> tuple[type[HangarError], str] | None:
    if status == 401:
        return RemoteAuthenticationError, _REFUSED
    if status == 403:
        return RemotePermissionError, f"no right for {doing}"
    if status == 404:
        return RemoteNotFoundError, "the bucket does not exist"
    if status == 429 or status >= 500:
        return RemoteConnectionError, f"{_FAILING} ({status})"
    return None

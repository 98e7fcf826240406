"""Errors on the way through gRPC: ours become a status, and a status becomes ours again."""

from __future__ import annotations

import logging
import re
from typing import NoReturn

import grpc

from ..errors import (
    DataNotLocalError,
    HangarError,
    IntegrityError,
    InvalidInputError,
    RemoteAuthenticationError,
    RemoteConnectionError,
    RemoteError,
    RemoteNotFoundError,
    RemotePermissionError,
    RemoteProtocolError,
    StorageError,
)
from .jsonlog import log
from .sealing import DamagedError
from .serveraddress import ServerAddress

KIND_KEY = "hangar-kind"
_MAX_MESSAGE = 1000
_DIRECTORIES = re.compile(r"(?<![^\s'\"(=])/(?:[^/\s]+/)+")

_STATUS: dict[type[HangarError], grpc.StatusCode] = {
    RemoteConnectionError: grpc.StatusCode.UNAVAILABLE,
    DamagedError: grpc.StatusCode.UNAVAILABLE,
    RemoteNotFoundError: grpc.StatusCode.NOT_FOUND,
    RemoteAuthenticationError: grpc.StatusCode.UNAUTHENTICATED,
    RemotePermissionError: grpc.StatusCode.PERMISSION_DENIED,
    RemoteProtocolError: grpc.StatusCode.INVALID_ARGUMENT,
    RemoteError: grpc.StatusCode.INTERNAL,
    DataNotLocalError: grpc.StatusCode.NOT_FOUND,
    IntegrityError: grpc.StatusCode.DATA_LOSS,
    InvalidInputError: grpc.StatusCode.INVALID_ARGUMENT,
    StorageError: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_CLASSES = {kind.kind: kind for kind in _STATUS}

_TRANSPORT = (
    # What gRPC says, and how we say it. The first that matches counts.
    (r"DNS resolution failed|Domain name not found|name resolution", "unknown host"),
    (r"self.signed certificate", "its certificate is self-signed; name its authority with"
                                 " HANGAR_SSL_CAINFO"),
    (r"certificate has expired", "its certificate has expired"),
    (r"Hostname Verification|not valid for|peer name", "its certificate is for another host"),
    (r"certificate.?required", "it asks for a client certificate (HANGAR_SSL_CERT,"
                               " HANGAR_SSL_KEY)"),
    (r"CERTIFICATE_VERIFY_FAILED|unable to get local issuer", "its certificate is not trusted"),
    (r"WRONG_VERSION_NUMBER", "it does not speak TLS; is the address hangar://?"),
    (r"Connection refused", "connection refused; is the server running?"),
    (r"Concurrent RPC limit", "it is busy; try again later"),
    (r"http1|not.*http2|HTTP/1", "it is no Hangar server"),
)  # fmt: skip
_FATAL = re.compile(r"certificate|TLS|no Hangar server")


def abort(context: grpc.ServicerContext, error: HangarError) -> NoReturn:
    """End a call with `error`."""
    known = next((kind for kind in type(error).__mro__ if kind in _STATUS), RemoteError)
    context.set_trailing_metadata(((KIND_KEY, known.kind),))
    context.abort(_STATUS[known], told(error))


def told(error: HangarError) -> str:
    """What callers are told of `error`; the log has the rest.

    They have no business knowing where on the server's disk things are.
    """
    message = " ".join(str(error).split())
    short = _DIRECTORIES.sub("", message)
    if short != message:
        log("error", level=logging.ERROR, message=message)
    return short[:_MAX_MESSAGE]


def stated(error: grpc.RpcError, address: ServerAddress) -> HangarError | None:
    """The error that the server at `address` meant; None if `error` comes from the transport."""
    for metadatum in error.trailing_metadata() or ():
        if metadatum.key == KIND_KEY and str(metadatum.value) in _CLASSES:
            return _CLASSES[str(metadatum.value)](f"{address.endpoint}: {_details(error)}")
    return None


def of_transport(error: grpc.RpcError, address: ServerAddress, *, known: bool) -> RemoteError:
    """Ours for `error` of the connection to `address`; `known` if that has answered before."""
    details = _details(error)
    if error.code() is grpc.StatusCode.UNIMPLEMENTED and not known:
        return RemoteProtocolError(
            f"{address.endpoint} is no Hangar server, or one of another version"
        )
    for pattern, said in _TRANSPORT:
        if re.search(pattern, details, re.IGNORECASE):
            fatal = _FATAL.search(said) is not None
            return RemoteConnectionError(
                f"cannot reach {address.endpoint}: {said}", retryable=not fatal
            )
    name = error.code().name.lower().replace("_", " ")
    return RemoteConnectionError(
        f"the connection to {address.endpoint} broke off ({details or name}); try again"
    )


def _details(error: grpc.RpcError) -> str:
    return " ".join((error.details() or "").split())[:_MAX_MESSAGE]

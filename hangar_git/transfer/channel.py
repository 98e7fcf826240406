"""Connections to Hangar servers: gRPC channels, their certificates, and what calls carry."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from ..errors import (
    HangarError,
    InvalidInputError,
    RemoteConnectionError,
    RemoteProtocolError,
    StateError,
)
from .credentials import Credentials, check_may_send
from .idle import IdleWatch
from .sealing import Bulk, DamagedError, seal, seal_of_metadata, unseal
from .serveraddress import ServerAddress, is_loopback
from .wireerrors import of_transport, stated

_T = TypeVar("_T")
_Message = TypeVar("_Message", bound=Message)
_Metadata: TypeAlias = tuple[tuple[str, str], ...]
_SERVICE = "/hangar.v1.Hangar/"
_MAX_MESSAGE_BYTES = 16 << 20
_KEEPALIVE_MS = 20_000
_WINDOW_BYTES = 4 << 20
_CERTIFICATE_HINTS = {
    # By OpenSSL's code of what is wrong (X509_V_ERR_...).
    **dict.fromkeys((9, 10), "; or this machine's clock is wrong"),
    **dict.fromkeys((18, 19, 20, 21), "; name the authority that signed it with HANGAR_SSL_CAINFO"),
}
_STREAMS = 4
_MAX_STREAMS = 16


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How a client connects.

    Parameters
    ----------
    ca_file
        PEM file of the authorities that servers' certificates may come from; None: the system's.
    cert_file, key_file
        PEM files of the client's own certificate, if the server asks for one.
    connect_s
        Deadline of calls that only ask, connecting included.
    idle_s
        A server that neither sends nor takes anything for so long is given up.
    streams
        How many carry one upload or download; 0: one on this machine, where the processors are what
        limits it, and four elsewhere, where the line is.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    connect_s: float = 20.0
    idle_s: float = 120.0
    streams: int = 0

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> ClientOptions:
        """As ``HANGAR_SSL_CAINFO``, ``_CERT`` and ``_KEY``, and ``HANGAR_STREAMS`` say."""
        names = ("HANGAR_SSL_CAINFO", "HANGAR_SSL_CERT", "HANGAR_SSL_KEY")
        files = [Path(environment[name]) if environment.get(name) else None for name in names]
        streams = environment.get("HANGAR_STREAMS") or "0"
        if not streams.isdecimal() or int(streams) > _MAX_STREAMS:
            raise InvalidInputError(f"HANGAR_STREAMS={streams} is no number up to {_MAX_STREAMS}")
        return cls(files[0], files[1], files[2], streams=int(streams))

    def streams_to(self, address: ServerAddress) -> int:
        """How many streams carry one transfer with the server at `address`."""
        return self.streams or (1 if is_loopback(address.host) else _STREAMS)


class Connection:
    """A connection to one server, for one repository and one caller; made when first used.

    Safe to use from several threads.

    Parameters
    ----------
    address
        Server and repository.
    credentials
        Who is calling; None: anonymous.
    options
        How to connect.

    Raises
    ------
    RemoteAuthenticationError
        `credentials` would be sent in clear to another machine.
    """

    def __init__(
        self,
        address: ServerAddress,
        credentials: Credentials | None = None,
        options: ClientOptions | None = None,
    ) -> None:
        if credentials is not None:
            check_may_send(address)
        self.address = address
        self.options = options or ClientOptions.of_environment()
        header = credentials.to_header() if credentials is not None else None
        self._metadata: _Metadata = (
            ("hangar-repository", address.repository),
            ("hangar-seal", seal_of_metadata(address.repository, header)),
            *([("authorization", header)] if header is not None else []),
        )
        self._link = _Link(self._open())
        self._lock = Lock()
        self._watch = IdleWatch(self.options.idle_s)

    def _open(self) -> grpc.Channel:
        options = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS // 2),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
            ("grpc.enable_retries", 0),  # we say what is tried again
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", int(not is_loopback(self.address.host))),
        ]
        if not self.address.tls:
            return grpc.insecure_channel(self.address.endpoint, options)
        own = self.options
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_read(own.ca_file or _system_authorities()),
            private_key=_read(own.key_file),
            certificate_chain=_read(own.cert_file),
        )
        return grpc.secure_channel(self.address.endpoint, credentials, options)

    def ask(self, method: str, request: Message, kind: type[_Message]) -> _Message:
        """The reply to one request, within the deadline."""
        with self._borrowed() as channel:
            call = channel.unary_unary(_SERVICE + method, None, None)
            deadline_s = self.options.connect_s
            data = call(seal(request), timeout=deadline_s, metadata=self._metadata)
            if data is None:  # success without a reply: a flag was damaged
                raise DamagedError
            return unseal(kind, data)

    def stream(
        self,
        method: str,
        requests: Iterable[Message | Bulk],
        decode: Callable[[bytes], _T],
        metadata: _Metadata = (),
        interrupt: Callable[[], None] = lambda: None,
    ) -> Generator[_T]:
        """The replies to `requests`, which another thread takes one by one.

        An error of `requests` ends the call like the end of them, and is raised once the server
        has done with what it got. `requests` are not advanced any more once this is exhausted or
        closed; `interrupt` is called first, to end a wait of theirs.
        """
        call = _Stream(requests, interrupt)
        with self._borrowed() as channel:
            replies = channel.stream_stream(_SERVICE + method, None, None)(
                call, metadata=(*self._metadata, *metadata)
            )
            call.cancel = replies.cancel
            try:
                with self._watch.watching(call):
                    for data in replies:
                        with call.busy():
                            yield decode(data)
            except grpc.RpcError:
                call.close()
                if call.error is None:
                    raise
            finally:
                call.give_up()
                call.close()
        if call.error is not None:
            raise call.error

    @contextmanager
    def _borrowed(self) -> Iterator[grpc.Channel]:
        """The channel, for one call; errors of gRPC become ours."""
        with self._lock:
            link = self._link
            if link.retired:
                raise StateError(f"the connection to {self.address.endpoint} is closed")
            link.calls += 1
        try:
            yield link.channel
            link.answered = True
        except grpc.RpcError as error:
            raise self._error(error, link) from None
        except (DamagedError, RemoteProtocolError):
            self._renew(link)
            raise
        finally:
            with self._lock:
                link.calls -= 1
                if link.retired and not link.calls:
                    link.channel.close()

    def _error(self, error: grpc.RpcError, link: _Link) -> HangarError:
        ours = stated(error, self.address)
        if ours is not None and not isinstance(ours, DamagedError):
            link.answered = True
            return ours
        self._renew(link)
        if ours is not None:
            return ours
        broken = of_transport(error, self.address, known=link.answered)
        if self.address.tls and not link.answered and isinstance(broken, RemoteConnectionError):
            return why_not_trusted(self.address, self.options) or broken
        return broken

    def _renew(self, link: _Link) -> None:
        """Use `link` no more, for it may be damaged; calls under way on it may end."""
        with self._lock:
            if not link.retired:
                link.retired = True
                self._link = _Link(self._open(), answered=link.answered)

    def close(self) -> None:
        """Close the connection; calls under way end."""
        self._watch.stop()
        with self._lock:
            self._link.retired = True
            self._link.channel.close()


@dataclass(eq=False)
class _Link:
    """One TCP connection, more or less.

    Parameters
    ----------
    channel
        gRPC's.
    answered
        Whether a Hangar server has been met there.
    calls
        Under way.
    retired
        Not to be used for another call.
    """

    channel: grpc.Channel
    answered: bool = False
    calls: int = 0
    retired: bool = False


class _Stream(Iterator[bytes]):
    """The requests of a call, as gRPC's thread takes them."""

    def __init__(self, requests: Iterable[Message | Bulk], interrupt: Callable[[], None]) -> None:
        self._requests = iter(requests)
        self._interrupt = interrupt
        self._lock = Lock()
        self._closed = False
        self._busy = 0
        self._moved = time.monotonic()
        self.cancel: Callable[[], object] = lambda: None
        self.error: BaseException | None = None

    def __next__(self) -> bytes:
        with self._lock, self.busy():
            if self._closed:
                raise StopIteration
            try:
                return seal(next(self._requests))
            except StopIteration:
                raise
            except BaseException as error:
                # Only the thread that reads replies can raise it to the caller.
                self.error = error
                raise StopIteration from error

    @property
    def waiting_since(self) -> float | None:
        """When something last moved; None while this side works on a request or a reply."""
        return None if self._busy else self._moved

    @contextmanager
    def busy(self) -> Iterator[None]:
        """The length of the block is this side's own time."""
        self._busy += 1
        try:
            yield
        finally:
            self._moved = time.monotonic()
            self._busy -= 1

    def give_up(self) -> None:
        """End the call."""
        self.cancel()

    def close(self) -> None:
        """Take no more requests; once this returns, none is being made."""
        self._interrupt()
        with self._lock:
            self._closed = True
            close = getattr(self._requests, "close", None)
            if close is not None:
                close()


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"certificate {path}: {error.strerror}") from error
    if b"-----BEGIN " not in data:
        raise InvalidInputError(f"certificate {path} is no PEM file")
    return data


def _system_authorities() -> Path | None:
    """The system's bundle of authorities, where there is one; gRPC has its own otherwise."""
    found = ssl.get_default_verify_paths().cafile
    return Path(found) if found else None


def why_not_trusted(address: ServerAddress, options: ClientOptions) -> RemoteConnectionError | None:
    """Why the certificate of the server at `address` is refused; None if it is not.

    gRPC often says no more than that the handshake failed.
    """
    import socket

    context = ssl.create_default_context(cafile=options.ca_file or _system_authorities())
    if options.cert_file is not None:
        context.load_cert_chain(options.cert_file, options.key_file)
    with suppress(OSError):
        try:
            place = address.host, address.port
            with socket.create_connection(place, timeout=5) as plain:
                context.wrap_socket(plain, server_hostname=address.host).close()
        except ssl.SSLCertVerificationError as error:
            said = error.verify_message.rstrip(".")
            hint = _CERTIFICATE_HINTS.get(error.verify_code, "")
            return RemoteConnectionError(
                f"the certificate of {address.endpoint} is not trusted: {said}{hint}",
                retryable=False,
            )
        except ssl.SSLError as error:
            return RemoteConnectionError(
                f"no encrypted connection to {address.endpoint}: {error.reason or error}; does the"
                " server speak TLS, or ask for a certificate?",
                retryable=False,
            )
    return None

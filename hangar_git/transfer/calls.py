"""Calls being served: who makes them, whether they may, and what is said of them afterwards."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

import grpc
from google.protobuf.message import Message

from ..errors import (
    HangarError,
    RemoteAuthenticationError,
    RemoteConnectionError,
    RemotePermissionError,
)
from .auth import ANONYMOUS, Right, Users, hash_password, verify_password
from .config import ServerConfig
from .credentials import Credentials
from .jsonlog import log
from .metrics import Metrics
from .sealing import Bulk, DamagedError, seal, seal_of_metadata
from .serveraddress import repository_name

_T = TypeVar("_T")
_RATE_WINDOW_S = 10.0
_MAX_REMEMBERED = 4096


class Call:
    """One call, while it is served.

    Parameters
    ----------
    method
        Its name, such as ``Upload``.
    context
        gRPC's.
    """

    def __init__(self, method: str, context: grpc.ServicerContext) -> None:
        self.method = method
        self.context = context
        self.metadata = {key: str(value) for key, value in context.invocation_metadata()}
        self.host = _host_of(context.peer())
        self.repository = ""
        self.user = ANONYMOUS
        self.right = Right.NONE
        # Git is read from and written to by two threads.
        self._reading_since: float | None = None
        self._writing_since: float | None = None
        self.gone = False
        self.samples = 0
        self.bytes_in = 0
        self.bytes_out = 0

    @property
    def waiting_since(self) -> float | None:
        """When it began to wait for the caller; None if it does not."""
        since = self._reading_since, self._writing_since
        return min((moment for moment in since if moment is not None), default=None)

    def give_up(self) -> None:
        """Cut the caller off."""
        log("idle", method=self.method, peer=self.host, repository=self.repository)
        self.cancel()

    def cancel(self) -> None:
        """End it; the caller is told that it was cancelled."""
        self.context.cancel()  # type: ignore[no-untyped-call]

    def read(self, decode: Callable[[bytes], _T], requests: Iterator[bytes]) -> Iterator[_T]:
        """The messages of `requests`, until the caller has no more or is gone."""
        while True:
            self._reading_since = time.monotonic()
            try:
                data = next(requests)
            except StopIteration:
                return
            except grpc.RpcError:
                self.gone = True
                return
            finally:
                self._reading_since = None
            self.bytes_in += len(data)
            yield decode(data)

    def write(self, replies: Iterator[Message | Bulk]) -> Iterator[bytes]:
        """`replies` as they are sent."""
        for reply in replies:
            data = seal(reply)
            self.bytes_out += len(data)
            self._writing_since = time.monotonic()
            yield data
            self._writing_since = None

    def require(self, right: Right) -> None:
        """Raise unless the caller has `right`."""
        if self.right >= right:
            return
        what = f"{right.name.lower()} {self.repository or 'the default repository'!r}"
        if self.user == ANONYMOUS:
            raise RemoteAuthenticationError(f"credentials are needed to {what}")
        raise RemotePermissionError(f"user {self.user!r} has no right to {what}")


def _host_of(peer: str) -> str:
    """``127.0.0.1`` of ``ipv4:127.0.0.1:34567``."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0] if kind in ("ipv4", "ipv6") else peer


class Gate:
    """Lets calls in, and keeps count of them.

    Every call passes `admitted`: limits of rate, then who the caller is, then what it may do.
    """

    def __init__(self, config: ServerConfig, metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
        limits = config.limits
        window = _RATE_WINDOW_S
        self._rate = _Counts(window, int(limits.calls_per_second * window))
        self._failures = _Counts(60.0, limits.failed_logins_per_minute)
        self._authority = _Authority(config.users)
        self._at_once: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def admitted(self, method: str, context: grpc.ServicerContext) -> Iterator[Call]:
        """A call whose caller is known, for the length of the block; then it is logged."""
        started = time.monotonic()
        call = Call(method, context)
        self._metrics.active.labels(method).inc()
        with self._lock:
            self._at_once[call.host] += 1
        result = "cancelled"
        try:
            self._identify(call)
            yield call
            if not call.gone:
                result = "ok"
        except HangarError as error:
            result = error.kind
            raise
        except Exception:
            result = "failed"
            raise
        finally:
            seconds = time.monotonic() - started
            self._count(call, result, seconds)
            log(
                "call", method=method, result=result, peer=call.host, user=call.user,
                repository=call.repository, seconds=round(seconds, 4), samples=call.samples,
                bytes_in=call.bytes_in, bytes_out=call.bytes_out,
            )  # fmt: skip

    def _count(self, call: Call, result: str, seconds: float) -> None:
        with self._lock:
            self._at_once[call.host] -= 1
            if not self._at_once[call.host]:
                del self._at_once[call.host]
        metrics = self._metrics
        metrics.active.labels(call.method).dec()
        metrics.calls.labels(call.method, result).inc()
        metrics.seconds.labels(call.method).observe(seconds)
        metrics.bytes.labels(call.method, "in").inc(call.bytes_in)
        metrics.bytes.labels(call.method, "out").inc(call.bytes_out)
        if call.method in ("Upload", "Download"):
            metrics.samples.labels("in" if call.method == "Upload" else "out").inc(call.samples)

    def _identify(self, call: Call) -> None:
        if not self._rate.add(call.host):
            raise RemoteConnectionError("too many calls from this host; try again later")
        if self._at_once[call.host] > self._config.limits.calls_per_host:
            raise RemoteConnectionError("too many calls at once from this host; try again later")
        header = call.metadata.get("authorization")
        path = call.metadata.get("hangar-repository", "")
        if call.metadata.get("hangar-seal") != seal_of_metadata(path, header):
            raise DamagedError
        call.repository = repository_name(path)
        users = self._authority.users()
        # A server without users asks for no credentials, and gives nobody more for having some.
        if header is not None and self._config.users is not None:
            call.user = self._log_in(call.host, header, users)
        elif (name := _certified_name(call.context)) in users.by_name:
            call.user = name
        everyone = max(self._config.anonymous_right, users.right_on(ANONYMOUS, call.repository))
        call.right = max(everyone, users.right_on(call.user, call.repository))

    def _log_in(self, host: str, header: str, users: Users) -> str:
        credentials = Credentials.of_header(header)
        name = self._authority.known_name(credentials, users)
        if name is None and self._failures.is_full(host):
            raise RemoteConnectionError("too many wrong passwords from this host; try again later")
        if name is None:
            name = self._authority.name_by_password(credentials, users)
        if name is None:
            self._failures.add(host)
            self._metrics.refused_logins.inc()
            log("login-refused", peer=host)
            raise RemoteAuthenticationError("wrong user name, password or token")
        return name


def _certified_name(context: grpc.ServicerContext) -> str:
    # An iterable of bytes, whatever the stubs say.
    names = [bytes(name) for name in context.auth_context().get("x509_common_name", ())]
    return names[0].decode(errors="replace") if names else ""


class _Counts:
    """Events of each host within a window of time, of which so many are allowed."""

    def __init__(self, window_s: float, allowed: int) -> None:
        self._window_s = window_s
        self._allowed = allowed
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def _current(self, host: str) -> tuple[float, int]:
        now = time.monotonic()
        since, count = self._counts.get(host, (now, 0))
        return (since, count) if now - since < self._window_s else (now, 0)

    def is_full(self, host: str) -> bool:
        with self._lock:
            return self._current(host)[1] >= self._allowed

    def add(self, host: str) -> bool:
        """Count one; False if that is more than allowed."""
        with self._lock:
            since, count = self._current(host)
            self._counts[host] = (since, count + 1)
            self._counts.move_to_end(host)
            if len(self._counts) > _MAX_REMEMBERED:
                self._counts.popitem(last=False)
            return count < self._allowed


class _Authority:
    """The users file as it is now, and the passwords found right since it last changed."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._users = Users()
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._key = os.urandom(32)
        self._lock = threading.Lock()
        # scrypt takes 0.1 s and 32 MiB each time: guesses must not take the whole server.
        self._hashing = threading.Semaphore(2)
        self._nobody = hash_password(os.urandom(16).hex())
        self.users()

    def users(self) -> Users:
        """The users; the file is read again when it has been replaced."""
        if self._path is None:
            return self._users
        with self._lock:
            try:
                stat = self._path.stat()
                stamp = stat.st_ino, stat.st_mtime_ns, stat.st_size
                if stamp != self._stamp:
                    self._users, self._stamp = Users.load(self._path), stamp
                    self._known.clear()
            except (OSError, HangarError) as error:
                if self._stamp is None:
                    raise
                # A typo in the file must not lock everyone out, nor let anyone in.
                log("users-file-unreadable", error=True, message=str(error))
            return self._users

    def known_name(self, credentials: Credentials, users: Users) -> str | None:
        """Whose token `credentials` are, or whose password that was found right before."""
        owner = users.owner_of(credentials.secret)
        if owner is not None and credentials.user in (None, "", owner):
            return owner
        with self._lock:
            return self._known.get(self._mark(credentials)) if users is self._users else None

    def name_by_password(self, credentials: Credentials, users: Users) -> str | None:
        """Whose password `credentials` are; None if it is wrong."""
        name = credentials.user
        if name is None:
            return None
        user = users.by_name.get(name)
        stored = user.password if user is not None else None
        with self._hashing:
            # Unknown users take as long as known ones, so that time does not tell their names.
            right = verify_password(credentials.secret, stored or self._nobody)
        if not right or stored is None:
            return None
        with self._lock:
            if users is self._users:
                self._known[self._mark(credentials)] = name
                if len(self._known) > _MAX_REMEMBERED:
                    self._known.popitem(last=False)
        return name

    def _mark(self, credentials: Credentials) -> bytes:
        text = f"{credentials.user}\0{credentials.secret}"
        return hashlib.blake2b(text.encode(), key=self._key).digest()

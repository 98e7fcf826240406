"""What a server does when it is called: the five methods of hangar.proto."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message

from ..errors import HangarError, RemoteConnectionError, RemoteError, RemoteProtocolError
from ..version import __version__
from .auth import Right
from .calls import Call, Gate
from .config import ServerConfig
from .hosting import Hosted, Hosting, not_found, point_head
from .idle import IdleWatch
from .jsonlog import log
from .metrics import Metrics
from .packing import MemoryBudget, pack, split_digests, unpack
from .proto import hangar_pb2 as pb
from .samples import Parcel, share_of
from .sealing import Bulk, open_pack, opener
from .tunnel import GitProgram, serve_git
from .wireerrors import abort

SERVICE = "hangar.v1.Hangar"
PROTOCOL = 1
CAPABILITIES = ("missing", "upload", "download", "git", "settle", "budget", "shares")
_MOST_SHARES = 64
_SETTLE_S = 60.0

_Behaviour = Callable[[Call, Iterator[bytes]], Iterator[Message | Bulk]]


@dataclass
class _Upload:
    """An upload under way."""

    call: Call
    ended: threading.Event = field(default_factory=threading.Event)


class HangarService:
    """The methods, over the repositories of `hosting`."""

    def __init__(self, config: ServerConfig, hosting: Hosting, metrics: Metrics) -> None:
        self._config = config
        self._limits = config.limits.messages
        self._hosting = hosting
        self._gate = Gate(config, metrics)
        self._watch = IdleWatch(config.limits.idle_s)
        self._memory = MemoryBudget(config.limits.memory_bytes)
        self._uploads: dict[tuple[str, str, str], _Upload] = {}

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What a gRPC server is given. Messages come as bytes, so that we judge malformed ones."""
        streams: dict[str, _Behaviour] = {
            "Missing": self.missing,
            "Upload": self.upload,
            "Download": self.download,
            "Git": self.git,
        }
        handlers = {
            name: grpc.stream_stream_rpc_method_handler(self._serving(name, behaviour))
            for name, behaviour in streams.items()
        }
        hello = self._serving("Hello", self.hello)

        def one(request: bytes, context: grpc.ServicerContext) -> bytes:
            (reply,) = hello(iter([request]), context)
            return reply

        handlers["Hello"] = grpc.unary_unary_rpc_method_handler(one)
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def close(self) -> None:
        """Stop watching for idle callers."""
        self._watch.stop()

    def _serving(
        self, method: str, behaviour: _Behaviour
    ) -> Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]:
        def serve(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            try:
                with self._gate.admitted(method, context) as call, self._watch.watching(call):
                    yield from call.write(behaviour(call, requests))
            except HangarError as error:
                abort(context, error)
            except Exception:  # noqa: BLE001  # callers are told no more than that it failed
                log("failed", level=logging.ERROR, error=True, method=method)
                abort(context, RemoteError("the server failed; its log says why"))

        return serve

    def hello(self, call: Call, requests: Iterator[bytes]) -> Iterator[pb.HelloReply]:
        """Who the caller is, and what the server takes."""
        for request in call.read(opener(pb.HelloRequest), requests):
            if request.protocol < PROTOCOL:
                raise RemoteProtocolError(
                    f"the server speaks protocol {PROTOCOL}, this program only"
                    f" {request.protocol}; update it"
                )
            limits = self._limits
            exists = call.right > Right.NONE and self._hosting.find(call.repository) is not None
            yield pb.HelloReply(
                protocol=PROTOCOL,
                server=f"hangar_git {__version__}",
                capabilities=CAPABILITIES,
                limits=pb.Limits(
                    message_bytes=limits.message_bytes,
                    request_digests=limits.request_digests,
                    parcel_bytes=limits.parcel_bytes,
                    parcel_digests=limits.parcel_digests,
                ),
                rights=call.right.names(),
                user="" if call.user == "anonymous" else call.user,
                exists=exists,
            )

    def _readable(self, call: Call) -> Hosted | None:
        """The repository; None if it is not there, but this caller may create it."""
        call.require(Right.READ)
        hosted = self._hosting.find(call.repository)
        if hosted is None and not (self._hosting.create and call.right >= Right.WRITE):
            raise not_found(call.repository)
        return hosted

    def _writable(self, call: Call) -> Hosted:
        call.require(Right.WRITE)
        return self._hosting.find_or_create(call.repository)

    def missing(self, call: Call, requests: Iterator[bytes]) -> Iterator[pb.MissingReply]:
        """A bit for each digest: whether it is lacking."""
        hosted = self._readable(call)
        for request in call.read(opener(pb.MissingRequest), requests):
            for upload in request.settle:
                self._settle((call.repository, call.user, upload))
            digests = split_digests(request.digests, self._limits)
            lacking = set(digests if hosted is None else hosted.store.missing(digests))
            bits = np.fromiter((digest in lacking for digest in digests), np.bool_, len(digests))
            call.samples += len(digests)
            yield pb.MissingReply(missing=np.packbits(bits, bitorder="little").tobytes())

    def _settle(self, key: tuple[str, str, str]) -> None:
        """Wait until nothing of a broken upload is on its way into the store any more."""
        upload = self._uploads.get(key)
        if upload is None:
            return
        upload.call.cancel()
        if not upload.ended.wait(_SETTLE_S):
            raise RemoteConnectionError("the upload before this one is still being stored")

    @contextmanager
    def _registered(self, call: Call) -> Iterator[None]:
        key = call.repository, call.user, call.metadata.get("hangar-upload", "")
        upload = self._uploads.setdefault(key, _Upload(call))
        try:
            yield
        finally:
            if upload.call is call:
                del self._uploads[key]
                upload.ended.set()

    def upload(self, call: Call, requests: Iterator[bytes]) -> Iterator[pb.UploadReply]:
        """Store what comes, batch by batch; what came before a break is stored as well."""
        hosted = self._writable(call)
        with self._registered(call):
            arriving = _Arriving(
                unpack(call.read(open_pack, requests), self._limits, self._memory), self._config
            )
            while not arriving.ended:
                call.samples += hosted.store.receive(arriving.batch())
                if call.gone:
                    return
                yield pb.UploadReply(parcels=arriving.parcels, samples=call.samples)
            if arriving.error is not None:
                raise arriving.error

    def download(self, call: Call, requests: Iterator[bytes]) -> Iterator[pb.Pack | Bulk]:
        """Parcels with the digests asked for, request by request."""
        hosted = self._readable(call)
        if hosted is None:
            raise not_found(call.repository)
        outgoing = _Outgoing()
        share, shares = 0, 0
        for number, request in enumerate(call.read(opener(pb.DownloadRequest), requests)):
            if number == 0:
                share, shares = request.share, request.shares
                if (share and share >= shares) or shares > _MOST_SHARES:
                    raise RemoteProtocolError(f"part {share} of {shares} is none")
                if request.HasField("budget_bytes"):
                    outgoing.left_bytes = request.budget_bytes
            asked = dict.fromkeys(split_digests(request.digests, self._limits))
            wanted = [digest for digest in asked if digest not in outgoing.beside]
            if shares > 1:
                wanted = share_of(hosted.store, wanted, share, shares)
            yield from pack(outgoing.within(hosted.store.export(wanted), asked), self._limits)
            call.samples = outgoing.samples
            if outgoing.is_full:
                yield pb.Pack(budget_reached=True)
                return

    def git(self, call: Call, requests: Iterator[bytes]) -> Iterator[pb.GitReply]:
        """A git program, byte for byte."""
        call.require(Right.READ)  # before anything is read
        reading = call.read(opener(pb.GitRequest), requests)
        first = next(reading, None)
        if first is None:
            return
        pushing = first.service == "receive-pack"
        hosted = self._writable(call) if pushing else self._readable(call)
        if hosted is None:
            raise not_found(call.repository)
        environment = {
            **self._config.git_environment,
            "GIT_PROTOCOL": first.protocol if first.protocol in ("version=1", "version=2") else "",
            "GIT_COMMITTER_NAME": call.user,  # in the reflog
            "GIT_COMMITTER_EMAIL": f"{call.user}@{call.host}",
            "HANGAR_USER": call.user,
            "HANGAR_REPOSITORY": call.repository,
            "HANGAR_RIGHTS": " ".join(call.right.names()),
        }
        options = [
            *git_options(call.right, self._config),
            *self._config.git_options,
            *self._config.repository_options(hosted.git_dir),
        ]
        program = GitProgram(first.service, hosted.git_dir, options, environment)
        for reply in serve_git(program, reading, call.context.is_active):
            if reply.HasField("exit_code") and pushing:
                point_head(hosted.git_dir)
            yield reply


def git_options(right: Right, config: ServerConfig) -> list[str]:
    """Settings of the git program that serves a caller with `right`."""
    # A branch that is deleted and pushed again has been overwritten just as well.
    forced = right >= Right.FORCE
    refuse = "false" if forced else "true"
    return [
        f"receive.denyDeleteCurrent={'ignore' if forced else 'refuse'}",
        f"receive.denyNonFastForwards={refuse}",
        f"receive.denyDeletes={refuse}",
        f"receive.maxInputSize={config.limits.git_input_bytes}",
        "receive.fsckObjects=true",
        "uploadpack.allowFilter=true",
        "core.logAllRefUpdates=always",  # so that what a forced push replaced can be found again
        "core.fsync=objects,derived-metadata,reference",
    ]


class _Arriving:
    """Parcels that arrive, in batches, and the error that ended them, if one did."""

    def __init__(self, parcels: Iterator[Parcel], config: ServerConfig) -> None:
        self._incoming = parcels
        self._batch_bytes = config.limits.batch_bytes
        self._batch_s = config.limits.batch_s
        self.parcels = 0
        self.ended = False
        self.error: HangarError | None = None

    def batch(self) -> Iterator[Parcel]:
        """The parcels that are stored together. It ends quietly: what came before is kept."""
        left = self._batch_bytes
        until = time.monotonic() + self._batch_s
        while left > 0 and time.monotonic() < until:
            try:
                parcel = next(self._incoming, None)
            except HangarError as error:
                self.error = error
                parcel = None
            if parcel is None:
                self.ended = True
                return
            self.parcels += 1
            left -= len(parcel.data)
            yield parcel


class _Outgoing:
    """Parcels that leave within a byte budget, and what travelled with them unasked."""

    def __init__(self) -> None:
        self.left_bytes: int | None = None
        self.is_full = False
        self.samples = 0
        self.beside: set[bytes] = set()

    def within(self, parcels: Iterator[Parcel], asked: Container[bytes]) -> Iterator[Parcel]:
        """Those of `parcels` that fit."""
        for parcel in parcels:
            if self.left_bytes is not None:
                if len(parcel.data) > self.left_bytes:
                    self.is_full = True
                    return
                self.left_bytes -= len(parcel.data)
            self.samples += len(parcel.digests)
            # Remembered, so that a later request for them does not send the parcel again.
            self.beside.update(digest for digest in parcel.digests if digest not in asked)
            yield parcel

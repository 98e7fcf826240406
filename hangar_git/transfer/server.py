"""A Hangar server: listens, serves history and data, stops gracefully."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ..errors import InvalidInputError, NotFoundError, StateError
from ..waiting import readable
from .auth import Right
from .config import ServerConfig
from .hosting import Hosting, create_repository, is_repository
from .jsonlog import log, start_log
from .metrics import Metrics
from .samples import SampleStore
from .service import SERVICE, HangarService

_KEEPALIVE_MS = 30_000


def _channel_options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.limits.messages.message_bytes),
        ("grpc.max_send_message_length", config.limits.messages.message_bytes),
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.so_reuseport", 0),  # a second server on the port is a mistake
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS // 2),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        # A window of our size, and none that grows by itself.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", config.limits.window_bytes),
    ]


class Server:
    """A server in this process.

    Parameters
    ----------
    config
        How it is set up.
    open_store
        Opens the samples of the repository at a path. Called once for each repository; the store
        is used from many threads.

    Examples
    --------
    >>> with Server(config, open_store) as server:  # doctest: +SKIP
    ...     print(server.port)
    """

    def __init__(self, config: ServerConfig, open_store: Callable[[Path], SampleStore]) -> None:
        self._config = config
        self._metrics = Metrics()
        if config.root is not None and not config.root.is_dir():
            raise NotFoundError(f"{config.root} is no directory; create it first")
        if config.default is not None and not is_repository(config.default):
            create_repository(config.default)
        hosting = Hosting(config.root, config.default, config.create, open_store)
        self._service = HangarService(config, hosting, self._metrics)
        calls = config.limits.concurrent_calls
        self._threads = ThreadPoolExecutor(calls, thread_name_prefix="call")
        self._grpc = grpc.server(
            self._threads,
            options=_channel_options(config),
            # Those beyond it are told at once that the server is busy, and do not wait unseen.
            maximum_concurrent_rpcs=calls,
            compression=grpc.Compression.NoCompression,
        )
        self._grpc.add_generic_rpc_handlers([self._service.handler()])
        self._health = health.HealthServicer(
            experimental_non_blocking=True,
            experimental_thread_pool=ThreadPoolExecutor(1, thread_name_prefix="health"),
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        self.port = self._listen()
        self.metrics_port: int | None = None

    def _listen(self) -> int:
        config = self._config
        host = f"[{config.ip}]" if ":" in config.ip else config.ip
        endpoint = f"{host}:{config.port}"
        try:
            if config.cert is None:
                return self._grpc.add_insecure_port(endpoint)
            return self._grpc.add_secure_port(endpoint, _credentials(config))
        except RuntimeError as error:
            raise StateError(
                f"cannot listen on {endpoint}: the address is in use, or not this machine's; or"
                " certificate and key do not fit"
            ) from error

    def start(self) -> Self:
        """Begin to serve."""
        if self._config.metrics_port is not None:
            self.metrics_port = self._metrics.serve(self._config.metrics_port)
        self._grpc.start()
        for service in ("", SERVICE):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        log(
            "listening", ip=self._config.ip, port=self.port, tls=self._config.cert is not None,
            root=self._config.root, default=self._config.default, metrics_port=self.metrics_port,
        )  # fmt: skip
        if self._config.anonymous_right >= Right.WRITE:
            log("open-to-everyone-on-this-machine", level=logging.WARNING)
        return self

    def stop(self, grace_s: float | None = None) -> None:
        """Take no more calls, and wait for those under way: first to end, then to be cut off.

        What a call that is cut off has brought is stored before this returns.
        """
        grace = self._config.grace_s if grace_s is None else grace_s
        log("stopping", grace_s=grace)
        self._health.enter_graceful_shutdown()
        self._grpc.stop(grace).wait()
        self._threads.shutdown(wait=True)
        self._service.close()
        self._metrics.close()
        log("stopped")

    def cut_off(self) -> None:
        """Let a `stop` under way wait no longer for calls to end."""
        self._grpc.stop(0)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop(0)


def _credentials(config: ServerConfig) -> grpc.ServerCredentials:
    assert config.cert is not None
    assert config.key is not None
    pair = _pem(config.key), _pem(config.cert)
    if config.client_ca is None:
        return grpc.ssl_server_credentials([pair])
    return grpc.ssl_server_credentials([pair], _pem(config.client_ca), require_client_auth=True)


def _pem(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"{path}: {error.strerror}") from error
    if b"-----BEGIN " not in data:
        raise InvalidInputError(f"{path} is no PEM file")
    return data


def serve(
    config: ServerConfig,
    open_store: Callable[[Path], SampleStore],
    ready: Callable[[Server], None] | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or the timeout; must run in the main thread.

    Parameters
    ----------
    config, open_store
        As for `Server`.
    ready
        Called once it listens.

    Notes
    -----
    The first signal lets running calls end within the grace time, a second one cuts them off. The
    log goes to standard error.
    """
    start_log(sys.stderr)
    # No Event: its lock may be held by the very wait that the handler interrupts (seen, 2026-11).
    # And the handler itself runs only once the wait is over, so that a signal just before it would
    # not end it: what wakes it up is the byte that the interpreter writes at once.
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signals = 0

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal signals
        signals += 1

    server = Server(config, open_store)
    former_fd = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    former = {
        number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        server.start()
        if ready is not None:
            ready(server)
        ends = time.monotonic() + (config.timeout_s or float("inf"))
        while not signals and time.monotonic() < ends:
            if readable([told], min(3600.0, max(0.0, ends - time.monotonic()))):
                os.read(told, 64)  # of any signal; whether it was one of ours, the loop sees
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        while stopping.is_alive():
            stopping.join(0.2)
            if signals > 1:
                server.cut_off()
    finally:
        signal.set_wakeup_fd(former_fd)
        for number, handler in former.items():
            signal.signal(number, handler)
        os.close(told)
        os.close(tell)


__all__ = ["Server", "ServerConfig", "serve"]

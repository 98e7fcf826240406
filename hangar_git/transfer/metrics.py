"""Counts and times of a server, for Prometheus."""

from __future__ import annotations

from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0)


class Metrics:
    """What a server counts. No label takes a value that callers choose."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter(
            "hangar_calls", "Calls ended", ["method", "result"], registry=self.registry
        )
        self.active = Gauge(
            "hangar_calls_active", "Calls being served", ["method"], registry=self.registry
        )
        self.seconds = Histogram(
            "hangar_call_seconds", "Length of calls", ["method"],
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self.bytes = Counter(
            "hangar_bytes", "Bytes of messages", ["method", "direction"], registry=self.registry
        )
        self.samples = Counter(
            "hangar_samples", "Samples moved", ["direction"], registry=self.registry
        )
        self.refused_logins = Counter(
            "hangar_refused_logins", "Wrong credentials", registry=self.registry
        )
        self._http: WSGIServer | None = None

    def serve(self, port: int) -> int:
        """Answer HTTP requests on loopback; the port, chosen if `port` is 0."""
        self._http, _ = start_http_server(port, addr="127.0.0.1", registry=self.registry)
        return int(self._http.server_port)

    def close(self) -> None:
        """Stop answering."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()

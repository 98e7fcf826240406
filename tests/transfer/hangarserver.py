"""Server processes for tests, and certificates for them."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).parents[2]

_PROGRAM = """
import sys
from hangar_git.cli.server import server_command
from transfer import stores
server_command(stores.{store})(sys.argv[1:], standalone_mode=False)
"""
_REAL_PROGRAM = """
import sys
from hangar_git.cli.main import main
sys.exit(main(["server", *sys.argv[1:]]))
"""


class HangarServer:
    """A server in a process of its own, on a free port of loopback.

    Its samples lie in a `store` of `stores.py`; None: where those of the real program do.
    """

    def __init__(
        self,
        *options: object,
        store: str | None = "DirectoryStore",
        port: int = 0,
        **env: str,
    ) -> None:
        program = _REAL_PROGRAM if store is None else _PROGRAM.format(store=store)
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", program,
             "--ip", "127.0.0.1", "--port", str(port), *map(str, options)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", **env},
        )  # fmt: skip
        self.log: list[dict] = []
        self.said: list[str] = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._listening.wait(60)
        found = [line for line in self.log if line["event"] == "listening"]
        assert found, self.said
        self.port = found[0]["port"]
        self.metrics_port = found[0]["metrics_port"]

    def _read(self) -> None:
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith("{"):
                self.log.append(json.loads(line))
                if self.log[-1]["event"] == "listening":
                    self._listening.set()
        self._listening.set()

    def url(self, repository: str = "repo", *, user: str = "", tls: bool = False) -> str:
        name = f"{user}@" if user else ""
        host = "localhost" if tls else "127.0.0.1"
        return f"{'hangars' if tls else 'hangar'}://{name}{host}:{self.port}/{repository}"

    def memory_bytes(self) -> int:
        """The most it ever had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stderr.close()

    def stop(self) -> int:
        """End it as an operator does; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # prints what each thread does
            self._reader.join(5)
            raise AssertionError("".join(self.said)) from None
        self._reader.join(5)
        self.process.stderr.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Authority:
    """A certificate authority, and certificates of it in PEM files of a directory."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.file = directory / f"{name}.pem"
        certificate = self._builder(self._name, self._key, 1).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        ).sign(self._key, hashes.SHA256())  # fmt: skip
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key, days: int, since: int = -10):
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(days=since))
            .not_valid_after(now + dt.timedelta(days=days))
        )

    def issue(
        self, name: str, host: str = "localhost", days: int = 1, since: int = -10
    ) -> tuple[Path, Path]:
        """A certificate for `host` and its key, valid between so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        hosts: list[x509.GeneralName] = [x509.DNSName(host)]
        if host == "localhost":
            hosts.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        certificate = self._builder(subject, key, days, since).add_extension(
            x509.SubjectAlternativeName(hosts), critical=False
        ).sign(self._key, hashes.SHA256())  # fmt: skip
        cert, private = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cert, private


def install_helpers(directory: Path) -> Path:
    """`git-remote-hangar` and `git-remote-hangars` in `directory`, to be put in front of PATH."""
    directory.mkdir(exist_ok=True)
    for name in ("git-remote-hangar", "git-remote-hangars"):
        program = directory / name
        program.write_text(
            f"#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -X utf8"
            ' -m hangar_git.transfer.remotehelper "$@"\n'
        )
        program.chmod(0o755)
    return directory

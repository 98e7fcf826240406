"""How a server is set up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InvalidInputError
from .auth import Right
from .packing import MIB, PACK_BYTES, MessageLimits
from .serveraddress import DEFAULT_PORT, is_loopback


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one server takes.

    Parameters
    ----------
    messages
        Sizes of single messages and parcels.
    concurrent_calls
        Calls served at once, and so threads; one more is told to come again.
    calls_per_host
        Of them, from one host: one alone cannot shut out all others.
    calls_per_second
        From one host, on average over ten seconds.
    failed_logins_per_minute
        From one host; after that its credentials are not looked at.
    memory_bytes
        Parcels too large for one message, while they are put together.
    batch_bytes, batch_s
        An upload is made durable after so much, and after so long.
    idle_s
        A caller that neither sends nor takes anything for so long is cut off.
    git_input_bytes
        Of one pack that is pushed.
    window_bytes
        That may be under way to the server on one call. What is neither stored nor lost when a
        connection breaks is at most this and one message, and is sent again; a rate is at most
        this in a round trip.
    """

    messages: MessageLimits = field(default_factory=MessageLimits)
    concurrent_calls: int = 64
    calls_per_host: int = 48
    calls_per_second: float = 2000.0
    failed_logins_per_minute: int = 10
    memory_bytes: int = 1 << 30
    batch_bytes: int = 128 * MIB
    batch_s: float = 5.0
    idle_s: float = 120.0
    git_input_bytes: int = 16 << 30
    window_bytes: int = PACK_BYTES


def _no_options(_: Path) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """All a server is told when it starts.

    Parameters
    ----------
    ip, port
        Where it listens; port 0 lets the system choose.
    root
        Directory of repositories: ``root/name.git`` or ``root/name``, bare.
    default
        Repository served for an empty name. It is made if it is not there.
    create
        Whether an unknown repository below `root` is made when it is first pushed to.
    timeout_s
        It stops by itself after so long; None: never.
    grace_s
        How long running calls may go on once it is told to stop.
    cert, key
        PEM files of its certificate chain and key; with them it speaks TLS only.
    client_ca
        PEM file of the authority that callers' certificates must come from. The common name of one
        is the user, where the users file has it and the call carries no other credentials.
    users
        The users file.
    anonymous
        What callers without credentials may do; None: WRITE where there is no users file and only
        this machine can reach the server, else what the file grants to ``anonymous``.
    metrics_port
        Port of the metrics on loopback; None: no metrics; 0: any.
    git_options
        ``name=value`` settings of the Git programs that serve fetches and pushes.
    repository_options
        Further ones, for the repository at a path; they go before those.
    git_environment
        Variables they get, which their hooks see.
    limits
        What it takes.
    """

    ip: str = "localhost"
    port: int = DEFAULT_PORT
    root: Path | None = None
    default: Path | None = None
    create: bool = False
    timeout_s: float | None = None
    grace_s: float = 30.0
    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    users: Path | None = None
    anonymous: Right | None = None
    metrics_port: int | None = None
    git_options: tuple[str, ...] = ()
    repository_options: Callable[[Path], Sequence[str]] = _no_options
    git_environment: Mapping[str, str] = field(default_factory=dict)
    limits: ServerLimits = field(default_factory=ServerLimits)

    def __post_init__(self) -> None:
        if self.root is None and self.default is None:
            raise InvalidInputError("a server needs a root of repositories or a default one")
        if (self.cert is None) != (self.key is None):
            raise InvalidInputError("a certificate needs its key, and a key its certificate")
        if self.client_ca is not None and self.cert is None:
            raise InvalidInputError("certificates of callers need TLS: give --cert and --key, too")
        if is_loopback(self.ip):
            return
        if self.anonymous is not None and self.anonymous > Right.READ:
            raise InvalidInputError(
                f"callers without credentials may not write to a server on {self.ip}, which other"
                " machines reach; give it users"
            )
        if self.anonymous is None and self.users is None:
            raise InvalidInputError(
                f"a server on {self.ip} is reached by other machines; give it --users, or allow"
                " everyone to read with --anonymous read"
            )
        if self.users is not None and self.cert is None:
            raise InvalidInputError(
                f"a server on {self.ip} must not be sent passwords in clear; give it --cert and"
                " --key, or let it listen on localhost behind a proxy that does TLS"
            )

    @property
    def anonymous_right(self) -> Right:
        """The least that any caller may do, everywhere."""
        if self.anonymous is not None:
            return self.anonymous
        return Right.WRITE if self.users is None else Right.NONE

"""Region, endpoint and credentials of S3, from the places where AWS's own tools look for them.

obstore reads the environment, but not ``~/.aws``; this adds the profile files, and says at once
when there are no credentials, which obstore would learn by asking an address that does not answer.
"""

from __future__ import annotations

import configparser
import importlib
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError, RemoteAuthenticationError
from .bucketerrors import no_credentials

DEFAULT_REGION = "us-east-1"

_ENDPOINT = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[!-~]*)?")
_METADATA_ADDRESS = ("169.254.169.254", 80)
_METADATA_TIMEOUT_S = 1.0
# What obstore finds by itself.
_OTHER_SOURCES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
    "AWS_METADATA_ENDPOINT",
)
_NEEDS_BOTO3 = ("role_arn", "sso_session", "sso_start_url", "credential_process", "login_session")


def s3_settings(environment: Mapping[str, str], where: str, *, anonymous: bool) -> dict[str, Any]:
    """Arguments for `obstore.store.S3Store`.

    Parameters
    ----------
    environment
        Usually `os.environ`. The environment goes before the profile.
    where
        The address, for messages.
    anonymous
        Sign nothing and look for no credentials.

    Raises
    ------
    RemoteAuthenticationError
        There are no credentials anywhere.
    InvalidInputError
        A profile file is malformed, or `AWS_PROFILE` names none.
    """
    profile = _profile(environment)
    endpoint = (
        environment.get("AWS_ENDPOINT_URL_S3")
        or environment.get("AWS_ENDPOINT_URL")
        or environment.get("AWS_ENDPOINT")
        or profile.get("endpoint_url")
    )
    settings: dict[str, Any] = {
        "region": environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION")
        or profile.get("region")
        or DEFAULT_REGION
    }
    if endpoint:
        # obstore panics at what is not a URL. It may hold a password, and is not shown.
        if _ENDPOINT.fullmatch(endpoint) is None:
            raise InvalidInputError(f"{where}: the endpoint URL (AWS_ENDPOINT_URL) is malformed")
        settings["endpoint"] = endpoint
    if anonymous:
        settings["skip_signature"] = True
    else:
        settings |= _credentials(environment, profile, where)
    return settings


def _credentials(
    environment: Mapping[str, str], profile: Mapping[str, str], where: str
) -> dict[str, Any]:
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        return {}
    if key or secret:
        raise RemoteAuthenticationError(
            f"{where}: of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set"
        )
    if any(environment.get(name) for name in _OTHER_SOURCES):
        return {}
    if profile.get("aws_access_key_id") and profile.get("aws_secret_access_key"):
        settings = {
            "access_key_id": profile["aws_access_key_id"],
            "secret_access_key": profile["aws_secret_access_key"],
        }
        if profile.get("aws_session_token"):
            settings["session_token"] = profile["aws_session_token"]
        return settings
    if any(name in profile for name in _NEEDS_BOTO3):
        return {"credential_provider": _boto3_provider(environment, where)}
    if environment.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true" and _on_aws():
        return {}
    raise no_credentials(where)


def _on_aws() -> bool:
    try:
        socket.create_connection(_METADATA_ADDRESS, _METADATA_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _boto3_provider(environment: Mapping[str, str], where: str) -> Any:
    """Credentials of profiles that need a program, a role or a login: boto3 knows how."""
    try:
        boto3: Any = importlib.import_module("boto3")
        providers: Any = importlib.import_module("obstore.auth.boto3")
    except ImportError as error:
        raise RemoteAuthenticationError(
            f"{where}: the AWS profile needs a role, login or program; pip install boto3"
        ) from error
    try:
        session = boto3.Session(profile_name=_profile_name(environment))
        return providers.Boto3CredentialProvider(session)
    except Exception as error:  # boto3 has dozens, without a common base
        raise RemoteAuthenticationError(
            f"{where}: no credentials from the AWS profile: {error}"
        ) from error


def _profile_name(environment: Mapping[str, str]) -> str:
    return environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE") or "default"


def _profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings of the chosen profile: the credentials file before the config file."""
    name = _profile_name(environment)
    home = Path(environment.get("HOME") or Path.home())
    places = {
        "AWS_CONFIG_FILE": (home / ".aws" / "config", [f"profile {name}", name]),
        "AWS_SHARED_CREDENTIALS_FILE": (home / ".aws" / "credentials", [name]),
    }
    found: dict[str, str] = {}
    known = False
    for variable, (default, sections) in places.items():
        given = environment.get(variable)
        parser = _parse(Path(given).expanduser() if given else default)
        for section in sections:
            if parser.has_section(section):
                known = True
                found |= dict(parser[section])
                break
    if not known and name != "default":
        raise InvalidInputError(f"there is no AWS profile {name!r} (AWS_PROFILE)")
    return found


def _parse(path: Path) -> configparser.RawConfigParser:
    # No section is special: [default] must not be inherited by the others.
    parser = configparser.RawConfigParser(default_section="\0")
    try:
        parser.read_string(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        # The parser's own message quotes the line, which may be a secret.
        raise InvalidInputError(f"{path} cannot be read: {type(error).__name__}") from None
    return parser

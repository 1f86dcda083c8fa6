"""Settings, from MORAG_* variables and keywords."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from morag_client.errors import ConfigurationError

_EXAMPLE: Final = "give it like https://app.example.com/morag"

Secrets = Annotated[tuple[SecretStr, ...] | None, NoDecode]


class Settings(BaseSettings):
    """Everything that can be set, by keyword or by environment: `database_url` is `MORAG_DATABASE_URL`.

    Secrets and tokens are comma-separated in the environment (rotation: all are accepted). Durations are seconds.
    """

    model_config = SettingsConfigDict(env_prefix="MORAG_", frozen=True, extra="forbid", env_ignore_empty=False)

    webhook_secret: Secrets = None
    bearer_tokens: Secrets = None
    signing_key: Secrets = None
    """Signs webhook URLs; the first of several signs, all are believed."""
    public_url: str | None = None
    """Where MoRAG reaches the receiver, with the prefix of its mount; https unless the host is this machine."""
    dashboard_password: SecretStr | None = None
    """Opens the dashboard, and the inbox's own routes, to whoever knows it."""
    dashboard_session: float = Field(default=12 * 3600.0, gt=0, allow_inf_nan=False)
    """For how long, until it is asked for again."""
    api_url: str | None = Field(default=None, repr=False)
    """Where MoRAG's REST API is; it is asked about tasks that went silent."""
    api_key: SecretStr | None = None
    reconcile_interval: float = Field(default=60.0, gt=0)
    """How often it is looked for tasks that went silent; `inf` for never."""
    reconcile_silence: float = Field(default=300.0, ge=0, allow_inf_nan=False)
    """After so long without an event, MoRAG is asked how a task stands."""
    reconcile_unknown: bool = True
    """Whether tasks are ours that MoRAG lists and no webhook told of; not where others use the same MoRAG."""
    database_url: str | None = Field(default=None, repr=False)
    table_prefix: str = Field(default="", pattern=r"^[a-z0-9_]{0,32}$")
    insecure: bool = False
    inspect: bool = False
    max_body_bytes: int = Field(default=1024 * 1024, ge=1)
    body_timeout: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """How long a body may take to arrive."""
    commit_timeout: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    """After it, a delivery is answered with 503, so that MoRAG tries again."""
    concurrency: int = Field(default=64, ge=1)
    """How many tasks' events are handled side by side."""
    handler_threads: int = Field(default=32, ge=1)
    """How many handlers that are plain functions run at once."""
    handler_timeout: float = Field(default=900.0, gt=0)
    """How long a handler may run, unless it says otherwise; `inf` for as long as it likes."""
    retry_attempts: int = Field(default=8, ge=1)
    """How often a handler is tried, unless it says otherwise."""
    retry_first: float = Field(default=60.0, ge=0, allow_inf_nan=False)
    """The longest wait before the second attempt; it doubles from one to the next."""
    retry_cap: float = Field(default=900.0, ge=0, allow_inf_nan=False)
    """The longest wait between any two attempts."""
    grace: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    """How long a shutdown waits for handlers."""
    lease: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """After so long without a heartbeat, another process takes over a worker's tasks."""
    quarantine_limit: int = Field(default=10_000, ge=1)
    """How many deliveries that could not be understood are kept; what comes after them is refused and not kept."""
    quarantine_bytes: int = Field(default=256 * 1024 * 1024, ge=1)
    """How many bytes their bodies may have together."""
    redis_url: str | None = Field(default=None, repr=False)
    """Through which several processes tell each other of progress; a URL as redis-py takes it."""
    redis_channel: str = Field(default="morag-client", min_length=1, max_length=200)
    """Common to all processes of one inbox, and to no others on that Redis."""
    progress_origins: Annotated[tuple[str, ...] | None, NoDecode] = None
    """Of which other origins pages may follow progress; those of the receiver's own host may always ask."""
    progress_queue: int = Field(default=500, ge=10)
    """A client that lets more messages than that wait is dropped."""

    @field_validator("webhook_secret", "bearer_tokens", "signing_key", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        """A string is a comma-separated list, wherever it comes from."""
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if isinstance(value, bytes):
            value = value.decode()
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(","))
        return value

    @field_validator("webhook_secret", "bearer_tokens", "signing_key")
    @classmethod
    def _none_blank(cls, value: tuple[SecretStr, ...] | None) -> tuple[SecretStr, ...] | None:
        if value is not None and (not value or any(not part.get_secret_value().strip() for part in value)):
            raise ValueError("is empty or has a blank part: anyone could use it; set real ones, separated by commas")
        return value

    @field_validator("progress_origins", mode="before")
    @classmethod
    def _origins(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("progress_origins")
    @classmethod
    def _exact_origins(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for origin in value or ():
            if re.fullmatch(r"https?://[^/?#\s*@]+", origin) is None:
                raise ValueError("has a part that is no origin; give them like https://app.example.com, without a path")
        return value

    @field_validator("dashboard_password")
    @classmethod
    def _not_blank(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError("is blank: anyone could use it; set a real one, or leave it out")
        return value

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str | None) -> str | None:
        return None if value is None else _checked_url(value)

    @classmethod
    def load(cls, **given: Any) -> Self:
        """The settings of the environment, with those given (and not None) in their place.

        Raises ConfigurationError naming every setting that is wrong, without showing its value.
        """
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
            problems = [
                f"{name} (MORAG_{name.upper()}): {problem['msg'].removeprefix('Value error, ')}"
                for problem in wrong
                for name in [str(problem["loc"][0])]
            ]
            raise ConfigurationError("settings that cannot work: " + "; ".join(problems)) from None


def is_loopback(host: str) -> bool:
    """Whether the host of a URL is the machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _checked_url(url: str) -> str:
    """The URL without a slash at its end. Raises ValueError, not showing it: it may have a password in it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0 or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"is no URL; {_EXAMPLE}")
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"does not begin with https://; {_EXAMPLE}")
    if parts.username is not None or parts.password is not None or "?" in url or "#" in url:
        raise ValueError(f"has more in it than a host and a path; {_EXAMPLE}")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"is not https: whoever is on the way could read the signed URLs; {_EXAMPLE}")
    if parts.path.rstrip("/").endswith("/webhook"):
        raise ValueError("ends in /webhook, which is added to it: leave that out")
    return url.rstrip("/")

"""What a device login works with beside the credential's ports: configuration, view, models, browser."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from kimi_auth.credential.token_lifecycle import no_targets
from kimi_auth.login.view import LoginView
from kimi_auth.models import Catalogue, ModelEntry

__all__ = ["LoginConfig", "LoginPorts"]


class LoginConfig(Protocol):
    """What a login does to the configuration; `check` and `install` raise ConfigError, and then nothing was written."""

    def lacks(self) -> bool:
        """Whether it knows nothing of the platform: an earlier login did not come that far."""

    def check(self) -> None:
        """Says now what would stop `install` later."""

    def install(self, models: tuple[ModelEntry, ...]) -> object:
        """Writes the platform, its models, the default and the services. False: config.toml is another program's, and was
        left alone."""


@dataclass(frozen=True, slots=True)
class LoginPorts:
    """What a login needs beside the credential's `Ports`.

    `revokes_replaced`: the platform says that revoking one credential ends that login only, so the one that is replaced
    may be revoked; on other servers that would end the new login, too.
    """

    config: LoginConfig
    view: LoginView
    discover: Callable[[str], Awaitable[Catalogue]]
    serve: Callable[[str], object] = no_targets
    open_browser: Callable[[str], object] | None = None
    revokes_replaced: bool = False

"""`session.models`: what the platform offers, and config.toml brought up to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from kimi_auth.components import Components
from kimi_auth.credential.status import Status, Verdict
from kimi_auth.errors import ConfigError, WrongIssuer
from kimi_auth.language import tr
from kimi_auth.models import static_key
from kimi_auth.platforms import Platform

if TYPE_CHECKING:  # a session that hands out a stored token loads nothing that asks a server
    from concurrent.futures import Future

    from kimi_auth.models import Catalogue, Change, ModelEntry
    from kimi_auth.models.sync import Synced

__all__ = ["PlatformModels"]


class Sibling(Protocol):
    """A session of a platform in the same share directory."""

    @property
    def platform(self) -> Platform: ...
    async def access_token(self) -> str: ...
    async def rejected(self, bearer: str) -> str | None: ...
    def status(self) -> Status: ...


class PlatformModels:
    """The models of one platform, and of all those that its share directory has a login or a provider for."""

    def __init__(self, components: Components, session_of: Callable[[str], Sibling]) -> None:
        self._components = components
        self._session_of = session_of

    async def fetch(self) -> tuple[ModelEntry, ...]:
        """The platform's models; a rejected token is renewed once, then config.toml's static key is tried. Raises
        Unreachable, ConfigError, and as `Session.access_token`."""
        found = await self.fetch_catalogue()
        if found.error is not None:
            raise found.error
        return found.models

    async def fetch_catalogue(self) -> Catalogue:
        """`fetch` with notes on the parts of the platform's answer that were left out; an error of the platform is in the
        result. Raises ConfigError."""
        from kimi_auth.models.sync import catalogue_of

        key = static_key(self._components.config.read(), self._components.platform)
        return await catalogue_of(self._own, key, self._components.headers)

    async def sync(self, *, dry_run: bool = False) -> Change:
        """Brings config.toml up to the platform's catalogue and says what changed; where config.toml does not know the
        platform (the models of its login were still to come), it is put there. Raises as `fetch`."""
        synced = await self.sync_one(dry_run=dry_run)
        if synced.error is not None:
            raise synced.error
        assert synced.change is not None
        return synced.change

    async def sync_one(self, *, dry_run: bool = False) -> Synced:
        """`sync` with notes on the parts of the platform's answer that were left out; errors are in the result. Raises
        ConfigError if config.toml cannot be read."""
        (synced,) = await self._sync([self._own], dry_run=dry_run, finishes=True)
        return synced

    async def sync_all(self, *, dry_run: bool = False, finishes: bool = False) -> tuple[Synced, ...]:
        """`sync` of every platform in config.toml, and with `finishes` of every login that it does not know yet: all asked
        at the same time and each for itself, in the registry's order. Raises ConfigError where config.toml cannot be
        read; what else goes wrong is in the results."""
        from kimi_auth.models.sync import managed

        platforms = self._components.registry.all()
        known = {platform.id for platform in managed(self._components.config.read(), platforms)}
        wanted = [self._session_of(one.id) for one in platforms if one.id in known or (finishes and one.oauth)]
        sources = [one for one in wanted if one.platform.id in known or one.status().state != "absent"]
        return await self._sync(sources, dry_run=dry_run, finishes=finishes)

    def sync_in_background(self) -> Future[tuple[Synced, ...]]:
        """`sync_all` for the start of a program, in a thread of its own: never raises, logs what goes wrong, and keeps no
        program from ending. With or without an event loop; the future has the result."""
        from kimi_auth.models.background import in_background

        return in_background(self.sync_all, ())

    async def verify(self) -> Verdict:
        """Whether the platform lists its models for the stored access token as it is; nothing is renewed. A proxy's page, or
        an account without membership, says nothing of the token: that is `unknown`, with the reason."""
        from kimi_auth.wire import fetch_models

        platform = self._components.platform
        if platform.models is not None:
            message = tr("{platform} has no list of models to ask for", platform=platform.name)
            return Verdict("unknown", ConfigError(message, hint=tr("use the token at its API")))
        ctx = self._components.credential.inspect().ctx
        token = ctx.snapshot.token
        if isinstance(ctx.error, WrongIssuer):
            return Verdict("unknown", ctx.error)  # it is another host's: this one must not see it
        if token is None or not token.access_token:
            return Verdict("invalid", ctx.error)
        answer = await fetch_models(platform.api_base, token.access_token, self._components.headers)
        if answer.outcome == "models":
            return Verdict("valid")
        return Verdict("invalid" if answer.outcome == "rejected" else "unknown", answer.error)

    @property
    def _own(self) -> Sibling:
        return self._session_of(self._components.platform.id)

    async def _sync(self, sources: list[Sibling], *, dry_run: bool, finishes: bool) -> tuple[Synced, ...]:
        from kimi_auth.models import CatalogueCache
        from kimi_auth.models.sync import sync

        components = self._components
        memory = CatalogueCache(components.share_dir)
        return await sync(
            sources, components.config, components.headers, memory=memory, dry_run=dry_run, finishes=finishes
        )

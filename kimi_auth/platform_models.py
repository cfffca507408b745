"""`PlatformModels`, behind `session.models`: lists what the platforms offer, brings config.toml up to it, verifies the stored token."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from kimi_auth.components import Components
from kimi_auth.credential.status import Status, Verdict
from kimi_auth.errors import ConfigError, Unreachable, WrongIssuer
from kimi_auth.loading import TO_ASK, load
from kimi_auth.models import static_key
from kimi_auth.platforms import Platform
from kimi_auth.support.language import tr
from kimi_auth.support.loops import checked_s, within

if TYPE_CHECKING:  # a session that hands out a stored token loads nothing that asks a server
    from concurrent.futures import Future

    from kimi_auth.models import Catalogue, Change, ModelEntry
    from kimi_auth.models.sync import Synced

__all__ = ["PlatformModels", "sessions_beside"]


class Sibling(Protocol):
    """A session of a platform in the same share directory."""

    @property
    def platform(self) -> Platform: ...
    async def access_token(self) -> str: ...
    async def rejected(self, bearer: str) -> str | None: ...
    def status(self) -> Status: ...


class PlatformModels:
    """The models of one platform, and of all those that its share directory has a login or a provider for.

    `timeout_s` is how long each platform's answer is waited for, its bearer included, in seconds; without it as long as
    each of its requests may take: 15 s, and 31 s for a renewal.
    """

    def __init__(self, components: Components, session_of: Callable[[str], Sibling]) -> None:
        self._components = components
        self._session_of = session_of

    async def fetch(self, *, timeout_s: float | None = None) -> tuple[ModelEntry, ...]:
        """The platform's models; a rejected token is renewed once, then config.toml's static key is tried. Raises
        Unreachable, ConfigError, and as `Session.access_token`."""
        found = await self.fetch_catalogue(timeout_s=timeout_s)
        if found.error is not None:
            raise found.error
        return found.models

    async def fetch_catalogue(self, *, timeout_s: float | None = None) -> Catalogue:
        """As `session.models.fetch`, with notes on the parts of the platform's answer that were left out; an error of the
        platform is in the result. Raises ConfigError."""
        await load(*TO_ASK)
        from kimi_auth.models import Catalogue
        from kimi_auth.models.sync import catalogue_of

        given = self._components.given
        config = self._components.config.read()
        key = "" if given or not self._components.is_in_use() else static_key(config, self._components.platform)
        found = await catalogue_of(self._own, key, self._components.headers, timeout_s=checked_s(timeout_s))
        if given is not None and found.error is not None and found.error.code == "bearer_rejected":
            return Catalogue(error=given.rejected())
        return found

    async def sync(self, *, dry_run: bool = False, timeout_s: float | None = None) -> Change:
        """Brings config.toml up to what the session's platform offers and says what changed; where config.toml does not know
        the platform (the models of its login were still to come), it is put there. Raises as `fetch`."""
        synced = await self.sync_one(dry_run=dry_run, timeout_s=timeout_s)
        if synced.error is not None:
            raise synced.error
        assert synced.change is not None
        return synced.change

    async def sync_one(self, *, dry_run: bool = False, timeout_s: float | None = None) -> Synced:
        """`sync` with notes on the parts of the platform's answer that were left out; errors are in the result. Raises
        ConfigError if config.toml cannot be read."""
        (synced,) = await self._sync([self._own], dry_run=dry_run, finishes=True, timeout_s=timeout_s)
        return synced

    async def sync_all(
        self, *, dry_run: bool = False, finishes: bool = False, timeout_s: float | None = None
    ) -> tuple[Synced, ...]:
        """`session.models.sync` for every platform in config.toml, and with `finishes` for every login that it does not
        know yet: all asked at the same time and each for itself, in the registry's order. Raises ConfigError where
        config.toml cannot be read; what else goes wrong is in the results."""
        await load(*TO_ASK)
        from kimi_auth.models.sync import managed

        platforms = self._components.registry.all()
        known = {platform.id for platform in managed(self._components.config.read(), platforms)}
        wanted = [self._session_of(one.id) for one in platforms if one.id in known or (finishes and one.oauth)]
        sources = [one for one in wanted if one.platform.id in known or one.status().state != "absent"]
        return await self._sync(sources, dry_run=dry_run, finishes=finishes, timeout_s=timeout_s)

    def sync_in_background(self) -> Future[tuple[Synced, ...]]:
        """`session.models.sync_all` for the start of a program, in a thread of its own: never raises, logs what goes
        wrong, and keeps no program from ending. With or without an event loop; the future has the result."""
        from kimi_auth.models.background import in_background

        return in_background(self.sync_all, ())

    async def verify(self, *, timeout_s: float | None = None) -> Verdict:
        """Verifies the stored access token as it is: whether the platform lists its models for it; nothing is renewed.
        A proxy's page, or an account without membership, says nothing of the token: that is `unknown`, with the
        reason."""
        checked_s(timeout_s)
        await load(*TO_ASK)
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
        bearer = token.access_token
        try:
            answer = await within(timeout_s, lambda: fetch_models(platform.api_base, bearer, self._components.headers))
        except TimeoutError:
            late = tr("{platform} did not answer within {seconds:g} s", platform=platform.name, seconds=timeout_s)
            return Verdict("unknown", Unreachable(late))
        if answer.outcome == "models":
            return Verdict("valid")
        if answer.outcome == "rejected":
            return Verdict("invalid", self._components.rejected(answer.error))
        return Verdict("unknown", answer.error)

    @property
    def _own(self) -> Sibling:
        return self._session_of(self._components.platform.id)

    async def _sync(
        self, sources: list[Sibling], *, dry_run: bool, finishes: bool, timeout_s: float | None
    ) -> tuple[Synced, ...]:
        checked_s(timeout_s)
        await load(*TO_ASK)
        from kimi_auth.models import CatalogueCache
        from kimi_auth.models.sync import sync

        components = self._components
        if components.given is not None:
            raise components.given.refusal()
        components.refuse_found(tr("writing config.toml"))
        if not components.home.kind.owns_config:
            words = tr(
                "{path} is {writer}'s, which keeps its own list of models",
                path=components.config.path,
                writer=components.home.kind.writer,
            )
            raise ConfigError(words, hint=tr("kimi-auth models lists them"))
        if not components.is_in_use():
            words = tr("config.toml is for the account in use, and that is not {name}", name=components.account)
            hint = tr("use it: {command}", command=f"kimi-auth accounts use {components.account}")
            raise ConfigError(words, hint=hint)
        memory = CatalogueCache(components.share_dir)
        return await sync(
            sources,
            components.config,
            components.headers,
            memory=memory,
            dry_run=dry_run,
            finishes=finishes,
            timeout_s=timeout_s,
        )


def sessions_beside(own: Sibling, components: Components, make: Callable[..., Sibling]) -> Callable[[str], Sibling]:
    """The session of a platform by its id: `own` for its own one, else what `make`, a `Session`, makes in the same share
    directory and environment."""

    def session_of(platform: str) -> Sibling:
        if platform == components.platform.id:
            return own
        from kimi_auth.store import MemoryStore

        return make(
            home=components.home,
            store=MemoryStore(components.clock) if components.is_alone else None,
            stores=components.stores,
            platform=platform,
            account=components.account_beside(platform),
            environ=components.environ,
            clock=components.clock,
            observe=components.observe,
            one_shot=components.one_shot,
        )

    return session_of

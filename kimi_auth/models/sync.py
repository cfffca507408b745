"""What the platforms offer, asked of all at the same time, each for itself, and brought into config.toml in a fixed order.

One platform: its access token first; on a 401 one renewal and one more try; then the static API key, if config.toml has
one. A platform that is down, hangs or answers something else costs its own models nothing (they stay as they were) and
the others not a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from kimi_auth.errors import KimiAuthError, SignInEnded, Unreachable
from kimi_auth.models import Catalogue, CatalogueCache, Change, ConfigFile, plan, static_key
from kimi_auth.models.discovery import BearerRejected, discover
from kimi_auth.models.platform_config import PlatformConfig
from kimi_auth.models.tomltext import applied
from kimi_auth.platforms import Platform
from kimi_auth.support.language import tr
from kimi_auth.support.loops import within

__all__ = ["Source", "Synced", "catalogue_of", "managed", "sync"]

log: logging.Logger = logging.getLogger("kimi_auth.models")


class Source(Protocol):
    """One platform and the bearers for it; a Session is one. Both methods as Session's."""

    @property
    def platform(self) -> Platform: ...
    async def access_token(self) -> str: ...
    async def rejected(self, bearer: str) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Synced:
    """How one platform's sync went: the change to config.toml (done, or only planned), or why there is none; and `notes`
    on the parts of the platform's answer that were left out."""

    platform: Platform
    change: Change | None = None
    error: KimiAuthError | None = None
    notes: tuple[str, ...] = ()


async def catalogue_of(
    source: Source,
    static: str,
    headers: Mapping[str, str],
    memory: CatalogueCache | None = None,
    *,
    timeout_s: float | None = None,
) -> Catalogue:
    """The models of one of the platforms that are asked at the same time, with whatever bearer it takes, within
    `timeout_s` seconds (None: no limit but that of each request). Raises nothing but a cancellation."""
    try:
        return await within(timeout_s, lambda: _catalogue_of(source, static, headers, memory))
    except TimeoutError:
        return Catalogue(
            error=Unreachable(
                tr(
                    "{platform} did not list its models within {seconds:g} s",
                    platform=source.platform.name,
                    seconds=timeout_s,
                )
            )
        )


async def _catalogue_of(
    source: Source, static: str, headers: Mapping[str, str], memory: CatalogueCache | None
) -> Catalogue:
    platform = source.platform
    found = Catalogue()
    tried = ""
    try:
        bearer: str | None = await source.access_token()
    except KimiAuthError as problem:
        bearer, found = None, Catalogue(error=problem)
    for is_last in (False, True):
        if bearer:
            tried = bearer
            found = await discover(platform, bearer, headers, memory=memory)
            if not isinstance(found.error, BearerRejected):
                return found
            bearer = None if is_last else await source.rejected(bearer)
            if bearer is None and not is_last:
                found = Catalogue(error=await _ended(source) or found.error)
    if static and static != tried:
        return await discover(platform, static, headers, memory=memory)
    return found


async def _ended(source: Source) -> KimiAuthError | None:
    """The error that ended the login, where a sync's try to renew a rejected bearer has shown that."""
    try:
        await source.access_token()
    except SignInEnded as end:
        return end
    except KimiAuthError:
        pass
    return None


def managed(config: Mapping[str, object], known: Iterable[Platform]) -> tuple[Platform, ...]:
    """The known platforms to sync, for which the config has a provider, in the order in which they are known."""
    providers = config.get("providers")
    return tuple(platform for platform in known if isinstance(providers, dict) and platform.provider_key in providers)


async def sync(
    sources: Iterable[Source],
    config: ConfigFile,
    headers: Mapping[str, str],
    *,
    memory: CatalogueCache | None = None,
    dry_run: bool = False,
    finishes: bool = False,
    timeout_s: float | None = None,
) -> tuple[Synced, ...]:
    """Brings the config up to every platform's catalogue, or with `dry_run` says what that would change. With `finishes`, a
    platform that the config does not know gets all that a login writes: its models were still to come at the time.

    The answers come together; the writes go one after another in the order of `sources`, so that the result does not
    depend on who was faster. Raises ConfigError where the config cannot be read; what else goes wrong is in the results.
    """
    sources = tuple(sources)
    data = config.read()
    asked = await asyncio.gather(
        *(
            catalogue_of(source, static_key(data, source.platform), headers, memory, timeout_s=timeout_s)
            for source in sources
        )
    )
    known = {platform.id for platform in managed(data, (source.platform for source in sources))}
    unknown = {source.platform.id for source in sources} - known if finishes else set[str]()
    synced: list[Synced] = []
    for source, found in zip(sources, asked, strict=True):
        platform = source.platform
        try:
            if found.error is not None:
                raise found.error
            if dry_run:
                change = plan(data, platform, found.models, reason="login" if platform.id in unknown else "sync")
                data = applied(data, change.edits)
            else:
                home = PlatformConfig(config, platform)
                write = home.put if platform.id in unknown else home.sync
                change = await asyncio.to_thread(write, found.models)
        except KimiAuthError as problem:
            log.info("models of %s not synced: %s", platform.id, problem.message)
            synced.append(Synced(platform, error=problem, notes=found.notes))
        else:
            synced.append(Synced(platform, change, notes=found.notes))
    return tuple(synced)

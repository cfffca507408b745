"""Who is signed in and the remaining quota, asked with the session's own tokens."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Protocol

from kimi_auth.components import Components
from kimi_auth.errors import ConfigError, KimiAuthError, Unreachable
from kimi_auth.models.profile import Account, Usage, account_of, usage_of
from kimi_auth.support.language import Sentence, tr
from kimi_auth.support.loops import in_thread
from kimi_auth.token import Token

if TYPE_CHECKING:
    from kimi_auth.wire import AccountOutcome, Answer
    from kimi_auth.wire.decode import JsonObject

__all__ = ["fetch_me", "fetch_usage", "name_of_login"]

ACCOUNT, QUOTA = tr("who is signed in"), tr("the remaining quota")

LOGIN_PATIENCE_S = 4.0
"""How long the end of a login waits for the account's name."""

log: logging.Logger = logging.getLogger("kimi_auth.session")


class Source(Protocol):
    """A session: both methods as Session's."""

    async def access_token(self) -> str: ...
    async def rejected(self, bearer: str) -> str | None: ...


async def fetch_me(components: Components, source: Source) -> Account:
    """Asks, with the session's token, who is signed in. Raises ConfigError for a platform that does not say so,
    Unreachable, and as `Session.access_token`."""
    found = account_of(await _ask(components, source, components.platform.me_path, ACCOUNT))
    if found is None:
        raise _unreadable(components, ACCOUNT)
    return found


async def fetch_usage(components: Components, source: Source) -> Usage:
    """Asks, with the session's token, for the remaining quota. Raises as `fetch_me`."""
    found = usage_of(await _ask(components, source, components.platform.usage_path, QUOTA))
    if found is None:
        raise _unreadable(components, QUOTA)
    return found


async def name_of_login(components: Components, token: Token | None, *, already: bool) -> str:
    """Asks who has just signed in: the account's name, "" if the platform does not say it in 4 s; it is kept for
    `status`. A login that stood `already` has the kept one. Never raises."""
    platform = components.platform
    kept = components.kept_account
    if token is None or kept is None:
        return ""
    if already:
        return (await in_thread(partial(kept.recall, token))).name
    if platform.me_path is None:
        await in_thread(partial(kept.keep, token, "", components.clock.wall_s()))
        return ""
    from kimi_auth.wire import fetch_account

    answer = await fetch_account(
        platform.api_base + platform.me_path, token.access_token, components.headers, deadline_s=LOGIN_PATIENCE_S
    )
    account = account_of(answer.value) if answer.value is not None else None
    if answer.error is not None:
        log.info("the account is not known: %s", answer.error.message)
    name = account.name if account else ""
    await in_thread(partial(kept.keep, token, name, components.clock.wall_s()))
    return name


async def _ask(components: Components, source: Source, path: str | None, what: Sentence) -> JsonObject:
    """Asks the API about the account with the session's token; a rejected one is replaced once."""
    from kimi_auth.wire import fetch_account

    platform = components.platform
    if path is None:
        raise ConfigError(
            tr("{platform} does not say {what}", platform=platform.name, what=what),
            hint=tr("name a platform that does: --platform kimi-code"),
        )
    bearer: str | None = await source.access_token()
    while bearer:
        answer = await fetch_account(platform.api_base + path, bearer, components.headers)
        if answer.value is not None:
            return answer.value
        newer = await source.rejected(bearer) if answer.outcome == "rejected" else None
        if newer is None or newer == bearer:
            raise _refusal(components, answer)
        bearer = newer
    raise _unreadable(components, what)


def _refusal(components: Components, answer: Answer[AccountOutcome, JsonObject]) -> KimiAuthError:
    given = components.given
    if given is not None and answer.outcome == "rejected":
        return given.rejected()
    return answer.error or _unreadable(components, ACCOUNT)


def _unreadable(components: Components, what: Sentence) -> KimiAuthError:
    words = tr("{platform} does not say {what}", platform=components.platform.name, what=what)
    return Unreachable(words, hint=tr("try again later"))

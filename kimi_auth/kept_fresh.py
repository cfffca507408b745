"""Behind `session.attach` and `session.kept_fresh`: how running clients get a login's tokens, and the task that renews it
ahead of time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from kimi_auth.before_use import look, settle
from kimi_auth.components import Components
from kimi_auth.credential.age import Refresher
from kimi_auth.credential.single_flight import drain, guarded
from kimi_auth.errors import KimiAuthError
from kimi_auth.loading import TO_SERVE, load
from kimi_auth.support.loops import checked_s, only_asyncio

if TYPE_CHECKING:
    import asyncio

__all__ = ["attach", "kept_fresh"]


def attach(components: Components, target: object) -> Callable[[], None]:
    """As `Session.attach`."""
    detach = components.targets.attach(target)
    look(components)
    token = components.credential.inspect().token
    if token is not None:
        components.targets.inject(token.access_token)
    return detach


@asynccontextmanager
async def kept_fresh(
    components: Components, targets: tuple[object, ...], timeout_s: float | None
) -> AsyncGenerator[None, None]:
    """As `Session.kept_fresh`."""
    only_asyncio("kept_fresh")
    checked_s(timeout_s)
    await load(*TO_SERVE)
    import asyncio

    from kimi_auth.clients import keep

    detach = [components.targets.attach(target) for target in targets]
    keeper: asyncio.Task[None] | None = None
    with guarded():
        try:
            await settle(components)
            freshness = Refresher(components.credential, components.age_clock, components.targets.inject)
            with suppress(KimiAuthError):  # a transient error, or not signed in yet: the keeper says so and tries again
                await freshness.look(timeout_s)
            keeper = asyncio.create_task(keep(freshness.look, components.clock, notice=freshness.has_changed))
            yield
        finally:
            if keeper is not None:
                keeper.cancel()
                await asyncio.gather(keeper, return_exceptions=True)
            for stop in detach:
                stop()
            if components.credential.flights.in_flight():
                await asyncio.to_thread(drain)

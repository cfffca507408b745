"""OAuthManager: which bearer the Kimi CLI's client, tools and plugins get, and what a 401 leads to."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from house.patience import NO_LIMIT_S
from pydantic import SecretStr

from kimi_auth import drain
from kimi_auth.compat.oauth import (
    KIMI_CODE_OAUTH_KEY,
    OAuthError,
    OAuthManager,
    OAuthRef,
    OAuthUnauthorized,
    delete_tokens,
    save_tokens,
)
from kimi_auth.testing.emulator import Fault

STATIC = "static-key"


def down(world: Any) -> None:
    """The server answers no request any more."""
    headers = {"Retry-After": "600"}  # beyond the patience of any caller
    world.state.inject(Fault("token", status=429, headers=headers, body="", times=None))


def key_of(runtime: Any) -> str:
    key: str = runtime.llm.chat_provider.client.api_key
    return key


# --- before a turn ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("left_s", "rotations"), [(900.0, 0), (-1.0, 1)])
def test_a_turn_has_a_token(world: Any, left_s: float, rotations: int) -> None:
    """The client gets the stored token, renewed first if it has run out."""
    given = world.sign_in(left_s=left_s)
    config = world.host(static=STATIC)
    runtime = world.runtime(config)
    asyncio.run(OAuthManager(config).ensure_fresh(runtime))
    assert key_of(runtime) == world.stored().access_token
    assert (key_of(runtime) == given) is (rotations == 0)
    assert world.state.counts["rotations"] == rotations


@pytest.mark.parametrize("static", ["", STATIC])
@pytest.mark.parametrize("end", ["never", "out", "revoked"])
def test_a_turn_without_a_login(world: Any, end: str, static: str) -> None:
    """Signed out or revoked: the client gets the static key or nothing, and no error is raised."""
    config = world.host(static=static)
    if end != "never":
        world.sign_in(left_s=-1.0)
        world.state.revoke_family()
    if end == "out":
        delete_tokens(world.ref)
    runtime = world.runtime(config, api_key="old")
    asyncio.run(OAuthManager(config).ensure_fresh(runtime))
    assert key_of(runtime) == static


def test_a_turn_without_the_server(world: Any) -> None:
    """While the server is away the client keeps what it has."""
    world.sign_in(left_s=-1.0)
    down(world)
    config = world.host(static=STATIC)
    runtime = world.runtime(config, api_key="old")
    asyncio.run(OAuthManager(config).ensure_fresh(runtime))
    assert key_of(runtime) == "old"


def test_another_model_is_left_alone(world: Any) -> None:
    """A client of the user's own provider keeps its key; the login is renewed for the tools all the same."""
    world.sign_in(left_s=-1.0)
    config = world.host()
    runtime = world.runtime(config, "mine/own", "own-key")
    asyncio.run(OAuthManager(config).ensure_fresh(runtime))
    assert key_of(runtime) == "own-key"
    assert world.state.counts["rotations"] == 1


@pytest.mark.parametrize("runtime", [None, SimpleNamespace(llm=None)])
def test_without_a_client(world: Any, runtime: Any) -> None:
    """Callers that have no client only make sure that there is a token."""
    world.sign_in(left_s=-1.0)
    manager = OAuthManager(world.host())
    asyncio.run(manager.ensure_fresh(runtime))
    assert manager.get_cached_access_token(KIMI_CODE_OAUTH_KEY) == world.stored().access_token


def test_nothing_to_renew(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a reference to a login, and with a setting that is no URL, a turn goes on as it is."""
    config = world.host()
    monkeypatch.setenv("KIMI_CODE_BASE_URL", "no url")
    runtime = world.runtime(config, api_key="old")
    asyncio.run(OAuthManager(config).ensure_fresh(runtime, force=True))
    config.providers["managed:kimi-code"].oauth = None
    asyncio.run(OAuthManager(config).ensure_fresh(runtime, force=True))
    assert key_of(runtime) == "old"


def test_the_search_service_names_the_login_too(world: Any) -> None:
    """A login that only a service refers to is kept fresh as well."""
    world.sign_in(left_s=-1.0)
    service = {"base_url": "x", "api_key": "", "oauth": {"key": KIMI_CODE_OAUTH_KEY}}
    config = world.host(providers={"mine": {"type": "x", "base_url": "x", "api_key": ""}}, models={}, default_model="")
    config.services = type(config.services).model_validate({"moonshot_search": service})
    asyncio.run(OAuthManager(config).ensure_fresh())
    assert world.state.counts["rotations"] == 1


# --- after a 401 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("siblings", [1, 4])
def test_one_rotation_for_a_rejected_bearer(world: Any, siblings: int) -> None:
    """However many runtimes report the same bearer, it is rotated once and all get the new one."""
    given = world.sign_in()
    config = world.host()
    runtimes = [world.runtime(config, api_key=given) for _ in range(siblings)]

    async def all_at_once() -> None:
        manager = OAuthManager(config)
        await asyncio.gather(*(manager.ensure_fresh(runtime, force=True) for runtime in runtimes))

    asyncio.run(all_at_once())
    assert {key_of(runtime) for runtime in runtimes} == {world.stored().access_token} != {given}
    assert world.state.counts["rotations"] == 1


def test_what_another_process_brought_is_used(world: Any) -> None:
    """A bearer that is no longer the stored one costs no rotation."""
    given = world.sign_in()
    config = world.host()
    runtime = world.runtime(config, api_key=given)
    newer = world.another().access_token_sync(refresh=True)
    asyncio.run(OAuthManager(config).ensure_fresh(runtime, force=True))
    assert key_of(runtime) == newer
    assert world.state.counts["rotations"] == 1


@pytest.mark.parametrize("gave", [True, False])
def test_without_a_runtime_it_is_about_the_bearer_given_last(world: Any, gave: bool) -> None:
    """A rejected bearer that this manager gave is replaced by what came meanwhile; if it gave none, the stored one is."""
    world.sign_in()
    manager = OAuthManager(world.host())

    async def after_a_rotation_elsewhere() -> None:
        if gave:
            await manager.ensure_fresh()
        await world.another().access_token(refresh=True)
        await manager.ensure_fresh(force=True)

    asyncio.run(after_a_rotation_elsewhere())
    assert world.state.counts["rotations"] == (1 if gave else 2)


@pytest.mark.parametrize(
    ("end", "error"), [("revoked", OAuthUnauthorized), ("out", OAuthUnauthorized), ("down", OAuthError)]
)
@pytest.mark.parametrize("static", ["", STATIC])
@pytest.mark.parametrize("knows_bearer", [True, False])
def test_no_newer_token(world: Any, end: str, error: type[OAuthError], static: str, knows_bearer: bool) -> None:
    """Then the static key is tried; where there is none, the error says whether to sign in again."""
    given = world.sign_in()
    if end == "down":
        down(world)
    else:
        world.state.revoke_family()
    if end == "out":
        delete_tokens(world.ref)
    config = world.host(static=static)
    runtime = world.runtime(config, api_key=given if knows_bearer else "")
    replace = OAuthManager(config).ensure_fresh(runtime, force=True)
    if static:
        asyncio.run(replace)
        assert key_of(runtime) == static
    else:
        with pytest.raises(OAuthError) as raised:
            asyncio.run(replace)
        assert type(raised.value) is error


# --- tools and plugins -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "in_loop", "gets"),
    [
        ("fresh", True, "stored"),
        ("fresh", False, "stored"),
        ("expired", True, "stored"),
        ("expired", False, "renewed"),
        ("unreachable", False, "stored"),
        ("revoked", True, "static"),
        ("revoked", False, "static"),
        ("absent", False, "static"),
    ],
)
def test_resolve_api_key(world: Any, state: str, in_loop: bool, gets: str) -> None:
    """The login's token, else the static key; an event loop is never kept waiting."""
    config = world.host()
    given = "" if state == "absent" else world.sign_in(left_s=900.0 if state == "fresh" else -1.0)
    if state == "revoked":
        world.state.revoke_family()
        asyncio.run(OAuthManager(config).ensure_fresh())
    if state == "unreachable":
        down(world)

    def resolve() -> str:
        return OAuthManager(config).resolve_api_key(SecretStr(STATIC), world.ref)

    async def resolve_in_loop() -> str:
        return resolve()

    got = asyncio.run(resolve_in_loop()) if in_loop else resolve()
    stored = world.another()._components.store.read().token
    expected = {"stored": given, "renewed": stored.access_token if stored else "", "static": STATIC}
    assert got == expected[gets]
    assert drain(NO_LIMIT_S)
    assert world.state.counts["rotations"] == (gets == "renewed")


def test_resolve_api_key_without_a_known_login(world: Any) -> None:
    """No reference: the static key. An unrelated key: the token stored under it, else the static key."""
    manager = OAuthManager(world.host())
    stranger = OAuthRef("file", "oauth/stranger")
    assert manager.resolve_api_key(SecretStr(STATIC), None) == STATIC
    assert manager.resolve_api_key(SecretStr(STATIC), stranger) == STATIC
    token = world.grant()
    save_tokens(stranger, token)
    assert manager.resolve_api_key(SecretStr(STATIC), stranger) == token.access_token
    assert manager.get_cached_access_token("oauth/stranger") is None


def test_get_cached_access_token(world: Any) -> None:
    """The stored token while it can be used, else None."""
    manager = OAuthManager(world.host())
    assert manager.get_cached_access_token(KIMI_CODE_OAUTH_KEY) is None
    assert manager.get_cached_access_token(KIMI_CODE_OAUTH_KEY) != world.sign_in()
    assert manager.get_cached_access_token(KIMI_CODE_OAUTH_KEY) == world.stored().access_token


def test_common_headers(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They name the host's version where a host is loaded, and this device."""
    headers = OAuthManager(world.host()).common_headers()
    assert headers["X-Msh-Device-Id"] == (world.share_dir / "device_id").read_text()
    monkeypatch.setitem(sys.modules, "kimi_cli.constant", SimpleNamespace(VERSION="1.52.0"))
    assert OAuthManager(world.host()).common_headers() == {**headers, "X-Msh-Version": "1.52.0"}


# --- while a run lasts -----------------------------------------------------------------------------------------------


async def until(condition: Any) -> None:
    async with asyncio.timeout(NO_LIMIT_S):
        while not condition():
            await asyncio.sleep(0.01)


def test_refreshing(world: Any) -> None:
    """Another process's rotation and its logout reach the client while the block runs, and nothing does after it."""
    config = world.host(static=STATIC)
    runtime = world.runtime(config)
    first = world.sign_in()

    async def run() -> str:
        async with OAuthManager(config).refreshing(runtime):
            assert key_of(runtime) == first
            newer: str = await world.another().access_token(refresh=True)
            await until(lambda: key_of(runtime) == newer)
            delete_tokens(world.ref)
            await until(lambda: key_of(runtime) == STATIC)
        assert len(asyncio.all_tasks()) == 1
        return newer

    assert asyncio.run(run()) != first


@pytest.mark.parametrize("static", ["", STATIC])
def test_refreshing_begins_signed_out(world: Any, static: str) -> None:
    """A run that begins without a login has the static key or nothing, and gets the token of one that is made meanwhile."""
    config = world.host(static=static)
    runtime = world.runtime(config)

    async def run() -> None:
        async with OAuthManager(config).refreshing(runtime):
            assert key_of(runtime) == static
            given = await asyncio.to_thread(world.sign_in)
            await until(lambda: key_of(runtime) == given)

    asyncio.run(run())


def test_refreshing_nothing(world: Any) -> None:
    """A host without any login runs as it is."""
    config = world.host()
    config.providers["managed:kimi-code"].oauth = None

    async def run() -> None:
        async with OAuthManager(config).refreshing(world.runtime(config)):
            for _ in range(5):
                await asyncio.sleep(0)

    asyncio.run(run())

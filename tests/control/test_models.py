"""Discovery and convergence: all platforms at once, each for itself, the config in a fixed order."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S, Meeting, met

from kimi_auth.clock import SystemClock
from kimi_auth.errors import ConfigError, NotSignedIn, Revoked, Unreachable
from kimi_auth.models import CatalogueCache, ConfigFile, ModelEntry
from kimi_auth.models import sync as flow
from kimi_auth.models.discovery import BearerRejected
from kimi_auth.models.platform_config import PlatformConfig
from kimi_auth.platforms import Registry
from kimi_auth.session import Session
from kimi_auth.wire import Answer

KEY = "sk-test-0123456789"
NAMES = ("alpha", "beta", "gamma")


@pytest.fixture
def three(share: Path, api_factory: Any, known: Callable[..., None]) -> dict[str, Any]:
    """Three platforms that are signed in with a key, and whose catalogue has changed since."""
    apis = {name: api_factory(models=("kimi-k-old", "kimi-k-stays")) for name in NAMES}
    known(**apis)
    for name in NAMES:
        session = Session(share, platform=name, environ={})
        assert asyncio.run(session.login(api_key=KEY)).state == "signed_in"
    for api in apis.values():
        api.models = ("kimi-k-stays", "kimi-k-new")
        api.asked.clear()
    return apis


def sync_all(share: Path, **options: Any) -> Any:
    return asyncio.run(Session(share, environ={}).models.sync_all(**options))


def models_of(share: Path) -> list[str]:
    return list(ConfigFile(share).read()["models"])


def after_sync(*names: str) -> set[str]:
    """The models once these platforms are synced."""
    return {
        f"{name}/{model}"
        for name in NAMES
        for model in ("kimi-k-stays", "kimi-k-new" if name in names else "kimi-k-old")
    }


def test_all_are_asked_at_the_same_time(share: Path, three: Any) -> None:
    """No answer comes before every platform has been asked: so the slowest one is the cost, not the sum."""
    together = Meeting(len(NAMES))
    for api in three.values():
        api.gate = together.wait
    assert [synced.error for synced in sync_all(share)] == [None, None, None]
    assert set(models_of(share)) == after_sync(*NAMES)


def in_this_order(apis: dict[str, Any], order: tuple[str, ...]) -> None:
    """Each platform answers when the one before it has."""
    turns = [threading.Event() for _ in range(len(order) + 1)]
    turns[0].set()
    for place, name in enumerate(order):
        apis[name].gate = lambda place=place: met(turns[place]) and turns[place + 1].set()


def test_the_order_of_answers_does_not_show(share: Path, three: Any) -> None:
    """Whichever answers first, results and config have the order of the registry."""
    texts = set()
    before = ConfigFile(share).path.read_bytes()
    for order in (NAMES, NAMES[::-1]):
        ConfigFile(share).path.write_bytes(before)
        in_this_order(three, order)
        synced = sync_all(share)
        assert [one.platform.id for one in synced] == list(NAMES)
        assert [one.change.added for one in synced] == [(f"{name}/kimi-k-new",) for name in NAMES]
        assert [one.change.removed for one in synced] == [(f"{name}/kimi-k-old",) for name in NAMES]
        texts.add(ConfigFile(share).path.read_bytes())
    assert len(texts) == 1


def test_what_happens_to_the_default(share: Path, three: Any) -> None:
    """A default model that vanishes falls to the first that its platform lists."""
    assert ConfigFile(share).read()["default_model"] == "gamma/kimi-k-old"
    (*_, last) = sync_all(share)
    assert (last.change.default_before, last.change.default_after) == ("gamma/kimi-k-old", "gamma/kimi-k-stays")


def test_a_second_sync_changes_nothing(share: Path, three: Any) -> None:
    """Sync is idempotent, and so is the file's very inode."""
    sync_all(share)
    before = ConfigFile(share).stamp()
    assert not any(synced.change for synced in sync_all(share))
    assert ConfigFile(share).stamp() == before


def test_a_dry_run(share: Path, three: Any) -> None:
    """It says exactly what the sync does then, and writes nothing."""
    before = ConfigFile(share).stamp()
    said = [synced.change for synced in sync_all(share, dry_run=True)]
    assert ConfigFile(share).stamp() == before
    assert [synced.change for synced in sync_all(share)] == said


HTML = (200, {"Content-Type": "text/html"}, b"<html>Sign in to the hotel</html>")
BROKEN: dict[str, Any] = {
    "503": (503, {}, b""),
    "HTML": HTML,
    "403": (403, {}, b"{}"),
    "401 for good": (401, {}, b"{}"),
    "nothing offered": (200, {"Content-Type": "application/json"}, b'{"data": []}'),
    "a list of junk": (200, {"Content-Type": "application/json"}, b'{"data": [1, {"id": 5}]}'),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("name", NAMES)
def test_one_that_fails(share: Path, three: Any, name: str, answer: Any) -> None:
    """It leaves its own models as they were and changes nothing for the others."""
    three[name].answer = answer
    synced = {one.platform.id: one for one in sync_all(share)}
    assert [known for known, one in synced.items() if one.error] == [name]
    assert synced[name].change is None
    assert synced[name].error.message
    assert set(models_of(share)) == after_sync(*(other for other in NAMES if other != name))


def test_one_that_is_down(share: Path, three: Any, known: Callable[..., None]) -> None:
    """A server that is not there at all is one more way to fail."""
    three["beta"].base = "http://127.0.0.1:9/v1"
    known(**three)
    assert [bool(one.error) for one in sync_all(share)] == [False, True, False]
    assert set(models_of(share)) == after_sync("alpha", "gamma")


def test_one_that_hangs(share: Path, three: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are asked and answered all the same, and written once the silent one's time is over."""
    from kimi_auth.wire import models_api

    real, quit_ = models_api.Request, threading.Event()

    def impatient(method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """Only the silent one is given up on: the others may be slow on a busy machine."""
        return real(method, url, *args, **kwargs, **({"deadline_s": 0.5} if url.startswith(three["beta"].base) else {}))

    monkeypatch.setattr(models_api, "Request", impatient)
    three["beta"].gate = lambda: met(quit_)
    synced = sync_all(share)
    quit_.set()
    assert [bool(one.error) for one in synced] == [False, True, False]
    assert "in time" in synced[1].error.message
    assert set(models_of(share)) == after_sync("alpha", "gamma")


def test_only_what_the_config_has_is_asked(share: Path, three: Any) -> None:
    """A platform without a login is not asked, nor is anything that has no managed provider."""
    Session(share, platform="beta", environ={}).logout_sync()
    assert [one.platform.id for one in sync_all(share)] == ["alpha", "gamma"]
    assert three["beta"].asked == []


def test_a_config_that_cannot_be_read(share: Path) -> None:
    """No server is asked when the stored state is unknown."""
    (share / "config.toml").write_text("[broken")
    with pytest.raises(ConfigError):
        sync_all(share)


def test_a_config_that_cannot_be_written(share: Path, three: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in writing is each platform's own, too."""
    real = PlatformConfig.sync

    def fail(self: PlatformConfig, models: tuple[ModelEntry, ...]) -> Any:
        if self._platform.id == "alpha":
            raise ConfigError("the disk is full")
        return real(self, models)

    monkeypatch.setattr(PlatformConfig, "sync", fail)
    assert [str(one.error or "") for one in sync_all(share)] == ["the disk is full", "", ""]


# --- one platform ----------------------------------------------------------------------------------------------------


class Source:
    """A platform whose bearers a test gives: the first one, and what comes after a rejection."""

    def __init__(self, api: Any, *bearers: Any) -> None:
        self.platform = Registry().get("kimi-code")._replace(api_base=api.base)
        self._bearers = list(bearers)
        self._stored: Any = ""
        self.rejections: list[str] = []

    async def access_token(self) -> str:
        self._stored = bearer = self._bearers.pop(0) if self._bearers else self._stored
        if isinstance(bearer, Exception):
            raise bearer
        return str(bearer)

    async def rejected(self, bearer: str) -> str | None:
        self.rejections.append(bearer)
        return self._bearers.pop(0) if self._bearers else None


OFFLINE = Unreachable("no connection")
NOBODY = NotSignedIn("not signed in")
ENDED = Revoked("the server ended this login")
LADDER: dict[str, tuple[tuple[Any, ...], str, list[str], list[str], type[Exception] | None]] = {
    "good": (("good",), "", ["good"], [], None),
    "renewed once": (("old", "good"), "", ["old", "good"], ["old"], None),
    "rejected twice": (("old", "older"), "", ["old", "older"], ["old"], BearerRejected),
    "rejected twice, key": (("old", "older"), "good", ["old", "older", "good"], ["old"], None),
    "not renewed, key": (("old",), "good", ["old", "good"], ["old"], None),
    "not renewed, no key": (("old",), "", ["old"], ["old"], BearerRejected),
    "not renewed, the login has ended": (("old", None, ENDED), "", ["old"], ["old"], Revoked),
    "not renewed, the login has ended, key": (("old", None, ENDED), "good", ["old", "good"], ["old"], None),
    "key rejected": (("old",), "bad", ["old", "bad"], ["old"], BearerRejected),
    "the key is the bearer": (("old",), "old", ["old"], ["old"], BearerRejected),
    "not signed in, key": ((NOBODY,), "good", ["good"], [], None),
    "not signed in": ((NOBODY,), "", [], [], NotSignedIn),
    "no token, key": ((OFFLINE,), "good", ["good"], [], None),
    "no token": ((OFFLINE,), "", [], [], Unreachable),
}


@pytest.mark.parametrize(("bearers", "static", "sent", "rejections", "kind"), LADDER.values(), ids=LADDER)
def test_which_bearers_are_tried(
    api: Any, bearers: Any, static: str, sent: list[str], rejections: list[str], kind: type[Exception] | None
) -> None:
    """The token; after a 401 one renewal and one more try; then the static key if there is one. Never more."""
    api.bearers = {"good"}
    source = Source(api, *bearers)
    found = asyncio.run(flow.catalogue_of(source, static, {}))
    assert [headers["authorization"] for headers in api.asked] == [f"Bearer {bearer}" for bearer in sent]
    assert source.rejections == rejections
    assert (type(found.error) if found.error else None) is kind
    assert bool(found.models) is (kind is None)


def test_a_transient_error_is_no_reason_for_another_bearer(api: Any) -> None:
    """Only a 401 says anything about a bearer; neither a renewal nor the key is spent on anything else."""
    api.answer = (503, {}, b"")
    source = Source(api, "good", "newer")
    error = asyncio.run(flow.catalogue_of(source, "key", {})).error
    assert isinstance(error, Unreachable)
    assert (len(api.asked), source.rejections) == (1, [])


# --- asking whether anything has changed -------------------------------------------------------------------------------


def test_an_etag_saves_the_catalogue(share: Path, three: Any) -> None:
    """A server that gave an ETag is asked with it; "unchanged" still repairs a config that was changed by hand."""
    api = three["alpha"]
    api.etag = '"one"'
    sync_all(share)
    before = ConfigFile(share).path.read_text()
    ConfigFile(share).path.write_text(before.replace("max_context_size = 1000", "max_context_size = 7", 1))
    api.asked.clear()
    (first, *_) = sync_all(share)
    assert [headers.get("if-none-match") for headers in api.asked] == ['"one"']
    assert first.change.changed == ("alpha/kimi-k-stays",)
    assert ConfigFile(share).path.read_text() == before
    memo = share / "kimi-auth" / "models" / "alpha.json"
    assert memo.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in memo.parent.iterdir()] == ["alpha.json"]

    api.etag, api.models = '"two"', ("kimi-k-three",)
    (first, *_) = sync_all(share)
    assert first.change.added == ("alpha/kimi-k-three",)
    api.etag = ""
    sync_all(share)
    assert not memo.exists()


def test_a_logout_forgets_the_catalogue(share: Path, three: Any) -> None:
    """Nothing of a platform stays behind its logout."""
    three["alpha"].etag = '"one"'
    sync_all(share)
    assert (share / "kimi-auth" / "models" / "alpha.json").exists()
    Session(share, platform="alpha", environ={}).logout_sync()
    assert not (share / "kimi-auth" / "models" / "alpha.json").exists()


SPOILED: dict[str, Callable[[Path], object]] = {
    "not JSON": lambda path: path.write_text("{"),
    "another API": lambda path: path.write_text(path.read_text().replace("http://", "http://x.")),
    "another version": lambda path: path.write_text(path.read_text().replace('"v":1', '"v":2')),
    "no ETag": lambda path: path.write_text(path.read_text().replace("one", "").replace('\\"', "")),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "somebody's link": lambda path: (path.rename(path.with_name("x")), path.symlink_to("x")),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_what_cannot_be_remembered_is_asked_again(share: Path, three: Any, spoil: Any) -> None:
    """A memory that is spoiled costs one full answer and nothing else."""
    three["alpha"].etag = '"one"'
    sync_all(share)
    spoil(share / "kimi-auth" / "models" / "alpha.json")
    three["alpha"].asked.clear()
    assert [one.error for one in sync_all(share)] == [None, None, None]
    assert [headers.get("if-none-match") for headers in three["alpha"].asked] == [None]


def test_a_memory_without_a_place(share: Path, three: Any) -> None:
    """Where nothing can be kept, nothing is missed."""
    (share / "kimi-auth").rename(share / "away")
    (share / "kimi-auth").write_text("")
    three["alpha"].etag = '"one"'
    CatalogueCache(share).keep(Registry(share).get("alpha"), '"one"', {"data": []})
    assert CatalogueCache(share).recall(Registry(share).get("alpha")) is None


# --- for a host's start ------------------------------------------------------------------------------------------------


def test_in_the_background(share: Path, three: Any) -> None:
    """A program starts it with or without an event loop, and asks the future if it wants to know."""
    assert [one.error for one in Session(share, environ={}).models.sync_in_background().result(NO_LIMIT_S)] == [
        None,
        None,
        None,
    ]

    async def host() -> Any:
        return await asyncio.wrap_future(Session(share, environ={}).models.sync_in_background())

    assert [bool(one.change) for one in asyncio.run(host())] == [False, False, False]


def test_the_background_never_raises(share: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A config that cannot be read is logged in one line, and the host hears nothing of it."""
    (share / "config.toml").write_text("[broken")
    with caplog.at_level(logging.WARNING):
        assert Session(share, environ={}).models.sync_in_background().result(NO_LIMIT_S) == ()
    assert "not TOML" in caplog.text


def test_the_background_of_a_program_that_ends(share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started any more there is nothing to wait for."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert Session(share, environ={}).models.sync_in_background().result(0) == ()


def test_fetch_models_uses_the_static_key(share: Path, api: Any, known: Callable[..., None]) -> None:
    """A session whose login is rejected has its platform's models by the key in config.toml."""
    api.bearers = {KEY}
    environ = {"KIMI_CODE_BASE_URL": api.base}
    session = Session(share, environ=environ, clock=SystemClock())
    (share / "config.toml").write_text(
        f'[providers."managed:kimi-code"]\ntype = "kimi"\nbase_url = "{api.base}"\napi_key = "{KEY}"\n'
    )
    assert [model.id for model in asyncio.run(session.models.fetch())] == ["kimi-k-one", "kimi-k-two"]
    assert asyncio.run(session.models.sync()).added == ("kimi-code/kimi-k-one", "kimi-code/kimi-k-two")
    api.bearers = set()
    for ask in (session.models.sync, session.models.fetch):
        with pytest.raises(BearerRejected):
            asyncio.run(ask())


def test_an_answer_without_words(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the wire says, there is a sentence."""

    async def silent(*_: object, **__: object) -> Answer[Any, Any]:
        return Answer("unavailable")

    monkeypatch.setattr("kimi_auth.wire.fetch_models", silent)
    error = asyncio.run(flow.catalogue_of(Source(api, "good"), "", {})).error
    assert str(error) == "Kimi Code did not list its models"

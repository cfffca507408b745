"""Targets: what a token can be put into, and what a registry of running clients promises."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import pydantic
import pytest
from house.libraries import LIBRARIES
from house.patience import met, until

from kimi_auth.clients import Targets, as_target

STATIC = "sk-static"


class Notes(list[str]):
    """A list that can be referenced weakly."""


class Client:
    """An openai style client."""

    def __init__(self, api_key: Any = STATIC) -> None:
        self.api_key = api_key


class Provider:
    """A kosong style provider, which makes itself a new client after an error."""

    def __init__(self, api_key: str = STATIC) -> None:
        self.client = Client(api_key)

    def on_retryable_error(self) -> None:
        self.client = Client(self.client.api_key)


class CallableClient(Client):
    """A client that is callable too: it would send what it is called with."""

    def __call__(self, prompt: str) -> None:
        raise AssertionError(f"a model was sent {len(prompt)} characters")


class SlottedClient:
    """A client that cannot be referenced weakly."""

    __slots__ = ("api_key", "got")

    def __init__(self) -> None:
        self.api_key = STATIC
        self.got = Notes()


class Recorder:
    """Takes tokens by call, by method, and in two ways that cannot work."""

    def __init__(self) -> None:
        self.got = Notes()

    def __call__(self, token: str) -> None:
        self.got.append(token)

    def method(self, token: str) -> None:
        self.got.append(token)

    async def coroutine(self, token: str) -> None:
        self.got.append(token)


class AsyncRecorder:
    """An object that has to be awaited when it is called."""

    async def __call__(self, token: str) -> None:
        raise AssertionError


HOME = "https://api.kimi.com"


CLIENTS = [httpx.Client, httpx.AsyncClient, httpx2.Client, httpx2.AsyncClient]
CLIENT_IDS = [f"{kind.__module__} {kind.__name__}" for kind in CLIENTS]


def library_of(client: object) -> Any:
    return LIBRARIES[type(client).__module__]


def sent_to(url: str, client: Any) -> str | None:
    """The Authorization that a client of either library sends there."""
    seen: list[str | None] = []
    library = library_of(client)

    def answer(request: Any) -> Any:
        seen.append(request.headers.get("Authorization"))
        return library.Response(200)

    client._transport = library.MockTransport(answer)
    client._mounts = {}
    if isinstance(client, library.Client):
        client.get(url)
    else:
        asyncio.run(client.get(url))
    return seen[0]


header_of = functools.partial(sent_to, f"{HOME}/coding/v1/models")


# --- as_target --------------------------------------------------------------------------------------------------------

KINDS: list[tuple[str, Callable[[], Any], Callable[[Any], Any], Any, Any]] = [
    ("openai style client", Client, lambda it: it.api_key, "T", STATIC),
    ("client without a key", lambda: Client(None), lambda it: it.api_key, "T", None),
    ("client with an empty key", lambda: Client(""), lambda it: it.api_key, "T", ""),
    ("kosong provider", Provider, lambda it: it.client.api_key, "T", STATIC),
    ("client that is callable", CallableClient, lambda it: it.api_key, "T", STATIC),
    ("slotted client", SlottedClient, lambda it: it.api_key, "T", STATIC),
    *((name, kind, header_of, "Bearer T", None) for name, kind in zip(CLIENT_IDS, CLIENTS, strict=True)),
    (
        "httpx client with a header",
        lambda: httpx.Client(headers={"authorization": "Basic x"}),
        header_of,
        "Bearer T",
        "Basic x",
    ),
    ("callable object", Recorder, lambda it: it.got[-1:], ["T"], [""]),
]


@pytest.mark.parametrize(("make", "read", "given", "signed_out"), [pytest.param(*row[1:], id=row[0]) for row in KINDS])
def test_kinds(make: Callable[[], Any], read: Callable[[Any], Any], given: Any, signed_out: Any) -> None:
    """Each kind takes the token where it reads its key, and gets back on "" what it had; a callable is told."""
    client = make()
    target = as_target(client, origin=f"{HOME}/coding/v1")
    target("T")
    assert read(client) == given
    target("")
    assert read(client) == signed_out
    if isinstance(client, httpx.Client | httpx2.Client):
        client.close()


CALLABLES: list[tuple[str, Callable[[Recorder], Callable[..., Any]]]] = [
    ("bound method", lambda it: it.method),
    ("lambda", lambda it: lambda token: it.got.append(token.strip())),
    ("with defaults", lambda it: lambda token, more=1: it.got.append(token)),
    ("with *args", lambda it: lambda *tokens: it.got.extend(tokens)),
    ("partial", lambda it: functools.partial(lambda where, token: where.append(token), it.got)),
    ("built-in method", lambda it: it.got.append),
    ("another target", as_target),
]


@pytest.mark.parametrize("wrap", [pytest.param(row[1], id=row[0]) for row in CALLABLES])
def test_callables(wrap: Callable[[Recorder], Callable[..., Any]]) -> None:
    """Whatever can be called with one string is a target."""
    recorder = Recorder()
    as_target(wrap(recorder))("T")
    assert recorder.got == ["T"]


def test_callable_without_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some built-in functions do not say what they take; they are believed."""

    def silent(_call: object) -> None:
        raise ValueError("no signature found")

    monkeypatch.setattr("inspect.signature", silent)
    recorder = Recorder()
    as_target(recorder.got.append)("T")
    assert recorder.got == ["T"]


NO_TARGETS: list[tuple[str, Any]] = [
    ("None", None),
    ("a string", STATIC),
    ("a class of clients", Client),
    ("a class with a key", type("Keyed", (), {"api_key": STATIC})),
    ("a key that is no string", Client(lambda: STATIC)),
    ("a provider whose client has none", type("Other", (), {"client": object()})()),
    ("a callable of nothing", lambda: None),
    ("a callable of two", lambda _a, _b: None),
    ("a coroutine function", Recorder().coroutine),
    ("an object that must be awaited", AsyncRecorder()),
]


@pytest.mark.parametrize("thing", [pytest.param(row[1], id=row[0]) for row in NO_TARGETS])
def test_no_target(thing: Any) -> None:
    """An object of no known kind is refused with the list of kinds, and never with its own repr."""
    with pytest.raises(TypeError, match="give a callable that takes one str") as caught:
        as_target(thing)
    assert STATIC not in str(caught.value)
    with pytest.raises(TypeError):
        Targets().attach(thing)


# --- where tokens go --------------------------------------------------------------------------------------------------

ABROAD = [
    "https://api.openai.com/v1",
    "https://api.kimi.com.evil.example/",
    "https://api.kimi.com:8443/",
    "http://api.kimi.com/coding/v1",
    "http://localhost/",
]


@pytest.mark.parametrize("own", [None, "Basic theirs"], ids=["no header", "a header of its own"])
@pytest.mark.parametrize("url", ABROAD)
@pytest.mark.parametrize("make", CLIENTS, ids=CLIENT_IDS)
def test_an_httpx_client_signs_by_the_address(make: Any, url: str, own: str | None, caplog: Any) -> None:
    """The token, and the registry's key, go to the platform's origin; elsewhere the client sends what it always did."""
    caplog.set_level(logging.DEBUG)
    targets, client = (
        Targets(lambda: "sk-config", origin=f"{HOME}/coding/v1"),
        make(headers={"Authorization": own} if own else {}),
    )
    targets.attach(client)
    for secret, at_home in (("T1", "Bearer T1"), ("", own or "Bearer sk-config"), ("T2", "Bearer T2")):
        targets.inject(secret)
        assert header_of(client) == at_home
        assert sent_to(url, client) == own
    assert client.headers.get("Authorization") == own
    assert any(record.levelname == "DEBUG" and "not signed" in record.getMessage() for record in caplog.records)
    assert "T1" not in repr(client.event_hooks)


REDIRECTS = [
    ("https://api.openai.com/v1", None),
    ("/elsewhere", "Bearer T"),
    ("https://api.kimi.com/x", "Bearer T"),
    ("http://api.kimi.com/x", None),
]


@pytest.mark.parametrize(("location", "carried"), REDIRECTS)
@pytest.mark.parametrize("make", CLIENTS, ids=CLIENT_IDS)
def test_a_redirect_leads_no_token_away(make: Any, location: str, carried: str | None) -> None:
    """Each hop is signed by its own address."""
    seen: list[str | None] = []

    library = LIBRARIES[make.__module__]

    def answer(request: Any) -> Any:
        seen.append(request.headers.get("Authorization"))
        return library.Response(302, headers={"Location": location}) if len(seen) == 1 else library.Response(200)

    client = make(transport=library.MockTransport(answer), follow_redirects=True)
    as_target(client, origin=HOME)("T")
    response = client.get(f"{HOME}/a")
    if asyncio.iscoroutine(response):
        asyncio.run(response)
    assert seen == ["Bearer T", carried]


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_an_upgrade_to_tls_leads_no_token_away(library: Any) -> None:
    """Both libraries keep the header on the way from http to https of one host: that is another origin all the same."""
    seen: list[str | None] = []

    def answer(request: Any) -> Any:
        seen.append(request.headers.get("Authorization"))
        upgrade = {"Location": "https://localhost/"}
        return library.Response(302, headers=upgrade) if len(seen) == 1 else library.Response(200)

    client = library.Client(transport=library.MockTransport(answer), follow_redirects=True)
    as_target(client, origin="http://localhost")("T")
    client.get("http://localhost/")
    assert seen == ["Bearer T", None]


def test_a_client_of_two_logins() -> None:
    """Two registries, each with an origin of its own, sign one client side by side."""
    client = httpx.Client()
    for origin, token in ((HOME, "T1"), ("https://api.openai.com", "T2"), (HOME, "T3")):
        as_target(client, origin=origin)(token)
    assert header_of(client) == "Bearer T3"
    assert sent_to("https://api.openai.com/v1", client) == "Bearer T2"
    assert len(client.event_hooks["request"]) == 2


@pytest.mark.parametrize("make", CLIENTS, ids=CLIENT_IDS)
def test_an_httpx_client_needs_an_origin(make: Any) -> None:
    """Where its token may go has to be known."""
    for put in (as_target, Targets().attach):
        with pytest.raises(ValueError, match="origin="):
            put(make())


class Settings(pydantic.BaseModel):
    """LlamaIndex's OpenAILike in short: a description, from which it makes its clients."""

    api_key: str | None = STATIC
    api_base: str = HOME


class LangChainLike(pydantic.BaseModel):
    """A description that can be called as well."""

    openai_api_key: str = STATIC

    def __call__(self, prompt: str) -> None:
        raise AssertionError(f"a model was sent {len(prompt)} characters")


class ThroughAModule:
    """smolagents' LiteLLMModel in short: it gives its own key to a module that has another one."""

    def __init__(self) -> None:
        self.api_key, self.client = STATIC, litellm


class Wrapper(Provider):
    """It has a key of its own, which it may send."""

    def __init__(self) -> None:
        super().__init__()
        self.api_key = STATIC


class Delegate(Provider):
    """instructor's way: what it does not have is its client's."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


litellm = types.ModuleType("litellm")
litellm.api_key = None  # type: ignore[attr-defined]

REFUSED: list[tuple[str, Callable[[], Any], str]] = [
    ("a description", Settings, "http_client"),
    ("a description that can be called", LangChainLike, "http_client"),
    ("a module", lambda: litellm, "api_key=session"),
    ("a client that is a module", ThroughAModule, "api_key=session"),
    ("two keys", Wrapper, "attach its client"),
]


@pytest.mark.parametrize(("make", "instead"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_a_client_that_copies_its_key_is_refused(make: Callable[[], Any], instead: str) -> None:
    """It would get a 401 when the token of that moment has ended; the sentence names another way, and no key."""
    for put in (lambda it: as_target(it, origin=HOME), Targets(origin=HOME).attach):
        with pytest.raises(TypeError, match=instead) as caught:
            put(make())
        assert "BearerAuth(session)" in str(caught.value)
        assert STATIC not in str(caught.value)
    assert litellm.api_key is None


def test_a_client_that_delegates_is_served() -> None:
    """The key that it shows is its client's, which gets the token."""
    delegate = Delegate()
    as_target(delegate, origin=HOME)("T")
    assert (delegate.client.api_key, "api_key" in vars(delegate)) == ("T", False)


def test_an_api_base_counts_as_a_base_url() -> None:
    """A client that says so where it sends is served only if that is there."""
    client: Any = Client()
    client.api_base = "https://api.openai.com/v1"
    with pytest.raises(ValueError, match="does not send to"):
        Targets(origin=HOME).attach(client)


def _at(base_url: object, make: Callable[[], Any]) -> Any:
    client = make()
    getattr(client, "client", client).base_url = base_url
    return client


@pytest.mark.parametrize("make", [Client, Provider])
@pytest.mark.parametrize("base", [*ABROAD, "nonsense", "", 5])
def test_a_client_that_sends_elsewhere_is_refused(make: Callable[[], Any], base: object) -> None:
    """An openai client that was built for another host would take the token there; without an origin, one without TLS would."""
    with pytest.raises(ValueError, match=r"does not send to https://api\.kimi\.com"):
        Targets(origin=HOME).attach(_at(base, make))
    with pytest.raises(ValueError, match="base_url"):
        as_target(_at(base, make), origin=HOME)
    if "https" not in str(base) and "localhost" not in str(base):
        with pytest.raises(ValueError, match="does not send to https"):
            as_target(_at(base, make))


@pytest.mark.parametrize("make", [Client, Provider])
def test_a_client_that_sends_home_is_served(make: Callable[[], Any], caplog: Any) -> None:
    """Its base URL may be a text or either library's; turned elsewhere later, it has its own key again, and that is said."""
    for base in (f"{HOME}/coding/v1", httpx.URL(f"{HOME}:443/"), httpx2.URL(HOME), None):
        client = _at(base, make)
        inner = getattr(client, "client", client)
        targets = Targets(lambda: "sk-config", origin=HOME)
        targets.attach(client)
        targets.inject("T1")
        assert inner.api_key == "T1"
        inner.base_url = "https://api.openai.com/v1"
        targets.inject("T2")
        assert inner.api_key == STATIC
        assert "sends to another origin now" in caplog.text
        assert "T2" not in caplog.text


# --- the registry -----------------------------------------------------------------------------------------------------


def test_inject_and_sign_out() -> None:
    """All are served, one token once, and "" brings the static keys back."""
    targets, client, provider, recorder = Targets(), Client(), Provider(), Recorder()
    for target in (client, provider, recorder):
        targets.attach(target)
    assert len(targets) == 3
    for token in ("T1", "T1", "T2"):
        assert targets.inject(token) == []
    assert (client.api_key, provider.client.api_key, recorder.got) == ("T2", "T2", ["T1", "T2"])
    targets.inject("")
    assert (client.api_key, provider.client.api_key, recorder.got) == (STATIC, STATIC, ["T1", "T2", ""])


OTHERWISE: list[tuple[str, Callable[[], Any], Callable[[Any], Any], Any]] = [
    ("a key of its own", Client, lambda it: it.api_key, STATIC),
    ("an empty key", lambda: Client(""), lambda it: it.api_key, "sk-config"),
    ("no key", lambda: Client(None), lambda it: it.api_key, "sk-config"),
    ("the token of that time", lambda: Client("T1"), lambda it: it.api_key, "sk-config"),
    ("kosong provider", lambda: Provider(""), lambda it: it.client.api_key, "sk-config"),
    *((name, kind, header_of, "Bearer sk-config") for name, kind in zip(CLIENT_IDS, CLIENTS, strict=True)),
    ("a callable is told", Recorder, lambda it: it.got[-1], ""),
]


@pytest.mark.parametrize(("make", "read", "left"), [pytest.param(*row[1:], id=row[0]) for row in OTHERWISE])
def test_the_static_key_of_the_registry(make: Callable[[], Any], read: Callable[[Any], Any], left: Any) -> None:
    """Signed out, a client has its own static key, else the registry's as it is at that moment; and again a token after."""
    keys = ["sk-config"]
    targets, client = Targets(lambda: keys[0], origin=HOME), make()
    targets.attach(client)
    targets.inject("T1")
    targets.inject("")
    assert read(client) == left
    targets.inject("T2")
    assert read(client) in {"T2", "Bearer T2"}
    keys[0] = ""
    targets.inject("")
    assert read(client) == STATIC if left == STATIC else not read(client)
    if isinstance(client, httpx.Client | httpx2.Client):
        client.close()


def test_attach_injects_nothing() -> None:
    """A client keeps what it has until the next token, also when one was injected before it came."""
    targets, client = Targets(), Client()
    targets.inject("T1")
    targets.attach(client)
    assert client.api_key == STATIC
    targets.inject("T1")
    assert client.api_key == "T1"


def test_provider_with_a_new_client() -> None:
    """A provider's client is looked up each time."""
    targets, provider = Targets(), Provider()
    targets.attach(provider)
    targets.inject("T1")
    provider.on_retryable_error()
    targets.inject("T2")
    assert provider.client.api_key == "T2"
    targets.inject("")
    assert provider.client.api_key == STATIC


def test_detach() -> None:
    """A detached client keeps its last token; detaching again changes nothing."""
    targets, client, recorder = Targets(), Client(), Recorder()
    detach = [targets.attach(client), targets.attach(recorder)]
    targets.inject("T1")
    for leave in detach * 2:
        leave()
    targets.inject("T2")
    assert (client.api_key, recorder.got, len(targets)) == ("T1", ["T1"], 0)


def test_attached_twice() -> None:
    """Served once, until detached twice, and the first key is the static one."""
    targets, client, recorder = Targets(), Client(), Recorder()
    outer = [targets.attach(client), targets.attach(recorder)]
    targets.inject("T1")
    inner = [targets.attach(client), targets.attach(recorder)]
    assert len(targets) == 2
    for leave in inner * 2:
        leave()
    targets.inject("T2")
    assert (client.api_key, recorder.got) == ("T2", ["T1", "T2"])
    targets.inject("")
    assert client.api_key == STATIC
    for leave in outer:
        leave()
    assert len(targets) == 0


TURNS: list[tuple[str, Callable[[Client], None], str, str]] = [
    ("as it was left", lambda client: None, "T1", STATIC),
    ("somebody gave it another key", lambda client: setattr(client, "api_key", "sk-other"), "T1", "sk-other"),
    ("signed out meanwhile", lambda client: None, "", STATIC),
]


@pytest.mark.parametrize(("meanwhile", "last", "static"), [pytest.param(*row[1:], id=row[0]) for row in TURNS])
def test_attached_turn_by_turn(meanwhile: Callable[[Client], None], last: str, static: str) -> None:
    """Attached again, a token that is still in the client is not taken for its static key, and it is served again."""
    targets, client = Targets(), Client()
    leave = targets.attach(client)
    targets.inject("T0")
    targets.inject(last)
    leave()
    meanwhile(client)
    targets.attach(client)
    targets.inject("T1")
    assert client.api_key == "T1"
    targets.inject("")
    assert client.api_key == static


@pytest.mark.parametrize(
    ("make", "read", "left"),
    [
        pytest.param(lambda: Client("T1"), lambda it: it.api_key, "", id="client"),
        pytest.param(lambda: httpx.AsyncClient(headers={"Authorization": "Bearer T1"}), header_of, None, id="httpx"),
        pytest.param(lambda: httpx2.AsyncClient(headers={"Authorization": "Bearer T1"}), header_of, None, id="httpx2"),
    ],
)
def test_a_token_is_nobodys_static_key(make: Callable[[], Any], read: Callable[[Any], Any], left: Any) -> None:
    """A client that was built with the token of that moment has nothing left when the login ends."""
    targets, client = Targets(origin=HOME), make()
    targets.attach(client)
    targets.inject("T1")
    targets.inject("T2")
    targets.inject("")
    assert read(client) == left


def test_clients_are_not_kept_alive() -> None:
    """A client without another reference is gone, and costs nothing."""
    targets, client = Targets(), Client()
    targets.attach(client)
    gone = weakref.ref(client)
    targets.inject("T1")
    del client
    gc.collect()
    assert gone() is None
    assert len(targets) == 0
    assert targets.inject("T2") == []


@pytest.mark.parametrize("make", [SlottedClient, Recorder], ids=["no weak references", "callable"])
def test_what_is_held_is_released(make: Callable[[], Any]) -> None:
    """A target that cannot be held weakly, or lives nowhere else, is held until it is detached and no longer."""
    targets, target = Targets(), make()
    gone = weakref.ref(target.got)
    leave = targets.attach(target)
    del target
    gc.collect()
    assert gone() is not None
    assert len(targets) == 1
    leave()
    gc.collect()
    assert gone() is None
    assert len(targets) == 0


# --- isolation --------------------------------------------------------------------------------------------------------


class ReadOnly(Client):
    """A client whose key cannot be set once it is `sealed`."""

    sealed = True

    @property
    def api_key(self) -> str:
        return STATIC

    @api_key.setter
    def api_key(self, value: str) -> None:
        if self.sealed:
            raise AttributeError(f"no {value}")
        self.taken = value


def test_a_failing_target_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The failure is returned and logged, without the token that its own message quotes; the next time it is tried
    again."""
    ReadOnly.sealed = False
    targets, before, broken, after = Targets(), Client(), ReadOnly(), Client()
    ReadOnly.sealed = True
    for target in (before, broken, after):
        targets.attach(target)
    with caplog.at_level(logging.DEBUG, "kimi_auth.clients"):
        problems = targets.inject("secret-token")
    assert [before.api_key, after.api_key] == ["secret-token"] * 2
    assert len(problems) == 1
    assert "ReadOnly did not take the new token: AttributeError at " in problems[0]
    assert [record.getMessage() for record in caplog.records] == problems
    assert "secret-token" not in caplog.text
    assert len(targets.inject("secret-token")) == 1
    ReadOnly.sealed = False
    assert targets.inject("secret-token") == []
    assert broken.taken == "secret-token"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_no_problem_of_a_target(stop: type[BaseException]) -> None:
    """Output meant for the program reaches it."""

    def target(_token: str) -> None:
        raise stop

    targets = Targets()
    targets.attach(target)
    with pytest.raises(stop):
        targets.inject("T1")


def test_a_target_may_use_the_registry() -> None:
    """Attaching, detaching and injecting from inside a target is allowed, and the newest token stays."""
    targets, late, got = Targets(), Client(), []

    def nosy(token: str) -> None:
        got.append(token)
        if token == "T1":
            targets.attach(late)
            targets.inject("T2")
            leave()

    leave = targets.attach(nosy)
    client = Client()
    targets.attach(client)
    targets.inject("T1")
    targets.inject("T3")
    assert got == ["T1", "T2"]
    assert (client.api_key, late.api_key) == ("T3", "T3")


# --- threads and loops ------------------------------------------------------------------------------------------------


def test_an_older_token_never_comes_after_a_newer_one() -> None:
    """A thread that is held up in one target delivers to it the newest token by then, not the one that it came with."""
    targets, client, got = Targets(), Client(), Notes()
    held_up, go_on = threading.Event(), threading.Event()

    def slow(token: str) -> None:
        if token == "T1":
            held_up.set()
            assert met(go_on)

    targets.attach(slow)
    targets.attach(client)
    targets.attach(got.append)
    older = threading.Thread(target=targets.inject, args=("T1",))
    older.start()
    assert met(held_up)
    newer = threading.Thread(target=targets.inject, args=("T2",))
    newer.start()
    until(lambda _: targets._given.newest == "T2", "the newer token")
    go_on.set()
    older.join()
    newer.join()
    assert (client.api_key, got) == ("T2", ["T2"])


def test_many_threads_end_with_one_token() -> None:
    """Attaching, detaching and injecting from many threads leaves every client with the newest token."""
    targets, clients = Targets(), [Client() for _ in range(20)]
    for client in clients:
        targets.attach(client)

    def work(name: str) -> None:
        for n in range(50):
            leave = targets.attach(Client())
            targets.inject(f"{name}{n}")
            leave()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({client.api_key for client in clients}) == 1
    assert clients[0].api_key.endswith("49")
    assert len(targets) == 20


@pytest.mark.anyio
async def test_served_on_its_own_loop() -> None:
    """A target attached in a loop is served there: at once from there, soon from another thread, in order."""
    targets, seen = Targets(), []
    targets.attach(lambda token: seen.append((token, threading.current_thread())))
    here = threading.current_thread()
    targets.inject("T1")
    assert seen == [("T1", here)]
    assert await asyncio.to_thread(targets.inject, "T2") == []
    await asyncio.sleep(0)
    assert seen == [("T1", here), ("T2", here)]


@pytest.mark.anyio
async def test_late_delivery_brings_the_newest() -> None:
    """A delivery that waits for the loop brings the newest token when it comes, once, and nothing to the detached."""
    targets, stayed, left = Targets(), Recorder(), Recorder()
    targets.attach(stayed)
    leave = targets.attach(left)
    thread = threading.Thread(target=targets.inject, args=("T1",))
    thread.start()
    thread.join()
    targets.inject("T2")
    leave()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (stayed.got, left.got) == (["T2"], ["T2"])


@pytest.mark.anyio
async def test_late_delivery_to_the_detached() -> None:
    """Who is detached before the loop comes to the delivery gets nothing."""
    targets, recorder = Targets(), Recorder()
    leave = targets.attach(recorder)
    thread = threading.Thread(target=targets.inject, args=("T1",))
    thread.start()
    thread.join()
    leave()
    await asyncio.sleep(0)
    assert recorder.got == []


@pytest.mark.anyio
async def test_late_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A target that fails on its own loop is reported in the log, where no caller waits for an answer."""

    def broken(_token: str) -> None:
        raise OSError

    targets = Targets()
    targets.attach(broken)
    assert await asyncio.to_thread(targets.inject, "T1") == []
    await asyncio.sleep(0)
    assert "did not take the new token: OSError" in caplog.text


def test_loop_that_is_closed() -> None:
    """A client that outlives its loop is served in the thread that injects."""
    targets, client = Targets(), Client()

    async def attach() -> None:
        targets.attach(client)

    asyncio.run(attach())
    assert targets.inject("T1") == []
    assert client.api_key == "T1"
    targets.inject("T2")
    assert client.api_key == "T2"

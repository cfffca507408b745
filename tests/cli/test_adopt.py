"""A login goes to the OAuth host that it belongs to, and `kimi-auth adopt` says which one that is."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S

from kimi_auth.credential import adoption
from kimi_auth.errors import ConfigError
from kimi_auth.session import Session
from kimi_auth.signing import adopt_login
from kimi_auth.store import Binding, FileStore, RevokedMark
from kimi_auth.testing.emulator import Emulator
from kimi_auth.token import Token

Run = Callable[..., Any]
BUILT_IN = "https://auth.kimi.com"


class Evil:
    """Another OAuth host, to which a variable may lead: it notes whatever arrives, and answers nothing that helps."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        notes = self.asked

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                notes.append(self.rfile.readline(1000).decode("latin-1"))
                self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.oauth_host = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def evil() -> Iterator[Evil]:
    it = Evil()
    thread = threading.Thread(target=it.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield it
    it.server.shutdown()
    thread.join()
    it.server.server_close()


@pytest.fixture
def drop_key(store: FileStore) -> Callable[[], None]:
    """The record as the Kimi CLI or kimi-code writes it: without our key."""

    def drop() -> None:
        record = json.loads(store.path.read_text())
        del record["issuer"]
        store.path.write_text(json.dumps(record))

    return drop


SENDERS = [
    ("token",),
    ("token", "--refresh"),
    ("token", "--min-ttl", "899"),
    ("run", "--", "true"),
    ("logout",),
    ("models", "sync"),
]


@pytest.mark.parametrize("args", SENDERS, ids=" ".join)
@pytest.mark.parametrize("bound", [False, True], ids=["nothing is known", "bound to where it is from"])
def test_a_record_without_issuer_goes_to_no_other_host(
    kimi: Run, drop_key: Run, store: FileStore, age: Run, evil: Evil, monkeypatch: Any, args: Any, bound: bool
) -> None:
    """Written by another client, expired, and a variable leads elsewhere: exit 9, and nothing arrives there."""
    kimi("login")
    age(-5.0)
    drop_key()
    if not bound:
        with store.locked(NO_LIMIT_S):
            store.bind(None)
    before = store.path.read_bytes()
    monkeypatch.setenv("KIMI_CODE_OAUTH_HOST", evil.oauth_host)
    said = kimi(*args)
    assert said.status == 9
    assert "kimi-auth adopt --issuer URL" in said.err
    assert evil.asked == []
    assert store.path.read_bytes() == before


def test_a_binding_outlives_a_rewrite(kimi: Run, drop_key: Run, store: FileStore, age: Run, emulator: Emulator) -> None:
    """Another client drops the record's key; the login goes on at the host that it is bound to, and has its key again."""
    kimi("login")
    assert store.binding() == Binding(emulator.oauth_host)
    age(-5.0)
    drop_key()
    assert kimi("status", "--json").json["issuer_from"] == "binding"
    assert kimi("token").status == 0
    assert store.read().token.issuer == emulator.oauth_host
    assert kimi("logout").status == 0
    assert store.binding() is None


@pytest.mark.parametrize("spoil", ["unbound", "bound elsewhere", "unreadable", "both elsewhere"])
def test_adopt_is_the_way_out(
    kimi: Run, drop_key: Run, store: FileStore, age: Run, emulator: Emulator, share_dir: Path, spoil: str
) -> None:
    """Whatever record and binding say: named once by its owner, the login is renewed where it is from."""
    kimi("login")
    token = age(-5.0)
    match spoil:
        case "unbound":
            drop_key()
            (share_dir / "credentials" / "kimi-code.issuer").unlink()
        case "bound elsewhere":
            (share_dir / "credentials" / "kimi-code.issuer").write_text('{"v": 1, "issuer": "https://x.example"}')
        case "unreadable":
            (share_dir / "credentials" / "kimi-code.issuer").write_text("{")
        case "both elsewhere":
            with store.locked(NO_LIMIT_S):
                store.put(
                    Token(token.access_token, token.refresh_token, token.expires_at_s, 900, issuer="https://x.example")
                )
                store.bind(Binding("https://x.example"))
    fp = store.read().fp
    with store.locked(NO_LIMIT_S):
        store.mark_revoked("0" * 16, RevokedMark(1.0))
    assert kimi("token").status == 9
    said = kimi("adopt", "--issuer", emulator.oauth_host + "/", "--json")
    assert (said.status, said.err) == (0, "")
    told = {"unbound": (None, None), "bound elsewhere": (emulator.oauth_host, "https://x.example"),
            "unreadable": (emulator.oauth_host, "unreadable"), "both elsewhere": ("https://x.example",) * 2}  # fmt: skip
    record, binding = told[spoil]
    assert said.json == {
        "platform": "kimi-code",
        "fp": fp,
        "issuer": emulator.oauth_host,
        "was": {"record": record, "binding": binding},
    }
    assert store.read().fp == fp
    assert kimi("token").status == 0
    assert kimi("adopt", "--issuer", emulator.oauth_host).status == 0


def test_adopt_shows_what_it_does(kimi: Run, emulator: Emulator, drop_key: Run) -> None:
    """The earlier owner and the new one are printed; an account that does not match is an error with the next step."""
    kimi("login")
    drop_key()
    said = kimi("adopt", "--issuer", "https://auth.kimi.ai")
    assert said.status == 0
    assert "record said: nothing" in said.out
    assert f"binding said: {emulator.oauth_host}" in said.out
    assert "belongs to: https://auth.kimi.ai" in said.out
    assert said.err.count("\n") == 1
    assert "export KIMI_CODE_OAUTH_HOST=https://auth.kimi.ai" in said.err
    assert kimi("token").status == 9
    assert kimi("status").status == 9
    shown = kimi("status", "--json").json
    assert shown["binding"] == {"issuer": "https://auth.kimi.ai", "origins": []}


NONSENSE = [
    "auth.kimi.com",
    "http://auth.kimi.com",
    "https://u@auth.kimi.com",
    "https://a?b",
    "",
    "https://",
    "ftp://a",
    "https://a\x1b[31m",
]


@pytest.mark.parametrize("url", NONSENSE, ids=ascii)
def test_adopt_refuses_nonsense(kimi: Run, store: FileStore, url: str) -> None:
    """A value that is not the https URL of a host binds nothing: exit 2."""
    kimi("login")
    before = store.binding()
    said = kimi("adopt", "--issuer", url)
    assert said.status == 2
    assert "\x1b" not in said.err
    assert store.binding() == before


def test_where_adopt_has_nothing_to_do(kimi: Run, store: FileStore) -> None:
    """Its exit statuses are those of every command, and it binds nothing then."""
    assert kimi("adopt").status == 3
    assert kimi("adopt", "--issuer", BUILT_IN, "--platform", "nowhere").status == 2
    assert kimi("adopt", "--issuer", BUILT_IN, "--platform", "moonshot-ai").status == 9
    assert kimi("adopt", "--issuer", BUILT_IN).status == 3
    kimi("login")
    kimi("logout")
    assert kimi("adopt", "--issuer", BUILT_IN).status == 3
    store.path.write_text('{"access_token": "", "refresh_token": ""}')
    assert kimi("adopt", "--issuer", BUILT_IN).status == 4
    store.path.write_text("{")
    assert kimi("adopt", "--issuer", BUILT_IN).status == 8
    assert store.binding() is None


def test_adopt_names_the_platform(kimi: Run, share_dir: Path, emulator: Emulator) -> None:
    """The way out of another platform's login is written with its platform."""
    (share_dir / "credentials").mkdir(parents=True)
    (share_dir / "platforms.toml").write_text(
        f'v = 1\n[platforms.acme]\nname = "Acme"\nauth = "device"\napi_base = "{emulator.api_base}"\n'
        f'[platforms.acme.oauth]\nhost = "{emulator.oauth_host}"\nclient_id = "c"\n'
    )
    record = {
        "access_token": "a",
        "refresh_token": "r",
        "expires_at": 1,
        "expires_in": 900,
        "issuer": "https://x.example",
    }
    (share_dir / "credentials" / "acme.json").write_text(json.dumps(record))
    said = kimi("token", "--platform", "acme")
    assert said.status == 9
    assert "kimi-auth adopt --platform acme --issuer URL" in said.err
    assert "kimi-auth login --platform acme --force" in said.err
    assert kimi("logout", "--platform", "acme").err.count("adopt --platform acme") == 1
    elsewhere = kimi("adopt", "--platform", "acme", "--issuer", "https://x.example")
    assert (elsewhere.status, elsewhere.err.count("name it in platforms.toml")) == (0, 1)
    assert kimi("adopt", "--platform", "acme", "--issuer", emulator.oauth_host).status == 0
    assert FileStore(share_dir, "oauth/acme", clock=None).binding() == Binding(emulator.oauth_host)  # type: ignore[arg-type]


def test_a_login_elsewhere_takes_the_binding_along(
    kimi: Run, store: FileStore, evil: Evil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old binding does not stand in the way of a new login at another host, forced or after a sign-out."""
    kimi("login")
    monkeypatch.setenv("KIMI_CODE_OAUTH_HOST", evil.oauth_host)
    assert kimi("login").status == 9
    with Emulator(approve="auto", approve_after_s=0.0, interval_s=0) as other:
        monkeypatch.setenv("KIMI_CODE_OAUTH_HOST", other.oauth_host)
        monkeypatch.setenv("KIMI_CODE_BASE_URL", other.api_base)
        assert kimi("login", "--force").status == 0
        assert store.binding() == Binding(other.oauth_host)
        assert kimi("token", "--refresh").status == 0
        assert kimi("logout").status == 0
        with store.locked(NO_LIMIT_S):
            store.bind(Binding("https://x.example"))
        assert kimi("login").status == 0
        assert kimi("token", "--refresh").status == 0


def test_doctor_says_who_knows(kimi: Run, drop_key: Run, store: FileStore) -> None:
    """The host and its witnesses are facts; where they disagree it is the credential's finding, with the way out."""
    kimi("login")
    assert "issuer: " in kimi("doctor").out
    assert "according to the record and its binding" in kimi("doctor").out
    drop_key()
    assert "according to its binding; another program wrote the record" in kimi("doctor").out
    with store.locked(NO_LIMIT_S):
        store.bind(Binding(""))
    said = kimi("doctor", "--json")
    (finding,) = [check for check in said.json["checks"] if check["verdict"] == "finding"]
    assert finding["check"] == "credential"
    assert "adopt --issuer URL" in finding["step"]
    assert "bound to: cannot be read" in kimi("status").out


def test_adopt_waits_for_the_lock_and_says_who_has_it(
    kimi: Run, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer has the credential: exit 8 once the patience is over, and nothing is bound."""
    kimi("login")
    before = store.binding()
    monkeypatch.setattr(adoption, "LOCK_PATIENCE_S", 0.0)
    with store.locked(NO_LIMIT_S):
        said = kimi("adopt", "--issuer", BUILT_IN)
    assert said.status == 8
    assert "holds the lock" in said.err
    assert store.binding() == before


def test_a_session_adopts_urls_only(share_dir: Path, environ: dict[str, str]) -> None:
    """A program is told so as well."""
    with pytest.raises(ConfigError, match="must be an https URL"):
        adopt_login(Session(share_dir)._components, "http://auth.kimi.com")

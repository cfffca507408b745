"""One BearerAuth for both libraries, neither of which it loads: in programs of their own, in each order of the imports."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import httpx
import httpx2
import pytest
from house.libraries import LIBRARIES

from kimi_auth.clients import BearerAuth, Targets
from kimi_auth.support.http_libraries import library_for, loaded

HOME = "https://api.kimi.com"

SOURCE = f"""
import sys
from kimi_auth import BearerAuth
class Source:
    api_origin = {HOME!r}
    def access_token_sync(self): return "first"
    def rejected_sync(self, bearer): return "second"
    async def access_token(self): return "first"
    async def rejected(self, bearer): return "second"
"""
MAKE = """
auth = BearerAuth(Source())
"""
USE = """
import asyncio
def use(library):
    saw = []
    def answer(request):
        saw.append(request.headers["Authorization"])
        return library.Response(401 if len(saw) % 2 else 200)
    transport = library.MockTransport(answer)
    with library.Client(auth=auth, transport=transport) as client:
        assert client.get(auth_home).status_code == 200
    async def run():
        async with library.AsyncClient(auth=auth, transport=transport) as client:
            assert (await client.get(auth_home)).status_code == 200
    asyncio.run(run())
    assert saw == ["Bearer first", "Bearer second"] * 2, saw
    assert isinstance(auth, library.Auth) and isinstance(auth, BearerAuth) and type(auth) is BearerAuth
auth_home = Source.api_origin
"""
NONE = 'assert not {"httpx", "httpx2"} & set(sys.modules), "loaded too early"\n'

ORDERS: list[tuple[str, str]] = [
    ("httpx, ours", "import httpx" + SOURCE + MAKE + USE + "use(httpx)"),
    ("httpx2, ours", "import httpx2" + SOURCE + MAKE + USE + "use(httpx2)"),
    ("ours, httpx", SOURCE + MAKE + NONE + USE + "import httpx; use(httpx)"),
    ("ours, httpx2", SOURCE + MAKE + NONE + USE + "import httpx2; use(httpx2)"),
    (
        "httpx, ours, httpx2",
        "import httpx" + SOURCE + MAKE + USE + "use(httpx); import httpx2; use(httpx2); use(httpx)",
    ),
    (
        "httpx2, ours, httpx",
        "import httpx2" + SOURCE + MAKE + USE + "use(httpx2); import httpx; use(httpx); use(httpx2)",
    ),
    ("both, ours", "import httpx, httpx2" + SOURCE + MAKE + USE + "use(httpx); use(httpx2)"),
    (
        "one name for the other",
        "import httpx2; httpx2.alias_httpx()" + SOURCE + MAKE + USE + "import httpx; use(httpx)",
    ),
]


@pytest.mark.parametrize("program", [pytest.param(row[1], id=row[0]) for row in ORDERS])
def test_orders(program: str) -> None:
    """Both clients of a library take it and send again after a 401, whenever the library was imported."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_a_library_it_is_what_it_is(monkeypatch: pytest.MonkeyPatch, scripted: Any) -> None:
    """Its class is its type where no library is loaded; then no client exists that a target could be."""
    for name in LIBRARIES:
        monkeypatch.delitem(sys.modules, name)
    auth = BearerAuth(scripted(), origin=HOME)
    assert auth.__class__ is BearerAuth
    with pytest.raises(TypeError, match="httpx2"):
        Targets(origin=HOME).attach(httpx.Client())


class Own(BearerAuth):
    """A program's own kind."""


class Picklable:
    """A source that can be copied."""

    api_origin = HOME


@pytest.mark.parametrize("kind", [BearerAuth, Own])
def test_a_copy_is_of_the_same_kind(kind: type[BearerAuth]) -> None:
    """Copied and pickled it stays what it is, though it shows another class to `isinstance`."""
    for made in (copy.copy(kind(Picklable())), pickle.loads(pickle.dumps(kind(Picklable())))):  # type: ignore[arg-type]
        assert type(made) is kind
        assert repr(made) == f"BearerAuth(origin={HOME!r})"
        assert isinstance(made, (httpx.Auth, kind))
        assert isinstance(made, httpx2.Auth)


def test_which_library_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """httpx2 where the program has it; a given transport decides itself; without either, httpx is imported."""
    assert loaded() == (httpx2, httpx)
    assert library_for() is httpx2
    assert library_for(httpx.MockTransport(lambda _: httpx.Response(200))) is httpx
    assert library_for(httpx2.AsyncHTTPTransport()) is httpx2
    monkeypatch.setattr(httpx2.BaseTransport, "__module__", "openai")  # as openai does it
    assert library_for(httpx2.MockTransport(lambda _: httpx2.Response(200))) is httpx2
    monkeypatch.delitem(sys.modules, "httpx2")
    assert library_for() is httpx


UNTIL_SOMETHING_IS_SENT = f"""
import os, sys
from kimi_auth import BearerAuth, KimiAuthError, Session, TokenSource
from kimi_auth import *
import kimi_auth.wire.tables, kimi_auth.wire.http, kimi_auth.wire.oauth, kimi_auth.clients.targets, kimi_auth.clients.kinds
environ = os.environ | {{"KIMI_CODE_OAUTH_HOST": "http://127.0.0.1:9"}}
session = Session("share", environ=environ)
auth = BearerAuth(session)
session.attach(lambda token: None)
{NONE}
"""
SENT = """
from kimi_auth.wire import fetch_models_sync
assert fetch_models_sync("http://127.0.0.1:9", "bearer", {}).outcome == "unavailable"
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [("", {"httpx"}), ("import httpx2; ", {"httpx2"}), ("import httpx; ", {"httpx"})],
    ids=["none", "httpx2", "httpx"],
)
def test_nothing_is_loaded_before_something_is_sent(before: str, after: set[str], tmp_path: Any) -> None:
    """A session, an auth and targets are made without a library; a request takes the one that is there, else httpx."""
    start = UNTIL_SOMETHING_IS_SENT if not before else UNTIL_SOMETHING_IS_SENT.replace(NONE, "")
    program = f"{before}\n{start}{SENT}\nassert {{'httpx', 'httpx2'}} & set(sys.modules) == {after}, sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr

"""Fixtures that run OAuth servers of others, for every test of the project.

    def test_something(oidc_server): ...                       a RealServer with the life times of auth.kimi.com
    def test_something(authlib_server_factory):
        server = authlib_server_factory(access_ttl_s=60)       any field of Settings

Equal settings share one process for the whole run; its clock is set back for each test. A test that asks for one of
them gets the marker `real_server` (or `browser`). Where a server cannot run, the test is skipped with the reason and
the command that helps, and fails when CI=true.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias
from urllib.parse import urlsplit

import pytest
from house import npm

from servers.postgres import Cluster, missing
from servers.real_server import RealServer, Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ServerFactory: TypeAlias = Callable[..., RealServer]
Missing: TypeAlias = tuple[str, str]  # the reason, and the command that removes it

MARKERS: Final = {
    "postgres": "real_server",
    "postgres_factory": "real_server",
    "oidc_server": "real_server",
    "oidc_server_factory": "real_server",
    "authlib_server": "real_server",
    "authlib_server_factory": "real_server",
    "chromium": "browser",
    "browser_page": "browser",
}


def unavailable(reason: str, command: str) -> NoReturn:
    """Skip the running test, or fail it when CI=true: there, everything must run."""
    sentence = f"{reason}; run: {command}"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


def _lacking(*packages: str) -> Missing | None:
    absent = " and ".join(package for package in packages if importlib.util.find_spec(package) is None)
    return (f"{absent} cannot be imported", "pip install --group dev -e '.[emulator]'") if absent else None


# name: (its missing requirement, module, class); modules are imported on demand, because a requirement may be missing
SERVERS: Final[dict[str, tuple[Callable[[], Missing | None], str, str]]] = {
    "oidc-provider": (npm.OIDC_PROVIDER.missing, "servers.oidc_server", "OidcServer"),
    "authlib": (lambda: _lacking("authlib", "flask"), "servers.authlib_server", "AuthlibServer"),
    "emulator": (lambda: _lacking("starlette", "uvicorn"), "servers.emulator_server", "EmulatorServer"),
}

# Servers with paths of their own: the contract tests, which ask at auth.kimi.com's paths, are not for them.
WITH_OTHER_PATHS: Final[dict[str, tuple[Callable[[], Missing | None], str, str]]] = {
    "django-oauth-toolkit": (lambda: _lacking("oauth2_provider"), "servers.django_server", "DjangoServer"),
}


class Pool:
    """The servers of this run, by name and settings."""

    def __init__(self) -> None:
        self._servers: dict[tuple[str, Settings], RealServer] = {}

    def get(self, name: str, **changes: Any) -> RealServer:
        """A running server with its clock at real time; `changes` are fields of Settings."""
        missing, module, kind = (SERVERS | WITH_OTHER_PATHS)[name]
        if lack := missing():
            unavailable(f"{name} cannot run: {lack[0]}", lack[1])
        key = name, replace(Settings(), **changes)
        if key not in self._servers or not self._servers[key].running:
            self._servers[key] = getattr(importlib.import_module(module), kind)(key[1])
        self._servers[key].reset_clock()
        return self._servers[key]

    def stop(self) -> None:
        for server in self._servers.values():
            server.stop()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the fixtures it asks for, before `-m` selects."""
    for item in items:
        for marker in sorted({MARKERS[name] for name in MARKERS.keys() & set(getattr(item, "fixturenames", ()))}):
            item.add_marker(marker)


@pytest.fixture(scope="session")
def server_pool() -> Iterator[Pool]:
    """Every server of this run; `server_pool.get(name, **settings)` starts or finds one."""
    pool = Pool()
    yield pool
    pool.stop()


@pytest.fixture
def oidc_server_factory(server_pool: Pool) -> ServerFactory:
    """`oidc_server_factory(access_ttl_s=60, jwt=True)`: oidc-provider with other settings."""
    return lambda **changes: server_pool.get("oidc-provider", **changes)


@pytest.fixture
def authlib_server_factory(server_pool: Pool) -> ServerFactory:
    """`authlib_server_factory(access_ttl_s=60)`: Authlib with other settings."""
    return lambda **changes: server_pool.get("authlib", **changes)


@pytest.fixture
def oidc_server(oidc_server_factory: ServerFactory) -> RealServer:
    """oidc-provider with the life times of auth.kimi.com."""
    return oidc_server_factory()


@pytest.fixture
def authlib_server(authlib_server_factory: ServerFactory) -> RealServer:
    """Authlib with the life times of auth.kimi.com."""
    return authlib_server_factory()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless Chromium. Of module scope: while it is open, `asyncio.run` refuses to work in this thread."""
    if lack := _lacking("playwright"):
        unavailable(*lack)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser") or playwright.chromium.executable_path
        if not os.access(path, os.X_OK):
            unavailable("there is no Chromium", "apt-get install chromium, or playwright install chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browser_page(chromium: Browser) -> Iterator[Page]:
    """A fresh page that reaches this machine and nothing else; nothing on it may take longer than 5 s."""
    context = chromium.new_context()
    context.route(lambda url: urlsplit(url).hostname != "127.0.0.1", lambda route: route.abort())
    context.set_default_timeout(0)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server with our tables, for every test of the run: each takes a key of its own."""
    cluster = new_cluster()
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def postgres_factory() -> Iterator[Callable[..., Cluster]]:
    """Makes servers that a test may stop, break and restart; `options` are settings of postgresql.conf."""
    made: list[Cluster] = []

    def make(**options: object) -> Cluster:
        made.append(new_cluster(**options))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


def new_cluster(**options: object) -> Cluster:
    """A running server with our tables. Skips the test where there is no PostgreSQL."""
    if lack := missing("initdb", "pg_ctl") or _lacking_psycopg():
        unavailable(f"PostgreSQL cannot run: {lack[0]}", lack[1])
    cluster = Cluster(**options)
    cluster.make_tables()
    return cluster


def _lacking_psycopg() -> Missing | None:
    return (
        None if importlib.util.find_spec("psycopg") else ("psycopg cannot be imported", "pip install -e '.[postgres]'")
    )

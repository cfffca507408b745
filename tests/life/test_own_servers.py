"""The examples of docs/your-own-server.md, each lived at the server that it is for; the page is all that the test knows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx
import pytest
from house.patience import NO_LIMIT_S
from servers.fixtures import Pool
from servers.real_server import CLIENT_ID, RealServer

from kimi_auth.clock import SystemClock
from kimi_auth.errors import AccessDenied, ClientRefused, NotSignedIn
from kimi_auth.login.view import Notice
from kimi_auth.session import Session

PAGE: Final = (Path(__file__).parents[2] / "docs" / "your-own-server.md").read_text("utf-8")
EXAMPLES: Final = dict(re.findall(r"```toml\n# (.+)\n((?:.*\n)*?)```", PAGE))
# Servers that test other things too know the Kimi CLI's client; it asks for no scope there.
OTHER_CLIENT: Final = {"authlib": CLIENT_ID, "oidc-provider": CLIENT_ID}


class Hurry(SystemClock):
    """No wait between two polls."""

    async def sleep_async(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Person:
    """Approves, or refuses, the code that is shown."""

    def __init__(self, decide: Callable[[str], None]) -> None:
        self._decide = decide

    def tell(self, notice: Notice) -> None:
        if notice.code is not None:
            self._decide(notice.code.user_code)

    async def left(self) -> None:
        await asyncio.Event().wait()


def is_accepted(server: RealServer, bearer: str) -> bool:
    """Whether the server's API takes this token."""
    headers = {"Authorization": f"Bearer {bearer}"}
    return (
        httpx.get(f"{server.api_base}/models", headers=headers, trust_env=False, timeout=NO_LIMIT_S).status_code == 200
    )


@pytest.mark.real_server
@pytest.mark.prove
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_life_from_the_page_alone(tmp_path: Path, server_pool: Pool, name: str) -> None:
    """With the example's text, host and client put in: sign-in, token, renewal, sync, a refusal, sign-out and revocation."""
    kind = name.split(maxsplit=1)[0]
    server = server_pool.get(kind, interval_s=0)
    text = EXAMPLES[name].replace("https://example.com", server.oauth_host)
    text = text.replace('"my-client"', f'"{OTHER_CLIENT.get(kind, "my-client")}"')
    share = tmp_path / "share"
    share.mkdir()
    (share / "platforms.toml").write_text(text)
    (share / "platforms.toml").chmod(0o600)

    def session() -> Session:
        return Session(share, platform="mine", environ={}, clock=Hurry())

    with pytest.raises(AccessDenied):
        asyncio.run(session().login(Person(server.deny)))
    report = asyncio.run(session().login(Person(server.approve)))
    assert (report.state, report.error) == ("signed_in", None)
    assert report.models == (1 if "without /models" in name else 2)
    first = session().access_token_sync()
    assert is_accepted(server, first)
    second = session().access_token_sync(refresh=True)
    assert second != first
    assert is_accepted(server, second)
    assert is_accepted(server, first) is not session().platform.rotation_ends_access
    assert not asyncio.run(session().models.sync()), "config.toml is up to date"
    assert session().status().state == "fresh"

    goodbye = asyncio.run(session().logout())
    wanted = "unsupported" if "without /models" in name else "revoked"
    assert (goodbye.state, goodbye.revocation, goodbye.config) == ("absent", wanted, "restored"), goodbye
    assert is_accepted(server, second) is (wanted == "unsupported")
    with pytest.raises(NotSignedIn):
        session().access_token_sync()


@pytest.mark.real_server
@pytest.mark.prove
@pytest.mark.parametrize("name", [name for name in EXAMPLES if "secret" in name])
def test_a_wrong_secret(tmp_path: Path, server_pool: Pool, name: str) -> None:
    """A server that does not know the secret ends the login at once with the next step, and nothing shows the secret."""
    server = server_pool.get(name.split(maxsplit=1)[0], interval_s=0)
    text = EXAMPLES[name].replace("https://example.com", server.oauth_host).replace('"my-secret"', '"my-wrong-s3cret"')
    (tmp_path / "platforms.toml").write_text(text)
    (tmp_path / "platforms.toml").chmod(0o600)
    person = Person(server.approve)
    with pytest.raises(ClientRefused) as raised:
        asyncio.run(Session(tmp_path, platform="mine", environ={}, clock=Hurry()).login(person))
    assert raised.value.exit_status == 9
    assert raised.value.hint.endswith("kimi-auth platforms list")
    assert "s3cret" not in f"{raised.value!r} {raised.value.line}"


def test_the_page_has_an_example_for_each() -> None:
    """The examples that the lives are made of are there, and each names its server."""
    assert {name.split()[0] for name in EXAMPLES} == {"django-oauth-toolkit", "authlib", "oidc-provider"}
    assert sum("secret" in name for name in EXAMPLES) == 2
    assert sum("without /models" in name for name in EXAMPLES) == 1

"""Proxies of the environment: which hosts they serve, how they may be spelt, and SOCKS proxies that misbehave."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from house.patience import NO_LIMIT_S, joined
from wire.sending import in_loop, in_thread

from kimi_auth.wire.failures import UnsendableError, is_any_of
from kimi_auth.wire.proxies import proxy_for
from kimi_auth.wire.request import Request
from kimi_auth.wire.response import RawResponse

AWAY = "https://auth.test/token"
PROXY = "http://u:s3cret@proxy.test:3128"


@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        ("socks://proxy.test:1080", "socks5://proxy.test:1080"),
        ("socks5://proxy.test:1080", "socks5://proxy.test:1080"),
        ("SOCKS5H://proxy.test:1080", "socks5h://proxy.test:1080"),
        ("proxy.test:3128", "http://proxy.test:3128"),
        ("'http://proxy.test:3128'", "http://proxy.test:3128"),
        ('  "proxy.test:3128" ', "http://proxy.test:3128"),
        ("''", None),
    ],
)
def test_how_a_proxy_may_be_spelt(monkeypatch: pytest.MonkeyPatch, value: str, proxy: str | None) -> None:
    """`socks` is SOCKS 5, no scheme is http, and quotes that no shell has removed do not count."""
    monkeypatch.setenv("ALL_PROXY", value)
    found = proxy_for(AWAY, httpx)
    assert (str(found.url) if found else None) == proxy


@pytest.mark.parametrize(
    ("exempt", "url", "is_exempt"),
    [
        ("kimi.com", "https://kimi.com/", True),
        ("kimi.com", "https://auth.kimi.com/", True),
        ("kimi.com", "https://notkimi.com/", False),
        (".kimi.com", "https://auth.kimi.com/", True),
        ("*.kimi.com", "https://auth.kimi.com/", True),
        ("*.kimi.com", "https://notkimi.com/", False),
        ("AUTH.Kimi.com.", "https://auth.kimi.com/", True),
        ("other.test auth.kimi.com", "https://auth.kimi.com/", True),
        ("'*.kimi.com,other.test'", "https://auth.kimi.com/", True),
        ("other.test, '*.kimi.com'", "https://auth.kimi.com/", True),
        ("auth.kimi.com:8443", "https://auth.kimi.com:8443/", True),
        ("auth.kimi.com:8443", "https://auth.kimi.com/", False),
        ("10.0.0.0/8", "https://10.9.8.7/", True),
        ("10.0.0.0/8", "https://11.9.8.7/", False),
        ("10.0.0.1/8", "https://10.9.8.7/", True),
        ("10.0.0.0/8", "https://[fd00::1]/", False),
        ("fd00::/8", "https://[fd00::1]/", True),
        ("[fd00::1]", "https://[fd00::1]:8443/", True),
        ("[fd00::1]:8443", "https://[fd00::1]:8443/", True),
        ("10.0.0.0/8", "https://ten.kimi.com/", False),
        ("*", "https://auth.kimi.com/", True),
        ("a,*", "https://auth.kimi.com/", True),
        ("10.0.0.0/99, /, ., *., [, 'x", "https://auth.kimi.com/", False),
    ],
)
def test_what_no_proxy_exempts(monkeypatch: pytest.MonkeyPatch, exempt: str, url: str, is_exempt: bool) -> None:
    """Hosts, domains, blocks of addresses, ports: as curl reads them; entries without a meaning are passed over."""
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", exempt)
    assert (proxy_for(url, httpx) is None) == is_exempt


def test_socks_4_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol that cannot be used is told as such, with the one that can."""
    monkeypatch.setenv("ALL_PROXY", "socks4://u:s3cret@proxy.test:1080")
    with pytest.raises(UnsendableError, match="ALL_PROXY speaks socks4; only SOCKS 5") as raised:
        proxy_for(AWAY, httpx)
    assert "s3cret" not in str(raised.value)


@pytest.fixture
def no_socks() -> Iterator[Callable[..., str]]:
    """Starts a listener that takes what comes and says `parts`, one after each thing it was told, then hangs up."""
    threads: list[threading.Thread] = []

    def start(*parts: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(NO_LIMIT_S)

        def serve() -> None:
            with listener:
                peer, _ = listener.accept()
                with peer, contextlib.suppress(OSError):
                    peer.settimeout(NO_LIMIT_S)
                    for part in parts:
                        peer.recv(65_536)
                        peer.sendall(part)
                    peer.recv(65_536)

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        return f"socks5://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for thread in threads:
        joined(thread)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("send", [in_thread, in_loop])
@pytest.mark.parametrize(
    "parts",
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
        (b"\5",),
        (b"\5\0", b"\5"),
        (b"\5\0", b"\5\0\0\1"),
        (b"\5\x63",),
        (b"\5\2",),
        (b"\5\0", b"\5\x63\0\1\0\0\0\0\0\0"),
        (b"\5\0", b"\4\0\0\1\0\0\0\0\0\0"),
    ],
)
def test_what_is_no_socks_proxy(
    no_socks: Any, monkeypatch: pytest.MonkeyPatch, send: Callable[[Request], RawResponse], parts: tuple[bytes, ...]
) -> None:
    """Whatever answers instead of a SOCKS proxy: nothing raises, and the token was certainly not sent."""
    monkeypatch.setenv("ALL_PROXY", no_socks(*parts))
    response = send(Request("POST", AWAY, {}, {"refresh_token": "s3cret-token"}, secrets=("s3cret-token",)))
    assert response.failure is not None
    assert is_any_of(response.failure, "ProxyError", "NotSentError")
    assert "s3cret" not in response.message

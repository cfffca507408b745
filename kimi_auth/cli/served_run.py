"""What `kimi-auth run --proxy` and `--brokered` start beside the command, for its length: the proxy, or a socket with a
grant, and the way there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.opening import components_of, open_default, open_session, supply_of
from kimi_auth.cli.renewing import handed_out
from kimi_auth.cli.terminal import Terminal
from kimi_auth.credential.single_flight import drain
from kimi_auth.errors import ConfigError
from kimi_auth.selection import API_BASE_VARIABLES, OAUTH_HOST_VARIABLES, STORE, selecting_variables
from kimi_auth.support.extras import install
from kimi_auth.support.language import tr

__all__ = ["KEYS", "brokered", "proxied", "reaching_loopback"]

KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")
"""The variables that `--proxy` sets with their base URLs, beside those of `--env`."""

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
NO_PROXY = ("NO_PROXY", "no_proxy")


@contextmanager
def proxied(
    out: Terminal, platform: str | None, home: str | None, account: str | None = None
) -> Iterator[tuple[str, str]]:
    """The key and the base URL of the proxy of `kimi-auth run --proxy`, which runs while the block does."""
    _installed("--proxy")
    session = open_default(platform, home=home, account=account)
    with out.signals.held():  # a user who is not signed in hears it before the command starts
        handed_out(session, supply_of(session).token_sync())
        drain()
    from kimi_auth.serving.command_proxy import CommandProxy

    with CommandProxy(open_default(platform, home=home, account=account, one_shot=False)) as proxy:
        yield proxy.secret, proxy.base_url


@contextmanager
def brokered(
    out: Terminal, platform: str | None, home: str | None, account: str | None = None
) -> Iterator[dict[str, str]]:
    """The environment of a command that has a socket and a grant of its own while the block runs, and no variable that leads
    to the share directory or holds a key."""
    _installed("--brokered")
    opened = open_session(platform, home=home, account=account)
    if opened.platform.oauth is None:
        message = tr("{platform} takes an API key, and --brokered needs a login", platform=opened.platform.name)
        raise Usage(message)
    with out.signals.held():
        handed_out(opened, supply_of(opened).token_sync())
        drain()
    from kimi_auth.serving.command_broker import CommandBroker
    from kimi_auth.session import Session

    parts = components_of(opened)
    session = Session(
        home=parts.home, platform=opened.platform.id, account=parts.account or None, observe=parts.observe
    )
    dropped = set(selecting_variables(os.environ)) - {*API_BASE_VARIABLES, *OAUTH_HOST_VARIABLES}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    with CommandBroker(session) as broker:
        yield {**kept, STORE: broker.url}


def reaching_loopback(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command beside our proxy: its client reaches 127.0.0.1 without a proxy of the network."""
    if not any(value for name, value in environ.items() if name.lower() in PROXY_VARIABLES):
        return dict(environ)
    return {**environ, **{name: ",".join(filter(None, (environ.get(name), "127.0.0.1"))) for name in NO_PROXY}}


def _installed(option: str) -> None:
    """Raises ConfigError where the extra is missing."""
    if find_spec("uvicorn") is None or find_spec("starlette") is None:
        message = tr("run {option} needs the extra `serve`", option=option)
        raise ConfigError(message, hint=tr("install it: {command}", command=install("serve")))

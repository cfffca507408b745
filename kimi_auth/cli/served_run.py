"""`kimi-auth run --proxy -- CMD`: a command with a base URL of this machine that always has a live token behind it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec

from kimi_auth.cli.opening import open_default, supply_of
from kimi_auth.cli.renewing import handed_out
from kimi_auth.cli.run import _status_of as status_of
from kimi_auth.cli.run import with_pair
from kimi_auth.cli.terminal import Terminal
from kimi_auth.credential.single_flight import drain
from kimi_auth.errors import ConfigError
from kimi_auth.extras import install
from kimi_auth.language import tr

__all__ = ["run_proxied"]

KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")
"""The variables that `--proxy` sets with their base URLs, beside those of `--env`."""

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
NO_PROXY = ("NO_PROXY", "no_proxy")


def run_proxied(out: Terminal, *, command: list[str], platform: str | None, home: str | None, env: list[str]) -> int:
    """Runs a command beside a proxy that ends with it; returns its exit status."""
    if find_spec("uvicorn") is None:
        message = tr("run --proxy needs the extra `serve`")
        raise ConfigError(message, hint=tr("install it: {command}", command=install("serve")))
    session = open_default(platform, home=home)
    with out.signals.held():  # whoever is not signed in hears it before the command starts
        handed_out(session, supply_of(session).token_sync())
        drain()
    from kimi_auth.serving.command_proxy import CommandProxy

    with CommandProxy(open_default(platform, home=home, one_shot=False)) as proxy:
        environ = reaching_loopback(os.environ)
        for name in (*KEYS, *env):
            environ = with_pair(environ, name, proxy.secret, proxy.base_url)
        return status_of(command, environ)


def reaching_loopback(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, in which a client sends nothing for 127.0.0.1 through a proxy of the network: curl and httpx would."""
    if not any(value for name, value in environ.items() if name.lower() in PROXY_VARIABLES):
        return dict(environ)
    return {**environ, **{name: ",".join(filter(None, (environ.get(name), "127.0.0.1"))) for name in NO_PROXY}}

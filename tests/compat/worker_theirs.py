"""A process with the Kimi CLI's own authentication, untouched: it obeys one JSON line at a time and answers with one.

Orders: {"do": "refresh"} is what it does before a turn, {"do": "read"} loads the record on disk, {"do": "login"} signs
in. Each answer says what it holds then: the pair's identity, and what the platform says to the access token. "tells" in an
order: {"refused": true} comes before the answer, when the kernel has refused it the lock.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import sys
from typing import Any

import httpx
from kimi_cli.auth.oauth import KIMI_CODE_OAUTH_KEY, OAuthManager, load_tokens, login_kimi_code
from kimi_cli.config import OAuthRef, load_config

KEY = os.environ.get("OAUTH_KEY_OF_THE_TEST", KIMI_CODE_OAUTH_KEY)
REF = OAuthRef(storage="file", key=KEY)


async def obey(do: str, manager: OAuthManager) -> dict[str, Any]:
    if do == "login":
        return {"events": [event.type async for event in login_kimi_code(load_config(), open_browser=False)]}
    if do == "refresh":
        await manager.ensure_fresh()
    config = load_config()
    token = load_tokens(REF)
    bearer = manager.get_cached_access_token(KEY) if do == "refresh" else token and token.access_token
    headers = {"Authorization": f"Bearer {bearer or 'none'}"}
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=None) as client:
        answer = await client.get(os.environ["KIMI_CODE_BASE_URL"] + "/models")
    return {
        "status": answer.status_code,
        "pair": token and hashlib.sha256(f"{token.refresh_token}\0{token.access_token}".encode()).hexdigest()[:16],
        "models": sorted(config.models),
        "default": config.default_model,
    }


def say(**answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def tell_a_refusal() -> None:
    flock = fcntl.flock

    def trying(descriptor: int, operation: int) -> None:
        try:
            flock(descriptor, operation)
        except BlockingIOError:
            fcntl.flock = flock
            say(refused=True)
            raise

    fcntl.flock = trying


async def main() -> None:
    manager = OAuthManager(load_config())
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        if order.get("tells"):
            tell_a_refusal()
        say(**await obey(order["do"], manager))


asyncio.run(main())

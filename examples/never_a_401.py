"""You will see five answers, all of them 200, though the token ends after the second one.

Runs on an emulator of its own: no account, no network.
"""

from __future__ import annotations

import asyncio
from tempfile import TemporaryDirectory

import httpx

from kimi_auth import BearerAuth, Session
from kimi_auth.login.view import SilentView
from kimi_auth.testing.emulator import Emulator


async def main() -> None:
    with Emulator(approve_after_s=0, interval_s=1) as server, TemporaryDirectory() as share_dir:
        session = Session(share_dir, environ=server.env)
        await session.login(SilentView())
        async with httpx.AsyncClient(auth=BearerAuth(session)) as client:
            for number in range(1, 6):
                if number == 3:
                    server.state.expire_access()  # the server refuses this token from now on, without notice
                answer = await client.get(f"{session.api_origin}/models")
                print(number, answer.status_code)
        print("renewals:", server.state.counts["refreshes"])


if __name__ == "__main__":
    asyncio.run(main())

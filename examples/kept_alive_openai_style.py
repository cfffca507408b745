"""You will see a running client get a new api_key while it works, and lose it when you sign out.

Runs on an emulator of its own. `Client` stands for any object with an `api_key`: openai's, kosong's, yours.
"""

from __future__ import annotations

import asyncio
from tempfile import TemporaryDirectory

from kimi_auth import Session, SilentView
from kimi_auth.testing import Emulator


class Client:
    """A client that was built long ago and knows nothing of logins."""

    api_key = ""


async def main() -> None:
    client = Client()
    with Emulator(approve_after_s=0, interval_s=1) as server, TemporaryDirectory() as share_dir:
        session = Session(share_dir, environ=server.env)
        await session.login(SilentView())
        async with session.kept_fresh(client):  # in the background: renewed before it ends, as long as the block runs
            first = client.api_key
            print("it has a token that works:", first == await session.access_token())
            await session.access_token(refresh=True)  # what time does by itself
            print("it has another one:", client.api_key not in ("", first))
            await session.logout()
            print("it has none:", client.api_key == "")


if __name__ == "__main__":
    asyncio.run(main())

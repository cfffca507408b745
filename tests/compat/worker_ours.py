"""A process with a Session: it obeys one JSON line at a time and answers with one, as the Kimi CLI's process beside it.

Orders: {"do": "refresh"} asks for another pair than the stored one, {"do": "read"} looks at the record on disk.
"""

from __future__ import annotations

import asyncio
import json
import sys

import httpx

from kimi_auth import Session


async def main() -> None:
    session = Session()
    while line := await asyncio.to_thread(sys.stdin.readline):
        if json.loads(line)["do"] == "refresh":
            await session.access_token(refresh=True)
        status = session.status()
        headers = {"Authorization": f"Bearer {await session.access_token()}"}
        async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=None) as client:
            answer = await client.get(f"{session.api_origin}/models")
        said = {
            "status": answer.status_code,
            "pair": status.fp,
            "models": sorted(session._components.config.read()["models"]),
        }
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


asyncio.run(main())

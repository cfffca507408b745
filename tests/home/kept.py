"""A program that keeps a client served with one shared login until its standard input ends: `python kept.py`."""

from __future__ import annotations

import asyncio
import sys

from kimi_auth import Session


async def main() -> None:
    served: list[str] = []
    async with Session().kept_fresh(served.append):
        print("served", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    print(len(served), flush=True)


if __name__ == "__main__":
    asyncio.run(main())

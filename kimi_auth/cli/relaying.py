"""`kimi-auth serve relay`, as it runs: loaded by that command alone."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from kimi_auth.cli.errors import CommandNotFound, CommandNotRunnable, Usage
from kimi_auth.cli.terminal import Terminal
from kimi_auth.support.language import tr

__all__ = ["relayed"]


async def relayed(out: Terminal, socket: str, port: int, command: list[str]) -> int:
    """Relays for `serve relay` until its command has ended, or for ever where there is none."""
    from kimi_auth.serving.relay import relay

    heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(relay(socket, port, heard.set_result))
    try:
        waited: set[asyncio.Future[Any]] = {task, heard}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not heard.done():
            await _listening(task, port)
        if not command:
            out.say(tr("relaying 127.0.0.1:{port} to {socket}", port=heard.result(), socket=socket))
            await task
        return await _ran(command, heard.result())
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _listening(task: asyncio.Future[None], port: int) -> None:
    try:
        await task
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or tr("there is no such port")
        address = f"127.0.0.1:{port}"
        raise Usage(tr("cannot listen on {address}: {reason}", address=address, reason=said)) from None


async def _ran(command: list[str], port: int) -> int:
    """The exit status of the command, which finds the relay in its environment."""
    environ = os.environ | {"KIMI_CODE_OAUTH_HOST": f"http://127.0.0.1:{port}"}
    try:
        child = await asyncio.create_subprocess_exec(*command, env=environ)
    except OSError as error:
        words = tr("{name}: {reason}", name=command[0], reason=error.strerror)
        raise (CommandNotFound if isinstance(error, FileNotFoundError) else CommandNotRunnable)(words) from None
    try:
        status = await child.wait()
    except asyncio.CancelledError:
        child.terminate()
        await child.wait()
        raise
    return status if status >= 0 else 128 - status

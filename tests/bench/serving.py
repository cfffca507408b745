"""One of the two servers of `bench.proxied`, as a process: an API that answers at once, or the proxy before it.

    python -m bench.serving api
    python -m bench.serving proxy API_BASE

It tells its address, and to each order the CPU seconds that it has used and the memory that it holds.
"""

from __future__ import annotations

import resource
import sys
import threading
from pathlib import Path
from typing import Any

from bench.worker import orders, tell
from kimi_auth.serving.command_proxy import CommandProxy
from kimi_auth.serving.listening import listen
from kimi_auth.serving.server import LoopbackServer
from kimi_auth.testing import StaticTokens

ANSWER = b'{"id": "chatcmpl-1", "choices": [{"message": {"role": "assistant", "content": "hello"}}], "usage": {}}'
EVENT = b'data: {"choices": [{"delta": {"content": "hello"}}]}\n\n'


async def api(scope: Any, receive: Any, send: Any) -> None:
    """A whole answer, or a stream of five events where the body asks for one."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    is_stream = b'"stream"' in body
    kind = (b"content-type", b"text/event-stream" if is_stream else b"application/json")
    length = [] if is_stream else [(b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": [kind, *length]})
    for event in [EVENT] * 5 if is_stream else [ANSWER]:
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def main(kind: str, base: str = "") -> None:
    if kind == "api":
        listener, url = listen("127.0.0.1", 0)
        server = LoopbackServer(api, listener)
        threading.Thread(target=server.run_to_end, daemon=True).start()
        _obey(url, "")
        return
    with CommandProxy(StaticTokens("t" * 900, api_origin=base)) as proxy:
        _obey(proxy.url, proxy.secret)


def _obey(url: str, secret: str) -> None:
    tell(url=url, secret=secret)
    for _ in orders():
        used = resource.getrusage(resource.RUSAGE_SELF)
        tell(cpu_s=used.ru_utime + used.ru_stime, held_mib=_held_mib())


def _held_mib() -> float:
    """Resident memory; 0 where there is no /proc."""
    status = Path("/proc/self/status")
    lines = status.read_text("ascii", "replace").splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


if __name__ == "__main__":
    main(*sys.argv[1:])

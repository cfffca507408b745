"""A process that moves the login of a home between its file and a database, and is killed before one of its writes.

    python mover.py '{"share_dir": …, "url": "postgresql://…", "to": "database", "at": 3}'

`at`: the number of the write before which it ends by SIGKILL, counted over both stores and the note; None: it finishes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kimi_auth.clock import SystemClock
from kimi_auth.login.moving import Notebook, Stores, begin
from kimi_auth.store import FileStore
from kimi_auth.store.postgres import Address, PostgresStore

KEY = "oauth/kimi-code"
DEVICE = "0123456789abcdef0123456789abcdef"
WRITES = ("mark_revoked", "bind", "set_backoff", "put", "sign_out", "tidy")


def stores_of(share_dir: Path, url: str) -> tuple[Stores, Notebook]:
    file = FileStore(share_dir, KEY, clock=SystemClock())
    database = PostgresStore(url, KEY, folder=share_dir / "kimi-auth" / "store")
    notebook = Notebook(share_dir / "kimi-auth" / "store" / "kimi-code.moving")
    return Stores(file, database, Address(url).without_password), notebook


def deadly(things: tuple[Any, ...], at: int) -> None:
    """Ends this process before write number `at`."""
    left = [at]

    def before(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: object, **kwargs: object) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counted

    for thing in things:
        for name in ("write", "forget") if isinstance(thing, Notebook) else WRITES:
            setattr(thing, name, before(getattr(thing, name)))


def main() -> None:
    given = json.loads(sys.argv[1])
    stores, notebook = stores_of(Path(given["share_dir"]), given["url"])
    if given["at"] is not None:
        deadly((stores.file, stores.database, notebook), given["at"])
    begin(stores, given["to"], notebook, device_id=DEVICE)


if __name__ == "__main__":
    main()

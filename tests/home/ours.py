"""One holder of both locks, as kimi-auth takes them: `python ours.py HOME`. It obeys lines on stdin, one answer each."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from kimi_auth.clock import SystemClock
from kimi_auth.errors import LockLost
from kimi_auth.home import KIMI_CODE
from kimi_auth.store import FileStore

HOME = Path(sys.argv[1])
KEY = "oauth/kimi-code"


def store() -> FileStore:
    clock = SystemClock()
    return FileStore(HOME, KEY, clock=clock, layout=KIMI_CODE.layout(HOME, KEY, clock))


def turns(number: int, directory: Path) -> str:
    """Two detectors: a marker that only one can make, and a count that loses steps when two are inside."""
    overlaps, mine = 0, store()
    for _ in range(number):
        with mine.locked(None) as held:
            assert held is not None
            held.check()
            try:
                os.close(os.open(directory / "inside", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                overlaps += 1
            before = int((directory / "count").read_text())
            time.sleep(0.001)
            (directory / "count").write_text(str(before + 1))
            (directory / "inside").unlink()
        time.sleep(0.005)
    return f"overlaps {overlaps}"


def main() -> None:
    print("ready", flush=True)
    stack, held = ExitStack(), None
    for line in sys.stdin:
        word, *rest = line.split()
        answer = "done"
        if word == "lock":
            began_s = time.monotonic()
            held = stack.enter_context(store().locked(float(rest[0])))
            answer = f"locked {time.monotonic() - began_s:.2f}" if held else "busy"
        elif word == "check":
            try:
                assert held is not None
                held.check()
                answer = "held"
            except LockLost:
                answer = "lost"
        elif word == "release":
            stack.close()
        elif word == "turns":
            answer = turns(int(rest[0]), Path(rest[1]))
        print(answer, flush=True)


if __name__ == "__main__":
    main()

"""`--trace FILE`: a walk recorded as NDJSON, one transition a line, without a secret."""

from __future__ import annotations

from pathlib import Path

from kimi_auth.errors import StoreUnwritable
from kimi_auth.machine.trace import Trace

__all__ = ["trace_into"]


def trace_into(path: Path) -> Trace:
    """An observer that writes to `path`, which is emptied now. Raises StoreUnwritable if it cannot be written."""
    try:
        path.write_bytes(b"")
    except OSError as error:
        raise StoreUnwritable(
            f"cannot write {path}: {error.strerror}", hint="name a file that can be written: --trace FILE"
        ) from None
    return Trace(path)

"""`--trace FILE`: a walk recorded as NDJSON, one transition a line, without a secret."""

from __future__ import annotations

import os
from pathlib import Path

from kimi_auth.cli.terminal import Terminal
from kimi_auth.errors import StoreUnwritable
from kimi_auth.machine.trace import Trace
from kimi_auth.support.language import tr

__all__ = ["report_failure", "trace_into"]

NAME_ANOTHER = tr("name a file that can be written: --trace FILE")


def trace_into(path: Path) -> Trace:
    """The observer of `--trace`, which writes to `path`, emptied now. Raises StoreUnwritable if it cannot be written."""
    try:
        # Private where it is made now; a file that is there keeps its mode.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnwritable(
            tr("cannot write {path}: {reason}", path=path, reason=error.strerror), hint=NAME_ANOTHER
        ) from None
    return Trace(path)


def report_failure(trace: Trace, path: Path, out: Terminal) -> None:
    """Reports that a walk of `--trace` is not, or not whole, in its file `path`: the walk itself went on."""
    if trace.error is not None:
        out.say(
            tr(
                "the walk could not be written to {path}: {reason} ({hint})",
                path=path,
                reason=trace.error.strerror,
                hint=NAME_ANOTHER,
            )
        )

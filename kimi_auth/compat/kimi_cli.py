"""The Kimi CLI on this package's logins: its `auth.oauth` and `auth.platforms` become ours.

    from kimi_auth.compat.kimi_cli import install

    install()                      # before anything of kimi_cli is imported
    from kimi_cli.__main__ import run_original_cli

The same share directory, files and lock; everything else of the Kimi CLI stays as it is. Measured against 1.52.0.

A Kimi CLI that runs unchanged beside it shares the login as well, with one weakness that is its own: after five tries in 5
to 10 s it renews without the lock, and a server that takes longer to answer may then end the login for all of them.
"""

from __future__ import annotations

import logging
import sys

from kimi_auth.compat import oauth, platforms

__all__ = ["REPLACED", "install"]

REPLACED = {"kimi_cli.auth.oauth": oauth, "kimi_cli.auth.platforms": platforms}
"""The Kimi CLI's modules, and their replacements."""


def install() -> None:
    """Puts our modules where the Kimi CLI imports its own from, and our log records into its log file; once is enough.

    Raises RuntimeError when the Kimi CLI has already loaded one of its own: other modules hold names from it by then.
    """
    for name, ours in REPLACED.items():
        if sys.modules.get(name, ours) is not ours:
            raise RuntimeError(f"{name} is loaded already: call install() before anything of kimi_cli is imported")
    sys.modules.update(REPLACED)
    log = logging.getLogger("kimi_auth")
    if not any(isinstance(handler, _HostLog) for handler in log.handlers):
        log.addHandler(_HostLog())
        log.setLevel(logging.INFO)
        log.propagate = False  # to the terminal, that is: it belongs to the host


class _HostLog(logging.Handler):
    """Hands records to the Kimi CLI's loguru once its app, which sends them to a file, is there; before that, they
    would be lost."""

    def emit(self, record: logging.LogRecord) -> None:
        loguru = sys.modules.get("loguru")
        if loguru is not None and "kimi_cli.app" in sys.modules:
            loguru.logger.opt(exception=record.exc_info).log(record.levelname, "{}", record.getMessage())

"""A loopback auth.kimi.com and coding API with an approval page, for experiments, demos and tests.

    from kimi_auth.testing.emulator import Emulator

    with Emulator(approve="auto", access_ttl_s=60) as emulator:
        ...  # emulator.base_url, .oauth_host, .api_base, .env, .state

`python -m kimi_auth.testing.emulator` runs the same as a program. `Emulator` needs the extra `emulator`; without it,
 importing the name raises `ExtraMissing`, an ImportError. `State`, `Settings`, `Reuse` and `Fault` need no
extra. Everything stays in memory, and no request reaches a real account.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kimi_auth.support.extras import install

if TYPE_CHECKING:
    from .authorization_server import State
    from .faults import Fault
    from .loopback import Emulator
    from .records import Reuse, Settings

__all__ = ["Emulator", "ExtraMissing", "Fault", "Reuse", "Settings", "State"]

_HOMES = {
    "Emulator": "loopback",
    "Fault": "faults",
    "Reuse": "records",
    "Settings": "records",
    "State": "authorization_server",
}
_EXTRA = {"starlette", "uvicorn"}


class ExtraMissing(ImportError):
    """The packages of the extra `emulator` are not installed; the message says how to install them."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(load(_HOMES[name]), name)


def load(module: str) -> Any:
    """Imports a module of the emulator. Raises ExtraMissing if starlette or uvicorn is not installed."""
    try:
        return importlib.import_module(f"{__name__}.{module}")
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        advice = f"the emulator needs {missing.name} ({install('emulator')})"
        raise ExtraMissing(advice, name=missing.name) from None

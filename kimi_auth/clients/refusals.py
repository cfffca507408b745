"""Objects that have a key and would not use a renewed one: refused when they are attached, with another way to sign them.

A key that is copied is the token of that moment, and gets a 401 later, when no one looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

__all__ = ["REFUSALS", "Refusal", "refusal_of"]

_BY_HTTP_CLIENT = "give it an http_client with auth=BearerAuth(session) when you make it"
_BY_CALL = "give the token with each call: api_key=session.access_token_sync()"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One kind of object. `why` and `instead` are parts of a sentence."""

    fits: Callable[[Any], bool]
    why: str
    instead: str


def _is_settings(it: Any) -> bool:
    """A pydantic model with a field for a key, as LlamaIndex and LangChain describe their models."""
    fields = getattr(type(it), "model_fields", None)
    return isinstance(fields, Mapping) and any(str(name).endswith("api_key") for name in fields)


def _is_of_the_process(it: Any) -> bool:
    """A module with a key, or an object that sends through one, as smolagents' LiteLLMModel does."""
    return any(isinstance(part, ModuleType) and hasattr(part, "api_key") for part in (it, getattr(it, "client", None)))


def _has_two_keys(it: Any) -> bool:
    """An object that has a key of its own beside that of its client: which one it sends is not known."""
    return "api_key" in getattr(it, "__dict__", ()) and hasattr(getattr(it, "client", None), "api_key")


REFUSALS = (
    Refusal(_is_settings, "it copies its key into the clients that it makes", _BY_HTTP_CLIENT),
    Refusal(
        _is_of_the_process,
        "it sends through a module, whose key the whole process has, for every host",
        f"{_BY_CALL}; or use a client that takes an http_client, with auth=BearerAuth(session)",
    ),
    Refusal(
        _has_two_keys, "it has a key of its own beside that of its client", f"attach its client; or {_BY_HTTP_CLIENT}"
    ),
)
"""The first row that fits decides; what fits none may be served."""


def refusal_of(it: object) -> Refusal | None:
    """Why an object with a key is refused; None if nothing is known against it."""
    return next((refusal for refusal in REFUSALS if refusal.fits(it)), None)

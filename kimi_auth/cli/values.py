"""Spares a command line the checks of pydantic where its values, texts and defaults, are right as they stand.

Typer (0.29) gives every value to pydantic, an option that was left out included, and pydantic takes longer to load than
`status` takes for all that it does. Where a value has to become something else, or is wrong, Typer goes on as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from kimi_auth.cli.declared import is_text

__all__ = ["leave_as_they_are"]


def leave_as_they_are(command: Any) -> None:
    """Has the parameters of a command, its --help included, take texts and defaults without a check."""
    command.get_params = partial(_params, command.get_params)


def _params(usual: Callable[[Any], list[Any]], ctx: Any) -> list[Any]:
    """Typer's own `get_params`: the parameters that it gives have been told to leave values as they are."""
    found = usual(ctx)
    for param in found:
        descriptor = getattr(param, "type_descriptor", None)  # versions of Typer without it do not ask pydantic
        if descriptor is not None and "process_value" not in vars(param):
            param.process_value = partial(_processed, param, descriptor.annotation, param.process_value)
    return found


def _processed(param: Any, kind: object, usual: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    """What Typer's own `process_value` would return, or raise."""
    takes_several = param.multiple or param.nargs == -1
    if param.required or not (value is None or value is param.default or _is_right(value, kind)):
        return usual(ctx, value)
    if takes_several:
        value = () if value is None else list(value)
    return param.callback(ctx, param, value) if param.callback is not None else value


def _is_right(value: object, kind: object) -> bool:
    if kind == list[str]:
        return isinstance(value, tuple | list) and all(_is_right(one, str) for one in value)
    return kind is str and isinstance(value, str) and is_text(value)

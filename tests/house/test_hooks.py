"""Every hook's docstring says what it touches, whether it may be repeated, and what each of its outcomes promises."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from kimi_auth.machine import Library
from kimi_auth.review.hooks import HOOKS

REPEATABLE = re.compile(r"repeat|after a crash", re.IGNORECASE)
CONTRACTS = {
    f"{name}.{state.activity}": getattr(HOOKS[name].contract, state.activity)
    for name, machine in Library.load().items()
    for state in machine.states.values()
    if state.activity
}


def outcomes(hook: Callable[..., Any]) -> set[str]:
    """The hook's own outcomes; the rest states of a child that it walks are the child's to explain."""
    answer = typing.get_type_hints(hook)["return"]
    if typing.get_origin(answer) is AbstractContextManager:
        (answer,) = typing.get_args(answer)
    return set(typing.get_args(typing.get_args(answer)[0]))


def lacking(hook: Callable[..., Any]) -> list[str]:
    """The parts that the hook's docstring does not have."""
    doc = inspect.getdoc(hook) or ""
    unexplained = sorted(outcome for outcome in outcomes(hook) if f"`{outcome}`" not in doc)
    return unexplained if REPEATABLE.search(doc) else [*unexplained, "whether it may be repeated"]


@pytest.mark.parametrize("hook", CONTRACTS.values(), ids=CONTRACTS)
def test_a_hook_says_its_promises(hook: Callable[..., Any]) -> None:
    """The contract of each activity explains each outcome by name and says whether the hook may be repeated."""
    assert lacking(hook) == []


def test_a_bare_hook_is_found() -> None:
    """Without a docstring every outcome lacks its explanation."""

    def inject(ctx: int, /) -> tuple[typing.Literal["injected", "kept"], int]:
        return "injected", ctx

    assert lacking(inject) == ["injected", "kept", "whether it may be repeated"]

"""What the source says of a hook: file, line and its contract's docstring, at the revision of the page."""

from __future__ import annotations

import inspect

from .hooks import HOOKS

__all__ = ["promise", "source_line"]


def source_line(machine: str, activity: str) -> str:
    """`kimi_auth/.../file.py#L12`, from the root of the checkout; "" for a hook that does not exist."""
    hook = getattr(HOOKS[machine].implementation, activity, None) if machine in HOOKS else None
    code = getattr(inspect.unwrap(hook), "__code__", None) if callable(hook) else None
    if hook is None or code is None:
        return ""
    return f"{inspect.unwrap(hook).__module__.replace('.', '/')}.py#L{code.co_firstlineno}"


def promise(machine: str, activity: str) -> str:
    """The docstring in the source of a hook's contract: what it touches, whether it may be repeated, what each outcome
    promises."""
    method = getattr(HOOKS[machine].contract, activity, None) if machine in HOOKS else None
    return inspect.getdoc(method) or "" if callable(method) else ""

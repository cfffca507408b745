"""Values of a command line that need no conversion are taken as Typer would have taken them."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from kimi_auth.cli.app import HOMES, program
from kimi_auth.cli.terminal import Terminal

VALUES: list[Any] = [
    None,
    "",
    "kimi-code",
    "你好",
    "a\udcffb",
    "~",
    "60",
    "nan",
    0.0,
    60.0,
    (),
    ("true", "-x"),
    ("a\udcffb",),
    True,
]
"""What a parser may hand over for some option or other; bytes that were no text are surrogates."""


def outcome(process: Any, ctx: typer.Context, value: Any) -> object:
    """The result for a value: itself with its type, or the message of its refusal."""
    try:
        found = process(ctx, value)
    except Exception as refusal:  # noqa: BLE001 - whatever Typer raises is compared
        return type(refusal), str(refusal)
    return type(found), found


@pytest.mark.parametrize("name", [None, *HOMES])
def test_it_is_what_typer_makes_of_it(name: str | None) -> None:
    """Every parameter of every command, --help included: each value, right or wrong, ends as it does in Typer alone."""
    group = program()
    command = group if name is None else group.commands[name]
    ctx = typer.Context(command, obj=Terminal(), resilient_parsing=False)
    for param in command.get_params(ctx):
        assert "process_value" in vars(param) or not hasattr(param, "type_descriptor")
        if param.name in {"help", "version", "install_completion", "show_completion"}:
            values: list[Any] = [None, False]  # what these say to True is written
        else:
            values = [*VALUES, param.default]
        for value in values:
            ours = outcome(param.process_value, ctx, value)
            theirs = outcome(lambda at, it: type(param).process_value(param, at, it), ctx, value)  # noqa: B023
            assert ours == theirs, (param.name, value)

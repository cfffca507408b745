"""Plain command lines are understood without Typer, and mean what Typer makes of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from kimi_auth.cli.declared import LANG, PLAIN, understood
from kimi_auth.cli.program import program

Run = Callable[..., Any]

STATUS: dict[str, object] = {
    "platform": None,
    "account": None,
    "home": None,
    "every": False,
    "verify": False,
    "json": False,
}
TOKEN: dict[str, object] = {
    "platform": None,
    "account": None,
    "home": None,
    "min_ttl": 0.0,
    "refresh": False,
    "json": False,
    "form": "plain",
    "operation": None,
}
RUN: dict[str, object] = {
    "platform": None,
    "account": None,
    "home": None,
    "env": [],
    "proxy": False,
    "brokered": False,
}

UNDERSTOOD: list[tuple[list[str], dict[str, object]]] = [
    (["status"], STATUS),
    (["status", "--json"], {**STATUS, "json": True}),
    (["status", "--platform", "acme", "--verify"], {**STATUS, "platform": "acme", "home": None, "verify": True}),
    (["status", "--lang", "zh", "--json"], {**STATUS, "json": True}),
    (["token"], TOKEN),
    (["token", "--refresh", "--json"], {**TOKEN, "refresh": True, "json": True}),
    (["token", "--min-ttl", "060", "--platform", "acme"], {**TOKEN, "min_ttl": 60.0, "platform": "acme"}),
    (["token", "--format", "kubectl"], {**TOKEN, "form": "kubectl"}),
    (["token", "erase", "--format", "git"], {**TOKEN, "form": "git", "operation": "erase"}),
    (["token", "--format", "docker", "list"], {**TOKEN, "form": "docker", "operation": "list"}),
    (["token", "--lang", "zh", "get"], {**TOKEN, "operation": "get"}),
    (["run", "--", "true"], {**RUN, "command": ["true"]}),
    (["run", "--", "sh", "-c", "x", "--", "--env"], {**RUN, "command": ["sh", "-c", "x", "--", "--env"]}),
    (
        ["run", "--env", "A_API_KEY", "--platform", "p", "--env", "B_API_KEY", "--", "true"],
        {**RUN, "platform": "p", "env": ["A_API_KEY", "B_API_KEY"], "command": ["true"]},
    ),
    (["run", "--proxy", "--", "true"], {**RUN, "proxy": True, "command": ["true"]}),
    (["run", "--brokered", "--", "true"], {**RUN, "brokered": True, "command": ["true"]}),
]

TYPERS = [
    [],
    ["--verbose", "status"],
    ["status", "-v"],
    ["status", "--help"],
    ["status", "--jso"],
    ["status", "--json", "--json"],
    ["status", "--platform"],
    ["status", "--platform", "--json"],
    ["status", "--platform", ""],
    ["status", "--platform=acme"],
    ["status", "--platform", "a\udcff"],
    ["status", "--lang", "fr"],
    ["status", "--lang=zh"],
    ["status", "--lang", "en", "--lang", "zh"],
    ["status", "--", "x"],
    ["status", "x"],
    ["token", ""],
    ["token", "get", "erase"],
    ["token", "--", "get"],
    ["token", "--min-ttl", "60.5"],
    ["token", "--min-ttl", "6e1"],
    ["token", "--min-ttl", "-1"],
    ["token", "--min-ttl", "\u0663"],
    ["token", "--min-ttl", "1000000000"],
    ["token", "--min-ttl", "60", "--min-ttl", "60"],
    ["token", "--format", "xml"],
    ["token", "--format"],
    ["token", "-V"],
    ["run"],
    ["run", "--"],
    ["run", "true"],
    ["run", "--env", "--", "true"],
    ["run", "--json", "--", "true"],
]


LONGEST: tuple[list[str], dict[str, object]] = (
    ["token", "--min-ttl", "999999999"],
    {**TOKEN, "min_ttl": 999999999.0},
)
"""A session says but once that no token lives that long, so this line is not for `test_both_ways_say_the_same`."""


@pytest.mark.parametrize(("argv", "values"), [*UNDERSTOOD, LONGEST])
def test_a_plain_line(argv: list[str], values: dict[str, object]) -> None:
    """What leaves no doubt gives the arguments of the command's function."""
    assert understood(argv) == (PLAIN[argv[0]], values)


@pytest.mark.parametrize("argv", TYPERS)
def test_any_other_line_is_typers(argv: list[str]) -> None:
    """Other spellings, mistakes and the options of every command are read by Typer, and refused with its messages."""
    assert understood(argv) is None


@pytest.mark.parametrize("name", PLAIN)
def test_typer_declares_the_same(name: str) -> None:
    """Flag, help, value and repetition of each option are those of the data, and no option is missing there."""
    options = {**PLAIN[name].options, "lang": LANG}
    declared = {one.flag: one for one in options.values()}
    typed = {one.opts[0]: one for one in program().commands[name].params if one.opts[0].startswith("--")}
    assert typed.keys() - {"--verbose", "--version", "--help"} == declared.keys()
    for flag, option in declared.items():
        one = typed[flag]
        assert (one.help, one.multiple, one.is_flag) == (option.help, option.is_repeated, not option.metavar)
        assert option.default is None or one.default == option.default
        assert options[one.name] == option
    words = {one.name for one in program().commands[name].params if one.param_type_name == "argument"}
    assert words == {"command" if PLAIN[name].takes_command else PLAIN[name].argument} - {""}
    assert callable(getattr(import_module(f"kimi_auth.cli.{PLAIN[name].module}"), name))


@pytest.mark.parametrize("argv", [argv for argv, _ in UNDERSTOOD])
def test_both_ways_say_the_same(kimi: Run, monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    """Status and output of a plain line do not tell which way it went, for a login and for a platform that is not known."""
    kimi("login")
    here = kimi(*argv)
    monkeypatch.setattr("kimi_auth.cli.app.understood", lambda _args: None)
    typed = kimi(*argv)
    assert (typed.status, typed.err) == (here.status, here.err)
    assert [line.partition(":")[0] for line in typed.out.splitlines()] == [
        line.partition(":")[0] for line in here.out.splitlines()
    ]

"""Where platforms come from: the built-in text, the user's file, other packages; and their possible mistakes."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.errors import ConfigError
from kimi_auth.platforms import Registry, registry

BUILT_IN = tuple(platform.id for platform in registry.all())


def text_of(*ids: str) -> str:
    entries = (
        f'[platforms.{name}]\nname = "{name.title()}"\nauth = "api_key"\napi_base = "https://{name}.example/v1"\n'
        for name in ids
    )
    return "v = 1\n" + "".join(entries)


def text_from_a_function() -> str:
    return text_of("called")


def device(*lines: str) -> str:
    """A platform with a sign-in, whose [oauth] has these lines."""
    oauth = "\n".join(["[platforms.x.oauth]", 'client_id = "c"', *lines])
    return text_of("x").replace("api_key", "device") + oauth + "\n"


HOST, ISSUER = 'host = "https://a.example"', 'issuer = "https://a.example"'
TEXT = text_of("brought")
BROKEN = "v = 1\n[platforms.x]\nname = 5\n"
CLASH = text_of("kimi-code", "brought")
NUMBER = 7


def fails() -> str:
    raise RuntimeError("secret detail")


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs packages with these objects of this module as entry points, by name."""

    def install(**objects: str) -> None:
        found = EntryPoints(
            EntryPoint(name, f"{__name__}:{value}", registry.ENTRY_POINTS) for name, value in objects.items()
        )
        monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[self.attr])
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: found.select(group=group))

    return install


def ids(known: Registry) -> tuple[str, ...]:
    return tuple(platform.id for platform in known.all())


def test_nothing_added(share: Path) -> None:
    """Without a file and packages there are the built-in ones, and no problem."""
    for known in (Registry(share), Registry()):
        assert (ids(known), known.problems) == (BUILT_IN, ())


def test_the_order_is_fixed(share: Path, packages: Callable[..., None]) -> None:
    """Built in, then the user's in the order of the file, then packages' by the names of their entry points."""
    (share / "platforms.toml").write_text(text_of("zeta", "alpha"))
    packages(b="TEXT", a="text_from_a_function")
    known = Registry(share)
    assert ids(known) == (*BUILT_IN, "zeta", "alpha", "called", "brought")
    assert known.problems == ()
    assert known.get("alpha").api_base == "https://alpha.example/v1"
    assert registry.get("brought").name == "Brought"


def test_rules_are_inherited(share: Path) -> None:
    """A platform without capability rules has those that are built in."""
    (share / "platforms.toml").write_text(text_of("mine"))
    assert Registry(share).get("mine").capability_rules == registry.get("kimi-code").capability_rules


def test_an_issuer_in_the_place_of_paths(share: Path) -> None:
    """Where only the issuer is said, there are no URLs: its metadata has them."""
    (share / "platforms.toml").write_text(device(ISSUER))
    oauth = Registry(share).get("x").oauth
    assert oauth is not None
    assert (oauth.host, oauth.device_authorization_url, oauth.token_url) == ("https://a.example", "", "")


PROBLEMS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "not TOML": (lambda path: path.write_text("[broken\n"), "at line 1"),
    "not UTF-8": (lambda path: path.write_bytes(b"\xff"), "platforms.toml"),
    "a wrong value": (lambda path: path.write_text(BROKEN), "platforms.x.name"),
    "http": (lambda path: path.write_text(text_of("x").replace("https", "http")), "platforms.x.api_base"),
    "an id that is no id": (lambda path: path.write_text(text_of('"A B"')), "platforms"),
    "an unknown key": (lambda path: path.write_text(text_of("x") + "api_bse = 1\n"), "platforms.x.api_bse"),
    "another version": (lambda path: path.write_text("v = 2\n"), "v"),
    "one path of two": (lambda path: path.write_text(device(HOST, 'token_path = "/t"')), "needs both"),
    "host and issuer": (lambda path: path.write_text(device(HOST, ISSUER)), "platforms.x.oauth"),
    "neither": (lambda path: path.write_text(device()), "platforms.x.oauth"),
    "an issuer on plain http": (
        lambda path: path.write_text(device(ISSUER.replace("https", "http"))),
        "must be an https",
    ),
    "a directory": (lambda path: path.mkdir(), "is a directory"),
    "a pipe": (os.mkfifo, "is a FIFO"),
    "too large": (lambda path: path.write_bytes(b"#" * ((1 << 20) + 1)), "more than"),
    "a built-in id": (lambda path: path.write_text(text_of("kimi-code", "x")), "kimi-code: that id is taken"),
}


@pytest.mark.parametrize(("place", "words"), PROBLEMS.values(), ids=PROBLEMS)
def test_a_file_with_a_problem(share: Path, place: Any, words: str) -> None:
    """The file is named with its mistake; built-in platforms are as they were, and used without a look at it."""
    place(share / "platforms.toml")
    known = Registry(share)
    assert known.get("kimi-code") == registry.get("kimi-code")
    (problem,) = known.problems
    assert str(share / "platforms.toml") in problem.message
    assert words in problem.message
    assert (problem.exit_status, bool(problem.hint), "\n" in problem.line) == (9, True, False)
    of_one = ": platforms." in problem.message
    if of_one:
        assert known.find("mine") is None
    if not of_one or "platforms.x" in problem.message:
        with pytest.raises(ConfigError) as caught:
            known.get("x" if of_one else "mine")
        assert caught.value.message == problem.message


def test_a_wrong_table_costs_one_platform(share: Path) -> None:
    """The other platforms of the file are used as if it were not there."""
    (share / "platforms.toml").write_text(text_of("before") + BROKEN.removeprefix("v = 1\n") + text_of("after")[6:])
    known = Registry(share)
    assert ids(known) == (*BUILT_IN, "before", "after")
    with pytest.raises(ConfigError, match=r"platforms\.x\.name"):
        known.get("x")
    with pytest.raises(ConfigError, match="no platform is called 'other'"):
        known.get("other")


def test_a_file_that_may_not_be_read(share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal of the system is reported with its own message and the next step."""
    real = os.open

    def refuse(path: Any, *rest: Any, **options: Any) -> int:
        if str(path).endswith("platforms.toml"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)
    (problem,) = Registry(share).problems
    assert "permission denied" in problem.message
    assert "ls -ld" in problem.hint


def test_packages_with_problems(share: Path, packages: Callable[..., None]) -> None:
    """One package's error affects no other: the others' platforms are there, and nothing of its inside is shown."""
    packages(a="fails", b="NUMBER", c="BROKEN", d="TEXT", e="CLASH")
    known = Registry(share)
    assert ids(known) == (*BUILT_IN, "brought")
    told = [problem.message for problem in known.problems]
    assert len(told) == 5
    assert "RuntimeError" in told[0]
    assert "TypeError" in told[1]
    assert "platforms.x.name" in told[2]
    assert "that id is taken" in told[3]
    assert "secret detail" not in "".join(told)
    assert all(f"the package {__name__}" in message for message in told)

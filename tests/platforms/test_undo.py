"""Several logins in one config: whatever the order in which they come and go, the user's own values come back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_auth.models import ConfigFile, ModelEntry, holds, plan
from kimi_auth.models.tomltext import REMOVED, Edit, edited, loads
from kimi_auth.models.undo import UndoFile
from kimi_auth.platforms import Platform, registry

KIMI, KEYED = registry.get("kimi-code"), registry.get("moonshot-cn")
ACME = KIMI._replace(id="acme", search_path=None)
PLATFORMS = (KIMI, ACME, KEYED)
MODELS = {
    KIMI.id: (ModelEntry(id="kimi-a", supports_reasoning=True), ModelEntry(id="kimi-b")),
    ACME.id: (ModelEntry(id="kimi-a", supports_reasoning=True),),
    KEYED.id: (ModelEntry(id="kimi-k9"),),
}
NEWER = {
    KIMI.id: (ModelEntry(id="kimi-c"),),
    ACME.id: (ModelEntry(id="kimi-c"),),
    KEYED.id: (ModelEntry(id="kimi-k8"),),
}
OWN = '[providers.mine]\ntype = "kimi"\nbase_url = "b"\napi_key = "k"\n' + "".join(
    f'\n[models.{name}] # mine\nprovider = "mine"\nmodel = "{name}"\nmax_context_size = 5\n' for name in ("m1", "m2")
)
STARTS = {
    "none": None,
    "a comment": "# mine\n",
    "own thinking": "default_thinking = false\n",
    "own models": OWN,
    "own default": f'default_model = "m2" # slow\ndefault_thinking = false\n\n{OWN}',
    "own default, thinking": f"default_thinking = true\ndefault_model = 'm2'\n{OWN}",
    "a default that is gone": 'default_model = "gone"\n',
}


def sign_in(file: ConfigFile, platform: Platform) -> None:
    """A login; the platform without OAuth gets a key."""
    key = "sk-1" if platform.oauth is None else None
    file.apply(lambda config: plan(config, platform, MODELS[platform.id], reason="login", api_key=key))


def sync(file: ConfigFile, platform: Platform) -> None:
    """Its models have changed since."""
    file.apply(lambda config: plan(config, platform, NEWER[platform.id], reason="sync"))


def choose(file: ConfigFile, model: Any) -> None:
    """The user sets a default model, or removes it."""
    text = file.path.read_text() if file.path.exists() else ""
    file.path.write_text(edited(text, [Edit(("default_model",), model)]))


def content_of(file: ConfigFile) -> str | None:
    """The text, None if there is no file."""
    return file.path.read_text() if file.path.exists() else None


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("then", [None, sync, sign_in], ids=["at once", "synced", "signed in again"])
def test_every_order(share: Path, start: str | None, then: Callable[[ConfigFile, Platform], None] | None) -> None:
    """Signed in one after another and out in any order, with syncs and second logins between: the very bytes of before."""
    for order in permutations(PLATFORMS):
        file = ConfigFile(share)
        if start is not None:
            file.path.write_text(start)
        for platform in PLATFORMS:
            sign_in(file, platform)
        for platform in PLATFORMS if then is not None else ():
            then(file, platform)
        for platform in order:
            file.revert(platform)
            assert not holds(file.read(), platform)
        assert content_of(file) == start
        assert not UndoFile(share).path.exists()


@pytest.mark.parametrize(("model", "thinking"), [("m1", False), ("m2", True), ("", False), (REMOVED, None)])
def test_default_chosen_since(share: Path, model: Any, thinking: bool | None) -> None:
    """A default model that the user has chosen since the login stays, and `default_thinking` goes back all the same."""
    file = ConfigFile(share)
    file.path.write_text(OWN if thinking is None else f"default_thinking = {str(thinking).lower()}\n{OWN}")
    sign_in(file, KIMI)
    choose(file, model)
    file.revert(KIMI)
    assert file.read().get("default_model", REMOVED) == model
    assert file.read().get("default_thinking") is thinking


def test_thinking_chosen_since(share: Path) -> None:
    """`default_thinking` stays where the user has changed it since the login."""
    file = ConfigFile(share)
    file.path.write_text(f"default_thinking = true\n{OWN}")
    sign_in(file, KIMI)
    file.path.write_text(file.path.read_text().replace("default_thinking = true", "default_thinking = false"))
    file.revert(KIMI)
    assert file.read()["default_thinking"] is False


def test_what_is_remembered_holds_no_key_of_a_login(share: Path) -> None:
    """An API key that a login has put into config.toml is in no remembered text, whatever the order of logins."""
    for order in permutations(PLATFORMS):
        file = ConfigFile(share)
        for platform in order:
            sign_in(file, platform)
            assert b"sk-1" not in (UndoFile(share).read().before or b"")
        for platform in order:
            file.revert(platform)


def test_a_default_between_two_logins(share: Path) -> None:
    """A login that goes gives back the default that it found; the one below it goes first and hands down its own."""
    for order in ((KIMI, ACME), (ACME, KIMI)):
        file = ConfigFile(share)
        file.path.write_text(f"default_thinking = false\n{OWN}")
        sign_in(file, KIMI)
        choose(file, "m2")
        sign_in(file, ACME)
        for platform in order:
            file.revert(platform)
            default = file.read()["default_model"]
            assert default == ("m2" if platform is ACME or order[1] is platform else "acme/kimi-a")
        assert file.read()["default_thinking"] is False


def test_a_remembered_text_that_is_spoiled(share: Path) -> None:
    """It disturbs no other login: the others come and go, and its own logout takes out its tables."""
    file = ConfigFile(share)
    file.path.write_text(OWN)
    sign_in(file, ACME)
    path = UndoFile(share).path
    path.write_text(path.read_text().replace('"before":"', '"before":"YT0='))
    for step in (sign_in, sync, ConfigFile.revert):
        step(file, KIMI)
    assert holds(file.read(), ACME)
    file.revert(ACME)
    left = file.read()
    assert (left["models"], left["providers"]) == (loads(OWN)["models"], loads(OWN)["providers"])


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("order", [(KIMI, ACME), (ACME, KIMI)], ids=["kimi first", "acme first"])
@pytest.mark.parametrize("cut_short", [sign_in, ConfigFile.revert], ids=["login", "logout"])
def test_crash_between_undo_and_config(
    share: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[Platform, ...], cut_short: Any
) -> None:
    """A write that ends when only the undo is on disk takes no other login along, and the user's values come back."""

    def crash(*_: object) -> None:
        raise Crash

    file = ConfigFile(share)
    start = STARTS["own default"] or ""
    file.path.write_text(start)
    for platform in (KIMI, ACME):
        sign_in(file, platform)
    with monkeypatch.context() as patch:
        patch.setattr(ConfigFile, "_replace", crash)
        with pytest.raises(Crash):
            cut_short(file, KIMI)
    first, second = order
    file.revert(first)
    assert holds(file.read(), second)
    file.revert(second)
    assert loads(file.path.read_text()) == loads(start)


STEPS = st.one_of(
    st.tuples(st.sampled_from(["in", "in", "out", "sync"]), st.sampled_from(PLATFORMS)),
    st.tuples(st.just("choose"), st.sampled_from(["m1", "m2", "", REMOVED])),
    st.tuples(st.just("write"), st.just("# by hand\n")),
)


@settings(deadline=None)
@given(st.sampled_from(list(STARTS.values())), st.lists(STEPS, max_size=9), st.permutations(PLATFORMS))
def test_any_life(start: str | None, steps: list[tuple[str, Any]], last: list[Platform]) -> None:
    """Any logins, logouts, syncs and edits: in the end the user's own last values stand, and without edits the same bytes."""
    with tempfile.TemporaryDirectory() as directory:
        file = ConfigFile(Path(directory))
        if start is not None:
            file.path.write_text(start)
        first = loads(start or "")
        model, thinking, is_edited = first.get("default_model", REMOVED), first.get("default_thinking"), False
        stack: list[Platform] = []
        for step, what in [*steps, *(("out", platform) for platform in last)]:
            if step == "choose" and what in ("", REMOVED, *first.get("models", ())) and content_of(file) is not None:
                choose(file, what)
                model, is_edited = what, True
            elif step == "write":
                file.path.write_text((content_of(file) or "") + what)
                is_edited = True
            elif step in {"in", "out"}:
                stack = [platform for platform in stack if platform is not what]
                if step == "in":
                    sign_in(file, what)
                    stack.append(what)
                else:
                    file.revert(what)
            elif step == "sync":
                sync(file, what)
            config = file.read()
            assert [platform for platform in PLATFORMS if holds(config, platform)] == [
                platform for platform in PLATFORMS if platform in stack
            ]
            assert not stack or config.get("default_model", "") in ("", *config["models"])
            if stack and not is_edited:
                assert config["default_model"].startswith(f"{stack[-1].id}/")
                assert config["default_thinking"] is (stack[-1] is not KEYED)
        if not is_edited:
            assert content_of(file) == start
        elif model != "gone":
            assert (config.get("default_model", REMOVED), config.get("default_thinking")) == (model, thinking)
            assert (content_of(file) or "").count("# by hand") == sum(step == "write" for step, _ in steps)
        assert set(config) - {"default_model", "default_thinking"} == set(first) - {"default_model", "default_thinking"}

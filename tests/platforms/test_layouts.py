"""Config files as people write them: login, sync and logout leave everything in them that is not ours."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import tomlkit
from tomlkit.exceptions import TOMLKitError

from kimi_auth.models import ConfigFile, ModelEntry, has_login, holds, plan, unplan
from kimi_auth.models.tomlscan import scan
from kimi_auth.platforms import Platform

MANAGED = '"managed:kimi-code"'
MODEL = '"kimi-code/kimi-for-coding"'
PROVIDER = f'[providers.{MANAGED}]\ntype = "kimi"\nbase_url = "https://old.example/v1"\napi_key = ""\n'
OLD_MODEL = f'[models."kimi-code/old"]\nprovider = {MANAGED}\nmodel = "old"\nmax_context_size = 1_000\n'
MINE = '[providers.mine]\ntype = "openai_legacy"\nbase_url = "http://localhost"\napi_key = "k"\n'
MY_MODEL = '[models.m]\nprovider = "mine"\nmodel = "m"\nmax_context_size = 0x1_000\n'

LAYOUTS = {
    "empty": "",
    "one newline": "\n",
    "only a comment": "# mine",
    "only comments": "# mine\n\n# more\n",
    "white space": "  \n\t\n",
    "a key": "theme = 'dark'",
    "a key with a comment": "theme = 'dark' # at night\n",
    "defaults, empty": 'default_model = ""\ndefault_thinking = false # slow\n',
    "default in single quotes": f"default_model = 'm' # mine\n{MINE}{MY_MODEL}",
    "default is a multi-line string": f'default_model = """\nm"""\n{MINE}{MY_MODEL}',
    "default does not exist": 'default_model = "gone"\n',
    "title and table": f"# My Kimi\n\n# the local one\n{MINE}",
    "comment touching the first table": f"# the local one\n{MINE}",
    "indented": '  default_yolo = true\n  [providers]\n    [providers.mine]\n      type = "kimi" # y\n      base_url = "b"\n      api_key = "k"\n  [models]\n    # none\n',
    "no newline at the end": MINE.rstrip(),
    "many blank lines at the end": MINE + "\n\n\n",
    "CRLF": f"# a\n\n{MINE}\n{MY_MODEL}".replace("\n", "\r\n"),
    "CRLF, no newline at the end": f"theme = 'dark'\n{MINE}".replace("\n", "\r\n").rstrip(),
    "BOM": "\ufefftheme = 'dark'\n" + MINE,
    "BOM and table": "\ufeff" + MINE,
    "BOM alone": "\ufeff",
    "umlauts and emoji": "# Grüße 🌙\ntheme = 'dark' # 月\n",
    "line separators in comments": "# a\u2028b\x85c\n[mcp]\n",
    "number styles": "[loop_control]\nmax_steps_per_turn = 1_000\nratio = 8.50e-1\nbig = 0xFF\nbad = nan\nlow = -inf\nneg = -0.0\n",
    "dates": "a = 1979-05-27 07:32:00 # a space in a value\nb = 1979-05-27T07:32:00.5Z\nc = 07:32:00\nd=1979-05-27\n",
    "multi-line strings": 'a = """\n[providers.x]\ndefault_model = "no"\n"""\nb = \'\'\'\n# "no\' comment\n\'\'\'\n[mcp]\n',
    "quotes at the end of strings": 'a = """x"""""\nb = \'\'\'y\'\'\'\'\'\nc = ""\nd = \'\'\ne = """"""\n[mcp]\nf = 1\n',
    "escapes": 'a = "\\"[x]\\\\" # "\nb = "\\u0041 = \\U0001F319"\n"c\\"d" = 1\n"" = 2\n[mcp]\n',
    "arrays": 'a = [ # [x]\n  "]", \'[\', # ]\n  [1, 2,], {b = "}"},\n]\n[mcp]\nc = []\n',
    "array of tables": '[[hooks]]\nevent = "Stop"\ncommand = "true"\n[hooks.env]\na = 1\n\n[[hooks]]\nevent = "Stop"\ncommand = "x"\n',
    "array of tables last": f'{MINE}\n[[hooks]]\nevent = "Stop"\ncommand = "true" # here',
    "dotted at the top": 'providers.mine.type = "kimi"\ntheme = "dark"\nproviders.mine.api_key = "k"\nproviders.mine.base_url = "b"\n',
    "dotted at the top, tables after": 'providers.mine.type = "kimi"\nproviders.mine.api_key = "k"\nproviders.mine.base_url = "b"\n[mcp.client]\ntool_call_timeout_ms = 1\n',
    "dotted below a header": '[providers]\nmine.type = "kimi"\nmine.api_key = "k"\nmine.base_url = "b"\n[models]\nm.provider = "mine"\nm.model = "m"\nm.max_context_size = 5\n',
    "dotted, ours": f'providers.{MANAGED}.type = "kimi"\nproviders.{MANAGED}.env.A = "b"\ntheme = "dark"\n',
    "dotted below ours": f'{PROVIDER}oauth.key = "oauth/kimi-code" # old\noauth.storage = "keyring"\n[mcp]\n',
    "spaces in keys": f'[ providers . {MANAGED} ]\n"type"="kimi"\n[  providers.\'mine\'  ]  # c\ntype = "kimi"\nbase_url = "b"\napi_key = "k"\n',
    "quoted differently": "[\"providers\".'managed:kimi-code']\n'type' = 'kimi'\n\"base_url\" = 'x'\n[mcp]\n",
    "inline providers": 'providers = { mine = { type = "kimi", base_url = "b", api_key = "k", n = 0x1F } } # one line\ntheme = "dark"\n',
    "inline providers, ours too": f'providers = {{ mine = {{ type = "kimi", base_url = "b", api_key = "k" }}, {MANAGED} = {{ type = "kimi", base_url = "b", api_key = "", env = {{ A = "b" }} }} }}\n',
    "inline everything, empty": "providers = {}\nmodels = { }\nservices = {}\n",
    "inline below a header": f'[providers]\nmine = {{ type = "kimi", base_url = "b", api_key = "k" }}\n{MANAGED} = {{ type = "kimi", base_url = "old", api_key = "" }} # ours\n',
    "inline with a list": 'providers = { mine = { type = "kimi", base_url = "b", api_key = "k", tags = [\n  "a", # b }\n  "c",\n] } }\n',
    "empty headers": "[providers]\n[models]\n[services]\n",
    "super-table after its child": f"{MINE}[providers]\n# all of them\n[models]\n{MY_MODEL}",
    "only a child of ours": f'[providers.{MANAGED}.custom_headers]\nX-Team = "red"\n',
    "scattered": f"{MINE}\n[mcp]\na = 1\n\n{OLD_MODEL}\n[loop_control]\nb = 1\n{PROVIDER}\n# end",
    "ours in the middle": f"{MINE}\n{PROVIDER}\n{OLD_MODEL}\n{MY_MODEL}",
    "ours with extra keys": f'{PROVIDER}env = {{ A = "b" }} # keep\n[providers.{MANAGED}.custom_headers]\nX = "1"\n',
    "ours with a comment inside": f'{PROVIDER}# a proxy:\n# base_url = "http://proxy"\n\n# mine\n{MINE}',
    "as the Kimi CLI writes it": (
        f'default_model = "kimi-code/old"\ndefault_thinking = true\n\n[models."kimi-code/old"]\nprovider = {MANAGED}\n'
        f'model = "old"\nmax_context_size = 1000\ncapabilities = [\n    "image_in",\n    "thinking",\n]\n\n{PROVIDER}\n'
        f'[providers.{MANAGED}.oauth]\nstorage = "file"\nkey = "oauth/kimi-code"\n\n[services.moonshot_search]\n'
        'base_url = "https://api.kimi.com/coding/v1/search"\napi_key = ""\n\n[services.moonshot_search.oauth]\n'
        'storage = "file"\nkey = "oauth/kimi-code"\n\n[mcp.client]\ntool_call_timeout_ms = 60000\n'
    ),
    "my own search": '[services.moonshot_search]\nbase_url = "http://mine"\napi_key = "k"\n',
    "my name for a model of theirs": f'default_model = "k"\n{PROVIDER}[models.k]\nprovider = "managed:kimi-code"\nmodel = "kimi-lite"\nmax_context_size = 9\n',
    "model with my key": f'{PROVIDER}[models.{MODEL}]\nprovider = {MANAGED}\nmodel = "kimi-for-coding"\nmax_context_size = 1 # small\ncolour = "red"\n',
    "my own key for their platform": (
        f'default_model = "k"\n\n[providers.{MANAGED}] # mine\ntype = "kimi"\nbase_url = "https://old.example/v1"\n'
        f'api_key = "sk-mine"\ncustom_headers = {{ X = "y" }}\n\n[models.k]\nprovider = {MANAGED}\nmodel = "kimi-for-coding"\n'
        f"max_context_size = 9\n\n{OLD_MODEL}"
    ),
    "odd names": f'{MINE.replace("mine", chr(34) + "a.b [c] = #" + chr(34))}["models"."x\\ty"]\nprovider = "a.b [c] = #"\nmodel = "x"\nmax_context_size = 5\n',
}

# Layouts of which the surgical logout leaves other bytes than the login found, and why.
REWRITTEN = {
    "default is a multi-line string": "the old value comes back as an ordinary string",
    "default in single quotes": "the old value comes back in double quotes",
    "inline everything, empty": "an emptied inline table is `{ }`",
    "default does not exist": "a default that does not exist is not put back",
}


def foreign(text: str) -> list[tuple[tuple[str, ...], str]]:
    """Every pair that is not ours, as it is spelled, in order."""
    body = text.removeprefix("\ufeff")
    mine = {"managed:kimi-code", "moonshot_search", "moonshot_fetch", "default_model", "default_thinking"}
    return [
        (node.path, body[node.start : node.end])
        for node in scan(body)
        if node.is_pair
        and not (node.is_inline_table and len(node.path) <= 2)
        and not mine & set(node.path)
        and not (node.path[0] == "models" and node.path[1].startswith("kimi-code/") and node.path[2:] != ("colour",))
    ]


def loaded(text: str) -> dict[str, Any]:
    """The layout as plain data."""
    return tomllib.loads(text.removeprefix("\ufeff"))


@pytest.mark.parametrize("text", LAYOUTS.values(), ids=LAYOUTS)
def test_login_sync_logout(file: ConfigFile, kimi: Platform, models: tuple[ModelEntry, ...], text: str) -> None:
    """Each step says what its plan says, keeps every foreign line, and the logout gives the same bytes back, but for an earlier login."""
    file.path.write_bytes(text.encode())
    config = file.read()
    file.writable(lambda config: plan(config, kimi, models, reason="login"))

    file.apply(lambda config: plan(config, kimi, models, reason="login"))

    written = file.path.read_bytes().decode()
    assert not plan(file.read(), kimi, models, reason="login")
    assert set(config) - {"default_model"} <= set(file.read())
    comments = re.findall(r"#[^\n\r]*", text)
    assert sorted(re.findall(r"#[^\n\r]*", written)) == sorted(comments)
    assert written.startswith("\ufeff") == text.startswith("\ufeff")
    assert "\n" not in written.replace("\r\n", "") if "\r\n" in text else "\r" not in written
    assert foreign(written) == foreign(text)
    try:
        before = tomlkit.loads(text).unwrap()
    except TOMLKitError:
        before = None
    if before is not None and repr(before) == repr(tomllib.loads(text)):
        assert repr(tomlkit.loads(written).unwrap()) == repr(tomllib.loads(written))

    newer = (*models[1:], ModelEntry(id="kimi-new", context_length=5))
    synced = file.apply(lambda config: plan(config, kimi, newer, reason="sync"))
    assert synced.default_after in {"kimi-code/kimi-lite", "k"}
    assert "kimi-code/kimi-for-coding" not in file.read()["models"]

    file.revert(kimi)
    if has_login(config, kimi):
        assert not holds(file.read(), kimi)
        kept = foreign(file.path.read_bytes().decode())
        assert all(path[0] == "models" for path, _ in set(foreign(text)) - set(kept)), "a model goes with its provider"
    else:
        assert file.path.read_bytes() == text.encode()
    assert not (file.share_dir / "kimi-auth" / "undo.json").exists()


@pytest.mark.parametrize(("name", "text"), LAYOUTS.items(), ids=LAYOUTS)
def test_logout_after_a_change_by_hand(
    file: ConfigFile, kimi: Platform, models: tuple[ModelEntry, ...], name: str, text: str
) -> None:
    """When a user has edited the file since, logout takes out our parts only, and the edit stays."""
    file.path.write_bytes(text.encode())
    newline = "\r\n" if "\r\n" in text else "\n"
    file.apply(lambda config: plan(config, kimi, models, reason="login"))
    with file.path.open("ab") as out:
        out.write(f"[by_hand] # me{newline}".encode())

    file.revert(kimi)

    left = file.path.read_bytes().decode()
    assert not has_login(file.read(), kimi)
    if holds(loaded(text), kimi) and not has_login(loaded(text), kimi):
        given_back = loaded(text)["providers"][kimi.provider_key]
        assert file.read()["providers"][kimi.provider_key] == given_back, "it was the user's own"
        assert file.read().get("models") == loaded(text).get("models")
        return
    assert "kimi-code" not in str(file.read())
    if not has_login(loaded(text), kimi) and name not in REWRITTEN:
        assert left.replace(newline, "") == f"{text}[by_hand] # me{newline}".replace(newline, "")
        assert repr(file.read()) == repr(tomllib.loads(f"{text.removeprefix(chr(0xFEFF))}{newline}[by_hand]"))


@pytest.mark.parametrize(("name", "text"), LAYOUTS.items(), ids=LAYOUTS)
def test_logout_without_undo(
    file: ConfigFile, kimi: Platform, models: tuple[ModelEntry, ...], name: str, text: str
) -> None:
    """Where the undo is lost, logout still leaves a file with nothing of ours and all of the others' tables."""
    file.path.write_bytes(text.encode())
    config = file.read()
    file.apply(lambda config: plan(config, kimi, models, reason="login"))
    (file.share_dir / "kimi-auth" / "undo.json").unlink()

    change = file.revert(kimi)

    assert set(change.removed) >= {"kimi-code/kimi-for-coding", "kimi-code/kimi-lite"}
    ours = {"default_model", "default_thinking", "providers", "models", "services"}
    assert repr({k: v for k, v in file.read().items() if k not in ours}) == repr(
        {k: v for k, v in config.items() if k not in ours}
    )
    assert not unplan(file.read(), kimi)


REFUSED = {
    "providers is a list": "providers = []\n",
    "providers is an array of tables": '[[providers]]\nname = "x"\n',
    "our provider is a number": f"[providers]\n{MANAGED} = 1\n",
    "our model is a string": f'models = {{ {MODEL} = "x" }}\n',
    "services is a string": 'services = "none"\n',
    "the default is a table": '[default_model]\nname = "x"\n',
    "our provider is an array of tables": f"[[providers.{MANAGED}]]\n",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_refused_layouts(
    file: ConfigFile, kimi: Platform, models: tuple[ModelEntry, ...], text: str, config_error: Callable[..., object]
) -> None:
    """A file in which our keys hold something else is refused before the approval, and never written."""
    file.path.write_text(text)
    for attempt in (file.writable, file.apply):
        config_error(attempt, lambda config: plan(config, kimi, models, reason="login"))
    assert file.path.read_text() == text

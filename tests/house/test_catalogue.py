"""The catalogue of translated messages is whole, and the tool that says so finds each kind of mistake."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).parents[2]
SOURCE = """
class KimiAuthError(Exception):
    default_hint = tr("sign in: kimi-auth login")

class Broken(KimiAuthError): ...

raise Broken(tr("{path} is broken", path="p"), hint=tr("repair it") if x else "kimi-auth login")
"""
TRANSLATED = {
    "sign in: kimi-auth login": "请登录：kimi-auth login",
    "{path} is broken": "{path} 已损坏",
    "repair it": "请修复",
}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("catalogue_tool", CHECKOUT / "tools" / "catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path: Path, tool: ModuleType) -> Path:
    """A package of one module whose three sentences are translated."""
    folder = tmp_path / "kimi_auth" / "locale" / "zh" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (tmp_path / "kimi_auth" / "errors.py").write_text(SOURCE)
    shutil.copy(CHECKOUT / "kimi_auth/locale/zh/LC_MESSAGES/kimi_auth.po", folder)
    entries = "\n\n".join(f'msgid "{english}"\nmsgstr "{chinese}"' for english, chinese in TRANSLATED.items())
    header = (folder / "kimi_auth.po").read_text("utf-8").partition("\n\n")[0]
    (folder / "kimi_auth.po").write_text(f"{header}\n\n{entries}\n", "utf-8")
    assert tool.main(["--update", str(tmp_path)]) == 0
    return tmp_path


def test_every_sentence_is_translated(tool: ModuleType) -> None:
    """Each sentence of the source is marked and has its Chinese, with its placeholders, compiled; nothing is left over."""
    assert list(tool.findings(CHECKOUT)) == []


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("is broken", "is torn", "kimi_auth.po: no translation: '{path} is torn' (kimi_auth/errors.py)"),
        ("is broken", "is torn", "kimi_auth.po: no code has it: '{path} is broken'"),
        ('path="p"', 'file="p"', "is given ['file'], not ['path']"),
        ('tr("{path} is broken", path="p")', '"it is broken"', "errors.py:7: not marked: 'it is broken'"),
        ('tr("{path} is broken", path="p")', 'f"{p} is broken"', "errors.py:7: not marked: f'{p} is broken'"),
        ('tr("repair it")', '"repair it"', "errors.py:7: not marked: 'repair it'"),
        (
            'default_hint = tr("sign in: kimi-auth login")',
            'default_hint = "sign in"',
            "errors.py:3: not marked: 'sign in'",
        ),
        (
            'default_hint = tr("sign in: kimi-auth login")',
            'default_hint: str = "sign in"',
            "errors.py:3: not marked: 'sign in'",
        ),
        (
            'tr("{path} is broken", path="p")',
            'tr("{path} is broken", path=", ".join(names))',
            "errors.py:7: names are joined with listed()",
        ),
        ('tr("repair it")', "tr(x)", "errors.py:7: tr() takes one literal, the template"),
    ],
)
def test_mistakes_in_the_source(tool: ModuleType, root: Path, old: str, new: str, finding: str) -> None:
    """A sentence without a mark or a translation, and a mark that does not fit its sentence, are found."""
    file = root / "kimi_auth" / "errors.py"
    assert old in SOURCE
    file.write_text(SOURCE.replace(old, new))
    assert any(finding in one for one in tool.findings(root)), list(tool.findings(root))


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda text: text.replace('msgstr "请修复"', 'msgstr ""'), "no translation: 'repair it'"),
        (lambda text: text.replace('msgid "repair it"', '#, fuzzy\nmsgid "repair it"'), "fuzzy: 'repair it'"),
        (lambda text: text.replace("{path} 已损坏", "已损坏"), "other placeholders: '{path} is broken' -> '已损坏'"),
        (lambda text: text.replace("{path} 已损坏", "{file} 已损坏"), "other placeholders"),
        (lambda text: text.replace("{path} 已损坏", "{path!r} 已损坏"), "other placeholders"),
        (lambda text: text.replace("请修复", "请修复,再试"), "half-width marks"),
        (lambda text: text.replace("已损坏", "已损坏（ 请修复）"), "a blank beside a full-width one"),
        (lambda text: text.replace("请修复", "请修好"), "kimi_auth.mo is not what kimi_auth.po says: make messages"),
    ],
)
def test_mistakes_in_the_catalogue(
    tool: ModuleType, root: Path, change: Callable[[str], str], finding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A translation that is missing, fuzzy, not compiled, or has other placeholders is found."""
    (file,) = root.glob("kimi_auth/locale/zh/LC_MESSAGES/*.po")
    before = file.read_text("utf-8")
    file.write_text(change(before), "utf-8")
    assert file.read_text("utf-8") != before
    assert tool.main([str(root)]) == 1
    assert finding in capsys.readouterr().out


def test_a_missing_compiled_catalogue(tool: ModuleType, root: Path) -> None:
    """The compiled file is a part of the check."""
    (file,) = root.glob("kimi_auth/locale/zh/LC_MESSAGES/*.mo")
    file.unlink()
    assert list(tool.findings(root)) == ["kimi_auth.mo is missing: make messages"]


def test_an_update_keeps_translations(tool: ModuleType, root: Path) -> None:
    """`make messages` adds new templates without a translation, drops old ones, keeps the rest, and changes nothing twice."""
    (file,) = root.glob("kimi_auth/locale/zh/LC_MESSAGES/*.po")
    (root / "kimi_auth" / "errors.py").write_text(SOURCE.replace("repair it", "leave it"))
    assert tool.main(["--update", str(root)]) == 1
    assert list(tool.findings(root)) == [
        "kimi_auth/locale/zh/LC_MESSAGES/kimi_auth.po: no translation: 'leave it' (kimi_auth/errors.py)"
    ]
    written = file.read_bytes()
    assert "已损坏" in written.decode()
    assert "repair" not in written.decode()
    tool.main(["--update", str(root)])
    assert file.read_bytes() == written

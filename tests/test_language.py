"""Sentences: English text everywhere, and the same sentence in Chinese where a terminal is written."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from kimi_auth.errors import CorruptCredential, NotSignedIn, Unreachable
from kimi_auth.support.language import Kept, Sentence, counted, joined, listed, recalled, said_by, selected, spoken, tr
from kimi_auth.support.text import clean, one_line

NO_TOKEN = tr("nothing in {location}", location=tr("the file {path}", path="/a/b"))
IN_CHINESE = "文件 /a/b 中没有内容"


def test_a_list_of_any_length() -> None:
    """Thousands of names are said and pickled like two."""
    names = [f"n{number}" for number in range(5_000)]
    said = listed(names)
    assert said == ", ".join(names)
    assert spoken(pickle.loads(pickle.dumps(said)), "zh") == "、".join(names)


def test_a_sentence_is_english_text() -> None:
    """A log, JSON and a comparison get the English text; the values are filled in, with their formats."""
    said = tr("{host} cannot be reached{said}", host="h", said=tr(": {reason}", reason=12))
    assert said == "h cannot be reached: 12"
    assert json.dumps({"message": said}) == '{"message": "h cannot be reached: 12"}'
    assert f"{tr('{mode:04o}: yours alone', mode=0o600)}" == "0600: yours alone"


@pytest.mark.parametrize(
    ("said", "chinese"),
    [
        (NO_TOKEN, IN_CHINESE),
        (tr("{host} cannot be reached{said}").format(host="h", said=""), "无法连接 h"),
        (joined(tr(", "), (tr("credential"), tr("lock"), "x")), "凭据，锁，x"),
        (listed(["credential", tr("lock"), "x"]), "credential、锁、x"),
        (listed(["a"]), "a"),
        (tr("{path}: {reason}", path="p", reason=Kept.by(lambda _: tr("it is empty"), "it is empty")), "p：内容为空"),
        (tr("not signed in") + tr(", {name} is set", name="A"), "未登录，已设置 A"),
        ("  " + tr("not signed in"), "  未登录"),
        (counted(1, tr("one finding"), tr("{number} findings")), "发现 1 个问题"),
        (counted(2, tr("one finding"), tr("{number} findings")), "发现 2 个问题"),
        (tr("sign in: kimi-auth login").replace("login", "login --force"), "请登录：kimi-auth login --force"),
        (Unreachable(tr("no connection")).line, "没有连接（请检查网络后重试）"),
        (tr("{path}: {reason}", path="p", reason=ValueError(tr("it is empty"))), "p：内容为空"),
        (tr("a sentence that no catalogue has"), "a sentence that no catalogue has"),
        ("plain text", "plain text"),
        (tr(""), ""),
    ],
)  # fmt: skip
def test_the_same_in_chinese(said: str, chinese: str) -> None:
    """Sentences, and sentences in sentences, are said in Chinese; other text stays as it is."""
    assert spoken(said, "zh") == chinese
    assert spoken(said, "en") == said


def test_words_that_were_kept() -> None:
    """Text that a template makes is that sentence again, values in values included; other text stays as it is."""
    templates = (tr("{host} ended the login{said}"), tr(": {reason}"), tr("no connection"))
    patterns = {"said": "(?:: .*)?"}
    for text, chinese in (
        ("h:1 ended the login: no connection", "h:1 已终止登录：没有连接"),
        ("h ended the login", "h 已终止登录"),
        ("another text: no connection", "another text: no connection"),
        ("{0.__class__} ended the login: {x}", "{0.__class__} 已终止登录：{x}"),
    ):
        assert recalled(text, templates, patterns) == text
        assert spoken(recalled(text, templates, patterns), "zh") == chinese
    kept = pickle.loads(pickle.dumps(Kept.by(shout, "h")))
    assert (kept, spoken(kept, "zh"), spoken(kept, "en")) == ("h", "H", "h")


def shout(text: str) -> str:
    return text.upper()


HELD = tr("{holder} holds the lock of {location}")


@pytest.mark.parametrize(
    ("said", "chinese"),
    [
        (HELD.format(holder=tr("another process"), location=tr("the system keyring")), "另一个进程持有系统密钥环的锁"),
        (HELD.format(holder="kimi-code", location=tr("the file {path}", path="/a")), "kimi-code 持有文件 /a 的锁"),
        (tr("{problems} in {path}", problems=tr("one problem"), path="/a"), "/a 中有 1 个问题"),
        (tr("{path} ({source})", path="/a", source="KIMI"), "/a（KIMI）"),
        (tr("{time} ago", time=tr("{minutes} min", minutes=3)), "3 分钟前"),
        (joined(" ", (tr("The token is live."), tr("Interrupted."))), "令牌已生效。已中断。"),
    ],
)  # fmt: skip
def test_spaces_in_chinese(said: str, chinese: str) -> None:
    """A value has a space beside it where a Chinese and a Latin character meet, and none between two Chinese ones or after a full-width mark."""
    assert spoken(said, "zh") == chinese


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda said: pickle.loads(pickle.dumps(said))])
def test_a_copy_is_the_same_sentence(copied: object) -> None:
    """A sentence goes through a pickle, as those of errors do, and can still be said in Chinese."""
    assert callable(copied)
    error = copied(NotSignedIn(NO_TOKEN))
    assert spoken(error.message, "zh") == IN_CHINESE
    assert spoken(error.hint, "zh") == "请登录：kimi-auth login"


def test_the_message_of_an_exception() -> None:
    """`str` of an exception is plain text; `said_by` finds the sentence that it was raised with."""
    error = CorruptCredential(NO_TOKEN)
    assert not isinstance(str(error), Sentence)
    assert spoken(said_by(error), "zh") == IN_CHINESE
    assert said_by(OSError(2, "x")) == "[Errno 2] x"


def test_cleaning_keeps_a_clean_sentence() -> None:
    """Text that had nothing to clean remains a sentence; hostile text in it makes plain, clean text of it."""
    assert isinstance(clean(one_line(NO_TOKEN)), Sentence)
    hostile = clean(tr("the file {path}", path="a\x1b]0;x\x07\u202eb"))
    assert hostile == "the file a]0;xb"
    assert not isinstance(hostile, Sentence)


def test_values_are_no_templates() -> None:
    """Braces in a value, which another program may have chosen, stay braces in every language."""
    said = tr("the file {path}", path="{0.__class__}{path}")
    assert spoken(said, "zh") == "文件 {0.__class__}{path}"


@pytest.mark.parametrize(
    ("language", "environ"),
    [
        ("en", {}),
        ("zh", {"LANG": "zh_CN.UTF-8"}),
        ("zh", {"LANG": "zh_TW"}),
        ("zh", {"LANG": "zh"}),
        ("zh", {"LC_MESSAGES": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}),
        ("en", {"LC_MESSAGES": "en_US.UTF-8", "LANG": "zh_CN.UTF-8"}),
        ("zh", {"LC_ALL": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}),
        ("en", {"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}),
        ("zh", {"LC_ALL": "", "LANG": "zh_CN.UTF-8"}),
        ("zh", {"LANGUAGE": "zh_CN", "LANG": "en_US.UTF-8"}),
        ("zh", {"LANGUAGE": "zh_CN"}),
        ("zh", {"LANGUAGE": "fr:zh_CN:en", "LANG": "en_US.UTF-8"}),
        ("en", {"LANGUAGE": "en:zh", "LANG": "zh_CN.UTF-8"}),
        ("en", {"LANGUAGE": "zh_CN", "LANG": "C.UTF-8"}),
        ("zh", {"LANGUAGE": "fr", "LANG": "zh_CN.UTF-8"}),
        ("en", {"LANG": "de_DE.UTF-8"}),
        ("en", {"LANG": "zhx_XX"}),
        ("zh", {"LANG": "zh-Hans_CN.GB18030@x"}),
    ],
)
def test_the_language_of_the_environment(language: str, environ: dict[str, str]) -> None:
    """LC_ALL, LC_MESSAGES, LANG in this order name the locale; LANGUAGE comes before it, unless it is C."""
    assert selected(environ) == language


def test_a_sentence_that_is_filled_in_takes_more_values() -> None:
    """A hint with a value of its own is filled in again where the path is known; what it lacks is ignored there."""
    hint = tr("as {uid}: {what}").format(uid=7, what="x")
    assert hint.format(path="/p") == hint == "as 7: x"
    assert hint.format(what="y") == "as 7: y"

"""The approval page by plain HTTP: forms, their signature, escaping, headers, rationed guesses."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from kimi_auth.testing.emulator.page import STYLE
from kimi_auth.testing.emulator.visitors import FORMS_MAX, GUESSES_PER_MINUTE, VISITORS_MAX

BADGE = "Emulator: not the real Kimi service"


def hidden_fields(text: str) -> dict[str, str]:
    return {
        name: html.unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', text)
    }


def confirm_page(visitor: Any, typed: str) -> httpx.Response:
    answer: httpx.Response = visitor.http.get("/device", params={"user_code": typed})
    return answer


def assert_safe(answer: httpx.Response) -> None:
    """The badge, the security headers, and no script anywhere."""
    assert BADGE in answer.text
    policy = answer.headers["content-security-policy"]
    for rule in ("default-src 'none'", "style-src 'sha256-", "frame-ancestors 'none'", "form-action 'self'"):
        assert rule in policy
    assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("same-origin", "no-store")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in answer.text.lower()


@pytest.mark.parametrize(
    ("decision", "said", "outcome"),
    [("approve", "Device approved", None), ("refuse", "Device refused", "access_denied")],
)
def test_decide(visitor: Any, decision: str, said: str, outcome: str | None) -> None:
    """From the code to the verdict, and the next poll knows it."""
    code = visitor.ask_code()
    asked = confirm_page(visitor, code["user_code"])
    assert asked.status_code == 200
    assert_safe(asked)
    fields = {**hidden_fields(asked.text), "decision": decision}
    sent = visitor.http.post("/device", data=fields)
    assert (sent.status_code, sent.headers["location"]) == (303, f"/device?user_code={code['user_code']}")
    assert visitor.poll(code["device_code"]).json().get("error") == outcome
    for again in (*[visitor.http.get(sent.headers["location"])] * 2, confirm_page(visitor, code["user_code"])):
        assert (again.status_code, said in again.text) == (200, True)
        assert_safe(again)


@pytest.mark.parametrize(("first", "said"), [("approve", "Device approved"), ("refuse", "Device refused")])
def test_a_second_answer_changes_nothing(visitor: Any, first: str, said: str) -> None:
    """A double click, or another tab that answers otherwise: the page shows the first decision."""
    code = visitor.ask_code()["user_code"]
    fields = hidden_fields(confirm_page(visitor, code).text)
    for decision in (first, first, "approve", "refuse"):
        answer = visitor.http.post("/device", data={**fields, "decision": decision}, follow_redirects=True)
        assert (answer.status_code, said in answer.text) == (200, True)


def test_entry_form(visitor: Any) -> None:
    """Without a code there is a labelled field that has the focus, and no cookie."""
    answer = visitor.http.get("/device")
    assert answer.status_code == 200
    assert_safe(answer)
    assert '<label for="user_code">' in answer.text
    assert "autofocus" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "change", [str.lower, lambda code: code.replace("-", ""), lambda code: f" {code.replace('-', ' ')} "]
)
def test_code_as_people_type_it(visitor: Any, change: Callable[[str], str]) -> None:
    """Case, dash and blanks do not matter."""
    user_code = visitor.ask_code()["user_code"]
    assert f'aria-label="Code">{user_code}<' in confirm_page(visitor, change(user_code)).text


def test_confirm_page_shows_who_asks(visitor: Any, clock: Any) -> None:
    """Device, model, system and program as the request told them, and since when."""
    code = visitor.ask_code(**{
        "X-Msh-Platform": "kimi_cli", "X-Msh-Version": "1.52.0", "X-Msh-Device-Name": "anna",
        "X-Msh-Device-Model": "Linux 6.1.0 x86_64", "X-Msh-Os-Version": "6.1.0", "X-Msh-Device-Id": "f" * 32,
    })  # fmt: skip
    clock.pass_s(61)
    text = confirm_page(visitor, code["user_code"]).text
    for shown in ("anna", "Linux 6.1.0 x86_64", "6.1.0", "kimi_cli 1.52.0", "61 seconds ago", "another 29 minutes"):
        assert f"<dd>{shown}</dd>" in text
    clock.pass_s(1738)
    assert "another 1 second<" in confirm_page(visitor, code["user_code"]).text


def test_nothing_told(visitor: Any) -> None:
    """A program that tells nothing about itself is shown as such."""
    assert confirm_page(visitor, visitor.ask_code()["user_code"]).text.count("<dd>not told</dd>") == 4


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ('"><img src=x onerror=alert(1)>', '"><img src=x onerror=alert(1)>'),
        ("{user_code}{form_token}", "{user_code}{form_token}"),
        ("&lt;b&gt;", "&lt;b&gt;"),
        ("é\x85\x1b" + "x" * 5000, "é " + "x" * 117 + "…"),
    ],
    ids=["a script", "an attribute", "a template", "an entity", "control characters, and too much"],
)
def test_hostile_device_name(visitor: Any, hostile: str, shown: str) -> None:
    """What a program says about itself is text, and not much of it."""
    answer = visitor.http.post(
        "/api/oauth/device_authorization",
        data={"client_id": "17e5f671-d194-4dfb-9706-5516cb48c098"},
        headers={"X-Msh-Device-Name": hostile.encode("latin-1")},
    )
    asked = confirm_page(visitor, answer.json()["user_code"])
    assert_safe(asked)
    assert f"<dd>{html.escape(shown)}</dd>" in asked.text


@pytest.mark.parametrize("typed", ["nothing", "BCDF-GHJK", "<script>alert(1)</script>", "{problem}", "\ud7ff\u202e"])
def test_wrong_code(visitor: Any, typed: str) -> None:
    """A wrong code gets the form again, with a polite word and the typed text, escaped."""
    answer = confirm_page(visitor, typed)
    assert (answer.status_code, "not known here" in answer.text) == (400, True)
    assert f'value="{html.escape(typed)}"' in answer.text
    assert_safe(answer)


def test_expired_code(visitor: Any, clock: Any) -> None:
    """An expired code says so, also to a form that was opened in time."""
    code = visitor.ask_code()
    fields = hidden_fields(confirm_page(visitor, code["user_code"]).text)
    clock.pass_s(1800)
    late = visitor.http.post("/device", data={**fields, "decision": "approve"})
    assert (late.status_code, "has expired" in late.text) == (400, True)
    assert visitor.poll(code["device_code"]).json()["error"] == "expired_token"


def test_too_many_guesses(visitor: Any, clock: Any) -> None:
    """Twenty wrong codes a minute from one browser, then even the right one has to wait there."""
    code = visitor.ask_code()["user_code"]
    for _ in range(GUESSES_PER_MINUTE):
        assert confirm_page(visitor, "BCDF-GHJK").status_code == 400
    assert confirm_page(visitor, code).status_code == 429
    clock.pass_s(60)
    assert confirm_page(visitor, code).status_code == 200


@pytest.mark.parametrize("keeps_cookies", [True, False])
def test_guesses_of_one_lock_out_no_other(visitor: Any, keeps_cookies: bool) -> None:
    """A browser that guesses, or a program that guesses without cookies: another browser's right code is taken."""
    code = visitor.ask_code()["user_code"]
    for _ in range(3 * GUESSES_PER_MINUTE):
        confirm_page(visitor, "BCDF-GHJK")
        if not keeps_cookies:
            visitor.http.cookies.clear()
    visitor.http.cookies.clear()
    assert confirm_page(visitor, code).status_code == 200


def test_visitors_are_bounded(visitor: Any) -> None:
    """A program that comes without its cookie again and again costs a fixed amount of memory, and so does one that asks on."""
    code = visitor.ask_code()["user_code"]
    fields = hidden_fields(confirm_page(visitor, code).text)
    cookie = visitor.http.cookies["emulator_form"]
    known = visitor.state.visitors
    for _ in range(VISITORS_MAX):
        known.admit()
    assert len(known._known) == VISITORS_MAX
    assert known.find(cookie) is None
    assert visitor.http.post("/device", data={**fields, "decision": "approve"}).status_code == 403
    one = known.admit()
    for number in range(2 * FORMS_MAX):
        one.form_for(str(number))
    assert len(one.forms) == FORMS_MAX


@pytest.mark.parametrize(
    ("form", "with_cookie"),
    [
        ({"form_token": "0" * 64}, True),
        ({"form_token": "é"}, True),
        ({"form_token": None}, True),
        ({"decision": "perhaps"}, True),
        ({"user_code": "BCDF-GHJK"}, True),
        ({}, False),
    ],
    ids=["wrong token", "odd token", "no token", "no decision", "another code", "no cookie"],
)
def test_foreign_form(visitor: Any, form: dict[str, str | None], with_cookie: bool) -> None:
    """A form that this page did not make for this browser decides nothing."""
    code = visitor.ask_code()
    fields = {**hidden_fields(confirm_page(visitor, code["user_code"]).text), "decision": "approve", **form}
    if not with_cookie:
        visitor.http.cookies.clear()
    answer = visitor.http.post("/device", data={name: value for name, value in fields.items() if value is not None})
    assert (answer.status_code, "Nothing was decided" in answer.text) == (403, True)
    assert_safe(answer)
    assert visitor.poll(code["device_code"]).json()["error"] == "authorization_pending"


def test_form_of_another_media_type(visitor: Any) -> None:
    """A JSON body is no form of ours."""
    assert visitor.http.post("/device", json={"decision": "approve"}).status_code == 403


OTHER_PORT = {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"}


@pytest.mark.parametrize(
    "headers",
    [
        OTHER_PORT,
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
def test_a_cookie_from_another_port(visitor: Any, headers: dict[str, str]) -> None:
    """Cookies know no ports: a page elsewhere on this machine plants its own cookie with its own form, and decides nothing."""
    code = visitor.ask_code()
    asked = confirm_page(visitor, code["user_code"])  # by the other page's program, whose cookie the browser then has
    fields = {**hidden_fields(asked.text), "decision": "approve"}
    answer = visitor.http.post("/device", data=fields, headers=headers)
    assert (answer.status_code, "Nothing was decided" in answer.text) == (403, True)
    assert visitor.poll(code["device_code"]).json()["error"] == "authorization_pending"
    own = {"Origin": visitor.emulator.base_url, "Sec-Fetch-Site": "same-origin"}
    assert visitor.http.post("/device", data=fields, headers=own).status_code == 303


def test_cookie(visitor: Any) -> None:
    """The cookie is for this page alone, survives a reload, and is replaced where this page did not give it."""
    code = visitor.ask_code()["user_code"]
    cookie = confirm_page(visitor, code).headers["set-cookie"]
    assert cookie.endswith("; Path=/device; HttpOnly; SameSite=Strict")
    assert confirm_page(visitor, code).headers["set-cookie"] == cookie
    visitor.http.cookies.clear()
    for forged in ("x", "A" * 43):
        answer = visitor.http.get("/device", params={"user_code": code}, headers={"Cookie": f"emulator_form={forged}"})
        assert answer.headers["set-cookie"] not in (cookie, "")
        assert f"emulator_form={forged};" not in answer.headers["set-cookie"]
        visitor.http.cookies.clear()


def test_start_page(visit: Callable[..., Any]) -> None:
    """The start page gives the lines to paste into a shell, quoted for it."""
    visitor = visit(share_dir="/tmp/a 'b'")
    answer = visitor.http.get("/")
    assert_safe(answer)
    assert f"export KIMI_CODE_OAUTH_HOST={visitor.emulator.base_url}\n" in answer.text
    assert html.escape("""export KIMI_SHARE_DIR='/tmp/a '"'"'b'"'"''""") in answer.text


def palettes() -> list[dict[str, str]]:
    """The custom properties of the light scheme and of the dark one."""
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): #(\w{6})", scheme)) for scheme in (light, dark)]


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.1 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("palette", palettes(), ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("ink", "card"), ("ink", "well"), ("soft", "card"), ("soft", "ground"), ("accent", "card"),
        ("on-accent", "accent"), ("on-accent", "accent-deep"), ("badge-ink", "badge"), ("bad", "bad-ground"),
    ],
)  # fmt: skip
def test_contrast(palette: dict[str, str], text: str, ground: str) -> None:
    """Every text is readable on its ground: WCAG 2.1 AA asks for 4.5 to 1."""
    darker, lighter = sorted((luminance(palette[text]), luminance(palette[ground])))
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5

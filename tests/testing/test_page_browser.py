"""The approval page in a real Chromium, by keyboard, as a person would use it."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.browser

VIEWS = [
    pytest.param({"viewport": {"width": width, "height": 760}, "color_scheme": scheme}, id=f"{scheme} {width}")
    for width in (390, 1000)
    for scheme in ("light", "dark")
]


def cannot_run(reason: str, command: str) -> None:
    """Skip on a person's machine, fail where CI=true: there the browser has to be."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{reason}; to enable: {command}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        cannot_run("playwright is not installed", "pip install playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        cannot_run("chromium is not on PATH", "apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=0)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A phone's window in which the page's own rules and scripts have nothing to complain about."""
    page = browser.new_page(viewport={"width": 390, "height": 760}, java_script_enabled=False)
    page.set_default_timeout(0)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    yield page
    page.close()
    assert [text for text in complaints if "Security Policy" in text] == []


def heading(page: Any, text: str) -> Any:
    return page.get_by_role("heading", name=text).wait_for()


def test_approve(visitor: Any, page: Any) -> None:
    """Type the code, Enter; a second Enter by mistake decides nothing; Tab, Enter: approved, also when loaded again."""
    code = visitor.ask_code(**{"X-Msh-Device-Name": "anna"})
    page.goto(code["verification_uri"])
    page.locator("input:focus").wait_for()
    page.keyboard.type(code["user_code"])
    page.keyboard.press("Enter")
    heading(page, "Let this device sign in?")
    assert "anna" in page.inner_text("dl")
    for _ in range(2):
        page.keyboard.press("Enter")
    assert page.locator("button:focus").count() == 0
    page.keyboard.press("Tab")
    page.locator("button:focus", has_text="Approve").wait_for()
    assert visitor.poll(code["device_code"]).json()["error"] == "authorization_pending"
    page.keyboard.press("Enter")
    heading(page, "Device approved")
    assert "access_token" in visitor.poll(code["device_code"]).json()
    page.reload()
    heading(page, "Device approved")
    assert page.get_by_role("alert").count() == 0
    assert [
        entry["outcome"] for entry in visitor.state.log if entry["method"] == "POST" and entry["endpoint"] == "page"
    ] == ["approved"]


def test_refuse(visitor: Any, page: Any) -> None:
    """From the complete link, Tab to the second button, Enter: refused."""
    code = visitor.ask_code()
    page.goto(code["verification_uri_complete"])
    heading(page, "Let this device sign in?")
    page.keyboard.press("Tab")
    page.locator("button:focus", has_text="Approve").wait_for()
    page.keyboard.press("Tab")
    page.locator("button:focus", has_text="Refuse").wait_for()
    page.keyboard.press("Enter")
    heading(page, "Device refused")
    assert visitor.poll(code["device_code"]).json()["error"] == "access_denied"


PLANTING = """<!doctype html><title>another program</title><form method="post" action="{url}/device">
<input type="hidden" name="user_code" value="{user_code}"><input type="hidden" name="form_token" value="{form_token}">
<button name="decision" value="approve">Win a prize</button></form>"""


def test_a_page_of_another_port(visitor: Any, page: Any) -> None:
    """It plants its own cookie in the browser and sends its own form: nothing is decided, and our own form still works."""
    code = visitor.ask_code()
    theirs = visitor.http.get("/device", params={"user_code": code["user_code"]})
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', theirs.text))
    text = PLANTING.format(url=visitor.emulator.base_url, **fields).encode()
    cookie = theirs.headers["set-cookie"].partition(";")[0]

    class Planting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Set-Cookie", f"{cookie}; Path=/device")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Planting) as server:  # Chromium opens a connection to spare
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.get_by_role("button", name="Win a prize").click()
            heading(page, "Please confirm again")
        finally:
            server.shutdown()
            thread.join()
    assert {"name": "emulator_form", "value": cookie.partition("=")[2]}.items() <= page.context.cookies()[0].items()
    assert visitor.poll(code["device_code"]).json()["error"] == "authorization_pending"
    page.goto(code["verification_uri_complete"])
    page.get_by_role("button", name="Approve").click()
    heading(page, "Device approved")


def test_wrong_code_then_right(visitor: Any, page: Any) -> None:
    """A wrong code is said to be wrong, and the field is ready for the right one."""
    code = visitor.ask_code()
    page.goto(code["verification_uri"])
    page.locator("input:focus").wait_for()
    page.keyboard.type("WRNG-CDDD")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    assert "not known here" in page.inner_text("[role=alert]")
    page.locator("input:focus").wait_for()
    page.keyboard.press("Control+A")
    page.keyboard.type(code["user_code"])
    page.keyboard.press("Enter")
    heading(page, "Let this device sign in?")


def test_pasted_in_lower_case_with_spaces(visitor: Any, page: Any) -> None:
    """A code pasted with blanks around and inside, in lower case, is the same code."""
    code = visitor.ask_code()
    page.goto(code["verification_uri"])
    page.locator("input:focus").wait_for()
    page.keyboard.insert_text(f"  {code['user_code'].lower().replace('-', ' ')} ")
    page.keyboard.press("Tab")
    page.locator("button:focus", has_text="Continue").wait_for()
    page.keyboard.press("Space")
    heading(page, "Let this device sign in?")
    assert page.inner_text("strong.code") == code["user_code"]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view(visitor: Any, browser: Any, view: dict[str, Any]) -> None:
    """At each width and in each scheme the badge shows, nothing overflows, focus is seen, labels are real."""
    code = visitor.ask_code(**{"X-Msh-Device-Name": "a-name-without-a-single-blank-" * 4})
    page = browser.new_page(**view)
    page.set_default_timeout(0)
    try:
        for url in ("/", "/device", "/device?user_code=nothing", f"/device?user_code={code['user_code']}"):
            page.goto(visitor.emulator.base_url + url)
            assert page.get_by_text("Emulator: not the real Kimi service").is_visible()
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert ground == {"light": "rgb(244, 243, 239)", "dark": "rgb(18, 20, 23)"}[view["color_scheme"]]
            if "user_code=" in url and "nothing" not in url:
                page.keyboard.press("Tab")
            if url != "/":
                page.locator(":focus").wait_for()
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.goto(code["verification_uri"])
        assert page.get_by_label("Code").is_editable()
    finally:
        page.close()

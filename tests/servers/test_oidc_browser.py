"""A person at oidc-provider's pages in a real Chromium: what the approval looks like to those who give it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from servers.bare_client import Client, brief, ok
from servers.real_server import RealServer

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def client(oidc_server: RealServer) -> Iterator[Client]:
    with Client(oidc_server) as client:
        yield client


def press(page: Page, button: str) -> None:
    page.get_by_role("button", name=button).click()


def read(page: Page, sentence: str) -> None:
    """Wait until the page says so."""
    page.get_by_text(sentence).wait_for()


def log_in_and_consent(page: Page) -> None:
    page.get_by_placeholder("Enter any login").fill("somebody")
    page.get_by_placeholder("and password").fill("anything")
    press(page, "Sign-in")
    page.get_by_role("heading", name="Authorize").wait_for()
    press(page, "Continue")


def test_approve(client: Client, browser_page: Page) -> None:
    """The complete address leads to the code for comparison, then login and consent, and the device is signed in."""
    codes = client.device().json()
    browser_page.goto(codes["verification_uri_complete"])
    read(browser_page, "The following code should be displayed on your device")
    assert browser_page.locator("code").inner_text() == codes["user_code"]
    assert brief(client.poll(codes["device_code"])) == (400, "authorization_pending")
    press(browser_page, "Continue")
    log_in_and_consent(browser_page)
    read(browser_page, "Sign-in Success")
    client.server.advance(client.server.settings.interval_s)
    assert client.models_status(ok(client.poll(codes["device_code"]))) == 200


def test_wrong_code_then_the_right_one(client: Client, browser_page: Page) -> None:
    """A mistyped code is told and harms nothing: the same page takes the right one."""
    codes = client.device().json()
    browser_page.goto(codes["verification_uri"])
    browser_page.get_by_placeholder("Enter code").fill("BBBB-BBBB")
    press(browser_page, "Continue")
    read(browser_page, "The code you entered is incorrect. Try again")
    assert brief(client.poll(codes["device_code"])) == (400, "authorization_pending")
    browser_page.get_by_placeholder("Enter code").fill(codes["user_code"])
    press(browser_page, "Continue")
    assert browser_page.locator("code").inner_text() == codes["user_code"]


@pytest.mark.parametrize("at", ["confirmation", "login", "consent"])
def test_refuse(client: Client, browser_page: Page, at: str) -> None:
    """A person may refuse on each of the three pages, and the device is told each time."""
    codes = client.device().json()
    browser_page.goto(codes["verification_uri_complete"])
    if at == "confirmation":
        press(browser_page, "[ Abort ]")
    else:
        press(browser_page, "Continue")
        if at == "consent":
            browser_page.get_by_placeholder("Enter any login").fill("somebody")
            browser_page.get_by_placeholder("and password").fill("anything")
            press(browser_page, "Sign-in")
            browser_page.get_by_role("heading", name="Authorize").wait_for()
        browser_page.get_by_role("link", name="[ Cancel ]").click()
    read(browser_page, "The Sign-in request was interrupted")
    assert brief(client.poll(codes["device_code"])) == (400, "access_denied")


@pytest.mark.parametrize("typing", ["lower case", "spaces", "no dash", "pasted with blanks around"])
def test_code_as_people_type_it(client: Client, browser_page: Page, typing: str) -> None:
    """The code is the same in lower case, in groups, run together, or with blanks around it."""
    codes = client.device().json()
    code = codes["user_code"]
    browser_page.goto(codes["verification_uri"])
    typed = {
        "lower case": code.lower(),
        "spaces": code.replace("-", " "),
        "no dash": code.replace("-", ""),
        "pasted with blanks around": f"  {code} ",
    }[typing]
    browser_page.get_by_placeholder("Enter code").fill(typed)
    press(browser_page, "Continue")
    assert browser_page.locator("code").inner_text() == code
    press(browser_page, "Continue")
    log_in_and_consent(browser_page)
    read(browser_page, "Sign-in Success")
    ok(client.poll(codes["device_code"]))


def test_expired_code(client: Client, browser_page: Page) -> None:
    """A code whose life is over is refused on the page, and the device is told that it expired."""
    codes = client.device().json()
    client.server.advance(client.server.settings.code_ttl_s)
    browser_page.goto(codes["verification_uri_complete"])
    read(browser_page, "The code you entered is incorrect. Try again")
    assert brief(client.poll(codes["device_code"])) == (400, "expired_token")

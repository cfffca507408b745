"""Machines whose names are markup: pictures and pages hold them as text, and none is drawn that the lints refuse."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from kimi_auth.cli import main as command_line
from kimi_auth.machine import Library, Machine
from kimi_auth.review.difference import compare, pictures
from kimi_auth.review.html_page import html_page
from kimi_auth.review.markdown_page import page, table
from kimi_auth.review.mermaid import mermaid
from kimi_auth.review.page_data import NO_PAGE_DATA
from kimi_auth.review.svg import svg

BREAKS = (
    '" onload="ran()" x="',
    "' onmouseover='ran()' x='",
    '"><script>ran()</script><g x="',
    "</title></text><script>ran()</script>",
    "]]><script>ran()</script>",
    "<img src=x onerror=ran()>",
    "javascript:ran()//",
    "\x1b]52;c;cm0=\x07\x00\x9b2J",
    "a\n\n<script>ran()</script>\n|b",
)
"""What ends an attribute, an element, a CDATA section, a table's cell; a script as an address; what XML cannot hold."""


def machine(text: str) -> Machine:
    """One with `text` in every text of a machine."""
    return Machine.from_data(
        {
            "name": f"m{text}",
            "about": f"A machine. {text}",
            "initial": f"first{text}",
            "holds": f"lock{text}",
            "states": {
                f"first{text}": {
                    "about": f"It begins. {text}",
                    "activity": f"act{text}",
                    "holds": f"lock{text}",
                    "walks": f"{text}",
                    "on": {f"done{text}": f"end{text}", f"again{text}": f"first{text}"},
                },
                f"end{text}": {
                    "about": f"It ends. {text}",
                    "tone": f"good{text}",
                    "on": {f"redo{text}": f"first{text}"},
                },
            },
        }
    )


def difference(before: Machine | None, after: Machine | None) -> str:
    """The picture of a change."""
    sides: list[dict[str, Machine]] = [{"m": one} if one else {} for one in (before, after)]
    return pictures(compare(*sides))["m"]


PICTURES: Mapping[str, Callable[[Machine], str]] = {
    "drawn": svg,
    "new": lambda one: difference(None, one),
    "changed": lambda one: difference(machine(""), one),
    "gone": lambda one: difference(one, machine("")),
}
"""Each shows the hostile names: as drawn, with all of it new, changed, and in the list of removed parts below."""


@pytest.mark.parametrize("text", BREAKS, ids=range(len(BREAKS)))
@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_a_picture_holds_text(draw: Callable[[Machine], str], text: str) -> None:
    """It is well-formed XML without a script, a handler, or a link to anything but a picture of a machine."""
    root = ET.fromstring(draw(machine(text)).encode())
    elements = [*root.iter()]
    assert {element.tag.rpartition("}")[2] for element in elements} <= {
        *("svg", "title", "desc", "style", "rect", "text", "tspan", "g", "a", "path", "polygon", "circle")
    }
    attributes = [key for element in elements for key in element.attrib]
    assert not [key for key in attributes if key.startswith("on")]
    assert {element.get("href") for element in elements} <= {None, "switch.svg"}


@pytest.mark.parametrize("text", BREAKS[:7], ids=range(7))
def test_a_page_holds_text(text: str) -> None:
    """The review of such machines has no script but its own, and no handler."""
    from html.parser import HTMLParser

    class Tags(HTMLParser):
        scripts = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.scripts += tag == "script" and ("type", "application/json") not in attrs
            assert tag != "img"
            assert not [name for name, _ in attrs if name.startswith("on")]
            assert not [value for _, value in attrs if (value or "").startswith("javascript:")]

    tags = Tags()
    tags.feed(html_page({"m": machine(text)}, NO_PAGE_DATA))
    assert tags.scripts == 1


@pytest.mark.parametrize("text", BREAKS, ids=range(len(BREAKS)))
def test_markdown_holds_text(text: str) -> None:
    """The report of a change in a pull request has no element, link or image of the machine's making."""
    hostile = f"{text}[a](javascript:ran()) ![](https://x.invalid/) `"
    said = compare({"m": machine("")}, {"m": machine(hostile)}, (f"problem {hostile}",)).markdown()
    assert "<" not in said
    assert "](" not in said.replace("\\](", "")
    rows = [line for line in said.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {4}


@pytest.mark.parametrize("write", [table, mermaid, page], ids=["table", "mermaid", "page"])
def test_pages_in_markdown_hold_text(write: Callable[[Machine], str]) -> None:
    """A sentence of a machine, which may be anything, is no element in its page."""
    plain = Library.load()["token_refresh"].data()
    plain["about"] = "A machine. <script>ran()</script>"
    next(iter(plain["states"].values()))["about"] = "A state. <script>ran()</script>"
    assert "<script" not in write(Machine.from_data(plain))


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """A folder with a machine that the lints refuse."""
    folder = tmp_path / "refused"
    folder.mkdir()
    (folder / "switch.toml").write_text(
        'name = "switch"\nabout = "A switch."\ninitial = "off"\n'
        '[states.off]\nabout = "Off."\nactivity = "press"\non.pressed = "on\\"><script>ran()</script>"\n'
        '[states."on\\"><script>ran()</script>"]\nabout = "On."\ntone = "good"\n'
    )
    return folder


def test_what_the_lints_refuse_is_not_drawn(refused: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no picture of it but what the lints say, and the text of the change stays."""
    said = r"the state's name 'on\"><script>ran()</script>' is not snake_case".replace("\\", "")
    assert command_line(["diagram", "switch", "--diff", str(refused)]) == 1
    assert "the whole machine is removed" in capsys.readouterr().out
    assert command_line(["diagram", "switch", "--diff", str(refused), "--format", "svg"]) == 1
    shown = capsys.readouterr().out
    assert said in shown
    assert "<svg" not in shown


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    cannot_run = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    if path is None:
        cannot_run("chromium is not on PATH; to enable: apt-get install chromium")
    sync = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=0)
        yield browser
        browser.close()


@pytest.mark.browser
def test_no_script_runs_in_a_browser(chromium: Any, tmp_path: Path) -> None:
    """Every picture of every hostile machine is opened, and everything in it is pointed at and clicked."""
    window = chromium.new_page()
    window.set_default_timeout(0)
    window.add_init_script("window.ran = () => { window.hasRun = true }")
    window.goto("data:text/html,<img src=x onerror=ran()>")
    window.wait_for_function("window.hasRun")  # the mark can be set
    for number, text in enumerate(BREAKS):
        for name, draw in PICTURES.items():
            file = tmp_path / f"{number}-{name}.svg"
            file.write_text(draw(machine(text)), encoding="utf-8")
            window.goto(file.as_uri())
            window.evaluate(
                "for (const one of document.querySelectorAll('*'))"
                " for (const kind of ['mouseover', 'focus', 'load', 'error'])"
                " one.dispatchEvent(new Event(kind, {bubbles: true}))"
            )
            assert window.evaluate("window.hasRun === undefined"), file
            assert window.evaluate("document.documentElement.tagName") == "svg", "it is no picture any more"
            hrefs = window.evaluate("[...document.querySelectorAll('a')].map((one) => one.getAttribute('href'))")
            assert hrefs == []
    window.close()

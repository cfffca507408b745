"""The page for reviewers in a real browser: addresses, the player, the keyboard, a screen reader's tree, phones, paper."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kimi_auth.machine import Library, digest, edges
from kimi_auth.machine.trace import Traced, Walk
from kimi_auth.review.html_page import html_page
from kimi_auth.review.page_data import PageData, read_page_data
from kimi_auth.review.player_data import walk_story

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHECKOUT = Path(__file__).parents[2]
OWN = Library.load()
INTERRUPTED = "token_refresh.claiming.interrupted"

pytestmark = pytest.mark.browser

DISK = ["record", "claim"]
VALUES = ["a pair", "none", "open: its owner died"]


def world() -> dict[str, Any]:
    """A world of five states: a renewal claims, and dies or sends."""

    def label(text: str, word: str, *walked: str) -> list[Any]:
        return [text, word, list(walked)]

    labels = [
        label(
            "finds expired, renew: -> token_lifecycle.refreshing",
            "renew",
            "token_lifecycle.inspecting.expired",
            "token_lifecycle.expired.renew",
        ),
        label("token_lifecycle.refreshing --acquired--> token_refresh.rereading", "acquired"),
        label(
            "token_refresh.rereading --renewable--> token_refresh.claiming",
            "renewable",
            "token_refresh.rereading.renewable",
        ),
        label(
            "token_refresh.claiming --claimed--> token_refresh.looking_again",
            "claimed",
            "token_refresh.claiming.claimed",
        ),
        label("is killed", "is-killed"),
        label("token_refresh.claiming --interrupted--> token_refresh.reclaiming", "interrupted", INTERRUPTED),
    ]
    places = ["", *(f"token_refresh.{name}" for name in ("rereading", "claiming", "looking_again", "reclaiming"))]
    places.append("token_lifecycle.refreshing")
    return {
        "columns": DISK,
        "on disk": 2,
        "values": VALUES,
        "locations": places,
        "labels": labels,
        "disks": [[0, 1], [0, 2]],
        # location, disk: idle, refreshing, rereading, claiming, looking_again; then the same after a death
        "states": [0, 0, 5, 0, 1, 0, 2, 0, 3, 1, 0, 1, 5, 1, 1, 1, 2, 1, 4, 1],
        "moves": [[0, 1], [1, 2, 4, 0], [2, 3], [3, 4, 4, 0], [4, 5], [0, 6], [1, 7], [2, 8], [5, 9], [4, 5]],
    }


def page_data() -> PageData:
    """The kept figures of the checkout, as far as they are of these machines, with the small world to walk in."""
    kept = read_page_data(CHECKOUT / "diagrams")
    frames = [
        {"text": "", "edges": [], "at": {"A": "", "B": ""}, "disk": [0, 1]},
        {
            "text": "A: token_refresh.claiming --claimed--> token_refresh.looking_again",
            "edges": ["token_refresh.claiming.claimed"],
            "at": {"A": "token_refresh.looking_again", "B": ""},
            "disk": [0, 2],
        },
        {"text": "B: is killed", "edges": [], "at": {"A": "token_refresh.looking_again", "B": ""}, "disk": [0, 2]},
    ]
    walks = {
        "machines": digest(OWN),
        "world": world(),
        "dying": {"token_refresh.claiming": {"record": ["a pair"], "claim": ["none", "open: its owner died"]}},
        "sent again": [INTERRUPTED],
        "stories": [
            {"id": "without-it", "title": "left out: it", "rule": "I1", "says": "Never twice.", "frames": frames}
        ],
        "scenarios": [
            {
                "machine": "device_login",
                "says": "a refusal ends it",
                "walks": [["", "check_store ready, request_code refused", "failed"]],
            }
        ],
        "not asked": {"one": {"I9": "its lock does not exclude"}},
    }
    checker = {
        "machines": digest(OWN),
        "runs": [
            {"world": "one", "processes": 1, "states": 10, "edges": 20, "depth": 3, "longest_walk": 2, "holds": True}
        ],
        "invariants": [{"name": "I1", "about": "Never twice."}, {"name": "I9", "about": "One at a time."}],
        "ablations": [{"about": "it", "rule": "I1", "steps": 2, "course": ["a", "b"]}],
    }
    edge = next(edge for edge in edges(OWN["device_login"]) if edge.event == "access_denied")
    by = {"scenario: a refusal ends it": ["waiting"], "checker: I1": ["polling"]}
    mutation = {
        "machines": digest(OWN),
        "mutants": 2,
        "killed": 2,
        "by": {"scenario": 1, "checker: I1": 1},
        "killers": {str(edge): by},
        "survivors": [],
    }
    revision = {"machines": digest(OWN), "commit": "0123456789ab", "date": "2026-01-02", "edited": "no"}
    return PageData(kept.hooks, kept.answers, {}, checker, mutation, kept.faults, walks, revision)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "review.html"
    file.write_text(html_page(OWN, page_data()), encoding="utf-8")
    return file


@pytest.fixture
def desk(chromium: Browser) -> Iterator[Page]:
    """A page that opens files, whose script may say nothing and fetch nothing."""
    said: list[str] = []
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(0)
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None
    )
    yield page
    context.close()
    assert said == []


def go(desk: Page, file: Path, address: str) -> None:
    desk.goto("about:blank")
    desk.goto(f"{file.as_uri()}#{address}")
    # The browser jumps to the fragment in a frame after the script, whose timer scrolls once more.
    desk.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def in_bar(desk: Page) -> str:
    """What the bar shows, asked of the page itself: `desk.url` is told by an event, which may come later."""
    return str(desk.evaluate("location.hash.slice(1)"))


def in_window(part: Locator) -> bool:
    return bool(
        part.evaluate(
            """(one) => {
                const box = one.getBoundingClientRect(), bar = document.querySelector("nav").getBoundingClientRect().bottom;
                return box.top >= bar - 1 && box.bottom <= innerHeight;
            }"""
        )
    )


# --- addresses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1200, 390])
def test_an_address_opens_its_edge(desk: Page, page_file: Path, width: int) -> None:
    """The tab of the machine is shown; the row is lit and in the window; its arrow is lit in the picture and in the
    lens, which has a row of its own below: it covers no other row, also after pointing at one."""
    desk.set_viewport_size({"width": width, "height": 800})
    go(desk, page_file, INTERRUPTED)
    row = desk.locator(f'[id="{INTERRUPTED}"]')
    desk.wait_for_function("document.querySelector('.kept .lens svg')")
    assert desk.locator("section:visible").get_attribute("id") == "token_refresh"
    assert row.get_attribute("class") == "addressed"
    assert in_window(row)
    arrow = desk.locator('#token_refresh g[data-edges~="claiming.interrupted"]').first
    assert "addressed" in str(arrow.get_attribute("class")).split()
    assert desk.locator('.kept g.addressed[data-edges~="claiming.interrupted"]').count() == 1
    assert row.evaluate("(one) => one.nextSibling.className") == "kept"
    assert desk.locator("#lens:visible").count() == 0
    row.dispatch_event("mouseenter")
    row.dispatch_event("mouseleave")
    assert desk.locator(".kept svg").count() == 1
    desk.evaluate("location.hash = 'sign_out.emptying'")
    desk.wait_for_function("document.querySelector('#sign_out[data-shown]')")
    assert desk.locator("tr.addressed").get_attribute("data-edge") == "emptying.emptied", "a state's first row"


def test_an_address_that_is_none_is_told(desk: Page, page_file: Path) -> None:
    """The page opens at its beginning, and says that it has no such address; the next one takes that back."""
    go(desk, page_file, "token_refresh.claiming.nope")
    told = desk.get_by_role("status").filter(has_text="token_refresh.claiming.nope")
    assert told.count() == 1
    desk.evaluate("location.hash = 'token_refresh'")
    desk.wait_for_function("document.querySelector('#token_refresh[data-shown]')")
    assert told.count() == 0


def test_every_edge_has_an_address_that_can_be_copied(desk: Page, page_file: Path) -> None:
    """Each row's sign # leads to the row; a click puts the whole address into the clipboard and into the bar."""
    desk.context.grant_permissions(["clipboard-read", "clipboard-write"])
    go(desk, page_file, "token_refresh")
    hrefs = set(
        desk.locator("tr[data-edge] a.here").evaluate_all("(all) => all.map((one) => one.getAttribute('href'))")
    )
    every = {f"#{edge.machine}.{edge.source}.{edge.event}" for machine in OWN.values() for edge in edges(machine)}
    assert every <= hrefs
    desk.locator(f'a.here[href="#{INTERRUPTED}"]').first.click()
    desk.wait_for_function(f"navigator.clipboard.readText().then((text) => text.endsWith('#{INTERRUPTED}'))")
    desk.wait_for_function(f"location.hash === '#{INTERRUPTED}'")


def test_an_address_in_a_closed_part_opens_it(desk: Page, page_file: Path) -> None:
    """A fault's address opens the group that it is in; an answer's outcome leads to its edge."""
    go(desk, page_file, "device_login.polling.access_denied.elsewhere")
    assert desk.locator("tr.addressed details[open]").get_attribute("id") == in_bar(desk)
    assert "to waiting: first by scenario" in desk.locator("tr.addressed").inner_text()
    first = page_data().faults["faults"][0]
    words = re.sub(r"[^a-z0-9]+", "-", f"{first['at']} {first['fault']}".lower()).strip("-")
    go(desk, page_file, f"fault-{words}")
    assert desk.locator("#faults details.group[open]").count() == 1
    desk.wait_for_function("document.readyState === 'complete'")
    go(desk, page_file, "answers")
    desk.locator('#answers a[href="#token_refresh.exchanging.unrecognized"]').first.click()
    desk.wait_for_function("document.querySelector('#token_refresh[data-shown]')")
    assert desk.locator("tr.addressed").get_attribute("id") == "token_refresh.exchanging.unrecognized"


# --- the player ---------------------------------------------------------------------------------------------------------


def test_a_walk_by_clicks_with_its_disk(desk: Page, page_file: Path) -> None:
    """Outcomes lead through the parent into the child; the sentence, the disk and the address follow; undo takes back."""
    go(desk, page_file, "walk")
    for word in ("renew", "acquired", "renewable", "claimed"):
        desk.locator(f'#player button[data-key="{word}"]').click()
    assert desk.locator("#player .now").inner_text().count(OWN["token_refresh"].states["looking_again"].about) == 1
    assert "token_lifecycle.refreshing" in desk.locator("#player .now").inner_text(), "the parent stays in sight"
    assert desk.locator("#player tr.changed").inner_text().split("\n")[0].startswith("claim")
    assert "open: its owner died (was: none)" in desk.locator("#player tr.changed").inner_text()
    assert desk.locator('#player svg g.state.lit[data-state="looking_again"]').count() == 1
    shared = in_bar(desk)
    assert shared == "walk/world/renew/acquired/renewable/claimed"
    go(desk, page_file, shared)
    assert desk.locator("#player .state-name").last.inner_text() == "token_refresh.looking_again"
    desk.locator('#player button[data-key="undo"]').click()
    assert desk.locator("#player .state-name").last.inner_text() == "token_refresh.claiming"
    assert in_bar(desk).endswith("/renewable")
    desk.locator('#player svg g[data-edges~="claiming.claimed"] text').first.click()
    assert in_bar(desk).endswith("/renewable/claimed"), "an arrow of the picture is a choice, too"


def test_a_walk_by_keys(desk: Page, page_file: Path) -> None:
    """Digits choose, U takes back; after a choice the keyboard is on a choice again."""
    go(desk, page_file, "walk/world")
    desk.locator("#player button[data-key]").first.focus()
    for _ in range(3):
        desk.keyboard.press("1")
    assert in_bar(desk) == "walk/world/renew/acquired/renewable"
    assert desk.evaluate("document.activeElement.closest('#player') !== null")
    desk.keyboard.press("u")
    assert in_bar(desk) == "walk/world/renew/acquired"
    desk.keyboard.press("Enter")
    assert not in_bar(desk).endswith("acquired"), "the key that holds the keyboard is a button"


def test_what_the_disk_does_not_allow_is_said(desk: Page, page_file: Path) -> None:
    """A declared outcome that the world does not have here is shown apart; taken, the machine alone is followed."""
    go(desk, page_file, "walk/world/renew/acquired/renewable")
    off = desk.get_by_role("group", name="Declared, but not possible on this disk")
    assert [text.split()[-1].replace("\u200b", "") for text in off.locator("button").all_inner_texts()] == [
        event for event in OWN["token_refresh"].states["claiming"].on if event != "claimed"
    ]
    off.locator('button[data-key="staged"]').click()
    assert desk.locator("#player .disk").inner_text() == "The disk is not followed here."
    desk.locator('#player button[data-key="committed"]').click()
    assert desk.locator("#player .state-name").last.inner_text() == "token_lifecycle.injecting", (
        "through the child's end"
    )


def test_the_way_to_an_edge(desk: Page, page_file: Path) -> None:
    """▶ leads there on a shortest walk: in the world where it knows one, else along the machine."""
    way = "walk/world/renew/acquired/renewable/claimed/is-killed/renew/acquired/renewable/interrupted"
    go(desk, page_file, f"to/{INTERRUPTED}")
    assert in_bar(desk) == way
    assert desk.locator("#player .state-name").last.inner_text() == "token_refresh.reclaiming"
    missed = desk.evaluate(
        """() => [...document.querySelectorAll("a.script")].map((one) => one.hash.slice(4)).filter((edge) => {
            const way = walking.wayTo(edge);
            return !way || !walking.follow(way).at(-1).edges.includes(edge);
        })"""
    )
    assert missed == []
    walk = "walk/device_login/ready/code/shown/elapsed/access_denied"
    go(desk, page_file, walk)
    assert desk.locator("#player .now .tag").inner_text() == "rest, bad"
    go(desk, page_file, f"{walk}/granted")
    assert "not possible on these machines" in desk.locator("#player .now").inner_text()


def test_a_story_is_played(desk: Page, page_file: Path) -> None:
    """A counterexample turns by keys and buttons; each page has an address, and says where every process is."""
    go(desk, page_file, "proof")
    desk.locator('#proof a[href="#story/without-it"]').first.click()
    desk.wait_for_function("document.querySelector('#walk[data-shown]')")
    assert "breaks I1. Never twice." in desk.locator("#player").inner_text()
    desk.keyboard.press("ArrowRight")
    assert in_bar(desk) == "story/without-it/1"
    assert "A: token_refresh.looking_again" in desk.locator("#player .now").inner_text()
    assert "(was: none)" in desk.locator("#player tr.changed").inner_text()
    desk.locator('#player button[data-key="next"]').click()
    assert desk.locator("#player .now").inner_text().startswith("2. B: is killed")
    assert desk.locator('#player button[data-key="next"]').is_disabled()


def test_a_scenario_and_a_fault_are_played(desk: Page, page_file: Path) -> None:
    """A scenario's walk comes to the end that it states; a fault's walk is led by its recorded outcomes."""
    go(desk, page_file, "proof")
    desk.locator("#proof summary", has_text="1 walk").click()
    desk.locator("#proof a", has_text="play").last.click()
    desk.wait_for_function("document.querySelector('#walk[data-shown]')")
    assert desk.locator("#player .state-name").last.inner_text() == "device_login.failed"


def test_what_is_given_is_played(desk: Page, page_file: Path, tmp_path: Path) -> None:
    """Lines of a trace and of a counterexample are played where they are pasted; a step of other machines is said."""
    lines = [
        Traced("w", "device_login", "polling", "slow_down", "waiting", 0.1, 1, 100.0),
        Traced("w", "device_login", "waiting", "elapsed", "denied", 0.1, 2, 101.0),
    ]
    go(desk, page_file, "walk")
    desk.locator("#player summary", has_text="Play a recorded walk").click()
    desk.locator("#player textarea").fill("".join(line.line() for line in lines))
    desk.locator("#player button", has_text="play it").click()
    assert desk.locator("#player h3").first.inner_text() == "what you gave"
    desk.keyboard.press("ArrowRight")
    assert desk.locator("#player .state-name").inner_text() == "device_login.waiting"
    desk.keyboard.press("ArrowRight")
    assert "do not allow this step" in desk.locator("#player .now").inner_text()
    desk.locator("#player summary", has_text="Play a recorded walk").click()
    told = (
        "  I1 is broken in 2 steps.\n  1. A: finds expired, renew: -> token_lifecycle.refreshing\n"
        "  2. A: token_refresh.claiming --claimed-->\n       token_refresh.looking_again\n"
    )
    desk.locator("#player textarea").fill(told)
    desk.locator("#player button", has_text="play it").click()
    desk.keyboard.press("ArrowRight")
    desk.keyboard.press("ArrowRight")
    assert "A: token_refresh.looking_again" in desk.locator("#player .now").inner_text()
    desk.locator("#player summary", has_text="Play a recorded walk").click()
    desk.locator("#player textarea").fill("nothing of a walk")
    desk.locator("#player button", has_text="play it").click()
    assert "holds no step" in desk.locator("#player .more").inner_text()


def test_a_page_opens_with_its_story(desk: Page, tmp_path: Path) -> None:
    """A page that was made for a trace opens with it, whatever text is in it."""
    step = Traced("w", "device_login", "polling", "slow_down", "waiting", 0.1, 1, 100.0)
    story = {**walk_story(Walk((step,))), "title": "</script><script>ran()</script>"}
    file = tmp_path / "story.html"
    file.write_text(html_page(OWN, PageData(), [story]), encoding="utf-8")
    go(desk, file, "")
    assert desk.locator("#player h3").first.inner_text() == story["title"]


def test_the_proof_tells_its_verdict(desk: Page, page_file: Path) -> None:
    """Verdict, states, revision and date; of each rule its worlds and mutants; what a scenario forbids."""
    go(desk, page_file, "proof")
    said = desk.locator("#proof .verdict").inner_text()
    assert said.startswith("holds every rule holds in all 1 worlds, 10 states")
    assert "at revision 0123456789ab of 2026-01-02." in said
    rules = desk.locator('#proof tr[id^="rule-"]').all_inner_texts()
    assert "holds in 1 of 1 worlds" in rules[0]
    assert "holds in 0 of 1 worlds" in rules[1], "its only world leaves it to others"
    assert "any end but failed, and any detour" in desk.locator('#proof tr[id^="scenario-"]').inner_text()
    go(desk, page_file, "device_login.polling.access_denied")
    desk.locator("tr.addressed summary").last.click()
    assert "to waiting: first by scenario: a refusal ends it" in desk.locator("tr.addressed").inner_text()


# --- reading it anywhere ------------------------------------------------------------------------------------------------


def test_a_search_in_the_faults(desk: Page, page_file: Path) -> None:
    """Each word must occur; groups without a hit are gone; the count is spoken."""
    go(desk, page_file, "faults")
    every = len(page_data().faults["faults"])
    desk.locator("#faults-search").fill("poll 403")
    shown = desk.locator("#faults tbody tr:visible").all_inner_texts()
    assert 0 < len(shown) < every
    assert desk.locator("#faults-found").inner_text() == f"{len(shown)} found"
    desk.locator("#faults-search").fill("")
    assert desk.locator("#faults details.group:visible").count() > 1
    assert desk.evaluate("document.querySelector('#faults').scrollHeight") < 2000, "folded until it is asked for"


def test_few_stops_before_the_content(desk: Page, page_file: Path) -> None:
    """At most twenty stops of the Tab key lead from the top of the page into its content."""
    for address in ("", "token_lifecycle", "walk", "proof"):
        go(desk, page_file, address)
        for _ in range(20):
            desk.keyboard.press("Tab")
            if desk.evaluate("document.activeElement.closest('main') !== null"):
                break
        else:
            pytest.fail(f"#{address}: no content after twenty stops")


def test_the_tree_of_a_screen_reader(desk: Page, page_file: Path) -> None:
    """Each row begins with its state as a header; pictures and groups have names; the player speaks its news."""
    go(desk, page_file, "token_refresh")
    tree = desk.locator("#token_refresh table").first.aria_snapshot()
    rows = desk.locator("#token_refresh table").first.locator("tbody tr").count()
    headers = [line.strip() for line in tree.splitlines() if line.strip().startswith("- rowheader ")]
    assert len(headers) == rows
    assert sum(header.startswith('- rowheader "claiming') for header in headers) == len(
        OWN["token_refresh"].states["claiming"].on
    )
    named = desk.locator("#token_refresh").aria_snapshot()
    assert 'group "picture of token_refresh"' in named
    assert f'link "link to {INTERRUPTED}"' in named
    unnamed = desk.evaluate(
        """() => [...document.querySelectorAll("button, a, input, textarea, [role=group], [role=img]")].filter(
            (one) => !(one.textContent.trim() || one.getAttribute("aria-label") || one.labels?.length
                || one.getAttribute("aria-labelledby"))).length"""
    )
    assert unnamed == 0
    go(desk, page_file, "walk/world/renew")
    assert desk.locator("#player .now").get_attribute("aria-live") == "polite"


def test_a_picture_fits_and_grows(desk: Page, page_file: Path) -> None:
    """In a window of 900 px the widest machine fits; the buttons show it in full size, larger, smaller, and whole again."""
    desk.set_viewport_size({"width": 900, "height": 800})
    go(desk, page_file, "token_lifecycle")
    picture = desk.locator("#token_lifecycle figure svg").first
    width = picture.evaluate("(one) => one.viewBox.baseVal.width")

    def now() -> float:
        return float(picture.evaluate("(one) => one.getBoundingClientRect().width"))

    assert now() <= 900 < width
    fits = now()
    press = desk.locator("#token_lifecycle .zoom").first
    for name, expected in (
        ("full size", width),
        ("larger", width * 1.25),
        ("smaller", width),
        ("fit the window", fits),
    ):
        press.get_by_role("button", name=name).click()
        assert now() == pytest.approx(expected, abs=1)


def test_lens_and_player_on_a_phone(desk: Page, page_file: Path) -> None:
    """At 390 px the lens shows the addressed arrow inside the window and off its row; choices are large enough for a
    finger, and one leads on."""
    desk.set_viewport_size({"width": 390, "height": 760})
    go(desk, page_file, "walk/world")
    buttons = desk.locator("#walk .choices button")
    assert all(buttons.nth(number).bounding_box()["height"] >= 40 for number in range(buttons.count()))  # type: ignore[index]
    before = in_bar(desk)
    buttons.first.click()
    assert in_bar(desk) != before
    go(desk, page_file, "token_refresh.claiming.interrupted")
    lens = desk.locator(".kept .lens").bounding_box()
    row = desk.locator('[id="token_refresh.claiming.interrupted"]').bounding_box()
    assert row is not None
    assert lens is not None
    assert 0 <= lens["x"] <= lens["x"] + lens["width"] <= 390
    assert row["y"] + row["height"] <= lens["y"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(desk: Page, page_file: Path, scheme: Any) -> None:
    """At 390 px nothing is wider than the screen, in the player neither, and text has contrast in light and dark."""
    desk.set_viewport_size({"width": 390, "height": 760})
    desk.emulate_media(color_scheme=scheme)
    for address in (
        "",
        "token_refresh",
        "walk/world/renew/acquired",
        "story/without-it/1",
        "proof",
        "faults",
        "answers",
    ):
        go(desk, page_file, address)
        assert desk.evaluate("document.documentElement.scrollWidth") <= 390, address
    ratio = desk.evaluate(
        """() => {
            const light = (rgb) => {
                const [r, g, b] = rgb.match(/\\d+/g).slice(0, 3).map((v) => v / 255)
                    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const style = getComputedStyle(document.body);
            const [a, b] = [light(style.color), light(style.backgroundColor)].sort().reverse();
            return (a + 0.05) / (b + 0.05);
        }"""
    )
    assert ratio > 7


def test_on_paper(desk: Page, page_file: Path, tmp_path: Path) -> None:
    """Printed, every section is there but the player, and no heading stands alone at the foot of a sheet."""
    pdftotext = shutil.which("pdftotext")
    go(desk, page_file, "overview")
    paper = tmp_path / "review.pdf"
    desk.pdf(path=str(paper), format="A4")
    assert paper.read_bytes().startswith(b"%PDF")
    desk.emulate_media(media="print")
    assert desk.locator("section:visible").count() == len(OWN) + 5
    assert desk.locator("#player:visible, .zoom:visible, .here:visible, .lens:visible").count() == 0
    narrowest = desk.locator("#answers tbody tr").evaluate_all(
        "(all) => Math.min(...all.map((one) => one.lastElementChild.getBoundingClientRect().width))"
    )
    assert narrowest > 120, "the reason of an answer is read in words, not in syllables"
    headings = set(desk.locator("h2, h3").all_inner_texts())
    if pdftotext is None:
        pytest.skip("pdftotext is not on PATH; to enable: apt-get install poppler-utils")
    text = subprocess.run([pdftotext, "-layout", paper, "-"], capture_output=True, text=True, check=True).stdout
    assert page_data().faults["faults"][-1]["shown"][0][:30] in text, "folded parts are unfolded"
    last = [sheet.strip().splitlines()[-1].strip() for sheet in text.split("\f") if sheet.strip()]
    assert len(last) > len(OWN)
    assert "device_login" in text.partition("\f")[0], "the title is on one sheet with the first section"
    assert [line for line in last if line in headings] == []


def test_it_holds_without_its_script(chromium: Browser, page_file: Path) -> None:
    """Without scripts every section is shown, addresses lead to their rows, and no sign is left that needs one."""
    context = chromium.new_context(java_script_enabled=False)
    context.set_default_timeout(0)
    try:
        page = context.new_page()
        page.goto(f"{page_file.as_uri()}#{INTERRUPTED}")
        assert page.locator("section:visible").count() == len(OWN) + 6
        assert page.locator(".script:visible").count() == 0
        assert page.locator(f'[id="{INTERRUPTED}"]').is_visible()
    finally:
        context.close()


def test_the_policy_lets_nothing_else_run(desk: Page, page_file: Path, tmp_path: Path) -> None:
    """A script or a style that is added to the file later does not run: the policy names the bytes of its own."""
    file = tmp_path / "changed.html"
    text = page_file.read_text("utf-8")
    file.write_text(text.replace("</body>", "<script>document.title = 'ran'</script></body>"), encoding="utf-8")
    context = desk.context
    other = context.new_page()
    other.goto(file.as_uri())
    assert other.title() == "Machines under review"


def test_the_page_has_a_size_to_send(page_file: Path) -> None:
    """The data for the script is one JSON value, a part of the page that can be read apart."""
    found = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', page_file.read_text("utf-8"))
    assert found is not None
    data = json.loads(found[1])
    assert set(data) == {"machines", "world", "stories", "opened"}
    assert data["machines"] == {name: machine.data() for name, machine in OWN.items()}

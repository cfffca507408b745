"""The page for reviewers: shows measured and missing figures, and works in a real browser, phone and paper included."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from kimi_auth.machine import Library, digest, edges
from kimi_auth.review import diagram
from kimi_auth.review.coverage import condense, coverage, only_checked
from kimi_auth.review.graph import graph_of
from kimi_auth.review.html_page import html_page
from kimi_auth.review.overlay import Mark
from kimi_auth.review.page_data import NO_PAGE_DATA, PageData, read_page_data
from kimi_auth.review.svg import svg

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHECKOUT = Path(__file__).parents[2]
OWN = Library.load()
CHECKER_ONLY = "token_refresh: committing --gone--> revoking"
UNWALKED = "sign_out: revoking --failed--> clearing"


def report() -> dict[str, Any]:
    """What a full run leaves: every edge walked by two rows of one test, but two."""
    return {
        "machines": digest(OWN),
        "full_run": True,
        "edges": [
            {
                **edge._asdict(),
                "tests": {} if str(edge) in {CHECKER_ONLY, UNWALKED} else {"t.py::a[1]": 2, "t.py::a[2]": 1},
            }
            for machine in OWN.values()
            for edge in edges(machine)
        ],
    }


def measured() -> PageData:
    checker = {
        "machines": digest(OWN),
        "policy": "Every crash, one fault at a time.",
        "runs": [
            {
                "processes": 2,
                "states": 1_234_567,
                "edges": 9,
                "depth": 80,
                "longest_walk": 20,
                "walked": [CHECKER_ONLY],
            },
            {"processes": 1, "states": 1_234, "edges": 8, "depth": 40, "longest_walk": 20, "walked": ["gone"]},
        ],
        "invariants": [{"name": "never_twice", "about": "No token is sent twice."}],
        "ablations": [{"about": "the claim", "rule": "never_twice", "steps": 14}],
    }
    mutation = {
        "machines": digest(OWN),
        "mutants": 812,
        "killed": 811,
        "survivors": [{"mutant": "an <edit>", "argument": "It is as good."}],
    }
    hooks = {"sign_out": {"revoke": {"implemented by": "a.b", "time limit": "5 s", "may touch": "x|y"}}}
    answers = {"poll": {"columns": ["status", "outcome"], "rows": [["200", "granted"], ["<400>", "refused"]]}}
    faults = {
        "faults": [{"at": "code", "fault": "<500>", "ends": "signed_in", "shown": ["HOST has error.", "x" * 300]}]
    }
    return PageData(hooks, answers, condense(OWN, report()), checker, mutation, faults)


class Outline(HTMLParser):
    """Ids, links and open elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [value or "" for key, value in attrs if key in {"href", "src"}]
        if tag not in {"meta", "link", "br", "wbr", "input"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A void element of SVG."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_by_itself() -> None:
    """Well formed, no id twice, every link leads inside, nothing is fetched from anywhere."""
    for page_data in (NO_PAGE_DATA, measured()):
        outline = Outline()
        outline.feed(html_page(OWN, page_data))
        assert outline.open == []
        assert len(outline.ids) == len(set(outline.ids))
        inside = {f"#{name}" for name in outline.ids} | {"data:,"}
        others = set(outline.links) - inside
        played = {link for link in others if link.startswith(("#to/", "#walk/", "#story/"))}
        for link in others - played:  # the source of a hook, from the folder of the page
            file, _, line = link.partition("#L")
            assert Path(CHECKOUT / "diagrams" / file).read_text("utf-8").splitlines()[int(line) - 1].strip()
            assert file.startswith("../kimi_auth/")


def test_everything_is_on_it() -> None:
    """Every state, outcome, hook, test, figure, invariant, ablation, surviving mutant and answer."""
    page = html_page(OWN, measured())
    for machine in OWN.values():
        for name, state in machine.states.items():
            assert f'data-state="{name}"' in page
            for event in state.on:
                assert f'<tr id="{machine.name}.{name}.{event}" data-edge="{name}.{event}">' in page
    for words in (
        '<span class="walked">×3</span> 1 test<',
        "by the checker, N=2",
        '<span class="unwalked">never</span>',
        "1\u202f234\u202f567",
        "No token is sent twice.",
        "the claim",
        '<span class="big">812</span>edits of an edge',
        "an &lt;edit&gt;",
        "<code>granted</code>",
        "&lt;400&gt;",
        "&lt;500&gt;",
        "HOST has error.",
        f"{len(edges(OWN['sign_out'])) - 1} of {len(edges(OWN['sign_out']))}",
        "<code>a.<wbr>b</code>",
    ):
        assert words in page


def test_what_was_not_measured_is_said() -> None:
    """Without figures, or with figures of other machines, the page says so and shows none."""
    stale = measured()
    data = OWN.data()
    data["sign_out"]["about"] = "Another sentence."
    others = Library.from_data(data)
    for page in (html_page(OWN, NO_PAGE_DATA), html_page(others, stale)):
        assert page.count("Not measured on these machines.") == 2
        assert "Not measured on this machine." in page
    assert html_page(others, stale).count("Not measured on this machine.") == 1, "the other machines are as they were"


def test_kept_coverage() -> None:
    """Rows of one test count together; a report of other machines is refused."""
    found = condense(OWN, report())
    assert found["sign_out"]["edges"]["revoking.revoked"] == {"t.py::a": 3}
    assert found["sign_out"]["digest"] == digest(OWN["sign_out"])
    with pytest.raises(ValueError, match="of other machines"):
        condense(OWN, {**report(), "machines": "x"})


def test_coverage_overlay() -> None:
    """Walked in one colour, reached by the checker only in another, never walked in a third; the worst colours a frame."""
    page_data = measured()
    checked = only_checked(page_data, OWN)
    assert {str(edge): processes for edge, processes in checked.items()} == {CHECKER_ONLY: 2}
    refresh, out, life = (OWN[name] for name in ("token_refresh", "sign_out", "token_lifecycle"))
    tests = page_data.tests(refresh)
    assert tests is not None
    over = coverage(refresh, graph_of(refresh), tests, checked)
    assert over.marks["committing", "gone", "revoking"] == Mark("checker", "N=2")
    assert over.marks["committing", "committed", "renewed"] == Mark("walked", "×3")
    assert [kind for kind, _ in over.legend] == ["walked", "checker"]
    unwalked = coverage(out, graph_of(out), page_data.tests(out) or {}, checked)
    assert unwalked.marks["revoking", "failed", "clearing"] == Mark("unwalked", "never")
    drawn = graph_of(life)
    (frame,) = (name for name, frame in drawn.frames.items() if "expiring" in frame.states)
    found = dict(page_data.tests(life) or {})
    assert coverage(life, drawn, found, {}).marks[frame, "renew", "refreshing"] == Mark("walked", "×18")
    del found[next(edge for edge in found if edge.source == "in_doubt" and edge.event == "renew")]
    assert coverage(life, drawn, found, {}).marks[frame, "renew", "refreshing"] == Mark("unwalked", "never")
    renewals = [edge for edge in edges(life) if edge.source in drawn.frames[frame].states and edge.event == "renew"]
    some = {renewals[0]: 1, renewals[1]: 2}
    for reached, mark in ((some, ("checker", "N=2")), ({renewals[0]: 1}, ("unwalked", "never"))):
        walked = {edge: {"t": 1} for edge in edges(life) if edge not in renewals[:2]}
        assert coverage(life, drawn, walked, reached).marks[frame, "renew", "refreshing"] == Mark(*mark)


def test_pictures_are_xml() -> None:
    """Each is well-formed, has a title and a description, links to its children, and has no script."""
    for machine in OWN.values():
        text = svg(machine)
        root = ElementTree.fromstring(text)
        space = "{http://www.w3.org/2000/svg}"
        assert root.find(f"{space}title") is not None
        desc = root.find(f"{space}desc")
        assert desc is not None
        assert all(name in str(desc.text) for name in machine.rest)
        links = {link.get("href") for link in root.iter(f"{space}a")}
        assert links == {f"{state.walks}.svg" for state in machine.states.values() if state.walks}
        assert "<script" not in text
        assert "prefers-color-scheme:dark" in text
        sentences = [" ".join(state.about.split()) for state in machine.states.values()]
        titles = [str(title.text) for title in root.iter(f"{space}title")]
        assert all(any(sentence in title for title in titles) for sentence in sentences)


def test_read_page_data(tmp_path: Path) -> None:
    """Every file in the folder is read; a file that cannot be read is named."""
    assert read_page_data(tmp_path) == NO_PAGE_DATA
    (tmp_path / "measured").mkdir()
    (tmp_path / "measured" / "coverage.json").write_text(json.dumps({"a": 1}))
    (tmp_path / "hooks.toml").write_text('[a.b]\n"time limit" = "1 s"\n')
    assert read_page_data(tmp_path) == PageData(hooks={"a": {"b": {"time limit": "1 s"}}}, coverage={"a": 1})
    (tmp_path / "answers.json").write_text("{")
    with pytest.raises(ValueError, match=r"answers\.json cannot be read"):
        read_page_data(tmp_path)


def test_folder_with_everything(tmp_path: Path) -> None:
    """With figures there are coverage pictures and a table of hooks; without figures they stay as they were, and are named."""
    page_data = measured()
    (tmp_path / "measured").mkdir()
    (tmp_path / "measured" / "coverage.json").write_text(json.dumps(page_data.coverage))
    (tmp_path / "hooks.toml").write_text('[sign_out.revoke]\n"implemented by" = "a.b"\n"may touch" = "x|y"\n')
    diagram.write(tmp_path)
    assert diagram.check(tmp_path) == []
    page = (tmp_path / "sign_out.md").read_text()
    assert re.search(
        r"\n\| `revoke` \| \[`a\.b`\]\(\.\./kimi_auth/credential/\w+\.py#L\d+\) \|  \| x\\\|y \|  \|  \|\n", page
    )
    assert "×3" in (tmp_path / "sign_out.coverage.svg").read_text()
    (tmp_path / "measured" / "coverage.json").unlink()
    assert (
        f"{tmp_path}/sign_out.coverage.svg was measured on another revision; run `make test` first, then run `make diagrams`"
        in diagram.check(tmp_path)
    )
    before = (tmp_path / "sign_out.coverage.svg").read_bytes()
    (tmp_path / "gone.coverage.svg").write_bytes(before)
    diagram.write(tmp_path)
    assert (tmp_path / "sign_out.coverage.svg").read_bytes() == before
    assert not (tmp_path / "gone.coverage.svg").exists()


def test_a_layout_of_another_machine_is_told(tmp_path: Path) -> None:
    """A layout in the folder that does not belong to the machine needs node, and the line says so."""
    (tmp_path / "layouts").mkdir()
    (tmp_path / "layouts" / "sign_out.json").write_text(json.dumps({"graph": "x", "layout": {}}))
    diagram.write(tmp_path)
    assert diagram.check(tmp_path) == [
        f"{tmp_path}/layouts/sign_out.json is of another machine; run `make diagrams`, which needs node for this one"
    ]


@pytest.fixture
def desk(chromium: Browser) -> Iterator[Page]:
    """A page that opens files; nothing on it may take longer than 5 s."""
    context = chromium.new_context()
    context.set_default_timeout(0)
    yield context.new_page()
    context.close()


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    file = tmp_path / "review.html"
    file.write_text(html_page(OWN, measured()), encoding="utf-8")
    return file


def go(desk: Page, file: Path, name: str) -> None:
    """Opens a section by its address, and waits for all that follows: a page that is there already hears of its new address later,
    and the browser's own jump to it comes in a frame after the script."""
    desk.goto(f"{file.as_uri()}#{name}")
    is_shown(desk, name)
    desk.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def is_shown(desk: Page, name: str) -> None:
    desk.wait_for_function("(name) => document.querySelector('section[data-shown]')?.id === name", arg=name)


@pytest.mark.browser
def test_in_a_browser(desk: Page, page_file: Path) -> None:
    """Tabs by click and by key, a row lights its arrow and the other way round, nothing wider than a phone."""
    page = desk
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None
    )
    page.set_viewport_size({"width": 1200, "height": 900})
    page.goto(page_file.as_uri())
    assert page.locator("section:visible").get_attribute("id") == "overview"
    page.locator("nav a", has_text="sign_out").click()
    assert page.locator("section:visible").get_attribute("id") == "sign_out"
    assert page.locator("nav a[aria-current]").inner_text() == "sign_out"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator("section:visible").get_attribute("id") == "token_lifecycle"
    row = page.locator('#token_lifecycle tr[data-edge="usable.renew"]')
    arrow = page.locator('#token_lifecycle g[data-edges~="usable.renew"]').first
    row.locator("a.here").first.focus()
    assert "lit" in str(arrow.get_attribute("class")).split()
    row.locator("a.here").first.blur()
    assert "lit" not in str(arrow.get_attribute("class")).split()
    arrow.dispatch_event("mouseenter")
    assert "lit" in str(row.get_attribute("class")).split()
    page.locator("#token_lifecycle svg a", has_text="walks token_refresh").first.click()
    is_shown(page, "token_refresh")
    assert page.locator("section:visible").get_attribute("id") == "token_refresh"
    page.set_viewport_size({"width": 390, "height": 760})
    for name in ("overview", "device_login", "token_lifecycle", "proof", "faults", "answers"):
        go(page, page_file, name)
        assert page.locator("section:visible").get_attribute("id") == name
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        for part in ("nav a[aria-current]", *(["section[data-shown] .dot"] if name in OWN else [])):
            box = page.locator(part).first.bounding_box()
            assert box is not None
            assert 0 <= box["x"] <= 390 - box["width"], f"{part} of {name} is in sight"
    page.emulate_media(media="print")
    assert page.locator("section:visible").count() == len(OWN) + 5, "all but the player"
    assert said == []


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1200, 900), (390, 760)])
def test_what_a_row_lights_up_is_in_sight(desk: Page, page_file: Path, width: int, height: int) -> None:
    """Wherever a row stands in the window, its arrow is lit where it can be seen, in the picture or in the lens."""
    desk.set_viewport_size({"width": width, "height": height})
    for name, machine in OWN.items():
        go(desk, page_file, name)
        hidden, lit = desk.evaluate(
            """() => {
                const hidden = [], section = document.querySelector("section[data-shown]");
                let lit = 0;
                for (const row of section.querySelectorAll('tr[data-edge*="."]')) {
                    row.scrollIntoView({ block: "center" });
                    row.dispatchEvent(new MouseEvent("mouseenter"));
                    const seen = [...document.querySelectorAll(".edge.lit")].some((edge) => {
                        const box = edge.querySelector("text").getBoundingClientRect();
                        const lens = edge.closest("#lens")?.getBoundingClientRect();
                        const [left, top, right, foot] = lens
                            ? [lens.left, lens.top, lens.right, lens.bottom] : [0, 0, innerWidth, innerHeight];
                        return box.left >= left && box.right <= right && box.top >= top && box.bottom <= foot;
                    });
                    seen ? lit++ : hidden.push(row.dataset.edge);
                    row.dispatchEvent(new MouseEvent("mouseleave"));
                }
                return [hidden, lit];
            }"""
        )
        assert hidden == []
        assert lit == sum(len(state.on) for state in machine.states.values())
        assert desk.locator("#lens svg").count() == 0


@pytest.mark.browser
def test_a_click_on_an_arrow_leads_to_its_row(desk: Page, page_file: Path) -> None:
    """The row comes into the window and has the keyboard; a link from elsewhere shows its heading below the bar."""
    desk.set_viewport_size({"width": 1200, "height": 900})
    go(desk, page_file, "device_login")
    desk.locator('#device_login g[data-edges~="polling.slow_down"] text').first.click()
    row = desk.locator("tr:has(a.here:focus)")
    assert row.get_attribute("data-edge") == "polling.authorization_pending", "the first of those that share the arrow"
    box = row.bounding_box()
    assert box is not None
    assert 0 < box["y"] < 900
    for name in ("faults", "token_lifecycle"):
        desk.goto("about:blank")
        go(desk, page_file, name)
        heading, bar = desk.locator(f"#{name} h2").bounding_box(), desk.locator("nav").bounding_box()
        assert heading is not None
        assert bar is not None
        assert heading["y"] >= bar["y"] + bar["height"]


@pytest.mark.browser
def test_text_in_pictures_has_room(desk: Page, tmp_path: Path) -> None:
    """In a real browser no text is wider than computed: it stays inside their boxes."""
    for machine in OWN.values():
        file = tmp_path / f"{machine.name}.svg"
        file.write_text(svg(machine), encoding="utf-8")
        desk.goto(file.as_uri())
        wide = desk.evaluate(
            """[...document.querySelectorAll("g.state")].flatMap((state) => {
                const box = state.querySelector("rect").getBBox();
                return [...state.querySelectorAll("text")].filter((text) => text.getBBox().width > box.width - 8)
                    .map((text) => text.textContent);
            })"""
        )
        assert wide == []


@pytest.mark.browser
def test_pictures_are_printed_whole(desk: Page, tmp_path: Path) -> None:
    """On a sheet of A4 every part of a picture is on the paper, however wide the picture is."""
    desk.set_viewport_size({"width": 794, "height": 1123})
    desk.emulate_media(media="print")
    for machine in OWN.values():
        file = tmp_path / f"{machine.name}.svg"
        file.write_text(svg(machine), encoding="utf-8")
        desk.goto(file.as_uri())
        right, foot = desk.evaluate(
            """[...document.querySelectorAll("g.state rect")].map((box) => box.getBoundingClientRect())
                .reduce(([x, y], box) => [Math.max(x, box.right), Math.max(y, box.bottom)], [0, 0])"""
        )
        assert 0 < right <= 794
        assert 0 < foot <= 1123


def test_same_bytes(tmp_path: Path) -> None:
    """Same machines and same figures, same page."""
    page_data = measured()
    again = PageData(*(copy.deepcopy(dict(getattr(page_data, name))) for name in page_data.__slots__))
    assert html_page(OWN, page_data) == html_page(Library.from_data(OWN.data()), again)
    assert re.search(r"<code>[0-9a-f]{16}</code>", html_page(OWN, page_data))

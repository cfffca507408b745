"""The pages for people are true: links lead somewhere, tables agree with the code, Python in them is Python."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import kimi_auth.cli.errors  # noqa: F401 - its errors have rows in the table too
from kimi_auth import Session, errors
from kimi_auth.login.view import SilentView
from kimi_auth.platforms import registry
from kimi_auth.testing.emulator import Emulator
from kimi_auth.wire.oauth import EXCHANGE_DEADLINE_S

CHECKOUT = Path(__file__).parents[2]
ELSEWHERE = ("machines/README.md", "diagrams/README.md")
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md"), *(CHECKOUT / page for page in ELSEWHERE)])


def read(name: str) -> str:
    return (CHECKOUT / name).read_text("utf-8")


def every_error(kind: type[errors.KimiAuthError] = errors.KimiAuthError) -> list[type[errors.KimiAuthError]]:
    """All of this package's; other tests may have made some of their own."""
    ours = [child for child in kind.__subclasses__() if child.__module__.startswith("kimi_auth.")]
    return [kind, *(below for child in ours for below in every_error(child))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links(page: Path) -> None:
    """Every relative link leads to a file or folder of the project."""
    prose = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", prose)
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_python(page: Path) -> None:
    """Every Python block compiles."""
    for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL):
        ast.parse(textwrap.dedent(block))


def test_exit_statuses() -> None:
    """The table of the command line has every exit status that an error has, and its own."""
    rows = {int(number) for number in re.findall(r"^\| (\d+) \|", read("docs/cli.md"), flags=re.MULTILINE)}
    assert rows == {error.exit_status for error in every_error()} | {0}


def test_environment() -> None:
    """The page of the command line names every variable that a built-in platform obeys."""
    table = read("docs/cli.md").partition("## Environment")[2].partition("\n## ")[0]
    for platform in registry.all():
        names = [*platform.api_base_env, *(platform.oauth.host_env if platform.oauth else ())]
        assert [name for name in names if f"`{name}`" not in table] == []


def test_machines_are_listed() -> None:
    """machines/README.md has a row for each machine, README.md a link to each picture."""
    for machine in CHECKOUT.glob("machines/*.toml"):
        assert f"[{machine.stem}]({machine.name})" in read("machines/README.md")
        assert f"(diagrams/{machine.stem}.md)" in read("README.md")


def test_make_targets() -> None:
    """Every `make` word in the pages is a target."""
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), flags=re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"(?:^|`)make ([a-z]+)", page.read_text("utf-8"), flags=re.MULTILINE)
        assert set(named) <= targets, page


def sections(page: Path) -> set[str]:
    """The anchors of a page's headings that GitHub and the site agree on."""
    prose = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    titles = [re.sub(r"[`*]|\]\([^)]*\)|\[", "", line) for line in re.findall(r"^#+ +(.+)$", prose, re.MULTILINE)]
    plain = [re.sub(r"[^\w\- ]", "", title.strip().lower()) for title in titles]
    return {title.replace(" ", "-") for title in plain if not re.search(r"[- ]{2}", title)}


STOPS = (
    r"TimeoutStopSec=(\d+)",
    r"<key>ExitTimeOut</key>\s*<integer>(\d+)",
    r"ExitTimeOut` (\d+)",
    r"stop_grace_period: (\d+)",
    r"docker stop --time (\d+)",
    r"terminationGracePeriodSeconds: (\d+)",
)


def test_stop_timeouts() -> None:
    """Whatever a page or an example gives a service to stop is more than a renewal takes; each service manager's file says it."""
    units = sorted(
        path for path in (CHECKOUT / "examples" / "serve").iterdir() if path.suffix in {".service", ".plist"}
    )
    told = [(path.name, int(found)) for path in [*PAGES, *units] for stop in STOPS
            for found in re.findall(stop, path.read_text("utf-8"))]  # fmt: skip
    assert {path.name for path in units} <= {name for name, _ in told}
    assert len(told) > len(units) + 3
    assert [(name, seconds) for name, seconds in told if seconds <= EXCHANGE_DEADLINE_S + 5] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_anchors(page: Path) -> None:
    """Every link to a part of a page names a heading of that page."""
    prose = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    dead = []
    for file, anchor in re.findall(r"\]\(([^):#]*)#([^)]+)\)", prose):
        target = page.parent / file if file else page
        if target.suffix == ".md" and anchor not in sections(target):
            dead.append(f"{file}#{anchor}")
    assert dead == []


def test_a_dead_anchor_is_seen(tmp_path: Path) -> None:
    """A heading that is gone is found, one that is there is not."""
    page = tmp_path / "page.md"
    page.write_text("# One `thing`\n\n## Stop time-outs\n\n```\n# not a heading\n```\n")
    assert sections(page) == {"one-thing", "stop-time-outs"}


def test_measured_parts_are_fresh() -> None:
    """Pages hold the figures of diagrams/measured and the recipes of examples/sdk; `make diagrams` writes them."""
    pages = pages_tool().made()
    assert pages == {name: read(f"docs/{name}") for name in pages}


def test_a_counterexample_is_told() -> None:
    """The page tells each ablation's course where the figures hold one, and what nothing breaks without."""
    figures = {
        "ablations": [
            {"about": "the claim", "rule": "I1", "steps": 2, "course": ["A: sends", "A: is killed"]},
            {"about": "a|b", "rule": "", "steps": "nothing: the other parts make up for it"},
        ]
    }
    made = pages_tool().page("<!-- measured: ablations -->\nold\n<!-- end -->", figures)
    assert "| the claim | I1 | 2 |" in made
    assert "### Without: the claim (I1)\n\n```text\n 1  A: sends\n 2  A: is killed\n```" in made
    assert "| a\\|b | nothing | the other parts make up for it |" in made
    assert "old" not in made


def pages_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pages_tool", CHECKOUT / "tools" / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_is_short() -> None:
    """A newcomer reads it in one go."""
    assert read("README.md").count("\n") <= 90


def test_readme_runs(tmp_path: Path) -> None:
    """The Python of README and of the quick start runs as it stands, after a sign-in."""
    with Emulator(approve_after_s=0, interval_s=1) as emulator:
        environ = {**os.environ, **emulator.env, "KIMI_SHARE_DIR": str(tmp_path)}
        asyncio.run(Session(tmp_path, environ=environ).login(SilentView()))
        for page in ("README.md", "README.zh-CN.md", "docs/index.md"):
            (program,) = re.findall(r"```python\n(.*?)```", read(page), flags=re.DOTALL)
            done = subprocess.run(
                [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stderr) == (0, "")
            assert "kimi-for-coding" in done.stdout


def test_every_page_is_in_the_site() -> None:
    """mkdocs.yml names each page of docs/, and nothing that is not there."""
    named = set(re.findall(r": (\S+\.md)$", read("mkdocs.yml"), flags=re.MULTILINE))
    assert {page.name for page in CHECKOUT.glob("docs/*.md")} <= named
    assert [name for name in named if not ((CHECKOUT / "docs" / name).is_file() or (CHECKOUT / name).is_file())] == []


def test_the_site_follows_the_repository(tmp_path: Path) -> None:
    """A link to a repository's page leads to the site's, one to another file becomes its path; code stays as it is."""
    pytest.importorskip("mkdocs", reason="the site's packages are not installed; to enable: make docs")
    spec = importlib.util.spec_from_file_location("site_tool", CHECKOUT / "tools" / "site.py")
    assert spec is not None
    assert spec.loader is not None
    site = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(site)
    uris = ["cli.md", "SECURITY.md", "machines/README.md", "operating.md"]
    page = SimpleNamespace(file=SimpleNamespace(abs_src_path=str(CHECKOUT / "docs" / "cli.md"), src_uri="cli.md"))
    text = "[a](../SECURITY.md#x) [b](../machines) [`c`](../Makefile) [d](operating.md) `[e](../SECURITY.md)` [f](https://x.example)"
    made = site.on_page_markdown(text, page, {"docs_dir": str(CHECKOUT / "docs")}, SimpleNamespace(src_uris=uris))
    assert made == (
        "[a](SECURITY.md#x) [b](machines/README.md) `c` (`Makefile`) [d](operating.md) `[e](../SECURITY.md)` [f](https://x.example)"
    )

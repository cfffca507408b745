"""The pages for people say what is so: links lead somewhere, tables agree with the code, Python in them is Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import kimi_auth.cli.errors  # noqa: F401 - its errors have rows in the table too
from kimi_auth import errors
from kimi_auth.platforms import registry

CHECKOUT = Path(__file__).parents[2]
PAGES = sorted([*CHECKOUT.glob("*.md"), CHECKOUT / "machines" / "README.md"])


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
        ast.parse(block)


def test_exit_statuses() -> None:
    """README's table has every exit status that an error has, and the command line's own."""
    rows = {int(number) for number in re.findall(r"^\| (\d+) \|", read("README.md"), flags=re.MULTILINE)}
    assert rows == {error.exit_status for error in every_error()} | {0}


def test_environment() -> None:
    """README names every variable that a built-in platform obeys."""
    table = read("README.md").partition("## Environment")[2].partition("\n## ")[0]
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

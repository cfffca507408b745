"""Every recipe of examples/sdk with the real SDK, while its tokens die: what happened is diagrams/measured/sdks.json.

`KIMI_AUTH_MEASURE=1` writes that file, from which tools/pages.py makes the matrix in docs/. A test compares it with today's
results; of a version the major number counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest

from sdks.observe import ANSWERS, UNSEEN, observed
from sdks.recipes import RECIPES, REQUIREMENTS, Environment

pytestmark = [pytest.mark.prove, pytest.mark.timeout(900)]

MEASURED: Final = Path(__file__).parents[2] / "diagrams" / "measured" / "sdks.json"
AT_ONCE: Final = 4


@pytest.mark.parametrize("environment", sorted(REQUIREMENTS))
def test_the_matrix(
    environment: Environment,
    sdk_python: Callable[[Environment], str],
    sdk_versions: Callable[[Environment], dict[str, str]],
    sdk_environ: dict[str, str],
    outside: dict[str, str],
    tmp_path: Path,
) -> None:
    """Each recipe answers with tokens that are renewed under way and sees no 401 meanwhile; one that is said to hide a 401
    hides it; and all of it is what the matrix says."""
    recipes = [recipe for recipe in RECIPES if recipe.environment == environment]
    python, versions = sdk_python(environment), sdk_versions(environment)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        courses = list(pool.map(lambda recipe: observed(recipe, python, sdk_environ, tmp_path / recipe.name), recipes))
    for recipe, course in zip(recipes, courses, strict=True):
        assert (recipe.file, course.fresh, course.renewed) == (recipe.file, ANSWERS, ANSWERS)
        assert (recipe.file, course.rejected == UNSEEN) == (recipe.file, recipe.unseen_401)
    rows = {
        recipe.file: {"sdk": recipe.sdk, "version": versions[recipe.sdk], "takes": recipe.takes, **asdict(course)}
        for recipe, course in zip(recipes, courses, strict=True)
    }
    if outside.get("KIMI_AUTH_MEASURE") == "1":
        write(rows)
    kept = json.loads(MEASURED.read_text("utf-8"))
    assert {file: by_major(kept[file]) for file in rows} == {file: by_major(row) for file, row in rows.items()}, (
        "fix it: KIMI_AUTH_MEASURE=1 python -m pytest -m prove tests/sdks/test_matrix.py && python tools/pages.py"
    )


def by_major(row: dict[str, Any]) -> dict[str, Any]:
    """The row, with the major version alone."""
    return {**row, "version": row["version"].partition(".")[0]}


def write(rows: dict[str, dict[str, str]]) -> None:
    """Puts these rows beside those of other environments, in the order of the recipes."""
    kept = json.loads(MEASURED.read_text("utf-8")) if MEASURED.exists() else {}
    known = {**kept, **rows}
    ordered = {recipe.file: known[recipe.file] for recipe in RECIPES if recipe.file in known}
    MEASURED.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", "utf-8", newline="\n")

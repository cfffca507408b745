"""The environments in which the SDKs are installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from house.installed import installed

from sdks.recipes import RECIPES, REQUIREMENTS, Environment

VERSIONS = (
    "import importlib.metadata as m, json, sys; print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
)


@pytest.fixture
def sdk_environ(home: Path) -> dict[str, str]:
    """What a program of these tests sees: nothing of ours, and no SDK that asks another host for something."""
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", **quiet}


@pytest.fixture(scope="session")
def sdk_python(pip_environ: dict[str, str], request: pytest.FixtureRequest) -> Callable[[Environment], str]:
    """The interpreter that has the SDKs of an environment; where they cannot be installed: skipped, failed when CI=true."""

    def python(environment: Environment) -> str:
        if environment == "kosong":
            return str(request.getfixturevalue("kimi_cli_python"))
        return installed(f"sdks-{environment}", lambda: sys.executable, pip_environ, *REQUIREMENTS[environment])

    return python


@pytest.fixture(scope="session")
def sdk_versions(sdk_python: Callable[[Environment], str]) -> Callable[[Environment], dict[str, str]]:
    """The installed version of each SDK that has a recipe in an environment."""

    def versions(environment: Environment) -> dict[str, str]:
        names = sorted({recipe.sdk for recipe in RECIPES if recipe.environment == environment})
        command = [sdk_python(environment), "-c", VERSIONS, *names]
        found: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        return found

    return versions

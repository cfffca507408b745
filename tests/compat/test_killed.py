"""What a login or logout leaves of config.toml when it is killed while it writes there, the real Kimi CLI loads."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from fleet.torn import CONFIGS, Torn

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]

LOAD = """
import json, sys
from pathlib import Path
from kimi_cli.config import load_config
print(json.dumps([sorted(load_config(Path(file)).models) for file in sys.argv[1:]]))
"""


def test_it_loads_there(tmp_path: Path, kimi_cli_python: str, kimi_cli_environ: dict[str, str]) -> None:
    """Every config.toml that a kill leaves, whatever was there before; one run of theirs reads them all."""
    left: dict[bytes, Path] = {}
    kills = 0
    with Torn(tmp_path) as torn:
        for config in CONFIGS:
            for call in ("login", "logout"):
                for home, _ in torn.at_every_step(config, call, lambda step: "config.toml" in step):
                    kills += 1
                    path = home.share_dir / "config.toml"
                    content = path.read_bytes() if path.exists() else b""
                    left.setdefault(content, tmp_path / f"{len(left)}.toml").write_bytes(content)
    assert kills > 2 * len(CONFIGS)
    loaded = subprocess.run(
        [kimi_cli_python, "-c", LOAD, *map(str, left.values())],
        env=kimi_cli_environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    models = json.loads(loaded.stdout)
    assert len(models) == len(left) > len(CONFIGS)
    assert {"kimi-code/kimi-for-coding" in each for each in models} == {True, False}

"""Share dirs in which a login or a logout is ended by SIGKILL at every step of its config phase, and the invariants
that hold then.

with Torn(folder) as torn:
    for home, step in torn.at_every_step("a config of one's own", "login"):
        assert home.tree()["config.toml"] …
"""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

from house.environments import unmeasured

from fleet.killed import RANDOM
from kimi_auth.models.tomltext import diff, edited
from kimi_auth.testing.emulator import Emulator

__all__ = ["CONFIGS", "CREDENTIAL", "Home", "Torn", "Tree", "loads"]

WORKER = Path(__file__).with_name("killed.py")

OWN = """\
# what I like
default_model = "own"   # not to be lost
theme = 'dark'

[providers.mine]
type = "openai_legacy"
base_url = "https://example.com/v1"
api_key = "own-key"

[models.own]
provider = "mine"
model = "own"
max_context_size = 1_000

[services.moonshot_search]
base_url = "https://search.example.com"
api_key = "own-key"
"""
OLDER = """\
default_model = "kimi-code/old"
[providers."managed:kimi-code"]
type = "kimi"
base_url = "https://api.example.com/v1"
api_key = "own-key"
oauth = { storage = "file", key = "oauth/kimi-code" }
[models."kimi-code/old"]
provider = "managed:kimi-code"
model = "old"
max_context_size = 1
"""
JSON = {
    "default_model": "own",
    "providers": {"mine": {"type": "openai_legacy", "base_url": "https://example.com/v1", "api_key": "own-key"}},
    "models": {"own": {"provider": "mine", "model": "own", "max_context_size": 1000}},
}


def nothing(share_dir: Path) -> None:
    """An empty home, never used."""


def own(share_dir: Path) -> None:
    (share_dir / "config.toml").write_text(OWN)


def older(share_dir: Path) -> None:
    (share_dir / "config.toml").write_text(OLDER)


def legacy(share_dir: Path) -> None:
    (share_dir / "config.json").write_text(json.dumps(JSON))


def linked(share_dir: Path) -> None:
    elsewhere = share_dir.with_name("dotfiles")
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "kimi.toml").write_text(OWN)
    (share_dir / "config.toml").symlink_to(elsewhere / "kimi.toml")


CONFIGS: dict[str, Callable[[Path], None]] = {
    "no config": nothing,
    "a config of one's own": own,
    "an older login's config": older,
    "a legacy config.json": legacy,
    "a linked config": linked,
}
"""What a login finds in the share dir."""

CREDENTIAL = "credentials/kimi-code.json"
ACCOUNT = "kimi-auth/accounts/kimi-code.json"
"""Who signed in, and when; the time is not compared."""

UNCOMPARED = {"config.lock", "device_id", "credentials/kimi-code.lock", "credentials/kimi-code.backoff"}
"""Files that are there or not, and never in the way."""

Tree = dict[str, tuple[int, bytes]]
"""Files by their path in a share dir: mode and content."""


def loads(config: bytes) -> dict[str, Any]:
    """A config.toml as the Kimi CLI takes it: TOML, a default model that is there, and no model without its provider."""
    data = tomllib.loads(config.decode())
    models, providers = data.get("models", {}), data.get("providers", {})
    assert data.get("default_model", "") in {"", *models}
    assert all(model["provider"] in providers for model in models.values())
    return data


@dataclass(frozen=True)
class Home:
    """One share dir, and the processes that work in it, one after another."""

    share_dir: Path
    ask: Callable[[dict[str, Any]], dict[str, Any]]

    def run(self, call: str, **options: Any) -> dict[str, Any]:
        """One whole `login` or `logout`, unless `kill_at` says otherwise."""
        return self.ask({"call": call, "share_dir": str(self.share_dir), **options})

    def copy(self, name: str) -> Home:
        """The same files, byte by byte, in another folder."""
        place = self.share_dir.parent.with_name(name)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.share_dir.parent, place, symlinks=True)
        link = place / self.share_dir.name / "config.toml"
        if link.is_symlink():
            link.unlink()
            link.symlink_to(place / "dotfiles" / "kimi.toml")
        return Home(place / self.share_dir.name, self.ask)

    def files(self) -> dict[str, Path]:
        """The files on disk, by their path in the share dir; the random part of a name is "*". Recorded walks do not
        count."""
        paths = {path: path.relative_to(self.share_dir).as_posix() for path in sorted(self.share_dir.rglob("*"))}
        return {
            RANDOM.sub(".*.tmp", name): path
            for path, name in paths.items()
            if not path.is_dir() and not name.startswith("kimi-auth/walks/")
        }

    def tree(self) -> Tree:
        """The files that matter, with mode and bytes; of the credential only that there is a login.

        A legacy config.json counts by its first name, and stands for the config.toml that it becomes.
        """
        found: Tree = {}
        for name, path in self.files().items():
            content = path.read_bytes()
            if name == CREDENTIAL:
                content = b"signed in" if json.loads(content)["access_token"] else b""
            if name == ACCOUNT:
                content = json.dumps({key: value for key, value in json.loads(content).items() if key != "at"}).encode()
            if name not in UNCOMPARED and (content or name != CREDENTIAL):
                found[name.removesuffix(".bak")] = stat.S_IMODE(path.stat().st_mode), content
        if "config.json" in found:
            found.setdefault("config.toml", (0o600, edited("", diff({}, JSON)).encode()))
        return found


class Torn:
    """A server, and a process that forks all others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.emulator = Emulator(approve_after_s=0, interval_s=0)

    def __enter__(self) -> Self:
        self.emulator.__enter__()
        environ = unmeasured()
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environ, **self.emulator.env},
        )
        return self

    def __exit__(self, *_: object) -> None:
        with self.process as process:
            process.kill()
        self.emulator.__exit__(None, None, None)

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def home(self, config: str, name: str) -> Home:
        """A share dir with this config in it, without a login yet."""
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        share_dir = place / "share"
        share_dir.mkdir(parents=True)
        CONFIGS[config](share_dir)
        for path in share_dir.glob("config.*"):
            path.chmod(0o600)  # as every config with a key in it is once it has been written
        return Home(share_dir, self.ask)

    def at_every_step(self, config: str, call: str, wanted: Callable[[str], bool]) -> Iterator[tuple[Home, str]]:
        """The home as each kill leaves it, and the step before which the process was killed; ends with the last step."""
        begin = self.home(config, "begin")
        if call == "logout":
            assert begin.run("login")["state"] == "signed_in"
        steps = begin.copy("whole").run(call)["steps"]
        for number, step in zip(count(1), steps, strict=False):
            if wanted(step):
                home = begin.copy("torn")
                said = home.run(call, kill_at=number)
                assert (said["status"], said["steps"]) == (-9, steps[:number]), said
                yield home, step

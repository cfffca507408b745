"""Programs in one file: PyInstaller with the hook of this package, shiv, and a plain zip application, which cannot work."""

from __future__ import annotations

import os
import subprocess
import sys
import zipapp
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from house.environments import Environment, make_environment, run, wheel
from kimi_auth.cli import main
from kimi_auth.testing.emulator import Emulator

PROGRAM = "from kimi_auth.__main__ import main\nraise SystemExit(main())\n"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(approve="auto", approve_after_s=0.0, interval_s=1) as server:
        yield server


@pytest.fixture(scope="session")
def builders(dist: Path, tmp_path_factory: pytest.TempPathFactory, outside: dict[str, str]) -> Environment:
    """The wheel with the two builders, in a clean environment."""
    folder = tmp_path_factory.mktemp("builders") / "venv"
    return make_environment(
        sys.executable, folder, outside, str(wheel(dist)), "pyinstaller>=6.10", "shiv>=1.0.6", "pip"
    )


def lives(command: list[str], folder: Path, emulator: Emulator, outside: dict[str, str]) -> None:
    """The program signs in, hands out a token, renews it, draws a machine and signs out; nothing is asked of a checkout."""
    share = folder / "share"
    environ = {**outside, **emulator.env, "KIMI_SHARE_DIR": str(share), "HOME": str(folder), "TERM": "dumb"}
    say: Callable[..., str] = lambda *words: run([*command, *words], environ, folder)  # noqa: E731
    assert "signed in" in say("login", "--no-browser").lower()
    first = say("token")
    assert first.strip()
    assert say("token", "--refresh") != first
    assert "kimi-code" in say("platforms")
    assert "stateDiagram" in say("diagram", "sign_out", "--format", "mermaid")
    assert "fresh" in say("status")
    say("logout")
    assert not list((share / "credentials").glob("*.next"))
    run([*command, "token"], environ, folder, status=3)


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_pyinstaller(builders: Environment, tmp_path: Path, emulator: Emulator, outside: dict[str, str]) -> None:
    """A one-file build finds machines, platforms and every command by the hook alone, and lives outside of the checkout."""
    (tmp_path / "app.py").write_text(PROGRAM)
    environ = {**builders.environ, "PYINSTALLER_CONFIG_DIR": str(tmp_path / "cache")}
    build = [str(builders.folder / "bin" / "pyinstaller"), "--onefile", "--noconfirm", "--log-level", "ERROR", "app.py"]
    run(build, environ, tmp_path)
    lives([str(tmp_path / "dist" / "app")], tmp_path, emulator, outside)


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_shiv(builders: Environment, dist: Path, tmp_path: Path, emulator: Emulator, outside: dict[str, str]) -> None:
    """shiv's zip application unpacks itself, so native modules load from it."""
    file = tmp_path / "kimi-auth.pyz"
    shiv = [str(builders.folder / "bin" / "shiv"), "-c", "kimi-auth", "-o", str(file), str(wheel(dist))]
    run(shiv, {**builders.environ, **outside}, tmp_path)
    lives([sys.executable, "-I", str(file)], tmp_path, emulator, {**outside, "SHIV_ROOT": str(tmp_path / "root")})


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_zipapp(builders: Environment, tmp_path: Path, outside: dict[str, str]) -> None:
    """A plain zip application cannot load native modules: one sentence says so, and what to build instead."""
    (packages,) = (builders.folder / "lib").glob("python*/site-packages")
    (packages / "__main__.py").write_text(PROGRAM)
    zipapp.create_archive(packages, tmp_path / "app.pyz")
    (packages / "__main__.py").unlink()
    environ = {**outside, "KIMI_SHARE_DIR": str(tmp_path / "share")}
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "platforms.toml").write_text("v = 1\nplatforms = {}\n")
    command = [sys.executable, "-I", str(tmp_path / "app.pyz"), "platforms"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be loaded from a zip file" in done.stderr
    assert "build the program with shiv" in done.stderr


def test_an_incomplete_installation(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A package that is not there is one sentence with the next step, and no fault of the program to be reported."""
    monkeypatch.setitem(sys.modules, "pydantic", None)
    for name in [name for name in sys.modules if name.startswith("kimi_auth.platforms.tables")]:
        monkeypatch.delitem(sys.modules, name)
    share = Path(os.environ["KIMI_SHARE_DIR"])
    share.mkdir(parents=True)
    (share / "platforms.toml").write_text("v = 1\nplatforms = {}\n")
    status = main(["platforms"])
    said = capsys.readouterr().err
    assert (status, said) == (
        1,
        "kimi-auth: pydantic cannot be imported: the installation is incomplete (install kimi-auth again)\n",
    )

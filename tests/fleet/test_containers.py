"""Two containers of one machine share a folder whose lock excludes within one process only, as desktop container engines have
it: processes that need a new token at one moment still make one exchange."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from house.environments import unmeasured
from house.patience import NO_LIMIT_S, PATIENCE_S, ended, until

from fleet.stage import Stage
from kimi_auth.testing.emulator.records import fingerprint
from kimi_auth.token import Token

SOURCE = Path(__file__).with_name("flock_of_one_process.c")
ROUNDS = 8
IN_EACH = 3

PROGRAM = """
import sys
from pathlib import Path
Path(sys.argv.pop(1) + ".ready").touch()
sys.stdin.read()
from kimi_auth.__main__ import main
sys.exit(main())
"""
CONTAINER = """
set -e
exec 3<&0
mount --bind "$SHARED" "$KIMI_SHARE_DIR"
for number in 1 2 3; do
    "$PYTHON" -W ignore -c "$PROGRAM_TEXT" "$OUT-$number" token >"$OUT-$number" 2>"$OUT-$number.stderr" <&3 3<&- &
    eval "pid$number=$!"
done
status=0
for pid in $pid1 $pid2 $pid3; do wait $pid || status=1; done
exit $status
"""


@pytest.fixture
def void_lock(tmp_path: Path) -> Path:
    """The library that makes `flock` exclude within one process only."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler: apt-get install gcc libc6-dev")
    library = tmp_path / "flock_of_one_process.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, SOURCE, "-ldl"], check=True)
    return library


@pytest.fixture
def containers(tmp_path: Path) -> list[str]:
    """The command that runs a shell in mount and PID namespaces of its own."""
    unshare = shutil.which("unshare")
    command = [unshare or "", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    tried = unshare and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    if not tried:
        pytest.skip("needs root, and unshare of util-linux")
    return command


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as ready:
        yield ready


def are_ready(outs: list[Path]) -> bool:
    """Whether each process has said that it waits for the word to begin."""
    return all(out.with_name(f"{out.name}.ready").exists() for out in outs)


def expire(stage: Stage) -> None:
    """The stored access token comes to its end; its refresh token is as good as before."""
    token = stage.snapshot.token
    assert token is not None
    with stage.store.locked(NO_LIMIT_S) as held:
        assert held
        stage.store.put(
            Token(token.access_token, token.refresh_token, time.time() - 10, 900.0, token.scope, issuer=token.issuer)
        )


def container(stage: Stage, command: list[str], name: str, gate: int, library: Path) -> subprocess.Popen[bytes]:
    """Three processes in a container of their own, which see the folder under another name and begin when `gate` ends."""
    inside = stage.folder / name / "share"
    inside.mkdir(parents=True, exist_ok=True)
    environ = unmeasured()
    return subprocess.Popen(
        [*command, "sh", "-c", CONTAINER],
        stdin=gate,
        env={
            **environ,
            **stage.emulator.env,
            "SHARED": str(stage.share_dir),
            "KIMI_SHARE_DIR": str(inside),
            "LD_PRELOAD": str(library),
            "PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PROGRAM_TEXT": PROGRAM,
            "OUT": str(stage.folder / name / "out"),
        },
    )


@pytest.mark.prove
@pytest.mark.containers
@pytest.mark.timeout(600)
def test_a_lock_that_excludes_within_one_process_only(stage: Stage, containers: list[str], void_lock: Path) -> None:
    """Eight rounds, six processes in two containers, a strict server: one exchange in each round, the same token for all."""
    stage.serve(latency_s=1.0)
    stage.sign_in("expired")
    for number in range(1, ROUNDS + 1):
        before = stage.look()
        outs = [stage.folder / name / f"out-{at}" for name in "ab" for at in range(1, IN_EACH + 1)]
        for out in outs:
            out.with_name(f"{out.name}.ready").unlink(missing_ok=True)
        read, write = os.pipe()
        running = [container(stage, containers, name, read, void_lock) for name in "ab"]
        os.close(read)
        until(lambda _, outs=outs: are_ready(outs) or time.sleep(0.05), "their start", 4 * PATIENCE_S)
        os.close(write)
        ends = [ended(process) for process in running]
        said = [out.with_name(f"{out.name}.stderr").read_text() for out in outs]
        now = stage.look()
        assert (stage.exchanges, len(stage.sends)) == (number, number), (number, said)
        assert ends == [0, 0], said
        assert {fingerprint(out.read_text().strip()) for out in outs} == {now.access} != {before.access}
        assert stage.works
        expire(stage)

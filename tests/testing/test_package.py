"""The package from outside: lazy names, the missing extra, and an `Emulator` that starts and ends cleanly."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import warnings

import httpx
import pytest
from house.patience import NO_LIMIT_S
from house.ports import freed

import kimi_auth.testing.emulator as package
from kimi_auth.testing.emulator import Emulator, Fault

WITHOUT_EXTRA = """
import sys
sys.modules["{missing}"] = None
import kimi_auth.testing.emulator as package
package.State(package.Settings(), lambda: 0.0).issue_code()
assert not {{"starlette", "uvicorn"}} & {{name for name, module in sys.modules.items() if module}}
try:
    from kimi_auth.testing.emulator import Emulator
except ImportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_the_extra(missing: str) -> None:
    """The package imports and its State works; only `Emulator` asks for the extra, by name."""
    code = WITHOUT_EXTRA.format(missing=missing)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    advice = "pip install 'kimi-auth[emulator]'"
    assert done.stdout.startswith(f"ExtraMissing the emulator needs {missing}")
    assert advice in done.stdout


def test_lazy_names() -> None:
    """Every public name resolves, and no other does."""
    assert {name: getattr(package, name).__name__ for name in package.__all__} == {
        name: name for name in package.__all__
    }
    with pytest.raises(AttributeError, match="no attribute 'Emulater'"):
        _ = package.Emulater
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        package.load("nowhere")


def test_attributes() -> None:
    """A running emulator says where it is; one that is not running says so."""
    emulator = Emulator(share_dir="/somewhere")
    with pytest.raises(RuntimeError, match="not running"):
        _ = emulator.env
    with emulator:
        base = emulator.base_url
        assert base.startswith("http://127.0.0.1:")
        assert (emulator.oauth_host, emulator.api_base) == (base, f"{base}/coding/v1")
        assert emulator.env == {
            "KIMI_CODE_OAUTH_HOST": base, "KIMI_CODE_BASE_URL": f"{base}/coding/v1", "KIMI_SHARE_DIR": "/somewhere",
        }  # fmt: skip
    emulator.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="not running"):
        _ = emulator.base_url


def test_ends_at_once_and_leaks_nothing() -> None:
    """Open connections and a request in flight end with the block, without a thread, socket or warning left."""
    before = set(threading.enumerate())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        broken: list[str] = []

        def ask(url: str) -> None:
            try:
                httpx.get(f"{url}/coding/v1/models", timeout=NO_LIMIT_S, trust_env=False)
            except httpx.HTTPError as error:
                broken.append(type(error).__name__)

        with httpx.Client(trust_env=False, timeout=NO_LIMIT_S) as idle:
            with Emulator() as emulator:
                base_url = emulator.base_url
                connection = idle.get(base_url).extensions["network_stream"].get_extra_info("socket")
                emulator.state.inject(Fault("models", latency_s=3600))
                asker = threading.Thread(target=ask, args=(base_url,))
                asker.start()
                assert emulator.state.wait_for(lambda state: len(state.log) == 2, NO_LIMIT_S)
            asker.join()
            assert connection.recv(1) == b""
            freed(base_url)
        gc.collect()
    assert len(broken) == 1
    assert [str(warning.message) for warning in caught] == []
    assert "kimi-auth-emulator" not in [thread.name for thread in set(threading.enumerate()) - before]


def test_port_and_settings_are_checked() -> None:
    """A taken port is an OSError, a setting that makes no sense a ValueError."""
    with Emulator() as emulator:
        port = int(emulator.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"), Emulator(port=port):
            pass
    with pytest.raises(ValueError, match="interval_s"):
        Emulator(interval_s=-1)
    with pytest.raises(ValueError, match="reuse is"):
        Emulator(reuse="sometimes")


def test_two_at_a_time() -> None:
    """Two emulators know nothing of each other."""
    with Emulator() as one, Emulator() as other:
        assert one.base_url != other.base_url
        one.state.issue_code()
        assert other.state.snapshot()["codes"] == []

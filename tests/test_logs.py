"""What the package logs: nothing by itself, one line for each renewal, and no other package's steps."""

from __future__ import annotations

import logging
import subprocess
import sys

import httpx
import pytest

from kimi_auth import BearerAuth
from kimi_auth.clients.signer import put_signer
from kimi_auth.support.logs import quiet


def said(*lines: str) -> str:
    """What a program of these lines prints on standard error."""
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    return done.stderr


@pytest.mark.parametrize("name", ["Session", "BearerAuth"])
def test_a_program_without_logging_reads_nothing(name: str) -> None:
    """A warning of the package does not reach standard error by itself, whatever was imported first."""
    warn = "logging.getLogger('kimi_auth.credential').warning('loud')"
    assert said("import logging, kimi_auth", f"kimi_auth.{name}", warn) == ""
    assert said("import logging", warn) == "loud\n"


WALK = """
import logging
logging.basicConfig(level=logging.DEBUG, format='%(name)s')
{more}
from pathlib import Path
from tempfile import TemporaryDirectory
from kimi_auth import Session
with TemporaryDirectory() as folder:
    session = Session(share_dir=Path(folder))
    session.logout_sync()
    session.status()
    logging.getLogger("transitions.core").info("step")
    logging.getLogger("kimi_auth.session").debug("ours")
"""


@pytest.mark.parametrize(("more", "is_loud"), [("", False), ("logging.getLogger('filelock').setLevel(10)", True)])
def test_other_packages_are_quiet(more: str, is_loud: bool) -> None:
    """A program that logs everything reads no steps of the lock and the state machines, unless it asks for them."""
    names = set(said(*WALK.format(more=more).splitlines()).split())
    assert names == {"kimi_auth.session"} | ({"filelock"} if is_loud else set())


def test_a_level_that_was_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's own level of another package's logger is not changed."""
    logger = logging.getLogger("kimi_auth_test_of_levels")
    quiet(logger.name)
    assert logger.level == logging.WARNING
    logger.setLevel(logging.DEBUG)
    quiet(logger.name)
    assert logger.level == logging.DEBUG


@pytest.mark.parametrize("kind", ["auth", "signer"])
def test_an_unsigned_request_is_a_line_at_debug(caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """A request to another origin says at DEBUG that it is not signed, with both origins and without the token."""
    with (
        caplog.at_level(logging.DEBUG, "kimi_auth"),
        httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200))) as client,
    ):
        if kind == "signer":
            put_signer(client, "s3cret", None, "https://api.kimi.com")
        else:
            client.auth = BearerAuth(object(), origin="https://api.kimi.com")  # type: ignore[arg-type]
        client.get("https://example.com/path?query")
    (record,) = [record for record in caplog.records if record.name == "kimi_auth.clients"]
    assert (record.levelno, record.getMessage()) == (
        logging.DEBUG,
        "not signed: https://example.com is not https://api.kimi.com",
    )

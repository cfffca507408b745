"""`models sync`: every platform at once, each with its own result, and the worst failure as the exit status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from house.patience import Meeting

from kimi_auth.models import ConfigFile
from kimi_auth.session import Session
from kimi_auth.testing.emulator import Emulator, Fault

Run = Callable[..., Any]

ACME = """
v = 1
[platforms.acme]
name = "Acme"
auth = "api_key"
api_base = "{api_base}"
"""
NEWEST = "acme-newest"


@dataclass
class Two:
    """Two platforms that are signed in, each with a server of its own, and whose catalogues have changed since."""

    kimi_code: Emulator
    acme: Emulator
    share_dir: Path

    @property
    def models(self) -> set[str]:
        return set(ConfigFile(self.share_dir).read()["models"])


@pytest.fixture
def acme() -> Iterator[Emulator]:
    with Emulator(approve_after_s=0, interval_s=0) as server:
        yield server


@pytest.fixture
def two(kimi: Run, emulator: Emulator, acme: Emulator, share_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Two:
    assert kimi("login").status == 0
    (share_dir / "platforms.toml").write_text(ACME.format(api_base=acme.api_base))
    key = acme.state.poll(acme.state.issue_code().device_code).access_token
    login = Session(platform="acme").login(api_key=key)
    assert asyncio.run(login).state == "signed_in"
    config = share_dir / "config.toml"
    config.write_text(config.read_text().replace('default_model = "acme/', 'default_model = "kimi-code/'))
    emulator.state.models = emulator.state.models[:1]
    acme.state.models = (replace(acme.state.models[0], id=NEWEST),)
    return Two(emulator, acme, share_dir)


def meet(*servers: Emulator) -> None:
    """From now on none of these lists its models before all of them have been asked."""
    together = Meeting(len(servers))

    def wait(entry: Mapping[str, Any]) -> None:
        if entry["endpoint"] == "models":
            together.wait()

    for server in servers:
        server.state.on_record = wait


def test_every_platform(kimi: Run, two: Two) -> None:
    """Both are brought up to date, in the registry's order, each under its name; again there is nothing to do."""
    said = kimi("models", "sync")
    assert (said.status, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == "platform: kimi-code"
    ours, theirs = lines[1 : lines.index("platform: acme")], lines[lines.index("platform: acme") + 1 :]
    assert all(line.startswith("-: kimi-code/") for line in ours)
    assert theirs[0] == f"+: acme/{NEWEST}"
    assert two.models == {"kimi-code/kimi-for-coding", f"acme/{NEWEST}"}
    again = kimi("models", "sync")
    assert again.out.count("models: config.toml is up to date\n") == 2


def test_both_are_asked_at_the_same_time(kimi: Run, two: Two) -> None:
    """All of config.toml's."""
    meet(two.kimi_code, two.acme)
    assert kimi("models", "sync").status == 0


def test_one_platform(kimi: Run, two: Two) -> None:
    """--platform: that one, as one object, and no other is asked."""
    asked = len(two.kimi_code.state.log)
    said = kimi("models", "sync", "--platform", "acme", "--json").json
    assert (said["platform"], said["added"], said["written"]) == ("acme", [f"acme/{NEWEST}"], True)
    assert kimi("models", "sync", "--platform", "acme").out == "platform: acme\nmodels: config.toml is up to date\n"
    assert len(two.kimi_code.state.log) == asked


def test_a_dry_run(kimi: Run, two: Two) -> None:
    """It says what would change, for people and for programs, and writes nothing."""
    before = (two.share_dir / "config.toml").read_bytes()
    said = kimi("models", "sync", "--dry-run")
    assert said.out.count("models: nothing was written\n") == 2
    platforms = kimi("models", "sync", "--dry-run", "--json").json["platforms"]
    assert [(one["platform"], one["written"], bool(one["removed"])) for one in platforms] == [
        ("kimi-code", False, True),
        ("acme", False, True),
    ]
    assert (two.share_dir / "config.toml").read_bytes() == before


def down(two: Two) -> None:
    two.acme.state.inject(Fault("models", status=503, body="", times=None))


def corrupt(two: Two) -> None:
    (two.share_dir / "credentials" / "kimi-code.json").write_text("{")


def both(two: Two) -> None:
    down(two)
    corrupt(two)


FAILURES: dict[str, tuple[Callable[[Two], None], int, list[str]]] = {
    "a server is down": (down, 5, ["acme"]),
    "a credential is corrupt": (corrupt, 8, ["kimi-code"]),
    "both": (both, 8, ["kimi-code", "acme"]),
}


@pytest.mark.parametrize(("spoil", "status", "failed"), FAILURES.values(), ids=FAILURES)
def test_failures(kimi: Run, two: Two, spoil: Callable[[Two], None], status: int, failed: list[str]) -> None:
    """Each is one line on standard error with its platform's name; the other platform is synced and shown all the same."""
    spoil(two)
    said = kimi("models", "sync", "--json")
    assert said.status == status
    assert [one["platform"] for one in said.json["platforms"] if "error" in one] == failed
    assert max(one["error"]["exit"] for one in said.json["platforms"] if "error" in one) == status
    names = {"kimi-code": "Kimi Code", "acme": "Acme"}
    assert [line.split(": ")[1] for line in said.err.splitlines()] == [names[one] for one in failed]
    if "acme" not in failed:
        assert f"acme/{NEWEST}" in two.models
    people = kimi("models", "sync")
    assert (people.status, people.err) == (status, said.err)
    assert [line for line in people.out.splitlines() if line.startswith("platform: ")] == [
        f"platform: {one}" for one in names if one not in failed
    ]


def test_nobody_is_signed_in(kimi: Run) -> None:
    """No platform at all: what keeps the usual one from being synced, as from any other command."""
    said = kimi("models", "sync")
    assert (said.status, said.out) == (3, "")
    assert "sign in: kimi-auth login" in said.err
    assert kimi("models", "sync", "--json").json["error"]["code"] == "not_signed_in"


@pytest.fixture
def unknown(kimi: Run, acme: Emulator, share_dir: Path, emulator: Emulator) -> None:
    """Acme is signed in; so is Kimi Code, and config.toml does not know it."""
    emulator.state.inject(Fault("models", status=503, body="", times=1))
    assert kimi("login").status == 10
    (share_dir / "platforms.toml").write_text(ACME.format(api_base=acme.api_base))
    key = acme.state.poll(acme.state.issue_code().device_code).access_token
    assert asyncio.run(Session(platform="acme").login(api_key=key)).state == "signed_in"


@pytest.mark.usefixtures("unknown")
def test_a_login_that_the_config_does_not_know_is_asked_at_the_same_time(
    kimi: Run, emulator: Emulator, acme: Emulator
) -> None:
    """Its models come while the others' do."""
    meet(emulator, acme)
    assert kimi("models", "sync").status == 0


@pytest.mark.usefixtures("unknown")
def test_a_login_that_the_config_does_not_know(kimi: Run, emulator: Emulator) -> None:
    """It is asked too, for its models are still to come; a failure is its own; signed out, it is not asked."""
    emulator.state.inject(Fault("models", status=503, body="", times=1))
    said = kimi("models", "sync", "--json")
    assert said.status == 5
    assert [(one["platform"], "error" in one) for one in said.json["platforms"]] == [
        ("kimi-code", True),
        ("acme", False),
    ]
    (finished, _) = kimi("models", "sync", "--json").json["platforms"]
    assert (finished["platform"], bool(finished["added"]), finished["written"]) == ("kimi-code", True, True)
    assert kimi("logout").status == 0
    assert [one["platform"] for one in kimi("models", "sync", "--json").json["platforms"]] == ["acme"]


ODD = {
    "data": [{"id": "kimi-for-coding", "context_length": 9, "supports_reasoning": "yes"}, {"id": "kimi-x"}, {"id": 5}]
}
NOTES = [
    "supports_reasoning of kimi-for-coding left out: Input should be a valid boolean",
    "model 3 left out: id: Input should be a valid string",
]
COMMANDS: dict[str, Callable[[Any], Any]] = {
    "models": lambda said: said["notes"],
    "models sync": lambda said: said["platforms"][0]["notes"],
    "models sync --platform kimi-code": lambda said: said["notes"],
    "models sync --dry-run": lambda said: said["platforms"][0]["notes"],
}


def answers(emulator: Emulator, times: int) -> None:
    emulator.state.inject(Fault("models", status=200, body=json.dumps(ODD), times=times))


@pytest.mark.parametrize(("line", "notes"), COMMANDS.items(), ids=COMMANDS)
def test_what_was_left_out_is_said(
    kimi: Run, emulator: Emulator, share_dir: Path, line: str, notes: Callable[[Any], Any]
) -> None:
    """A field or a model that cannot be understood is named on standard error and in JSON; the model stays the default."""
    assert kimi("login").status == 0
    answers(emulator, 2)
    said = kimi(*line.split())
    assert (said.status, said.err) == (0, "".join(f"kimi-auth: Kimi Code: {note}\n" for note in NOTES))
    again = kimi(*line.split(), "--json")
    assert (again.status, again.err, notes(again.json)) == (0, said.err, NOTES)
    assert ConfigFile(share_dir).read()["default_model"] == "kimi-code/kimi-for-coding"


def test_what_a_login_left_out_is_said(kimi: Run, emulator: Emulator) -> None:
    """The same at a sign-in, for people and in the last event."""
    answers(emulator, 2)
    said = kimi("login")
    assert (said.status, said.err) == (0, "".join(f"kimi-auth: Kimi Code: {note}\n" for note in NOTES))
    events = [json.loads(line) for line in kimi("login", "--force", "--json").out.splitlines()]
    assert (events[-1]["type"], events[-1]["data"]["notes"]) == ("success", NOTES)

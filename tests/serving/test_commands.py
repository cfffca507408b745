"""`kimi-auth serve grant` and `serve grants`: what they print, and what they refuse. In this process, without a server."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kimi_auth.__main__ import main
from serving.conftest import Serving

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(serving: Serving, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command of the owner's: its exit status, standard output and error."""
    for name in ("KIMI_SHARE_DIR", "KIMI_CODE_OAUTH_HOST", "KIMI_CODE_BASE_URL"):
        monkeypatch.setenv(name, serving.env[name])

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["serve", *words])
        return status, *capfd.readouterr()

    return run


def test_a_grant_is_issued_listed_and_revoked(command: Command) -> None:
    """A name that stands is not given twice; after its end it may be used again, with another id."""
    status, out, _ = command("grant", "agent", "--ttl", "3600", "--json")
    assert status == 0
    first = json.loads(out)
    assert (first["state"], first["uids"]) == ("issued", [os.geteuid()])
    assert command("grant", "agent")[0] == 2
    assert command("grants", "revoke", "agent")[0] == 0
    assert json.loads(command("grant", "agent", "--json")[1])["id"] != first["id"]
    listed = json.loads(command("grants", "list", "--json")[1])["grants"]
    assert [one["state"] for one in listed] == ["revoked", "issued"]
    _, plain, _ = command("grants")
    assert "agent" in plain
    assert "kah." not in plain + json.dumps(listed)


@pytest.mark.parametrize(
    "words",
    [
        ["grant"],
        ["grant", "a", "b"],
        ["grant", "owner"],
        ["grant", "../x"],
        ["grant", "a/b"],
        ["grant", "A"],
        ["grant", "x" * 64],
        ["grant", ""],
        ["grant", "agent", "--uid", "-1"],
        ["grant", "agent", "--ttl", "nan"],
        ["grants", "revoke", "nothing"],
        ["grants", "revoke"],
        ["grants", "burn"],
        ["relay"],
        ["relay", "/x.sock", "99999"],
        ["start", "now"],
        ["--listen", "nonsense"],
        ["--key", "key.pem", "--listen", "127.0.0.1:0"],
        ["--path", "/models"],
        ["--uid", "1"],
        ["grant", "agent", "--listen", "127.0.0.1:0"],
        ["grants", "--uid", "1"],
        ["relay", "--sockets", "/x", "/x.sock"],
    ],
)
def test_what_means_nothing_is_refused(command: Command, words: list[str]) -> None:
    """Names that lead out of a directory, missing names and numbers that are none end in one line and exit status 2."""
    status, out, said = command(*words)
    assert (status, out) == (2, "")
    assert said.count("\n") == 1


def test_the_recipes_name_their_parts(command: Command, serving: Serving, tmp_path: Path) -> None:
    """Each form that is printed names the directory of the socket and the written home, and is what its program reads; the real
    refresh token is in none of them."""
    real = json.loads((serving.share_dir / "credentials" / "kimi-code.json").read_text())["refresh_token"]
    for form in ("record", "env", "docker", "devcontainer", "kubernetes"):
        home, place = tmp_path / "box" / form, serving.sockets / f"for-{form}"
        words = ["grant", f"for-{form}", "--write", str(home), "--as", form, "--sockets", str(serving.sockets)]
        status, out, said = command(*words)
        assert status == 0, said
        assert real not in out + said
        files = [path for path in home.rglob("*") if path.is_file()]
        assert len(files) == 3
        for path in files:
            assert path.stat().st_mode & 0o077 == 0
            assert real not in path.read_text()
        if form in {"devcontainer", "kubernetes"}:
            assert str(place) in json.dumps(json.loads(out))
        elif form == "docker":
            assert f"{place}:/run/kimi" in out


def test_a_record_alone_is_printed(command: Command) -> None:
    """Without a directory the credential file goes to standard output, for a pipe into a sandbox."""
    record = json.loads(command("grant", "agent")[1])
    assert record["refresh_token"].startswith("kah.")
    assert record["issuer"] == "http://127.0.0.1:47823"


def test_a_damaged_key_is_said(command: Command, serving: Serving) -> None:
    """Without its key no handle can be read: the command says which file, and issues nothing."""
    assert command("grant", "agent")[0] == 0
    key = serving.places.folder / "key"
    key.write_text("nonsense")
    status, _, said = command("grant", "second")
    assert status == 8
    assert str(key) in said


def test_signed_out_there_is_nothing_to_grant(command: Command, serving: Serving) -> None:
    """Without a login no grant is issued, and the line ends in the command that helps."""
    serving.session.logout_sync()
    status, _, said = command("grant", "agent")
    assert status == 3
    assert "kimi-auth login" in said
    assert serving.places.grants().ids() == []


def test_a_relay_serves_a_command(command: Command, serving: Serving) -> None:
    """`serve relay SOCKET PORT -- CMD` runs CMD beside the relay, tells it where that is, and ends as it ends."""
    serving.start_here()
    box = serving.grant("agent")
    program = (
        "import os,sys,urllib.request,urllib.parse as p; host=os.environ['KIMI_CODE_OAUTH_HOST'];"
        "form=p.urlencode({'grant_type':'refresh_token','refresh_token':sys.argv[1]}).encode();"
        "print(urllib.request.urlopen(host+'/api/oauth/token', form).status); sys.exit(7)"
    )
    words = ["relay", f"{box.socket_dir}/kimi.sock", "0", "--", sys.executable, "-c", program, box.pair.refresh_token]
    assert command(*words) == (7, "200\n", "")
    assert command("relay", f"{box.socket_dir}/kimi.sock", "0", "--", "/nowhere/program")[0] == 127

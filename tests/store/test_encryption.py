"""Encryption at rest in PostgreSQL: no token is plain where keys are named, no value counts elsewhere, and a lost key loses no login."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from house.patience import NO_LIMIT_S
from servers.postgres import Cluster, key_files

from kimi_auth.errors import ConfigError, StorageError
from kimi_auth.session import Session
from kimi_auth.store import RevokedMark
from kimi_auth.store.postgres import Address, PostgresReader, PostgresStore
from kimi_auth.store.postgres.encryption import Cipher, is_sealed
from kimi_auth.testing import SimulatedServer
from kimi_auth.token import Token, fingerprint

FAR_S = 4_000_000_000.0
NONE: dict[str, str] = {}
COLUMNS = "access, refresh, staged"


def login(number: int) -> Token:
    return Token(f"access-{number}", f"refresh-{number}", FAR_S, 900.0, issuer="https://auth.kimi.com")


ONE, TWO = login(1), login(2)
FP = fingerprint(ONE)


class Rows:
    """Stores on rows of a cluster, each with keys as it is told, and the administrator's hands."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.keys = key_files(folder / "keys")
        self.key = cluster.new_key()
        self.opened: list[PostgresStore | PostgresReader] = []

    def store(self, keys: dict[str, str] | None = None, *, key: str = "") -> PostgresStore:
        """A store as a process of its own would have it."""
        url = self.cluster.url(application_name=f"s{len(self.opened)}", **(self.keys if keys is None else keys))
        made = PostgresStore(url, key or self.key, folder=self.folder / "spill")
        self.opened.append(made)
        made.look(NO_LIMIT_S)
        return made

    def reader(self, keys: dict[str, str]) -> PostgresReader:
        made = PostgresReader(self.cluster.url("reader", application_name=f"s{len(self.opened)}", **keys), self.key)
        self.opened.append(made)
        made.look(NO_LIMIT_S)
        return made

    def put(self, token: Token, keys: dict[str, str] | None = None, *, key: str = "") -> None:
        store = self.store(keys, key=key)
        with store.locked(NO_LIMIT_S):
            store.put(token)

    def stored(self, columns: str = COLUMNS, key: str = "") -> tuple[bytes | None, ...]:
        (found,) = self.cluster.ask(f"SELECT {columns} FROM kimi_auth.credentials WHERE key = %s", key or self.key)
        return tuple(found)

    def change(self, assignments: str, *values: object) -> None:
        self.cluster.ask(f"UPDATE kimi_auth.credentials SET {assignments} WHERE key = %s", *values, self.key)

    def refusing(self, store: PostgresStore, call: Callable[[], object]) -> None:
        """`call` while the database takes no writes."""
        self.cluster.ask("REVOKE UPDATE ON kimi_auth.credentials FROM kimi_auth_renewer")
        try:
            call()
        finally:
            self.cluster.ask("GRANT UPDATE ON kimi_auth.credentials TO kimi_auth_renewer")


@pytest.fixture
def rows(postgres: Cluster, tmp_path: Path) -> Iterator[Rows]:
    postgres.ask("DELETE FROM kimi_auth.credentials")  # a check is of the whole table
    made = Rows(postgres, tmp_path)
    yield made
    for store in made.opened:
        store.close()


def plain_in(*values: bytes | None) -> list[bytes]:
    return [value for value in values if value and (b"access-" in value or b"refresh-" in value)]


class TestNothingIsPlain:
    def test_in_no_column(self, rows: Rows) -> None:
        """The pair, the staged answer, and a row that was set aside hold neither token, and each writing gives other bytes."""
        store = rows.store()
        with store.locked(NO_LIMIT_S):
            store.put(ONE)
            first = rows.stored()
            store.put(ONE)
            again = rows.stored()
            claim = store.claim(FP)
            store.stage(claim, TWO)
            staged = rows.stored()
            assert store.claim(FP).staged == TWO
            store.commit(claim, TWO)
        assert not plain_in(*first, *again, *staged, *rows.stored())
        assert all(is_sealed(value or b"") for value in staged)
        assert {*first[:2]}.isdisjoint(again[:2])
        rows.change("about = '{'")
        rows.put(ONE)
        (aside,) = rows.cluster.ask("SELECT access, refresh FROM kimi_auth.aside WHERE key = %s", rows.key)
        assert all(map(is_sealed, aside))

    def test_in_no_file_of_this_host(self, rows: Rows) -> None:
        """An answer that the database cannot take is encrypted on the disk, and the next hold commits it."""
        store = rows.store()
        with store.locked(NO_LIMIT_S):
            store.put(ONE)
            claim = store.claim(FP)
            rows.refusing(store, lambda: store.stage(claim, TWO))
        (kept,) = (rows.folder / "spill").glob("*.answer")
        assert not plain_in(kept.read_bytes())
        with store.locked(NO_LIMIT_S):
            found = store.claim(FP)
            assert (found.state, found.staged) == ("staged", TWO)
            store.commit(found, TWO)
        assert not kept.exists()

    def test_a_plain_row_is_encrypted_by_its_next_renewal(self, rows: Rows) -> None:
        """Rows from before the keys are read as they are; an answer to one is staged and installed encrypted."""
        rows.put(ONE, NONE)
        assert len(plain_in(*rows.stored())) == 2
        store = rows.store()
        assert store.read().token == ONE
        (told,) = (finding for finding in store.examine() if finding.name == "encryption")
        assert "plain until their next renewal" in told.evidence
        assert not told.step
        with store.locked(NO_LIMIT_S):
            claim = store.claim(FP)
            store.stage(claim, TWO)
            assert not plain_in(rows.stored()[2])
            store.commit(claim, TWO)
        assert not plain_in(*rows.stored())
        assert store.read().token == TWO

    def test_a_name_is_encrypted_for_its_row(self, rows: Rows) -> None:
        """A renamed login can be read under its new name: it was encrypted anew."""
        other = rows.cluster.new_key()
        rows.put(ONE)
        new = rows.store(key=other)
        rows.store().rename(new)
        assert new.read().token == ONE
        assert not plain_in(*rows.stored(key=other))


class TestNothingCountsElsewhere:
    @pytest.mark.parametrize("column", ["access", "refresh"])
    def test_in_another_row(self, rows: Rows, column: str) -> None:
        """A value of another login, encrypted with the same key, makes the row corrupt: it is not sent and not handed out."""
        other = rows.cluster.new_key()
        rows.put(ONE)
        rows.put(TWO, key=other)
        rows.change(f"{column} = %s", rows.stored(column, other)[0])
        found = rows.store().read()
        assert (found.state, found.token) == ("corrupt", None)

    def test_all_of_another_row(self, rows: Rows) -> None:
        """A whole login moved to another name is refused, its fingerprint with it."""
        other = rows.cluster.new_key()
        rows.put(ONE)
        rows.put(TWO, key=other)
        rows.change("access = %s, refresh = %s, about = %s, fp = %s", *rows.stored("access, refresh, about, fp", other))
        assert rows.store().read().state == "corrupt"

    def test_in_another_column(self, rows: Rows) -> None:
        """The two tokens of a row changed with each other: a reader would get a refresh token."""
        rows.put(ONE)
        rows.change("access = refresh, refresh = access")
        assert rows.store().read().state in {"corrupt", "unreachable"}
        assert rows.reader({"access-key-file": rows.keys["access-key-file"]}).read().token is None

    @pytest.mark.parametrize("column", ["access", "refresh"])
    def test_beside_another_pair(self, rows: Rows, column: str) -> None:
        """A value of an earlier pair of the same login does not come back."""
        rows.put(ONE)
        (before,) = rows.stored(column)
        rows.put(TWO)
        rows.change(f"{column} = %s", before)
        assert rows.store().read().state == "corrupt"

    def test_as_another_answer(self, rows: Rows) -> None:
        """An answer to an earlier pair that is put beside the claim on this one is none."""
        store = rows.store()
        with store.locked(NO_LIMIT_S):
            store.put(ONE)
            store.stage(store.claim(FP), TWO)
            (answer,) = rows.stored("staged")
            store.put(TWO)
            store.claim(fingerprint(TWO))
            rows.change("staged = %s", answer)
            assert store.claim(fingerprint(TWO)).staged is None

    def test_changed(self, rows: Rows) -> None:
        """One bit of any part of a value: it is not opened, whichever part it is."""
        cipher = Cipher(Address(rows.cluster.url(**rows.keys)))
        sealed = cipher.seal("access", "oauth/x", FP, b"access-1")
        assert cipher.open("access", "oauth/x", FP, sealed) == b"access-1"
        for index in range(len(sealed)):
            changed = bytearray(sealed)
            changed[index] ^= 1
            if is_sealed(bytes(changed)):
                with pytest.raises((ValueError, StorageError)):
                    cipher.open("access", "oauth/x", None, bytes(changed))

    @pytest.mark.parametrize(
        ("part", "key", "fp"), [("spill", "oauth/x", FP), ("staged", "oauth/y", FP), ("staged", "oauth/x", "0" * 16)]
    )
    def test_each_part_of_the_name_counts(self, rows: Rows, part: str, key: str, fp: str) -> None:
        """The part, the row and the pair are each associated with a value, under one and the same key."""
        cipher = Cipher(Address(rows.cluster.url(**rows.keys)))
        sealed = cipher.seal("staged", "oauth/x", FP, b"answer")
        with pytest.raises(ValueError, match="sealed for another"):
            cipher.open(part, key, fp, sealed)  # type: ignore[arg-type]


class TestALostKey:
    @pytest.fixture(params=["no keys", "other keys"])
    def lost(self, request: pytest.FixtureRequest, rows: Rows) -> dict[str, str]:
        return NONE if request.param == "no keys" else key_files(rows.folder / "others")

    def test_loses_no_login(self, rows: Rows, lost: dict[str, str]) -> None:
        """Without its key a row is neither absent nor corrupt: each write of a pair says which key is missing, and changes nothing."""
        rows.put(ONE)
        before = rows.stored()
        store = rows.store(lost)
        number = Cipher(Address(rows.cluster.url(**rows.keys))).ids("access")[0]
        writes: list[Callable[[], object]] = [
            lambda: store.put(TWO),
            lambda: store.sign_out(5.0),
            lambda: store.tidy(5.0),
            lambda: store.claim(FP),
        ]
        found = store.read()
        assert (found.state, found.token) == ("unreachable", None)
        assert found.problem is not None
        assert number in found.problem.message
        assert "store check" in found.problem.hint
        for write in writes:
            with store.locked(NO_LIMIT_S), pytest.raises(StorageError, match=number):
                write()
        with pytest.raises(StorageError, match=number):
            store.rename(rows.store(lost, key=rows.cluster.new_key()))
        with store.locked(NO_LIMIT_S):
            store.mark_revoked("0" * 16, RevokedMark(1.0))  # of a pair that is not there
        assert rows.stored() == before
        assert rows.store().read().token == ONE

    def test_is_told_at_once(self, rows: Rows, lost: dict[str, str]) -> None:
        """No caller waits for a key that is not there, and no event of a server follows."""
        rows.put(ONE)
        store = rows.store(lost)
        server = SimulatedServer(store.clock())
        session = Session(rows.folder / "home", environ={}, store=store, server=server)
        with pytest.raises(StorageError, match="encrypted with the key"):
            session.access_token_sync(timeout_s=NO_LIMIT_S)
        assert not server.counts["exchange"]

    def test_is_named_by_a_check(self, rows: Rows, lost: dict[str, str]) -> None:
        """The check names the ids of the keys that are needed, with a next step."""
        rows.put(ONE)
        (told,) = (finding for finding in rows.store(lost).examine() if finding.name == "encryption")
        assert told.step
        for part in ("access", "refresh"):
            assert Cipher(Address(rows.cluster.url(**rows.keys))).ids(part)[0] in told.evidence  # type: ignore[arg-type]

    def test_of_an_answer_keeps_its_pair_from_being_sent(self, rows: Rows, lost: dict[str, str]) -> None:
        """A staged answer that cannot be opened is an answer: the pair before it is spent."""
        store = rows.store()
        with store.locked(NO_LIMIT_S):
            store.put(ONE)
            store.stage(store.claim(FP), TWO)
        (answer,) = rows.stored("staged")
        rows.put(ONE, NONE, key=(plain := rows.cluster.new_key()))
        rows.key = plain
        rows.change(
            "claim_fp = fp, claim_nonce = '00', claim_owner = '{}', claim_at = now() - interval '1 day',"
            " claim_under = kimi_auth.incarnation(), claim_closed = true, staged = %s",
            answer,
        )
        other = rows.store(lost)
        assert other.read().state == "unreachable"
        with other.locked(NO_LIMIT_S), pytest.raises(StorageError, match="encrypted with the key"):
            other.claim(FP)

    def test_of_an_answer_on_this_host(self, rows: Rows, lost: dict[str, str]) -> None:
        """The same for one that this host keeps: its pair works until its end, and is not sent."""
        store = rows.store()
        rows.put(ONE, NONE)
        store._spill.keep(FP, TWO)
        other = rows.store(lost)
        with other.locked(NO_LIMIT_S):
            found = other.view()
            assert (found.snapshot.state, found.snapshot.token) == ("unreachable", ONE)
            assert found.claim.state == "in_flight"
            with pytest.raises(StorageError, match="encrypted with the key"):
                other.claim(FP)
        with store.locked(NO_LIMIT_S):
            assert store.claim(FP).staged == TWO


class TestRotation:
    def test_in_three_steps(self, rows: Rows) -> None:
        """The new key is added behind the old one, then put before it, then the old one goes: at each step all is read, and the
        check says how many tokens still need the old key."""
        both = key_files(rows.folder / "both")
        old = {name: Path(path).read_text().split("\n")[1] for name, path in rows.keys.items()}
        new = {name: Path(path).read_text().split("\n")[1] for name, path in both.items()}

        def with_keys(*keys: dict[str, str]) -> dict[str, str]:
            for name, path in both.items():
                Path(path).write_text("\n".join(one[name] for one in keys))
            return both

        rows.put(ONE)
        cautious = rows.store(with_keys(old, new))
        assert cautious.read().token == ONE
        rotated = rows.store(with_keys(new, old))
        assert rotated.read().token == ONE
        (told,) = (finding for finding in rotated.examine() if finding.name == "encryption")
        assert "under the earlier key" in told.evidence
        with rotated.locked(NO_LIMIT_S):
            rotated.put(TWO)
        cautious.look(NO_LIMIT_S)
        assert cautious.read().token == TWO
        assert rows.store(with_keys(new)).read().token == TWO
        assert rows.store().read().state == "unreachable"


class TestReader:
    def test_the_access_key_is_enough(self, rows: Rows) -> None:
        """A reader with the key of access tokens alone has the access token; without it, an error that names the key."""
        rows.put(ONE)
        reader = rows.reader({"access-key-file": rows.keys["access-key-file"]})
        found = reader.read().token
        assert found is not None
        assert found.access_token == ONE.access_token
        (told,) = (finding for finding in reader.examine() if finding.name == "encryption")
        assert not told.step
        blind = rows.reader(NONE).read()
        assert blind.state == "unreachable"
        assert blind.problem is not None
        assert "access-key-file" in blind.problem.message

    def test_a_refresh_key_is_refused(self, rows: Rows) -> None:
        """A reader must not be able to open a refresh token, should it get at one."""
        with pytest.raises(ConfigError, match="refresh-key-file"):
            rows.reader(rows.keys)


BAD = {
    "is no base64": "hunter2-hunter2!",
    "is too short": base64.b64encode(b"hunter2" * 4).decode(),
    "is two on a line": " ".join([base64.b64encode(b"h" * 32).decode()] * 2),
}


class TestKeyFiles:
    @pytest.fixture
    def named(self, tmp_path: Path) -> dict[str, str]:
        return key_files(tmp_path / "keys")

    def cipher(self, named: dict[str, str]) -> Cipher:
        return Cipher(
            Address("postgresql:///x?host=/run&" + "&".join(f"{name}={path}" for name, path in named.items()))
        )

    @pytest.mark.parametrize("text", BAD.values(), ids=BAD)
    def test_what_is_no_key(self, named: dict[str, str], text: str) -> None:
        """The error names file and line, and the command that makes a key; nothing of the content."""
        path = Path(named["access-key-file"])
        path.write_text(f"# ours\n\n{text}  # and a comment\n")
        with pytest.raises(ConfigError, match=r"access.keys: line 3") as caught:
            self.cipher(named)
        assert text.split(maxsplit=1)[0] not in caught.value.line
        assert "openssl rand -base64 32" in caught.value.hint

    @pytest.mark.parametrize("text", ["", "# nothing\n\n"])
    def test_a_file_without_a_key(self, named: dict[str, str], text: str) -> None:
        """A file that holds no key is not "no encryption"."""
        Path(named["refresh-key-file"]).write_text(text)
        with pytest.raises(ConfigError, match="holds no key"):
            self.cipher(named)

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o602, 0o604])
    def test_who_may_read_it(self, named: dict[str, str], mode: int) -> None:
        """Others may not; the group may where the file is root's, which is how a service is given a file."""
        path = Path(named["access-key-file"])
        path.chmod(mode)
        if mode == 0o640 and os.geteuid() == 0:
            assert self.cipher(named).writes
            return
        with pytest.raises(ConfigError, match=f"{mode:04o}") as caught:
            self.cipher(named)
        assert caught.value.hint == f"chmod 600 {path}"

    def test_of_another_user(self, named: dict[str, str]) -> None:
        """Its owner would know the keys."""
        if os.geteuid() != 0:
            pytest.skip("only root can give a file away")
        os.chown(named["access-key-file"], 12_345, -1)
        with pytest.raises(ConfigError, match="another user"):
            self.cipher(named)

    def test_one_that_is_not_there(self, named: dict[str, str]) -> None:
        """It names the path."""
        Path(named["access-key-file"]).unlink()
        with pytest.raises(ConfigError, match="is not there"):
            self.cipher(named)

    def test_one_of_two(self, named: dict[str, str]) -> None:
        """Half of a row would be plain."""
        with pytest.raises(ConfigError, match="one of two key files"):
            self.cipher({"access-key-file": named["access-key-file"]})

    def test_the_same_key_in_both(self, named: dict[str, str]) -> None:
        """A reader could open refresh tokens."""
        Path(named["refresh-key-file"]).write_text(Path(named["access-key-file"]).read_text())
        with pytest.raises(ConfigError, match="in common"):
            self.cipher(named)

    def test_the_package_is_missing(self, named: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        """The error names the extra; a store without keys does not need it."""
        monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
        with pytest.raises(ConfigError) as caught:
            self.cipher(named)
        assert "kimi-auth[encryption]" in caught.value.hint
        assert not self.cipher(NONE).writes

    @pytest.mark.parametrize("path", ["", "keys", "~/keys", "/a%00b"])
    def test_the_path_is_absolute(self, path: str) -> None:
        """Every process finds the same file."""
        with pytest.raises(ConfigError, match="absolute path"):
            Address(f"postgresql:///x?access-key-file={path}")

    def test_an_address_keeps_them(self) -> None:
        """libpq sees no parameter of ours, the rest of the address is as given, and the note of a move names them."""
        address = Address("postgresql://u@localhost/d?access-key-file=/a%20b&sslmode=disable&refresh-key-file=/c")
        assert address.key_files == {"access-key-file": "/a b", "refresh-key-file": "/c"}
        assert not set(address.parameters) & set(address.key_files)
        assert (address.parameters["sslmode"], address.parameters["dbname"]) == ("disable", "d")
        assert Address(address.without_password).key_files == address.key_files
        assert address.name == Address("postgresql://u@localhost/d").name

    def test_nothing_shows_a_key(self, named: dict[str, str]) -> None:
        """Not the cipher, not its ids."""
        cipher = self.cipher(named)
        for path in named.values():
            key = Path(path).read_text().split("\n")[1]
            shown = f"{cipher!r} {cipher.ids('access')} {cipher.ids('refresh')}"
            assert key not in shown
            assert base64.b64decode(key).hex()[:8] not in shown

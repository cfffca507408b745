"""What every credential store promises: in files, in memory and in a database."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S, met

from kimi_auth.errors import CorruptCredential, LockLost, StorageError, StoreUnwritable
from kimi_auth.store import Backoff, Binding, Claim, CredentialStore, FileStore, RevokedMark, Snapshot, View
from kimi_auth.store.owners import Owner
from kimi_auth.store.postgres import PostgresStore
from kimi_auth.token import Token, fingerprint

RECORD = Token("access-of-the-record", "refresh-of-the-record", 1_800_000_900.0, 900.0, issuer="https://auth.kimi.com")
FP = fingerprint(RECORD)
OTHER_FP = "fedcba9876543210"
MINE = Claim("made", FP, nonce="0011223344556677")

TOKENS = {
    "as the server gives it": Token("a", "r", 1_800_000_900.25, 900.0, "kimi-code", "Bearer", "https://auth.kimi.com"),
    "nothing but tokens": Token("a", "r", 0.0, 0.0),
    "no refresh token": Token("a", "", 1.0, 1.0),
    "a tombstone": Token("", "", 0.0, 0.0),
    "a scope in other letters": Token("a", "r", 1.0, 1.0, "读 \u2028 \ud800"),
    "long tokens": Token("a" * 20_000, "r" * 20_000, 1.0, 1.0),
}

WRITES: dict[str, Callable[[CredentialStore, Token], object]] = {
    "claim": lambda store, _: store.claim(OTHER_FP),
    "renew_claim": lambda store, _: store.renew_claim(MINE._replace(nonce=store.peek_claim(FP).nonce or MINE.nonce)),
    "stage": lambda store, token: store.stage(MINE._replace(nonce=store.peek_claim(FP).nonce), token),
    "put": lambda store, token: store.put(token),
    "sign_out": lambda store, _: store.sign_out(5.0),
    "refuse": lambda store, _: store.mark_revoked(FP, RevokedMark(1.0, "no")),
    "set_backoff": lambda store, _: store.set_backoff(Backoff(failures=1)),
    "bind": lambda store, _: store.bind(Binding("https://a.example")),
}
NEEDS_LOCK = WRITES | {
    "withdraw_claim": lambda store, _: store.withdraw_claim(MINE),
    "commit": lambda store, token: store.commit(MINE, token),
    "tidy": lambda store, _: store.tidy(5.0),
}


class TestRecord:
    def test_an_empty_place_holds_nothing(self, place: Any) -> None:
        """Every question to a store that was never used has its quiet answer."""
        store: CredentialStore = place.store
        assert store.read() == Snapshot("absent")
        assert store.stamp() == ()
        assert store.still(())
        assert store.revoked_mark(FP) is None
        assert store.peek_claim(FP) == Claim("none", FP)
        assert store.backoff() == Backoff()
        assert store.binding() is None
        assert store.holder() == ""
        assert store.location

    @pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
    def test_what_is_put_is_read(self, place: Any, token: Token) -> None:
        """A record comes back as it was put, with its fingerprint and the stamp that the cheap question gives."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.put(token)
        assert store.read() == Snapshot("present", store.stamp(), token, fingerprint(token))
        assert store.stamp() != ()

    def test_every_install_has_a_stamp_of_its_own(self, place: Any, pair: Any) -> None:
        """Installing, even the same record again, changes the stamp, and the cheap question sees it; nothing else does."""
        store: CredentialStore = place.store
        stamps = [store.stamp()]

        def installed() -> None:
            assert not store.still(stamps[-1])
            stamps.append(store.stamp())
            assert store.still(stamps[-1])

        with store.locked(0.0):
            for token in (pair(1), pair(2), pair(1), pair(1)):
                store.put(token)
                installed()
            store.set_backoff(Backoff(failures=1))
            store.mark_revoked(store.read().fp, RevokedMark(1.0))
            claim = store.claim(store.read().fp)
            assert store.stamp() == stamps[-1]
            assert store.still(stamps[-1])
            store.stage(claim, pair(3))
            assert store.stamp() == stamps[-1]
            assert store.still(stamps[-1])
            committed = store.commit(claim, pair(3))
            assert committed == store.read()
            installed()
            store.sign_out(5.0)
            installed()
        assert len(set(stamps)) == len(stamps)
        assert not any(store.still(stamp) for stamp in stamps[:-1])

    @pytest.mark.parametrize("before", ["nothing", "a record"])
    def test_sign_out_leaves_the_empty_record(self, place: Any, pair: Any, before: str) -> None:
        """After a logout the record is empty and says when."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            if before == "a record":
                store.put(pair(1))
            store.sign_out(1_800_000_000.0)
        found = store.read()
        assert found.state == "present"
        assert found.token == Token("", "", 0.0, 0.0, signed_out_at_s=1_800_000_000.0)

    def test_a_sign_out_at_the_beginning_of_time_is_one(self, place: Any) -> None:
        """A clock at zero does not turn a logout into a rejection by the server."""
        with place.store.locked(0.0):
            place.store.sign_out(0.0)
        assert place.store.read().token.signed_out_at_s > 0

    @pytest.mark.parametrize(
        ("age_s", "state"),
        [(0.0, "present"), (60.0, "present"), (60.1, "absent"), (1e6, "absent"), (-60.0, "present"), (-61.0, "absent")],
    )
    def test_tidy_removes_a_logout_that_everybody_has_seen(self, place: Any, age_s: float, state: str) -> None:
        """The empty record goes after a minute, and when the clock was set back past telling."""
        with place.store.locked(0.0):
            place.store.sign_out(1_800_000_000.0)
            place.store.tidy(1_800_000_000.0 + age_s)
        assert place.store.read().state == state
        assert (place.store.stamp() == ()) is (state == "absent")

    @pytest.mark.parametrize("token", [Token("", "", 0.0, 0.0), Token("a", "r", 1.0, 1.0)])
    def test_tidy_keeps_what_is_no_logout(self, place: Any, token: Token) -> None:
        """A rejection's tombstone and a credential stay, however old."""
        with place.store.locked(0.0):
            place.store.put(token)
            place.store.tidy(9e9)
        assert place.store.read().token == token

    @pytest.mark.parametrize("write", ["put", "sign_out"])
    def test_a_corrupt_record_is_said_and_set_aside(self, place: Any, pair: Any, write: str) -> None:
        """Reading says that a record is corrupt; a login or a logout replaces it."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.put(pair(1))
        place.spoil()
        found = store.read()
        assert found.state == "corrupt"
        assert isinstance(found.problem, CorruptCredential)
        assert (found.token, found.fp) == (None, "")
        assert found.stamp == store.stamp() != ()
        with store.locked(0.0):
            WRITES[write](store, pair(2))
        assert store.read().state == "present"
        assert len(store.leftovers()) == 1


def kept_open(store: CredentialStore, folder: Path) -> int:
    """How many files of `folder` the store keeps open, or connections to its database."""
    if isinstance(store, PostgresStore):
        return int(store._line._session is not None)
    own = [path.stat() for path in folder.rglob("*")]
    count = 0
    for path in Path("/dev/fd").iterdir():
        with suppress(OSError):  # the one that lists them
            found = os.fstat(int(path.name))
            count += any(os.path.samestat(found, each) for each in own)
    return count


class TestView:
    def test_a_view_is_all_of_it(self, place: Any, pair: Any) -> None:
        """The view of a store says what the single questions say."""
        store: CredentialStore = place.store
        assert store.view() == View()
        with store.locked(0.0):
            store.put(pair(1))
            fp = store.read().fp
            store.claim(fp)
            store.mark_revoked(fp, RevokedMark(1.0, "no"))
            store.set_backoff(Backoff(failures=1))
            store.bind(Binding("https://a.example"))
        view = store.view()
        assert view == View(
            store.read(), store.peek_claim(fp), store.revoked_mark(fp), store.backoff(), store.binding()
        )
        assert (view.claim.state, view.mark) == ("interrupted", RevokedMark(1.0, "no"))

    def test_nothing_belongs_to_a_corrupt_record(self, place: Any, pair: Any) -> None:
        """Beside a record that no reader understands there is no claim and no mark; the backoff is still shared."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.put(pair(1))
            store.claim(store.read().fp)
            store.set_backoff(Backoff(failures=1))
        place.spoil()
        view = store.view()
        assert (view.snapshot.state, view.claim, view.mark) == ("corrupt", Claim("none"), None)
        assert view.backoff == Backoff(failures=1)


class TestHold:
    def test_a_hold_ends_with_its_block(self, place: Any) -> None:
        """A held lock can be checked any number of times; afterwards the lock counts as lost, which is exit status 8."""
        with place.store.locked(0.0) as hold:
            hold.check()
            hold.check()
        with pytest.raises(LockLost) as raised:
            hold.check()
        assert raised.value.exit_status == 8

    def test_closing_frees_and_forgets_nothing(self, place: Any, pair: Any, tmp_path: Path) -> None:
        """A closed store holds no descriptor; the next call works as before, and a held lock stays held."""
        store: CredentialStore = place.store
        with store.locked(0.0) as hold:
            assert hold is not None
            store.put(pair(1))
            assert store.still(store.stamp())
            before = kept_open(store, tmp_path)
            store.close()
            store.close()
            assert before - kept_open(store, tmp_path) == (1 if isinstance(store, FileStore) else 0)
            hold.check()
            assert store.still(store.stamp())
            assert store.read().token == pair(1)


class TestBeside:
    def test_a_refusal_is_kept_in_clean_words(self, place: Any) -> None:
        """A revoked mark belongs to its pair; the server's message loses control characters and length."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.mark_revoked(FP, RevokedMark(1_800_000_000.5, "\x1b[31mthe token\r\nis  dead\x00" + "!" * 300))
        refusal = store.revoked_mark(FP)
        assert refusal == RevokedMark(1_800_000_000.5, ("[31mthe token is dead" + "!" * 300)[:199] + "…")
        assert store.revoked_mark(OTHER_FP) is None

    def test_the_pace_is_kept(self, place: Any) -> None:
        """Every field of the backoff comes back, and the last one set counts."""
        store: CredentialStore = place.store
        kinds = {name: type(default) for name, default in Backoff._field_defaults.items()}
        backoff = Backoff(**{name: kind(number) for number, (name, kind) in enumerate(kinds.items(), 1)})  # type: ignore[arg-type]
        with store.locked(0.0):
            store.set_backoff(Backoff(failures=9))
            store.set_backoff(backoff)
        assert store.backoff() == backoff

    def test_the_binding_is_kept(self, place: Any, pair: Any) -> None:
        """The last one set counts, whatever becomes of the record; only a sign-out, once it is tidied up, takes it along."""
        store: CredentialStore = place.store
        bound = Binding("https://b.example", ("https://tokens.example", "https://other.example:8443"))
        with store.locked(0.0):
            store.put(pair(1))
            store.bind(Binding("https://a.example"))
            stamp = store.stamp()
            store.bind(bound)
            assert store.stamp() == stamp, "no program has to read the record again"
            mine = store.read().fp
            store.commit(store.claim(mine), pair(2))
            store.tidy(5.0)
            store.put(pair(3))
            store.put(Token("", "", 0.0, 0.0))
            store.tidy(5.0)
            assert store.binding() == bound
            store.put(pair(4))
            place.spoil()
            store.tidy(5.0)
            assert store.binding() == bound
            store.sign_out(1_800_000_000.0)
            assert store.binding() == bound
            store.tidy(1_800_000_000.0)
            assert store.binding() is None

    def test_a_binding_can_be_removed(self, place: Any) -> None:
        """None removes it, and once more does no harm; beside no record it goes when things are tidied up."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.bind(Binding("https://a.example"))
            store.bind(None)
            store.bind(None)
            assert store.binding() is None
            store.bind(Binding("https://a.example"))
            store.tidy(5.0)
        assert store.binding() is None

    @pytest.mark.parametrize("write", ["put", "tidy", "commit", "claim"])
    def test_what_is_bound_to_other_pairs_goes(self, place: Any, pair: Any, write: str) -> None:
        """Claims and refusals of pairs that are not the record are void and are removed."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.put(pair(1))
        place.leave(OTHER_FP, SILENT)
        with store.locked(0.0):
            store.mark_revoked(OTHER_FP, RevokedMark(1.0))
            mine = store.read().fp
            match write:
                case "put":
                    store.put(pair(2))
                case "tidy":
                    store.tidy(5.0)
                case "claim":
                    store.claim(mine)
                case "commit":
                    store.commit(store.claim(mine), pair(2))
        assert store.peek_claim(OTHER_FP).state == "none"
        assert store.revoked_mark(OTHER_FP) is None

    def test_tidy_keeps_what_is_bound_to_the_record(self, place: Any, pair: Any) -> None:
        """The claim and the refusal of the record's own pair stay."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.put(pair(1))
            mine = store.read().fp
            store.claim(mine)
            store.mark_revoked(mine, RevokedMark(1.0, "no"))
            store.tidy(5.0)
        assert store.peek_claim(mine).state == "interrupted"
        assert store.revoked_mark(mine) == RevokedMark(1.0, "no")

    def test_tidy_beside_a_corrupt_record_removes_nothing(self, place: Any, pair: Any) -> None:
        """Which pair a corrupt record holds cannot be told, so nothing beside it is void."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.put(pair(1))
            mine = store.read().fp
            store.stage(store.claim(mine), pair(2))
            place.spoil()
            store.tidy(5.0)
        assert store.peek_claim(mine).state == "staged"

    def test_after_a_logout_tidy_removes_all_of_the_old_pair(self, place: Any, pair: Any) -> None:
        """No staged survives a logout."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.put(pair(1))
            mine = store.read().fp
            store.stage(store.claim(mine), pair(2))
            store.sign_out(5.0)
            store.tidy(5.0)
        assert store.peek_claim(mine).state == "none"


# Each step: which boot meets the claim of boot-a at which second of its clock, and what it learns.
STORIES: dict[str, list[tuple[str, float, str, float]]] = {
    "its own boot waits too: nothing is known of the owner": [
        ("boot-a", 1000.0, "in_flight", 75.0),
        ("boot-a", 1074.0, "in_flight", 1.0),
        ("boot-a", 1075.0, "in_flight", 0.0),
        ("boot-a", 9e6, "in_flight", 0.0),
    ],
    "another boot waits 75 s": [
        ("boot-b", 5.0, "in_flight", 75.0),
        ("boot-b", 5.0, "in_flight", 75.0),
        ("boot-b", 35.0, "in_flight", 45.0),
        ("boot-b", 79.5, "in_flight", 0.5),
        ("boot-b", 80.0, "in_flight", 0.0),
    ],
    "a boot that has just begun": [("boot-b", 0.0, "in_flight", 75.0), ("boot-b", 75.0, "in_flight", 0.0)],
    "two hosts do not keep each other waiting": [
        ("boot-b", 5.0, "in_flight", 75.0),
        ("boot-c", 900.0, "in_flight", 75.0),
        ("boot-b", 50.0, "in_flight", 30.0),
        ("boot-c", 950.0, "in_flight", 25.0),
        ("boot-b", 80.0, "in_flight", 0.0),
        ("boot-c", 975.0, "in_flight", 0.0),
    ],
    "a boot that cannot be told waits too": [
        ("", 5.0, "in_flight", 75.0),
        ("", 79.0, "in_flight", 1.0),
        ("", 80.0, "in_flight", 0.0),
    ],
    "a clock that went back starts anew": [
        ("boot-a", 500.0, "in_flight", 75.0),
        ("boot-a", 10.0, "in_flight", 75.0),
        ("boot-a", 84.0, "in_flight", 1.0),
        ("boot-a", 85.0, "in_flight", 0.0),
    ],
}

SILENT = Owner("boot-a", "another namespace", 7, "5", "box")
"""The owner of a claim of whom nothing can be learnt."""


class TestClaim:
    @pytest.fixture(autouse=True)
    def record(self, request: pytest.FixtureRequest) -> None:
        """FP is the record: there are no claims on other pairs."""
        name = "place" if "place" in request.fixturenames else "local_place"
        store: CredentialStore = request.getfixturevalue(name).store
        with store.locked(0.0):
            store.put(RECORD)

    def test_made_once(self, place: Any) -> None:
        """The first call makes the claim; a second one finds it, and its owner, this very process, alive."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            made, found = store.claim(FP), store.claim(FP)
            assert store.peek_claim(FP)._replace(wait_s=found.wait_s) == found
        assert (made.state, made.fp, made.wait_s, made.staged) == ("made", FP, 0.0, None)
        assert (found.state, found.nonce) == ("in_flight", made.nonce)
        assert 0.0 < found.wait_s <= 75.0, "a database's clock goes on by itself"
        assert "pid" in found.owner

    def test_leaving_the_lock_closes_it(self, place: Any) -> None:
        """A walk that leaves the lock, by an error even, sends nothing more: the next one recovers at once."""
        store: CredentialStore = place.store
        made = Claim("none")
        with suppress(ZeroDivisionError), store.locked(0.0):
            made = store.claim(FP)
            raise ZeroDivisionError
        closed = Claim("interrupted", FP, owner=made.owner, nonce=made.nonce)
        assert store.peek_claim(FP) == closed
        with store.locked(0.0):
            assert store.claim(FP) == closed
            renewed = store.renew_claim(closed)
            assert (renewed.state, renewed.fp) == ("renewed", FP)
            assert renewed.nonce != made.nonce
            assert store.peek_claim(FP).state == "in_flight"
        assert store.peek_claim(FP) == closed._replace(nonce=renewed.nonce)

    def test_only_the_owner_closes_it(self, place: Any) -> None:
        """A holder that has met another's claim leaves it as it is."""
        store: CredentialStore = place.store
        place.leave(FP, SILENT)
        with store.locked(0.0):
            assert store.claim(FP).state == "in_flight"
        assert store.peek_claim(FP).state == "in_flight"

    def test_an_answer_is_not_closed(self, place: Any, pair: Any) -> None:
        """What holds an answer stays its staged."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.stage(store.claim(FP), pair(2))
        assert store.peek_claim(FP).staged == pair(2)

    def test_withdrawn_it_is_gone(self, place: Any) -> None:
        """Taking a claim back, twice even, leaves nothing; the next one is new, and is not the first one's to take back."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            first = store.claim(FP)
            store.withdraw_claim(first)
            store.withdraw_claim(first)
            assert store.peek_claim(FP).state == "none"
            assert store.claim(FP).state == "made"
            store.withdraw_claim(first)
            assert store.peek_claim(FP).state == "in_flight"

    def test_one_of_two_takes_a_claim_over(self, place: Any) -> None:
        """Two have met the same claim: the second one to take it over is told so, and the claim is the first one's."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.claim(FP)
        found = store.peek_claim(FP)
        with store.locked(0.0):
            mine = store.renew_claim(found)
            with pytest.raises(StorageError, match="taken over"):
                store.renew_claim(found)
            assert store.peek_claim(FP).nonce == mine.nonce

    def test_an_answer_is_not_taken_over(self, place: Any, pair: Any) -> None:
        """The owner was not dead after all: its answer is the login, and no process sends again."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            made = store.claim(FP)
            store.stage(made, pair(2))
            with pytest.raises(StorageError, match="taken over"):
                store.renew_claim(made._replace(state="in_flight"))
        assert store.peek_claim(FP).staged == pair(2)

    def test_the_answer_of_an_owner_that_was_given_up(self, place: Any, pair: Any) -> None:
        """It arrives after another process has taken the claim over: it replaces that claim, and is committed."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.put(pair(1))
            old = store.read().fp
            late = store.claim(old)
            store.renew_claim(late)
            store.stage(late, pair(2))
            assert store.peek_claim(old).staged == pair(2)
            store.commit(late, pair(2))
        assert store.read().token == pair(2)

    def test_the_answer_becomes_the_staged_and_the_staged_the_record(self, place: Any, pair: Any) -> None:
        """claim, save, install: the pair of the answer is the record, and nothing of the old pair is left."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.put(pair(1))
            old = store.read().fp
            store.stage(store.claim(old), pair(2))
            found = store.claim(old)
            assert (found.state, found.staged) == ("staged", pair(2))
            assert store.peek_claim(old) == found
            assert store.read().token == pair(1)
            store.commit(found, pair(2))
        assert store.read().token == pair(2)
        assert store.peek_claim(old).state == "none"

    def test_saving_again_replaces_the_answer(self, place: Any, pair: Any) -> None:
        """A write of the answer may be tried as often as it takes, shorter and longer ones alike."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            claim = store.claim(FP)
            for token in (pair(2), Token("a" * 30_000, "r", 1.0, 1.0), Token("a", "", 0.0, 0.0)):
                store.stage(claim, token)
                assert store.peek_claim(FP).staged == token

    def test_an_answer_without_its_claim_is_saved_all_the_same(self, place: Any, pair: Any) -> None:
        """A claim that vanished does not cost the answer."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.put(pair(1))
            old = store.read().fp
            claim = store.claim(old)
            store.withdraw_claim(claim)
            store.stage(claim, pair(2))
            store.commit(claim, pair(2))
        assert store.read().token == pair(2)

    @pytest.mark.parametrize("staged", [True, False])
    @pytest.mark.parametrize(
        ("record", "outcome"),
        [
            ("the same", "committed"),
            ("the new one", "committed"),
            ("corrupt", "committed"),
            ("a third", "superseded"),
            ("signed out", "gone"),
            ("a tombstone", "committed"),
            ("absent", "gone"),
        ],
    )
    def test_a_commit_compares_before_it_renames(
        self, place: Any, pair: Any, record: str, outcome: str, staged: bool
    ) -> None:
        """The answer replaces the pair that was sent, staged still or not, or another program's tombstone; nothing else."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.put(pair(1))
            claim = store.claim(store.read().fp)
        if staged:
            with store.locked(0.0):
                store.stage(claim, pair(2))
        self._becomes(place, pair, record)
        before = store.read()
        with store.locked(0.0):
            committed = store.commit(claim, pair(2))
        after = store.read()
        if outcome == "committed":
            assert committed == after
            assert after.token == pair(2)
        else:
            assert (committed, after) == (outcome, before)

    def _becomes(self, place: Any, pair: Any, record: str) -> None:
        store: CredentialStore = place.store
        others = {"a third": pair(3), "the new one": pair(2), "a tombstone": Token("", "", 0.0, 0.0)}
        if record == "corrupt":
            place.spoil()
        with store.locked(0.0):
            if record in others:
                store.put(others[record])
            if record in ("signed out", "absent"):
                store.sign_out(5.0)
            if record == "absent":
                store.tidy(66.0)

    @pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
    def test_a_silent_owner(self, local_place: Any, story: list[tuple[str, float, str, float]]) -> None:
        """A claim of which nothing is known is waited for, 75 s from the first meeting, by each boot's own clock."""
        store: CredentialStore = local_place.store
        local_place.leave(FP, SILENT)
        nonce = store.peek_claim(FP).nonce
        for boot, boottime_s, state, wait_s in story:
            local_place.clock.boot, local_place.clock.boottime = boot, boottime_s
            with store.locked(0.0):
                peeked, found = store.peek_claim(FP), store.claim(FP)
            assert (found.state, found.wait_s) == (state, wait_s), (boot, boottime_s)
            assert peeked == found
            assert store.peek_claim(FP) == found
            assert (found.nonce, found.owner) == (nonce, "pid 7 on box")

    def test_peeking_starts_no_wait(self, local_place: Any) -> None:
        """Only who holds the lock meets a claim: a look from outside changes nothing."""
        store: CredentialStore = local_place.store
        local_place.leave(FP, SILENT)
        store.peek_claim(FP)
        local_place.clock.boottime += 500.0
        assert (store.peek_claim(FP).state, store.peek_claim(FP).wait_s) == ("in_flight", 75.0)

    def test_a_wait_is_for_one_claim(self, local_place: Any) -> None:
        """Another claim on the same pair is waited for anew."""
        store: CredentialStore = local_place.store
        for _ in range(2):
            local_place.leave(FP, SILENT)
            with store.locked(0.0):
                assert store.claim(FP).wait_s == 75.0
                local_place.clock.boottime += 75.0
                assert store.claim(FP).wait_s == 0.0

    def test_more_boots_than_are_kept(self, local_place: Any) -> None:
        """A disk that hundreds of hosts share does not grow a file with all their names: the oldest wait anew."""
        store: CredentialStore = local_place.store
        local_place.leave(FP, SILENT)
        for number in range(100):
            local_place.clock.boot, local_place.clock.boottime = f"boot-{number}", 1000.0 + number
            with store.locked(0.0):
                assert store.claim(FP).wait_s == 75.0
        local_place.clock.boottime = 1100.0
        with store.locked(0.0):
            assert store.claim(FP).wait_s == 74.0
            local_place.clock.boot = "boot-0"
            assert store.claim(FP).wait_s == 75.0

    def test_an_staged_is_one_on_every_boot(self, place: Any, pair: Any) -> None:
        """A complete answer is used at once, wherever it is found."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.stage(store.claim(FP), pair(2))
            place.clock.boot = "boot-b"
            assert store.claim(FP).state == "staged"


class TestLock:
    def test_held_by_one(self, place: Any) -> None:
        """While the lock is held no other gets it; afterwards any process does."""
        store: CredentialStore = place.store
        with store.locked(0.0) as first:
            with store.locked(0.0) as second, store.locked(0.05) as third:
                assert (bool(first), second, third) == (True, None, None)
            assert "pid" in store.holder()
        with store.locked(None) as again:
            assert again
        assert store.holder() == ""

    def test_an_error_inside_frees_it(self, place: Any) -> None:
        """What goes wrong under the lock comes out, and the lock with it."""
        with pytest.raises(ZeroDivisionError), place.store.locked(0.0):
            raise ZeroDivisionError
        with place.store.locked(0.0) as held:
            assert held

    def test_waiting_for_oneself_is_a_bug(self, place: Any) -> None:
        """A thread that holds the lock and waits for it without end is told so."""
        with (
            place.store.locked(0.0),
            pytest.raises(RuntimeError),
            place.store.locked(None),
        ):
            raise AssertionError

    def test_giving_up_ends_the_wait(self, place: Any) -> None:
        """`give_up` is asked again and again while waiting, and ends it."""
        asked = 0

        def give_up() -> bool:
            nonlocal asked
            asked += 1
            return asked == 3

        with place.store.locked(0.0), place.store.locked(NO_LIMIT_S, give_up=give_up) as held:
            assert not held
        assert asked == 3

    def test_not_asked_when_it_is_free(self, place: Any) -> None:
        """Who finds the lock free takes it, whatever `give_up` would say."""
        with place.store.locked(NO_LIMIT_S, give_up=lambda: True) as held:
            assert held

    def test_threads_exclude_each_other(self, place: Any) -> None:
        """Four threads, fifty turns each: never two inside, and no step of the count is lost."""
        store: CredentialStore = place.store
        inside: list[int] = []
        overlaps: list[int] = []
        count = 0

        def work(me: int) -> None:
            nonlocal count
            for _ in range(50):
                with store.locked(None):
                    inside.append(me)
                    before = count
                    overlaps.extend(inside[1:])
                    count = before + 1
                    inside.remove(me)

        threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (count, overlaps) == (200, [])

    def test_a_waiter_gets_it(self, place: Any) -> None:
        """A thread that waits is let in when the holder leaves."""
        store: CredentialStore = place.store
        waits, result = threading.Event(), []

        def wait() -> None:
            with store.locked(NO_LIMIT_S, give_up=lambda: bool(waits.set())) as held:
                result.append(bool(held))

        thread = threading.Thread(target=wait)
        with store.locked(0.0):
            thread.start()
            assert met(waits)
            assert result == []
        thread.join()
        assert result == [True]

    @pytest.mark.parametrize("write", NEEDS_LOCK.values(), ids=NEEDS_LOCK)
    def test_writing_needs_it(self, place: Any, pair: Any, write: Any) -> None:
        """Writing without the lock is a bug, and nothing is written."""
        with pytest.raises(RuntimeError):
            write(place.store, pair(1))
        with place.store.locked(0.0), place.store.locked(0.0) as second:
            assert not second
        with pytest.raises(RuntimeError):
            write(place.store, pair(1))
        assert place.store.read().state == "absent"

    def test_reading_does_not(self, place: Any, pair: Any) -> None:
        """Readers never wait: everything can be read while a process holds the lock."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.put(pair(1))
            assert store.read().token == pair(1)
            assert store.stamp() == store.read().stamp
            assert store.backoff() == Backoff()


class TestMediumThatRefuses:
    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    def test_a_write_says_so_and_changes_nothing(self, place: Any, pair: Any, write: Any) -> None:
        """A full disk is a StoreUnwritable with a next step; earlier files stay, claims and answers too."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.put(RECORD)
            before = store.read()
            store.claim(FP)
            place.refuse_writes()
            with pytest.raises(StoreUnwritable) as caught:
                write(store, pair(2))
        assert caught.value.hint
        assert store.read()._replace(problem=None) == before, "it may say by now that it takes no writes"
        assert store.backoff() == Backoff()
        assert store.revoked_mark(FP) is None
        assert store.binding() is None
        assert store.peek_claim(OTHER_FP).state == "none"

    def test_it_is_known_before_anybody_is_asked(self, place: Any) -> None:
        """`check_writable` is quiet and leaves nothing where it works, and raises where it does not."""
        place.store.check_writable()
        assert place.store.read().state == "absent"
        place.refuse_writes()
        with pytest.raises(StoreUnwritable):
            place.store.check_writable()

    def test_what_cannot_be_replaced_is_not_claimed(self, place: Any, pair: Any) -> None:
        """The record is read and says why; nothing that leads to sending its refresh token can be made, and no login is
        begun that could not be stored."""
        store: CredentialStore = place.store
        with store.locked(0.0):
            store.put(pair(1))
            assert store.read().problem is None
            place.fix()
            found = store.read()
            assert (found.state, found.token) == ("present", pair(1))
            assert isinstance(found.problem, StoreUnwritable)
            with pytest.raises(StoreUnwritable):
                store.claim(found.fp)
            assert store.peek_claim(found.fp).state == "none"
        with pytest.raises(StoreUnwritable):
            store.check_writable()

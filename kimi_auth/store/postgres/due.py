"""The due rows of a table, many at a time: what `kimi-auth store keep` takes, and gives back.

TAKE passes over rows that another worker is taking (SKIP LOCKED), and makes lease and claim of n rows in one commit.
The claim of a row is made only where its pair has none. DEAD shows the holders of due rows that are held, so that those of
a worker of this host that has ended are taken at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

from kimi_auth.clock import Clock
from kimi_auth.store import formats
from kimi_auth.store.contract import Backoff, Binding, Claim, RevokedMark
from kimi_auth.store.owners import Owner, is_certainly_dead, this_process
from kimi_auth.support.text import clean
from kimi_auth.token import Token

from . import sql
from .address import Address
from .encryption import Cipher
from .line import Line, line_of
from .row import Row, decode_owner, encode_owner, encode_token
from .spill import Spill

__all__ = ["DueRows", "Ending", "Queue", "Taken"]

_MADE = "claim_nonce = substr(encode(sha256(convert_to(%(seed)s || c.key, 'UTF8')), 'hex'), 1, 16)"
_FREE = "(c.claim_nonce IS NULL OR c.claim_fp IS DISTINCT FROM c.fp) AND c.fp IS NOT NULL"
_NEW = {
    "claim_fp": "c.fp",
    "claim_nonce": _MADE.partition(" = ")[2],
    "claim_owner": "%(owner)s",
    "claim_at": "clock_timestamp()",
    "claim_under": "kimi_auth.incarnation()",
    "claim_witness": "%(witness)s",
    "claim_closed": "false",
    "staged": "NULL",
}
_CLAIMED = ", ".join(f"{name} = CASE WHEN {_FREE} THEN {value} ELSE c.{name} END" for name, value in _NEW.items())

TAKE = f"""
UPDATE kimi_auth.credentials AS c SET fence = coalesce(c.fence, 0) + 1, holder = %(holder)s,
    lease_until = clock_timestamp() + interval '{sql.CLAIMED_S} s', {_CLAIMED}
WHERE c.key IN (
    SELECT d.key FROM kimi_auth.credentials AS d
    WHERE d.due_at <= clock_timestamp()
      AND (d.lease_until IS NULL OR d.lease_until <= clock_timestamp() OR (d.key, d.fence) IN (
          SELECT * FROM unnest(%(dead_keys)s::text[], %(dead_fences)s::bigint[])))
    ORDER BY d.due_at LIMIT %(count)s FOR UPDATE SKIP LOCKED
)
RETURNING {sql.SHOWN}, extract(epoch FROM clock_timestamp() - c.due_at)::float8 AS late_s
"""

DEAD = """
SELECT key, fence, holder FROM kimi_auth.credentials
WHERE due_at <= clock_timestamp() AND lease_until > clock_timestamp() ORDER BY due_at LIMIT 500
"""

QUEUE = """
SELECT extract(epoch FROM min(due_at) - clock_timestamp())::float8 AS next_s,
    count(*) FILTER (WHERE due_at < clock_timestamp() - interval '1 s') AS overdue,
    count(*) FILTER (WHERE due_at < clock_timestamp() AND lease_until > clock_timestamp()) AS held,
    count(*) AS kept
FROM kimi_auth.credentials WHERE due_at IS NOT NULL
"""

NEXT = """
SELECT extract(epoch FROM due_at - clock_timestamp())::float8 AS next_s FROM kimi_auth.credentials
WHERE due_at IS NOT NULL AND (lease_until IS NULL OR lease_until <= clock_timestamp()) ORDER BY due_at LIMIT 1
"""

_DROPPED = ("claim_fp", "claim_nonce", "claim_owner", "claim_at", "claim_under", "claim_witness", "staged")
_IS_DROPPED = "%(drops)s AND c.claim_nonce = %(nonce)s"
GIVE_BACK = f"""
UPDATE kimi_auth.credentials AS c SET holder = NULL, lease_until = NULL,
    {", ".join(f"{name} = CASE WHEN {_IS_DROPPED} THEN NULL ELSE c.{name} END" for name in _DROPPED)},
    claim_closed = CASE WHEN {_IS_DROPPED} THEN NULL
        ELSE coalesce(c.claim_closed, false) OR (c.staged IS NULL AND c.claim_nonce = %(nonce)s) END,
    backoff = coalesce(%(backoff)s::text, c.backoff), binding = coalesce(%(binding)s::text, c.binding),
    revoked_fp = coalesce(%(mark_fp)s::text, c.revoked_fp),
    revoked_at = CASE WHEN %(mark_fp)s::text IS NULL THEN c.revoked_at ELSE %(mark_at)s END,
    revoked_message = CASE WHEN %(mark_fp)s::text IS NULL THEN c.revoked_message ELSE %(mark_message)s END,
    due_at = CASE WHEN c.fp IS DISTINCT FROM %(fp)s::text THEN c.due_at WHEN %(is_never)s THEN NULL
        ELSE coalesce(clock_timestamp() + make_interval(secs => %(due_in_s)s::float8), c.due_at) END
WHERE c.key = %(key)s AND c.fence = %(fence)s
RETURNING {sql.SHOWN}, set_config('synchronous_commit', %(commit)s, true) AS waits
"""
"""Under the fence. `due_in_s` and `is_never` are for the pair `fp` alone: a newer one has brought its own time."""


class Ending(NamedTuple):
    """The write that gives a row back. `fp`: the pair that was taken, or the one that it became; `drops`: the claim
    goes, because nothing was sent; `due_in_s`: None keeps the time; `is_never`: no worker takes this pair again."""

    fp: str
    drops: bool = False
    due_in_s: float | None = None
    is_never: bool = False
    backoff: Backoff | None = None
    binding: Binding | None = None
    mark: tuple[str, RevokedMark] | None = None


class Queue(NamedTuple):
    """The whole table: `kept` logins that are to be renewed, `overdue` by more than a second, due and `held` by a worker."""

    kept: int
    overdue: int
    held: int


class Taken(NamedTuple):
    """A due row under our lease. `nonce`: of the claim that was made with it, "" where one stood already; `until_s`: the
    lease, by boot time; `late_s`: seconds since it was due."""

    key: str
    row: Row
    nonce: str
    until_s: float
    late_s: float

    @property
    def fence(self) -> int:
        return self.row.fence or 0


class DueRows:
    """The table at `url`. `folder`: where this host keeps answers that the database cannot take yet. Every method but the
    properties blocks, and raises StorageError; none is for an event loop. Raises ConfigError."""

    def __init__(self, url: str, folder: Path | None, clock: Clock) -> None:
        self.address: Address = Address(url)
        self._line: Line = line_of(self.address, clock)
        self._folder = folder
        self.cipher: Cipher = Cipher(self.address)

    @property
    def clock(self) -> Clock:
        return self._line.clock

    @property
    def me(self) -> Owner:
        return this_process(self._line.clock.boot_id())

    def take(self, count: int, dead: Iterable[tuple[str, int]] = ()) -> list[Taken]:
        """Up to `count` due rows, the most urgent first; `dead`: holders that have ended, with their fences."""
        seed, ended = token_hex(16), list(dead)
        params = {
            "seed": seed,
            "owner": encode_owner(self.me),
            "witness": self._line.witness,
            "holder": encode_owner(self.me, self._line.witness),
            "count": count,
            "dead_keys": [key for key, _ in ended],
            "dead_fences": [fence for _, fence in ended],
        }
        since_s = self._line.clock.boottime_s()
        rows = self._line.ask(TAKE, params)
        came_s = self._line.clock.boottime_s()
        found = []
        for shown in rows:
            row = _row(shown)
            self._line.clock.learn(row.now_s, since_s, came_s)
            mine = sha256(f"{seed}{row.key}".encode()).hexdigest()[:16]
            nonce = mine if row.claim_nonce == mine else ""
            found.append(Taken(row.key or "", row, nonce, since_s + sql.CLAIMED_S, float(shown["late_s"])))
        return found

    def dead(self) -> list[tuple[str, int]]:
        """The due rows whose holder certainly has ended, with their fences."""
        me = self.me
        return [
            (found["key"], found["fence"])
            for found in self._line.ask(DEAD, {})
            if is_certainly_dead(decode_owner(found["holder"]), me)
        ]

    def next_s(self) -> float | None:
        """Seconds until a row is due that no worker holds, negative for one that is; None for none."""
        rows = self._line.ask(NEXT, {})
        return float(rows[0]["next_s"]) if rows else None

    def queue(self) -> Queue:
        (found,) = self._line.ask(QUEUE, {})
        return Queue(found["kept"], found["overdue"], found["held"])

    def renew_claim(self, taken: Taken, claim: Claim) -> Claim | None:
        """Takes over the `claim` of a due row in the table, committed before anything is sent; None where another process has."""
        mine = {
            "fp": claim.fp,
            "nonce": token_hex(8),
            "owner": encode_owner(self.me),
            "witness": self._line.witness,
            "old": claim.nonce,
        }
        done = self._line.ask(sql.RENEW, {"key": taken.key, "fence": taken.fence, **mine})
        return Claim("renewed", claim.fp, owner=self.me.text, nonce=str(mine["nonce"])) if done else None

    def commit(self, taken: Taken, fp: str, token: Token) -> Row | None:
        """Commits the answer to pair `fp` in a worker's row as the pair; None if another pair, or none, is there."""
        params = encode_token(token, self._line.clock.wall_s(), taken.key, self.cipher) | {
            "fp": fp,
            "empty": formats.EMPTY_FP,
        }
        rows = self._line.ask(sql.COMMIT, {"key": taken.key, **params})
        row = _row(rows[0]) if rows else None
        if row is not None:
            spill = self.spill(taken.key)
            spill.drop(fp)
            spill.see(row.seen)
        return row

    def look(self, key: str) -> Row:
        """The table's due row `key`, which this worker has taken, as it is now. Raises StorageError."""
        (found,) = self._line.ask(sql.LOOK, {"key": key})
        return _row(found)

    def give_back(self, taken: Taken, nonce: str, ending: Ending, *, tells: bool) -> None:
        """Gives a due row back to the table: its lease ends. `tells`: notifies the readers of a new pair, in a commit that waits
        for no disk."""
        fp, mark = ending.mark or (None, RevokedMark(0.0))
        params = {
            "key": taken.key,
            "fence": taken.fence,
            "nonce": nonce,
            "fp": ending.fp,
            "drops": ending.drops,
            "due_in_s": ending.due_in_s,
            "is_never": ending.is_never,
            "backoff": None if ending.backoff is None else formats.encode_backoff(ending.backoff).decode(),
            "binding": None if ending.binding is None else formats.encode_binding(ending.binding).decode(),
            "mark_fp": fp,
            "mark_at": mark.at_s,
            "mark_message": clean(mark.message),
            "commit": "off" if tells else "on",
        }
        rows = self._line.ask(GIVE_BACK, params)
        if tells and rows:
            self._line.ask(sql.TELL, {"message": f"{taken.key} {rows[0]['generation']}"})

    def spill(self, key: str) -> Spill:
        """The spill of a row that was due: what this host keeps of it."""
        return Spill(self._folder, self.address, key, self.cipher)

    def close(self) -> None:
        """Ends the connection."""
        self._line.close()


def _row(shown: dict[str, Any]) -> Row:
    return Row(**{name: shown[name] for name in Row._fields})

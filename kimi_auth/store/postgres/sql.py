"""Every statement that the PostgreSQL store sends, and the schema.

One row holds one credential: the pair in two columns, what lies beside it, one claim, one revoked mark, and the lease.
Every statement is a transaction of its own; none is open while a request is sent. Each compares before it writes, so a
lost lock or a late answer changes nothing that it does not own:

    LOOK       the row, with the database's clock: everything that a view needs, in one statement
    TAKE       takes the lease, under a new fence, if it is free, over, or was held under the fence `dead`
    CLAIM      makes the claim: under my fence, where the pair is the record and has none
    RENEW      takes a claim over by its nonce: under my fence, where its pair is the record, and without an answer
    REDATE     a claim of an earlier incarnation waits anew, from now
    STAGE      the answer becomes the claim's: with or without the lease, but never over the claim on a newer pair
    COMMIT     the answer becomes the pair: compared with the pair that was sent, with or without the lease
    PUT        a login's or a logout's record: under my fence
    RELEASE    gives the lease back, closes the claims of the nonces that this holder made, and tells the waiters
    TELL       the notification alone

`fence` grows with each taking; a statement "under my fence" changes nothing once another process has taken the lease.
Times come from `clock_timestamp()`, never from a host. NOTIFY takes a lock of the whole cluster until its commit is on
disk, so it never shares a commit with a pair (16 writers: 3,000 commits/s apart, 250 together).

No CHECK and no NOT NULL can be violated by these statements: the server would print the row, with its tokens.
"""

from __future__ import annotations

__all__ = [
    "ASIDE",
    "ASK_FOR",
    "BACKOFF",
    "BIND",
    "CHANNEL",
    "CLAIM",
    "COMMIT",
    "CONNECTED",
    "DURABLE",
    "EXAMINE",
    "FORGET",
    "KEYS_OF_ACCESS",
    "KEYS_USED",
    "LEASE_S",
    "LISTEN",
    "LOGINS",
    "LOOK",
    "MARK",
    "NOW",
    "PROMISES",
    "PUT",
    "READ_ACCESS",
    "READ_LOGINS",
    "REDATE",
    "RELEASE",
    "RENAME",
    "RENEW",
    "ROLES",
    "SCHEMA",
    "SCHEMA_VERSION",
    "SETTINGS",
    "SHOWN",
    "STAGE",
    "SWEEP",
    "TAKE",
    "TELL",
    "WANTED",
    "WITHDRAW",
    "WITNESS",
]

SCHEMA_VERSION = 1
LEASE_S, CLAIMED_S, WITNESSED_S = 15, 75, 600
"""Seconds: a lease without a claim; a lease from the claim on, which is one request's deadline and a margin; and how much
longer a session that still stands keeps a claim from being recovered (proxies answer keepalives for the dead)."""

CHANNEL, WANTED = "kimi_auth", "kimi_auth_wanted"
"""The payloads: "<key> <generation>" after each change of a row; the key of a row whose reader wants a renewal."""

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS kimi_auth;

CREATE TABLE IF NOT EXISTS kimi_auth.schema_version (version integer);
INSERT INTO kimi_auth.schema_version SELECT 1 WHERE NOT EXISTS (SELECT FROM kimi_auth.schema_version);

CREATE TABLE IF NOT EXISTS kimi_auth.credentials (
    key text PRIMARY KEY,            -- oauth/<platform>, or oauth/<platform>@<account>
    access bytea,                    -- the access token, apart, so that a role may read it alone
    refresh bytea,                   -- the refresh token
    about text,                      -- JSON: the rest of the record; text, because jsonb refuses what records may hold
    expires_at double precision,     -- end of the access token, unix seconds by the database's clock
    signed_out_at double precision,  -- of a logout's record, unix seconds
    fp text,                         -- fingerprint of the pair; NULL: no record
    generation bigint,               -- number of the install, from the trigger; never goes back
    installed_at timestamptz,        -- set by every install, the same pair's too
    due_at timestamptz,              -- when a fleet should renew it; NULL: never
    claim_fp text,                   -- the pair that a rotation was, or is about to be, sent for
    claim_nonce text,
    claim_owner text,                -- JSON: the process
    claim_at timestamptz,
    claim_under text,                -- incarnation of the database in which `claim_at` counts
    claim_witness bigint,            -- the advisory lock that the owner's session holds
    claim_closed boolean,
    staged bytea,                    -- the answer, not yet the pair
    revoked_fp text,                 -- the pair that the server ended
    revoked_at double precision,
    revoked_message text,
    backoff text,                    -- JSON
    binding text,                    -- JSON
    fence bigint,                    -- grows with each taking of the lease
    holder text,                     -- JSON: the process that has it
    lease_until timestamptz
) WITH (fillfactor = 50);            -- a renewal makes some five dead rows: room for them on the same page

CREATE INDEX IF NOT EXISTS credentials_due ON kimi_auth.credentials (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS kimi_auth.aside (  -- corrupt records, set aside by a login or a logout
    key text, at timestamptz, access bytea, refresh bytea, about text
);

-- The number is the time where the clock goes on, so that a login after a restored backup is newer than all that was lost.
CREATE OR REPLACE FUNCTION kimi_auth.numbered() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE ms bigint := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.generation := CASE WHEN NEW.fp IS NULL THEN 0 ELSE ms END;
    ELSIF (NEW.fp, NEW.access, NEW.refresh, NEW.about, NEW.expires_at, NEW.signed_out_at, NEW.installed_at)
          IS DISTINCT FROM (OLD.fp, OLD.access, OLD.refresh, OLD.about, OLD.expires_at, OLD.signed_out_at, OLD.installed_at)
    THEN
        NEW.generation := greatest(coalesce(OLD.generation, 0) + 1, ms);
    ELSE
        NEW.generation := OLD.generation;
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS numbered ON kimi_auth.credentials;
CREATE TRIGGER numbered BEFORE INSERT OR UPDATE ON kimi_auth.credentials
    FOR EACH ROW EXECUTE FUNCTION kimi_auth.numbered();

-- A restart, a failover and a restored backup each make another incarnation: times of the old one prove nothing.
CREATE OR REPLACE FUNCTION kimi_auth.incarnation() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT (SELECT system_identifier FROM pg_control_system())
        || '/' || CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END
        || '/' || extract(epoch FROM pg_postmaster_start_time())
$$;

-- What a reader may see: no refresh token, no fingerprint, no staged pair, no lease.
CREATE OR REPLACE VIEW kimi_auth.access_tokens AS
    SELECT key, access, about, expires_at, signed_out_at, generation, fp IS NOT NULL AS is_there,
           coalesce(revoked_fp = fp, false) AS is_revoked, revoked_at, revoked_message
    FROM kimi_auth.credentials;
"""

ROLES = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'kimi_auth_renewer') THEN CREATE ROLE kimi_auth_renewer; END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'kimi_auth_reader') THEN CREATE ROLE kimi_auth_reader; END IF;
END $$;
REVOKE ALL ON ALL TABLES IN SCHEMA kimi_auth FROM PUBLIC;
GRANT USAGE ON SCHEMA kimi_auth TO kimi_auth_renewer, kimi_auth_reader;
GRANT SELECT ON kimi_auth.schema_version TO kimi_auth_renewer, kimi_auth_reader;
GRANT SELECT, INSERT, UPDATE ON kimi_auth.credentials TO kimi_auth_renewer;
GRANT SELECT, INSERT ON kimi_auth.aside TO kimi_auth_renewer;
GRANT SELECT ON kimi_auth.access_tokens TO kimi_auth_renewer, kimi_auth_reader;
"""
"""The roles that a login role is made a member of: a renewer rotates, a reader sees access tokens."""

_OPEN = "claim_nonce IS NOT NULL AND staged IS NULL AND NOT coalesce(claim_closed, false)"

SHOWN = f"""
    c.key, c.access, c.refresh, c.about, c.expires_at, c.signed_out_at, c.fp, c.generation,
    c.claim_fp, c.claim_nonce, c.claim_owner, c.claim_closed, c.staged,
    extract(epoch FROM clock_timestamp() - c.claim_at)::float8 AS claim_age_s,
    c.claim_under IS NOT DISTINCT FROM kimi_auth.incarnation() AS is_dated,
    CASE WHEN {_OPEN} AND clock_timestamp() - c.claim_at BETWEEN interval '{CLAIMED_S} s' AND interval '{WITNESSED_S} s'
         THEN NOT pg_try_advisory_xact_lock_shared(coalesce(c.claim_witness, 0)) ELSE false END AS is_witnessed,
    c.revoked_fp, c.revoked_at, c.revoked_message, c.backoff, c.binding, c.fence, c.holder,
    extract(epoch FROM c.lease_until - clock_timestamp())::float8 AS lease_left_s,
    extract(epoch FROM clock_timestamp())::float8 AS now_s,
    current_setting('transaction_read_only') = 'off' AND has_table_privilege('kimi_auth.credentials', 'UPDATE')
        AS is_writable,
    (SELECT count(*) FROM kimi_auth.aside AS a WHERE a.key = c.key) AS asides
"""
"""`is_witnessed`: the session of a silent owner still stands; free proves nothing. A shared lock, so that two who ask at a
time do not take each other for the owner."""

LOOK = f"SELECT {SHOWN} FROM (SELECT) AS one LEFT JOIN kimi_auth.credentials AS c ON c.key = %(key)s"
"""Always one row, for the clock; its `key` is NULL where the table has none."""

TAKE = f"""
INSERT INTO kimi_auth.credentials AS c (key, fence, holder, lease_until)
SELECT %(key)s, 1, %(holder)s, clock_timestamp() + interval '{LEASE_S} s'
WHERE NOT EXISTS (
    SELECT FROM kimi_auth.credentials AS held
    WHERE held.key = %(key)s AND held.lease_until > clock_timestamp() AND held.fence IS DISTINCT FROM %(dead)s
)
ON CONFLICT (key) DO UPDATE
SET fence = coalesce(c.fence, 0) + 1, holder = excluded.holder,
    lease_until = clock_timestamp() + interval '{LEASE_S} s'
WHERE c.lease_until IS NULL OR c.lease_until <= clock_timestamp() OR c.fence = %(dead)s
RETURNING {SHOWN}
"""
"""No row: another process has the lease. `dead`: the fence under which a process held it that certainly has ended, or
NULL. A lease that is seen to be held is only read: ON CONFLICT alone locks the row and writes that to the disk, so a herd would
queue before the holder's own statements."""

_MINE = "c.key = %(key)s AND c.fence = %(fence)s AND c.lease_until IS NOT NULL"
_LONGER = f"lease_until = greatest(c.lease_until, clock_timestamp() + interval '{LEASE_S} s')"
_CLAIM = (
    "claim_fp", "claim_nonce", "claim_owner", "claim_at", "claim_under", "claim_witness", "claim_closed", "staged",
)  # fmt: skip
_REVOKED = ("revoked_fp", "revoked_at", "revoked_message")
_NO_CLAIM = ", ".join(f"{name} = NULL" for name in _CLAIM)
_NO_MARK = ", ".join(f"{name} = NULL" for name in _REVOKED)


def _kept(names: tuple[str, ...], where: str) -> str:
    """Columns that keep their value where a condition holds, and lose it elsewhere."""
    return ", ".join(f"{name} = CASE WHEN {where} THEN c.{name} END" for name in names)


_OTHER_MARKS_GO = _kept(_REVOKED, "c.revoked_fp = %(fp)s")
_OTHERS_GO = f"""{_kept(_CLAIM, "c.claim_fp = %(fp)s OR %(keeps_claim)s")}, {_OTHER_MARKS_GO}"""
_NEW_CLAIM = f"""claim_fp = %(fp)s, claim_nonce = %(nonce)s, claim_owner = %(owner)s, claim_at = clock_timestamp(),
    claim_under = kimi_auth.incarnation(), claim_witness = %(witness)s, claim_closed = false, staged = NULL,
    lease_until = clock_timestamp() + interval '{CLAIMED_S} s'"""
CLAIM = f"""
UPDATE kimi_auth.credentials AS c SET {_NEW_CLAIM}, {_OTHER_MARKS_GO}
WHERE {_MINE} AND c.fp = %(fp)s AND c.claim_fp IS DISTINCT FROM %(fp)s
RETURNING {SHOWN}
"""
"""Only on the pair that is the record: there is one claim a row, and a claim on another pair would replace the record's."""

RENEW = f"""
UPDATE kimi_auth.credentials AS c SET {_NEW_CLAIM}
WHERE {_MINE} AND c.fp = %(fp)s AND c.claim_fp = %(fp)s AND c.claim_nonce = %(old)s AND c.staged IS NULL
RETURNING {SHOWN}
"""

REDATE = f"""
UPDATE kimi_auth.credentials AS c SET claim_at = clock_timestamp(), claim_under = kimi_auth.incarnation()
WHERE {_MINE} AND c.claim_nonce = %(nonce)s AND c.claim_under IS DISTINCT FROM kimi_auth.incarnation()
RETURNING {SHOWN}
"""

WITHDRAW = f"""
UPDATE kimi_auth.credentials AS c SET {_NO_CLAIM}
WHERE c.key = %(key)s AND c.claim_fp = %(fp)s AND c.claim_nonce = %(nonce)s
RETURNING {SHOWN}
"""

STAGE = f"""
UPDATE kimi_auth.credentials AS c SET staged = %(staged)s, claim_fp = %(fp)s, claim_nonce = %(nonce)s,
    claim_owner = %(owner)s, claim_closed = false
WHERE c.key = %(key)s AND (c.claim_fp IS NULL OR c.claim_fp = %(fp)s OR c.claim_fp IS DISTINCT FROM c.fp)
RETURNING {SHOWN}
"""

_PAIR = """access = %(access)s, refresh = %(refresh)s, about = %(about)s, expires_at = %(expires_at)s,
    signed_out_at = %(signed_out_at)s, fp = %(new)s, installed_at = clock_timestamp(),
    due_at = clock_timestamp() + make_interval(secs => %(due_in_s)s)"""
COMMIT = f"""
UPDATE kimi_auth.credentials AS c SET {_PAIR}, {_NO_CLAIM}, {_NO_MARK}
WHERE c.key = %(key)s AND (c.fp = %(fp)s OR (c.fp = %(empty)s AND c.signed_out_at IS NULL))
RETURNING {SHOWN}
"""
"""Not by the fence: the answer to the pair that is the record must never be refused."""

PUT = f"""
UPDATE kimi_auth.credentials AS c SET {_PAIR}, {_OTHERS_GO}, {_LONGER} WHERE {_MINE} RETURNING {SHOWN}
"""
"""`keeps_claim`: of a tombstone, whose answer may still be staged, and of a logout, which takes it along."""

SWEEP = f"UPDATE kimi_auth.credentials AS c SET {_OTHERS_GO}, {_LONGER} WHERE {_MINE} RETURNING {SHOWN}"

FORGET = f"""
UPDATE kimi_auth.credentials AS c SET access = NULL, refresh = NULL, about = NULL, expires_at = NULL,
    signed_out_at = NULL, fp = NULL, installed_at = clock_timestamp(), due_at = NULL
WHERE {_MINE} RETURNING {SHOWN}
"""
"""The record goes; the row stays, with its fence and its generation."""

MARK = f"""
UPDATE kimi_auth.credentials AS c SET revoked_fp = %(fp)s, revoked_at = %(at)s, revoked_message = %(message)s,
    due_at = CASE WHEN c.fp = %(fp)s THEN NULL ELSE c.due_at END, {_LONGER}
WHERE {_MINE} RETURNING {SHOWN}
"""
BACKOFF = f"UPDATE kimi_auth.credentials AS c SET backoff = %(backoff)s, {_LONGER} WHERE {_MINE} RETURNING {SHOWN}"
BIND = f"UPDATE kimi_auth.credentials AS c SET binding = %(binding)s, {_LONGER} WHERE {_MINE} RETURNING {SHOWN}"

RELEASE = f"""
UPDATE kimi_auth.credentials AS c SET holder = NULL, lease_until = NULL,
    claim_closed = coalesce(c.claim_closed, false) OR (c.staged IS NULL AND c.claim_nonce = ANY(%(nonces)s))
WHERE c.key = %(key)s AND c.fence = %(fence)s
RETURNING {SHOWN}, set_config('synchronous_commit', 'off', true) AS waits,
    pg_notify('{CHANNEL}', c.key || ' ' || c.generation) AS told
"""
"""By nonce: closing "the claim" would close another's, and that pair would be sent a second time too early. It tells the
waiters too, in a commit that waits for no disk: a release that a crash undoes is found as a lease that has ended."""

TELL = f"SELECT set_config('synchronous_commit', 'off', true), pg_notify('{CHANNEL}', %(message)s)"

LOGINS = "SELECT key AS login FROM kimi_auth.credentials WHERE fp IS NOT NULL ORDER BY key LIMIT %(count)s"
"""Every row with a record, signed in or not."""

READ_LOGINS = "SELECT key AS login FROM kimi_auth.access_tokens WHERE is_there ORDER BY key LIMIT %(count)s"
"""LOGINS for a reader."""

_BESIDE = ("revoked_fp", "revoked_at", "revoked_message", "backoff", "binding")
_NONE = ", ".join(
    f"{name} = NULL" for name in ("access", "refresh", "about", "expires_at", "signed_out_at", "fp", "due_at")
)
RENAME = f"""
WITH was AS (
    SELECT * FROM kimi_auth.credentials
    WHERE key = %(old)s AND fence = %(old_fence)s AND lease_until IS NOT NULL AND fp = %(new)s AND claim_nonce IS NULL
    FOR UPDATE
), put AS (
    UPDATE kimi_auth.credentials AS c SET {_PAIR}, {_NO_CLAIM}, {", ".join(f"{name} = was.{name}" for name in _BESIDE)}
    FROM was WHERE {_MINE} AND (c.fp IS NULL OR c.fp = %(empty)s)
    RETURNING c.key
), gone AS (
    UPDATE kimi_auth.credentials AS c SET {_NONE}, {_NO_CLAIM}, {", ".join(f"{name} = NULL" for name in _BESIDE)},
        installed_at = clock_timestamp()
    FROM put WHERE c.key = %(old)s
    RETURNING c.key
)
SELECT count(*) AS renamed FROM gone
"""
"""The pair goes from the row `old` to the row `key`, under the fences of both, or nothing changes. The pair is sent again
and not copied: where it is encrypted, that is for its key."""

ASIDE = """
INSERT INTO kimi_auth.aside SELECT key, clock_timestamp(), access, refresh, about
FROM kimi_auth.credentials WHERE key = %(key)s
"""
CONNECTED = """
SELECT pg_backend_pid() AS pid, (SELECT max(version) FROM kimi_auth.schema_version) AS version,
    (SELECT sum(numbackends) FROM pg_stat_database) * 10
        > current_setting('max_connections')::int * 6 AS is_crowded
"""
"""`is_crowded`: of all roles; pg_stat_activity shows the kind of a backend for one's own role only."""

SETTINGS = """
SELECT set_config('synchronous_commit', 'on', false), set_config('statement_timeout', '10s', false),
    set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),
    set_config('tcp_keepalives_count', '3', false), pg_try_advisory_lock(%(witness)s)
"""
"""The settings of a session of our own: a database that does not wait for its disk would forget a pair in a crash. The
lock is the witness: while the server holds it, this process's kernel keeps the connection."""

WITNESS = "SELECT pg_try_advisory_lock(%(witness)s) WHERE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
"""Once in a while: the session that the connection replaced may have held it until now."""

DURABLE = "SELECT set_config('synchronous_commit', 'on', true)"
"""The same for one transaction, where a pooler gives each another session."""

LISTEN = f"LISTEN {CHANNEL}"

PROMISES = "SELECT current_setting('fsync')::boolean AS fsync"

EXAMINE = """
SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS is_replica,
    current_setting('fsync')::boolean AS fsync, current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('synchronous_standby_names') AS standby_names,
    (SELECT count(*) FROM pg_stat_replication) AS standbys,
    (SELECT sum(numbackends) FROM pg_stat_database)::int AS connections,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS connections_max,
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role_limit,
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
    (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user) AS role_connections,
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database_limit,
    (SELECT numbackends FROM pg_stat_database WHERE datname = current_database()) AS database_connections,
    current_setting('log_statement') AS log_statement,
    current_setting('log_min_duration_statement')::int AS log_min_duration,
    current_setting('log_parameter_max_length')::int AS log_parameters,
    extract(epoch FROM clock_timestamp())::float8 AS now_s, kimi_auth.incarnation() AS incarnation,
    current_user AS role, has_table_privilege('kimi_auth.credentials', 'UPDATE') AS may_write
"""

_KEY_OF = """
SELECT part, CASE WHEN substr(value, 1, 4) = '\\xff4b4101'::bytea THEN encode(substr(value, 5, 4), 'hex') ELSE '' END AS id,
    count(*) AS number
FROM ({values}) AS kept WHERE octet_length(value) > 0 GROUP BY 1, 2 ORDER BY 1, 2
"""
_VALUES = " UNION ALL ".join(
    f"SELECT '{'access' if name == 'access' else 'refresh'}' AS part, {name} AS value FROM kimi_auth.credentials"
    for name in ("access", "refresh", "staged")
)
KEYS_USED = _KEY_OF.format(values=_VALUES)
"""Which keys the tokens of the whole table are encrypted with; the id "" is of plain ones."""

KEYS_OF_ACCESS = _KEY_OF.format(values="SELECT 'access' AS part, access AS value FROM kimi_auth.access_tokens")
"""The same for a reader."""

NOW = "SELECT extract(epoch FROM clock_timestamp())::float8 AS now_s"

READ_ACCESS = """
SELECT a.key, a.access, NULL::bytea AS refresh, a.about, a.expires_at, a.signed_out_at,
    CASE WHEN a.is_there THEN '-' END AS fp, a.generation,
    NULL AS claim_fp, NULL AS claim_nonce, NULL AS claim_owner, false AS claim_closed, NULL::bytea AS staged,
    0::float8 AS claim_age_s, true AS is_dated, false AS is_witnessed,
    CASE WHEN a.is_revoked THEN '-' END AS revoked_fp, a.revoked_at, a.revoked_message,
    NULL AS backoff, NULL AS binding, NULL::bigint AS fence, NULL AS holder, 0::float8 AS lease_left_s,
    extract(epoch FROM clock_timestamp())::float8 AS now_s, true AS is_writable, 0 AS asides
FROM (SELECT) AS one LEFT JOIN kimi_auth.access_tokens AS a ON a.key = %(key)s
"""
"""LOOK for a reader: of what it may not see there is nothing."""

ASK_FOR = f"SELECT pg_notify('{WANTED}', %(key)s)"
"""A reader wants the row renewed."""

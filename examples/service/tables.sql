-- What the replicas share beside the logins. Run by the owner of the database, after `kimi-auth store init`.
CREATE SCHEMA IF NOT EXISTS service;

CREATE TABLE IF NOT EXISTS service.sessions (
    cookie bytea PRIMARY KEY,                    -- SHA-256 of the cookie: this table signs in no browser
    account text NOT NULL,                       -- the login's account: its row in kimi_auth.credentials is oauth/<platform>@<account>
    state text NOT NULL DEFAULT 'waiting',       -- waiting, signed_in, failed
    code text, link text,                        -- of the sign-in that waits; the device code stays in its replica's memory
    said text,                                   -- signed in: what the platform calls the account; failed: why
    seen_at timestamptz NOT NULL DEFAULT now()   -- the replica that waits was alive then
);

GRANT USAGE ON SCHEMA service TO kimi_auth_renewer;
GRANT SELECT, INSERT, UPDATE, DELETE ON service.sessions TO kimi_auth_renewer;

-- Roles: whoever was an admin first becomes the owner. Only an owner says who else operates the gateway.
-- MySQL reads no table that it writes; a table derived from it is read first.
UPDATE users SET role = 'owner' WHERE id IN (
    SELECT id FROM (SELECT id FROM users WHERE role = 'admin' ORDER BY status, created_at, id LIMIT 1) AS first_admin
);

-- A rotated key's former secret works until then. What is past stays until the next rotation and opens nothing.
ALTER TABLE api_keys ADD COLUMN previous_hash TEXT;
ALTER TABLE api_keys ADD COLUMN previous_until INTEGER;
-- To the minute or so: relays write it behind the calls.
ALTER TABLE api_keys ADD COLUMN last_used_at INTEGER;
-- When somebody showed a secret of this key that its owner should alone know; null again after a rotation.
ALTER TABLE api_keys ADD COLUMN leaked_at INTEGER;
CREATE INDEX api_keys_by_previous ON api_keys (previous_hash);

-- Redemption codes, made in batches.
CREATE TABLE redemption_batches (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    credits INTEGER NOT NULL, -- what each code is good for
    codes INTEGER NOT NULL, -- how many there are
    expires_at INTEGER,
    author TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE redemption_codes (
    hash TEXT PRIMARY KEY, -- SHA-256 of the code: a stolen table redeems nothing
    batch TEXT NOT NULL,
    ending TEXT NOT NULL, -- what a list shows
    voided_at INTEGER,
    account TEXT, -- who claimed it, for ever; before anything is granted
    claimed_at INTEGER,
    event_seq INTEGER -- where its grant stands on the log; null and claimed: on its way, or a process died
) STRICT;
CREATE INDEX redemption_codes_by_batch ON redemption_codes (batch, hash);
CREATE INDEX redemption_codes_on_their_way ON redemption_codes (event_seq, claimed_at);

-- What the operator tells everybody, for a time.
CREATE TABLE announcements (
    id TEXT PRIMARY KEY,
    level TEXT NOT NULL, -- info | warning | critical
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    starts_at INTEGER,
    ends_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

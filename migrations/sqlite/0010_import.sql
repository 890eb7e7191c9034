-- Imports from other gateways. A source is one database of theirs, under the name that the operator gave it.
CREATE TABLE import_sources (
    source TEXT PRIMARY KEY,
    kind TEXT NOT NULL, -- new-api | one-api
    fingerprint TEXT NOT NULL, -- tells another database under the same name
    quota_per_credit INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL
) STRICT;

-- What became of each row of a source, written with what it became: a row that is here is not imported again, whatever was
-- done to it since.
CREATE TABLE imported_rows (
    source TEXT NOT NULL,
    kind TEXT NOT NULL, -- user | key | provider | price | group | top_up
    source_id TEXT NOT NULL,
    target_id TEXT NOT NULL,
    quota INTEGER, -- a user's balance there, and what it opens an account with
    credits INTEGER,
    imported_at INTEGER NOT NULL,
    PRIMARY KEY (source, kind, source_id)
) STRICT;

-- Payments from before an import. History to be looked at: no balance comes from them.
CREATE TABLE imported_top_ups (
    source TEXT NOT NULL,
    source_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    trade_no TEXT NOT NULL,
    channel TEXT NOT NULL, -- as the old gateway named it; empty: it did not say
    paid TEXT NOT NULL, -- a decimal in the currency of the old site, which it did not store
    credits INTEGER, -- NULL: it cannot be told, or it bought a subscription
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    completed_at INTEGER,
    PRIMARY KEY (source, source_id)
) STRICT;
-- An owner's list, newest first.
CREATE INDEX imported_top_ups_list ON imported_top_ups (user_id, created_at, source_id);

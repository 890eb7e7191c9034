-- Imports from other gateways. A source is one database of theirs, under the name that the operator gave it.
CREATE TABLE import_sources (
    source VARCHAR(32) PRIMARY KEY,
    kind VARCHAR(16) NOT NULL, -- new-api | one-api
    fingerprint VARCHAR(64) NOT NULL, -- tells another database under the same name
    quota_per_credit BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What became of each row of a source, written with what it became: a row that is here is not imported again, whatever was
-- done to it since.
CREATE TABLE imported_rows (
    source VARCHAR(32) NOT NULL,
    kind VARCHAR(16) NOT NULL, -- user | key | provider | price | group | top_up
    source_id VARCHAR(200) NOT NULL,
    target_id VARCHAR(200) NOT NULL,
    quota BIGINT, -- a user's balance there, and what it opens an account with
    credits BIGINT,
    imported_at BIGINT NOT NULL,
    PRIMARY KEY (source, kind, source_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Payments from before an import. History to be looked at: no balance comes from them.
CREATE TABLE imported_top_ups (
    source VARCHAR(32) NOT NULL,
    source_id VARCHAR(200) NOT NULL,
    user_id VARCHAR(64) NOT NULL,
    trade_no VARCHAR(255) NOT NULL,
    channel VARCHAR(64) NOT NULL, -- as the old gateway named it; empty: it did not say
    paid VARCHAR(64) NOT NULL, -- a decimal in the currency of the old site, which it did not store
    credits BIGINT, -- NULL: it cannot be told, or it bought a subscription
    status VARCHAR(32) NOT NULL,
    created_at BIGINT NOT NULL,
    completed_at BIGINT,
    PRIMARY KEY (source, source_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
-- An owner's list, newest first.
CREATE INDEX imported_top_ups_list ON imported_top_ups (user_id, created_at, source_id);

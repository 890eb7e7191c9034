-- The directory: people, keys, providers, models, prices. Plain tables that the API writes; no projection touches them.

CREATE TABLE users (
    id TEXT PRIMARY KEY, -- also the id of the user's account on the ledger
    username TEXT NOT NULL,
    username_folded TEXT NOT NULL UNIQUE, -- lower case: "Ann" and "ann" are one name, in every database alike
    email TEXT NOT NULL,
    email_folded TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL, -- user | admin
    status TEXT NOT NULL, -- active | disabled
    email_verified BIGINT NOT NULL,
    group_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_login_at BIGINT
);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY, -- SHA-256 of the token: a stolen table logs nobody in
    user_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    user_agent TEXT NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE, -- SHA-256 of the whole secret
    prefix TEXT NOT NULL, -- what a list shows
    status TEXT NOT NULL, -- active | disabled | deleted: usage keeps naming a deleted key, so its row stays
    expires_at BIGINT,
    models TEXT, -- JSON array of names; null: all
    ip_allow TEXT NOT NULL, -- JSON array of networks; empty: all
    budget_credits BIGINT,
    budget_period TEXT, -- total | day | month
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX api_keys_by_user ON api_keys (user_id, id);

CREATE TABLE providers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    base_url TEXT NOT NULL,
    api_key_sealed TEXT NOT NULL, -- AES-256-GCM under the master key
    api_format TEXT NOT NULL,
    status TEXT NOT NULL, -- active | disabled
    priority BIGINT NOT NULL,
    weight BIGINT NOT NULL,
    config TEXT NOT NULL, -- JSON object
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE provider_models (
    provider_id TEXT NOT NULL,
    model_name TEXT NOT NULL,
    upstream_name TEXT NOT NULL,
    cost TEXT, -- JSON price list; null: unknown
    created_at BIGINT NOT NULL,
    PRIMARY KEY (provider_id, model_name)
);
CREATE INDEX provider_models_by_model ON provider_models (model_name);

CREATE TABLE models (
    name TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    max_output_tokens BIGINT NOT NULL,
    status TEXT NOT NULL, -- active | disabled
    created_at BIGINT NOT NULL
);

-- Never updated: a usage record names the version it was charged at.
CREATE TABLE price_versions (
    id TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    prices TEXT NOT NULL, -- JSON price list
    effective_from BIGINT NOT NULL,
    author TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX price_versions_by_model ON price_versions (model, effective_from);

-- Not "groups": a reserved word of MySQL 8.
CREATE TABLE user_groups (
    name TEXT PRIMARY KEY,
    multiplier TEXT NOT NULL -- decimal
);
INSERT INTO user_groups (name, multiplier) VALUES ('default', '1');

CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- One row. Every change of what a call depends on raises it, in the same transaction: the other processes watch it.
-- Taking it first also makes changes wait for each other, so that "the last admin" is a safe question.
CREATE TABLE directory_revision (
    id BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL
);
INSERT INTO directory_revision (id, revision) VALUES (1, 1);

-- Acts on their way to the AUDIT stream, written with the change that they tell of: neither can be lost alone.
CREATE TABLE audit_outbox (
    id TEXT PRIMARY KEY,
    writer TEXT NOT NULL, -- the process that made it publishes it; others only when it is long overdue
    act TEXT NOT NULL, -- JSON
    created_at BIGINT NOT NULL
);

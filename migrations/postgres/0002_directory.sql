-- The directory: people, keys, providers, models, prices. Plain tables that the API writes; no projection touches them.
-- COLLATE "C" as in 0001: lists sorted by name have the same order as in the other two databases.

CREATE TABLE users (
    id TEXT COLLATE "C" PRIMARY KEY, -- also the id of the user's account on the ledger
    username TEXT COLLATE "C" NOT NULL,
    username_folded TEXT COLLATE "C" NOT NULL UNIQUE, -- lower case: "Ann" and "ann" are one name, in every database alike
    email TEXT COLLATE "C" NOT NULL,
    email_folded TEXT COLLATE "C" NOT NULL UNIQUE,
    password_hash TEXT COLLATE "C" NOT NULL,
    role TEXT COLLATE "C" NOT NULL, -- user | admin
    status TEXT COLLATE "C" NOT NULL, -- active | disabled
    email_verified BIGINT NOT NULL,
    group_name TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    last_login_at BIGINT
);

CREATE TABLE sessions (
    id TEXT COLLATE "C" PRIMARY KEY, -- SHA-256 of the token: a stolen table logs nobody in
    user_id TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    user_agent TEXT COLLATE "C" NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

CREATE TABLE api_keys (
    id TEXT COLLATE "C" PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL UNIQUE, -- SHA-256 of the whole secret
    prefix TEXT COLLATE "C" NOT NULL, -- what a list shows
    status TEXT COLLATE "C" NOT NULL, -- active | disabled | deleted: usage keeps naming a deleted key, so its row stays
    expires_at BIGINT,
    models TEXT COLLATE "C", -- JSON array of names; null: all
    ip_allow TEXT COLLATE "C" NOT NULL, -- JSON array of networks; empty: all
    budget_credits BIGINT,
    budget_period TEXT COLLATE "C", -- total | day | month
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX api_keys_by_user ON api_keys (user_id, id);

CREATE TABLE providers (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    base_url TEXT COLLATE "C" NOT NULL,
    api_key_sealed TEXT COLLATE "C" NOT NULL, -- AES-256-GCM under the master key
    api_format TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL, -- active | disabled
    priority BIGINT NOT NULL,
    weight BIGINT NOT NULL,
    config TEXT COLLATE "C" NOT NULL, -- JSON object
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE provider_models (
    provider_id TEXT COLLATE "C" NOT NULL,
    model_name TEXT COLLATE "C" NOT NULL,
    upstream_name TEXT COLLATE "C" NOT NULL,
    cost TEXT COLLATE "C", -- JSON price list; null: unknown
    created_at BIGINT NOT NULL,
    PRIMARY KEY (provider_id, model_name)
);
CREATE INDEX provider_models_by_model ON provider_models (model_name);

CREATE TABLE models (
    name TEXT COLLATE "C" PRIMARY KEY,
    display_name TEXT COLLATE "C" NOT NULL,
    max_output_tokens BIGINT NOT NULL,
    status TEXT COLLATE "C" NOT NULL, -- active | disabled
    created_at BIGINT NOT NULL
);

-- Never updated: a usage record names the version it was charged at.
CREATE TABLE price_versions (
    id TEXT COLLATE "C" PRIMARY KEY,
    model TEXT COLLATE "C" NOT NULL,
    prices TEXT COLLATE "C" NOT NULL, -- JSON price list
    effective_from BIGINT NOT NULL,
    author TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX price_versions_by_model ON price_versions (model, effective_from);

-- Not "groups": a reserved word of MySQL 8.
CREATE TABLE user_groups (
    name TEXT COLLATE "C" PRIMARY KEY,
    multiplier TEXT COLLATE "C" NOT NULL -- decimal
);
INSERT INTO user_groups (name, multiplier) VALUES ('default', '1');

CREATE TABLE settings (
    name TEXT COLLATE "C" PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
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
    id TEXT COLLATE "C" PRIMARY KEY,
    writer TEXT COLLATE "C" NOT NULL, -- the process that made it publishes it; others only when it is long overdue
    act TEXT COLLATE "C" NOT NULL, -- JSON
    created_at BIGINT NOT NULL
);

-- The directory: people, keys, providers, models, prices. Plain tables that the API writes; no projection touches them.

CREATE TABLE users (
    id VARCHAR(64) PRIMARY KEY, -- also the id of the user's account on the ledger
    username VARCHAR(32) NOT NULL,
    username_folded VARCHAR(32) NOT NULL UNIQUE, -- lower case: "Ann" and "ann" are one name, in every database alike
    email VARCHAR(254) NOT NULL,
    email_folded VARCHAR(254) NOT NULL UNIQUE,
    password_hash VARCHAR(255) NOT NULL,
    role VARCHAR(16) NOT NULL, -- user | admin
    status VARCHAR(16) NOT NULL, -- active | disabled
    email_verified BIGINT NOT NULL,
    group_name VARCHAR(64) NOT NULL,
    created_at BIGINT NOT NULL,
    last_login_at BIGINT
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE sessions (
    id VARCHAR(64) PRIMARY KEY, -- SHA-256 of the token: a stolen table logs nobody in
    user_id VARCHAR(36) NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    user_agent VARCHAR(200) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

CREATE TABLE api_keys (
    id VARCHAR(64) PRIMARY KEY,
    user_id VARCHAR(36) NOT NULL,
    name VARCHAR(100) NOT NULL,
    hash VARCHAR(64) NOT NULL UNIQUE, -- SHA-256 of the whole secret
    prefix VARCHAR(32) NOT NULL, -- what a list shows
    status VARCHAR(16) NOT NULL, -- active | disabled | deleted: usage keeps naming a deleted key, so its row stays
    expires_at BIGINT,
    models TEXT, -- JSON array of names; null: all
    ip_allow TEXT NOT NULL, -- JSON array of networks; empty: all
    budget_credits BIGINT,
    budget_period VARCHAR(16), -- total | day | month
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX api_keys_by_user ON api_keys (user_id, id);

CREATE TABLE providers (
    id VARCHAR(64) PRIMARY KEY,
    name VARCHAR(200) NOT NULL UNIQUE,
    base_url VARCHAR(1000) NOT NULL,
    api_key_sealed TEXT NOT NULL, -- AES-256-GCM under the master key
    api_format VARCHAR(16) NOT NULL,
    status VARCHAR(16) NOT NULL, -- active | disabled
    priority BIGINT NOT NULL,
    weight BIGINT NOT NULL,
    config TEXT NOT NULL, -- JSON object
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE provider_models (
    provider_id VARCHAR(36) NOT NULL,
    model_name VARCHAR(200) NOT NULL,
    upstream_name VARCHAR(200) NOT NULL,
    cost TEXT, -- JSON price list; null: unknown
    created_at BIGINT NOT NULL,
    PRIMARY KEY (provider_id, model_name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX provider_models_by_model ON provider_models (model_name);

CREATE TABLE models (
    name VARCHAR(200) PRIMARY KEY,
    display_name VARCHAR(200) NOT NULL,
    max_output_tokens BIGINT NOT NULL,
    status VARCHAR(16) NOT NULL, -- active | disabled
    created_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Never updated: a usage record names the version it was charged at.
CREATE TABLE price_versions (
    id VARCHAR(64) PRIMARY KEY,
    model VARCHAR(200) NOT NULL,
    prices TEXT NOT NULL, -- JSON price list
    effective_from BIGINT NOT NULL,
    author VARCHAR(36) NOT NULL,
    created_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX price_versions_by_model ON price_versions (model, effective_from);

-- Not "groups": a reserved word of MySQL 8.
CREATE TABLE user_groups (
    name VARCHAR(64) PRIMARY KEY,
    multiplier VARCHAR(40) NOT NULL -- decimal
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO user_groups (name, multiplier) VALUES ('default', '1');

CREATE TABLE settings (
    name VARCHAR(100) PRIMARY KEY,
    value TEXT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- One row. Every change of what a call depends on raises it, in the same transaction: the other processes watch it.
-- Taking it first also makes changes wait for each other, so that "the last admin" is a safe question.
CREATE TABLE directory_revision (
    id BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO directory_revision (id, revision) VALUES (1, 1);

-- Acts on their way to the AUDIT stream, written with the change that they tell of: neither can be lost alone.
CREATE TABLE audit_outbox (
    id VARCHAR(64) PRIMARY KEY,
    writer VARCHAR(36) NOT NULL, -- the process that made it publishes it; others only when it is long overdue
    act LONGTEXT NOT NULL, -- JSON
    created_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

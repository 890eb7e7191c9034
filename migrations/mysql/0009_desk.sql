-- Roles: whoever was an admin first becomes the owner. Only an owner says who else operates the gateway.
-- MySQL reads no table that it writes; a table derived from it is read first.
UPDATE users SET role = 'owner' WHERE id IN (
    SELECT id FROM (SELECT id FROM users WHERE role = 'admin' ORDER BY status, created_at, id LIMIT 1) AS first_admin
);

-- A rotated key's former secret works until then. What is past stays until the next rotation and opens nothing.
ALTER TABLE api_keys ADD COLUMN previous_hash VARCHAR(64);
ALTER TABLE api_keys ADD COLUMN previous_until BIGINT;
-- To the minute or so: relays write it behind the calls.
ALTER TABLE api_keys ADD COLUMN last_used_at BIGINT;
-- When somebody showed a secret of this key that its owner should alone know; null again after a rotation.
ALTER TABLE api_keys ADD COLUMN leaked_at BIGINT;
CREATE INDEX api_keys_by_previous ON api_keys (previous_hash);

-- Redemption codes, made in batches.
CREATE TABLE redemption_batches (
    id VARCHAR(36) PRIMARY KEY,
    name VARCHAR(100) NOT NULL,
    credits BIGINT NOT NULL, -- what each code is good for
    codes BIGINT NOT NULL, -- how many there are
    expires_at BIGINT,
    author VARCHAR(36) NOT NULL,
    created_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE redemption_codes (
    hash VARCHAR(64) PRIMARY KEY, -- SHA-256 of the code: a stolen table redeems nothing
    batch VARCHAR(36) NOT NULL,
    ending VARCHAR(4) NOT NULL, -- what a list shows
    voided_at BIGINT,
    account VARCHAR(36), -- who claimed it, for ever; before anything is granted
    claimed_at BIGINT,
    event_seq BIGINT -- where its grant stands on the log; null and claimed: on its way, or a process died
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX redemption_codes_by_batch ON redemption_codes (batch, hash);
CREATE INDEX redemption_codes_on_their_way ON redemption_codes (event_seq, claimed_at);

-- What the operator tells everybody, for a time.
CREATE TABLE announcements (
    id VARCHAR(36) PRIMARY KEY,
    level VARCHAR(16) NOT NULL, -- info | warning | critical
    title VARCHAR(200) NOT NULL,
    body MEDIUMTEXT NOT NULL,
    starts_at BIGINT,
    ends_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Second factors of a login, and when somebody last proved to be who they are.

-- The last fresh proof of a session's owner: the login, or a confirmation since. Sessions from before proved it when they began.
ALTER TABLE sessions ADD COLUMN confirmed_at BIGINT NOT NULL DEFAULT 0;
UPDATE sessions SET confirmed_at = created_at;

-- Codes of an authenticator app (RFC 6238).
CREATE TABLE totp_secrets (
    user_id VARCHAR(36) PRIMARY KEY,
    secret_sealed VARCHAR(255) NOT NULL, -- under the master key
    created_at BIGINT NOT NULL,
    confirmed_at BIGINT, -- null: being set up, and asked for nowhere
    last_step BIGINT NOT NULL -- the 30 seconds whose code was last accepted; none up to it is accepted again
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- For who lost the app or the key: each works once.
CREATE TABLE recovery_codes (
    id VARCHAR(64) PRIMARY KEY, -- SHA-256 of the user's id and the code
    user_id VARCHAR(36) NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX recovery_codes_by_user ON recovery_codes (user_id);

-- Keys of WebAuthn: what an authenticator signs with, of which the public half is here.
CREATE TABLE passkeys (
    id VARCHAR(64) PRIMARY KEY, -- SHA-256 of the credential's id, which may be longer than an index
    user_id VARCHAR(36) NOT NULL,
    name VARCHAR(100) NOT NULL,
    credential TEXT NOT NULL, -- the credential's id
    static_state TEXT NOT NULL, -- the public key and what never changes
    dynamic_state TEXT NOT NULL, -- the counter and what a use may change
    transports TEXT NOT NULL, -- how the authenticator is reached
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    regressed_at BIGINT -- when its counter last fell: it may have been copied
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX passkeys_by_user ON passkeys (user_id);

-- What was asked of somebody and waits for an answer: a code after a password, a signature of a passkey. Any process may take it.
CREATE TABLE login_challenges (
    id VARCHAR(64) PRIMARY KEY, -- SHA-256 of the token
    kind VARCHAR(32) NOT NULL, -- second_factor | passkey_login | passkey_registration
    user_id VARCHAR(36), -- null: whoever has the passkey
    state TEXT NOT NULL, -- what the answer is checked with
    tries BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX login_challenges_by_user ON login_challenges (user_id);
CREATE INDEX login_challenges_by_end ON login_challenges (expires_at);

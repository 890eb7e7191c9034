-- Second factors of a login, and when somebody last proved to be who they are.

-- The last fresh proof of a session's owner: the login, or a confirmation since. Sessions from before proved it when they began.
ALTER TABLE sessions ADD COLUMN confirmed_at BIGINT NOT NULL DEFAULT 0;
UPDATE sessions SET confirmed_at = created_at;

-- Codes of an authenticator app (RFC 6238).
CREATE TABLE totp_secrets (
    user_id TEXT COLLATE "C" PRIMARY KEY,
    secret_sealed TEXT COLLATE "C" NOT NULL, -- under the master key
    created_at BIGINT NOT NULL,
    confirmed_at BIGINT, -- null: being set up, and asked for nowhere
    last_step BIGINT NOT NULL -- the 30 seconds whose code was last accepted; none up to it is accepted again
);

-- For who lost the app or the key: each works once.
CREATE TABLE recovery_codes (
    id TEXT COLLATE "C" PRIMARY KEY, -- SHA-256 of the user's id and the code
    user_id TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX recovery_codes_by_user ON recovery_codes (user_id);

-- Keys of WebAuthn: what an authenticator signs with, of which the public half is here.
CREATE TABLE passkeys (
    id TEXT COLLATE "C" PRIMARY KEY, -- SHA-256 of the credential's id, which may be longer than an index
    user_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    credential TEXT COLLATE "C" NOT NULL, -- the credential's id
    static_state TEXT COLLATE "C" NOT NULL, -- the public key and what never changes
    dynamic_state TEXT COLLATE "C" NOT NULL, -- the counter and what a use may change
    transports TEXT COLLATE "C" NOT NULL, -- how the authenticator is reached
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    regressed_at BIGINT -- when its counter last fell: it may have been copied
);
CREATE INDEX passkeys_by_user ON passkeys (user_id);

-- What was asked of somebody and waits for an answer: a code after a password, a signature of a passkey. Any process may take it.
CREATE TABLE login_challenges (
    id TEXT COLLATE "C" PRIMARY KEY, -- SHA-256 of the token
    kind TEXT COLLATE "C" NOT NULL, -- second_factor | passkey_login | passkey_registration
    user_id TEXT COLLATE "C", -- null: whoever has the passkey
    state TEXT COLLATE "C" NOT NULL, -- what the answer is checked with
    tries BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX login_challenges_by_user ON login_challenges (user_id);
CREATE INDEX login_challenges_by_end ON login_challenges (expires_at);

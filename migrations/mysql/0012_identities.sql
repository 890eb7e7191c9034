-- Logins by other sites: who somebody is there, and logins on their way.

CREATE TABLE identities (
    -- SHA-256 of issuer and subject. Unique whatever a database thinks of letters' cases and of spaces at the end.
    id VARCHAR(64) PRIMARY KEY,
    user_id VARCHAR(36) NOT NULL,
    issuer VARCHAR(255) NOT NULL, -- its address, not its id in the configuration: who is renamed there stays who they are
    subject VARCHAR(255) NOT NULL, -- who they are there, for ever
    label VARCHAR(254) NOT NULL, -- what they are called there, as of the last login; shown to them, and decides nothing
    created_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX identities_by_user ON identities (user_id);

-- From the click on a button until the other site sends the browser back: ten minutes, once.
CREATE TABLE login_attempts (
    id VARCHAR(64) PRIMARY KEY, -- SHA-256 of the state in the address
    browser VARCHAR(64) NOT NULL, -- SHA-256 of the cookie that the browser got
    issuer VARCHAR(32) NOT NULL, -- its id in the configuration
    nonce VARCHAR(64) NOT NULL,
    verifier VARCHAR(64) NOT NULL, -- of PKCE; opens nothing without the code that the browser brings
    user_id VARCHAR(36), -- who wants to link; null: somebody who wants in
    session_id VARCHAR(64), -- the session of theirs that asked, which must still be there at the end
    invite_hash VARCHAR(64), -- SHA-256 of an invitation's code
    return_to VARCHAR(600) NOT NULL, -- a path of ours
    expires_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX login_attempts_by_end ON login_attempts (expires_at);

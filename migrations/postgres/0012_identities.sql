-- Logins by other sites: who somebody is there, and logins on their way.

CREATE TABLE identities (
    -- SHA-256 of issuer and subject. Unique whatever a database thinks of letters' cases and of spaces at the end.
    id TEXT COLLATE "C" PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL,
    issuer TEXT COLLATE "C" NOT NULL, -- its address, not its id in the configuration: who is renamed there stays who they are
    subject TEXT COLLATE "C" NOT NULL, -- who they are there, for ever
    label TEXT COLLATE "C" NOT NULL, -- what they are called there, as of the last login; shown to them, and decides nothing
    created_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL
);
CREATE INDEX identities_by_user ON identities (user_id);

-- From the click on a button until the other site sends the browser back: ten minutes, once.
CREATE TABLE login_attempts (
    id TEXT COLLATE "C" PRIMARY KEY, -- SHA-256 of the state in the address
    browser TEXT COLLATE "C" NOT NULL, -- SHA-256 of the cookie that the browser got
    issuer TEXT COLLATE "C" NOT NULL, -- its id in the configuration
    nonce TEXT COLLATE "C" NOT NULL,
    verifier TEXT COLLATE "C" NOT NULL, -- of PKCE; opens nothing without the code that the browser brings
    user_id TEXT COLLATE "C", -- who wants to link; null: somebody who wants in
    session_id TEXT COLLATE "C", -- the session of theirs that asked, which must still be there at the end
    invite_hash TEXT COLLATE "C", -- SHA-256 of an invitation's code
    return_to TEXT COLLATE "C" NOT NULL, -- a path of ours
    expires_at BIGINT NOT NULL
);
CREATE INDEX login_attempts_by_end ON login_attempts (expires_at);

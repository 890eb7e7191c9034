-- The operator's desk: acts that a second person approves, settings that are changed while the gateway runs, referrals.

-- Everything that an operator asks to be done with credits, and what became of it. Small acts stand here as well: the daily sums
-- are counted with them, and an act that a process died over is finished from here.
CREATE TABLE approvals (
    id VARCHAR(36) PRIMARY KEY, -- also the id of what it makes on the ledger, so that it is made once
    kind VARCHAR(16) NOT NULL, -- adjustment | grant
    account VARCHAR(36) NOT NULL,
    credits BIGINT NOT NULL,
    act MEDIUMTEXT NOT NULL, -- JSON: what is to be done
    requester VARCHAR(36) NOT NULL,
    request_key VARCHAR(64), -- SHA-256 of the Idempotency-Key; null once the ledger has refused, so that it can be asked again
    needed VARCHAR(16), -- why a second person is asked; null: nobody is
    counted_on VARCHAR(10), -- the day in whose sum it counts; null: it does not
    state VARCHAR(16) NOT NULL, -- pending | approved (on its way) | done | failed | rejected
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    decided_by VARCHAR(36),
    decided_at BIGINT,
    note MEDIUMTEXT,
    failure MEDIUMTEXT,
    event_seq BIGINT,
    UNIQUE (requester, request_key)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX approvals_by_state ON approvals (state, decided_at);
CREATE INDEX approvals_by_account ON approvals (account, id);

-- What each operator moved on a day without a second person. Raised in one statement that also looks at the limit, so that two
-- acts at once cannot both slip below it.
CREATE TABLE operator_days (
    operator VARCHAR(36) NOT NULL,
    day VARCHAR(10) NOT NULL,
    credits BIGINT NOT NULL,
    PRIMARY KEY (operator, day)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Options that were changed while the gateway runs: each version holds all of them. The newest counts, and its number is the
-- compare-and-set: of two who change the same version one is refused.
CREATE TABLE settings_versions (
    version BIGINT PRIMARY KEY,
    options MEDIUMTEXT NOT NULL, -- JSON: key -> value
    author VARCHAR(36) NOT NULL,
    created_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Referrals: who brought whom.
CREATE TABLE referral_codes (
    user_id VARCHAR(36) PRIMARY KEY,
    code VARCHAR(16) NOT NULL UNIQUE,
    month VARCHAR(10) NOT NULL DEFAULT '', -- of the last reward
    rewards BIGINT NOT NULL DEFAULT 0 -- in that month
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE referrals (
    referred VARCHAR(36) PRIMARY KEY, -- one is brought once
    referrer VARCHAR(36) NOT NULL,
    state VARCHAR(16) NOT NULL, -- waiting | earned | capped | refused | missed | lapsed
    created_at BIGINT NOT NULL,
    order_id VARCHAR(36), -- the top-up that decided it
    decided_at BIGINT,
    reward BIGINT NOT NULL DEFAULT 0, -- to the referrer
    welcome BIGINT NOT NULL DEFAULT 0, -- to the new user
    reward_seq BIGINT, -- where the grants stand on the log; null and above zero: on their way
    welcome_seq BIGINT
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX referrals_by_referrer ON referrals (referrer, referred);
CREATE INDEX referrals_by_state ON referrals (state, referred);
-- Who brought somebody that has yet to prove their address.
ALTER TABLE registrations ADD COLUMN referrer VARCHAR(36);

-- The operator's desk: acts that a second person approves, settings that are changed while the gateway runs, referrals.

-- Everything that an operator asks to be done with credits, and what became of it. Small acts stand here as well: the daily sums
-- are counted with them, and an act that a process died over is finished from here.
CREATE TABLE approvals (
    id TEXT COLLATE "C" PRIMARY KEY, -- also the id of what it makes on the ledger, so that it is made once
    kind TEXT COLLATE "C" NOT NULL, -- adjustment | grant
    account TEXT COLLATE "C" NOT NULL,
    credits BIGINT NOT NULL,
    act TEXT COLLATE "C" NOT NULL, -- JSON: what is to be done
    requester TEXT COLLATE "C" NOT NULL,
    request_key TEXT COLLATE "C", -- SHA-256 of the Idempotency-Key; null once the ledger has refused, so that it can be asked again
    needed TEXT COLLATE "C", -- why a second person is asked; null: nobody is
    counted_on TEXT COLLATE "C", -- the day in whose sum it counts; null: it does not
    state TEXT COLLATE "C" NOT NULL, -- pending | approved (on its way) | done | failed | rejected
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    decided_by TEXT COLLATE "C",
    decided_at BIGINT,
    note TEXT COLLATE "C",
    failure TEXT COLLATE "C",
    event_seq BIGINT,
    UNIQUE (requester, request_key)
);
CREATE INDEX approvals_by_state ON approvals (state, decided_at);
CREATE INDEX approvals_by_account ON approvals (account, id);

-- What each operator moved on a day without a second person. Raised in one statement that also looks at the limit, so that two
-- acts at once cannot both slip below it.
CREATE TABLE operator_days (
    operator TEXT COLLATE "C" NOT NULL,
    day TEXT COLLATE "C" NOT NULL,
    credits BIGINT NOT NULL,
    PRIMARY KEY (operator, day)
);

-- Options that were changed while the gateway runs: each version holds all of them. The newest counts, and its number is the
-- compare-and-set: of two who change the same version one is refused.
CREATE TABLE settings_versions (
    version BIGINT PRIMARY KEY,
    options TEXT COLLATE "C" NOT NULL, -- JSON: key -> value
    author TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);

-- Referrals: who brought whom.
CREATE TABLE referral_codes (
    user_id TEXT COLLATE "C" PRIMARY KEY,
    code TEXT COLLATE "C" NOT NULL UNIQUE,
    month TEXT COLLATE "C" NOT NULL DEFAULT '', -- of the last reward
    rewards BIGINT NOT NULL DEFAULT 0 -- in that month
);

CREATE TABLE referrals (
    referred TEXT COLLATE "C" PRIMARY KEY, -- one is brought once
    referrer TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL, -- waiting | earned | capped | refused | missed | lapsed
    created_at BIGINT NOT NULL,
    order_id TEXT COLLATE "C", -- the top-up that decided it
    decided_at BIGINT,
    reward BIGINT NOT NULL DEFAULT 0, -- to the referrer
    welcome BIGINT NOT NULL DEFAULT 0, -- to the new user
    reward_seq BIGINT, -- where the grants stand on the log; null and above zero: on their way
    welcome_seq BIGINT
);
CREATE INDEX referrals_by_referrer ON referrals (referrer, referred);
CREATE INDEX referrals_by_state ON referrals (state, referred);
-- Who brought somebody that has yet to prove their address.
ALTER TABLE registrations ADD COLUMN referrer TEXT COLLATE "C";

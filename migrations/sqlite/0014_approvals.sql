-- The operator's desk: acts that a second person approves, settings that are changed while the gateway runs, referrals.

-- Everything that an operator asks to be done with credits, and what became of it. Small acts stand here as well: the daily sums
-- are counted with them, and an act that a process died over is finished from here.
CREATE TABLE approvals (
    id TEXT PRIMARY KEY, -- also the id of what it makes on the ledger, so that it is made once
    kind TEXT NOT NULL, -- adjustment | grant
    account TEXT NOT NULL,
    credits INTEGER NOT NULL,
    act TEXT NOT NULL, -- JSON: what is to be done
    requester TEXT NOT NULL,
    request_key TEXT, -- SHA-256 of the Idempotency-Key; null once the ledger has refused, so that it can be asked again
    needed TEXT, -- why a second person is asked; null: nobody is
    counted_on TEXT, -- the day in whose sum it counts; null: it does not
    state TEXT NOT NULL, -- pending | approved (on its way) | done | failed | rejected
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    decided_by TEXT,
    decided_at INTEGER,
    note TEXT,
    failure TEXT,
    event_seq INTEGER,
    UNIQUE (requester, request_key)
) STRICT;
CREATE INDEX approvals_by_state ON approvals (state, decided_at);
CREATE INDEX approvals_by_account ON approvals (account, id);

-- What each operator moved on a day without a second person. Raised in one statement that also looks at the limit, so that two
-- acts at once cannot both slip below it.
CREATE TABLE operator_days (
    operator TEXT NOT NULL,
    day TEXT NOT NULL,
    credits INTEGER NOT NULL,
    PRIMARY KEY (operator, day)
) STRICT;

-- Options that were changed while the gateway runs: each version holds all of them. The newest counts, and its number is the
-- compare-and-set: of two who change the same version one is refused.
CREATE TABLE settings_versions (
    version INTEGER PRIMARY KEY,
    options TEXT NOT NULL, -- JSON: key -> value
    author TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Referrals: who brought whom.
CREATE TABLE referral_codes (
    user_id TEXT PRIMARY KEY,
    code TEXT NOT NULL UNIQUE,
    month TEXT NOT NULL DEFAULT '', -- of the last reward
    rewards INTEGER NOT NULL DEFAULT 0 -- in that month
) STRICT;

CREATE TABLE referrals (
    referred TEXT PRIMARY KEY, -- one is brought once
    referrer TEXT NOT NULL,
    state TEXT NOT NULL, -- waiting | earned | capped | refused | missed | lapsed
    created_at INTEGER NOT NULL,
    order_id TEXT, -- the top-up that decided it
    decided_at INTEGER,
    reward INTEGER NOT NULL DEFAULT 0, -- to the referrer
    welcome INTEGER NOT NULL DEFAULT 0, -- to the new user
    reward_seq INTEGER, -- where the grants stand on the log; null and above zero: on their way
    welcome_seq INTEGER
) STRICT;
CREATE INDEX referrals_by_referrer ON referrals (referrer, referred);
CREATE INDEX referrals_by_state ON referrals (state, referred);
-- Who brought somebody that has yet to prove their address.
ALTER TABLE registrations ADD COLUMN referrer TEXT;

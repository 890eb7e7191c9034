-- Tables made of the log's events. Nothing else writes them; dropping them loses nothing but the time of a rebuild.
--
-- Credits are nano-credits, moments are microseconds since 1970 (UTC), truth is 0 or 1: whole numbers, the same in all
-- three databases, so that a rebuilt row equals the old one. Ids are texts. COLLATE "C": texts compare byte by byte, as in
-- the other two databases, and not by the server's language.

-- The last message that the tables contain. `hash` and `stream`, `created` tell a log that was cut or replaced, whose new
-- messages take the old ones' sequences.
CREATE TABLE projection_checkpoints (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    sequence BIGINT NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    stream TEXT COLLATE "C" NOT NULL,
    created TEXT COLLATE "C" NOT NULL
);
INSERT INTO projection_checkpoints (name, sequence, hash, stream, created) VALUES ('live', 0, '', '', '');

-- total = credits_in - credits_out - used; available = credits_in - credits_out - leased - spent_closed.
CREATE TABLE account_balances (
    account TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    credits_in BIGINT NOT NULL,
    credits_out BIGINT NOT NULL,
    leased BIGINT NOT NULL,
    spent_closed BIGINT NOT NULL,
    used BIGINT NOT NULL,
    position BIGINT NOT NULL
);

-- Snapshots for whoever decides: a cache. `version` stands by itself so that a gap is seen also where the snapshot is of
-- a shape that this binary does not read.
CREATE TABLE account_states (
    account TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    shape BIGINT NOT NULL,
    snapshot TEXT COLLATE "C" NOT NULL
);

CREATE TABLE billing_records (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    -- The order, grant or adjustment; for consumption the day and its zone.
    reference TEXT COLLATE "C" NOT NULL,
    -- The payer's money, in minor units of `currency`; a top-up's only.
    amount BIGINT,
    currency TEXT COLLATE "C",
    quota_amount BIGINT NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    transaction_id TEXT COLLATE "C",
    status TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    -- The first and the last event that made the row.
    first_seq BIGINT NOT NULL,
    event_seq BIGINT NOT NULL,
    -- The day the row counts in, by the operator's clock at the time of writing.
    day TEXT COLLATE "C" NOT NULL,
    day_start BIGINT NOT NULL,
    time_zone TEXT COLLATE "C" NOT NULL,
    requests BIGINT NOT NULL
);
-- One row per order, grant, adjustment and day: what an event of an existing row finds it by.
CREATE UNIQUE INDEX billing_records_reference ON billing_records (user_id, type, reference);
-- An owner's list, newest first.
CREATE INDEX billing_records_list ON billing_records (user_id, created_at, id);
-- An owner's statistics by day and month.
CREATE INDEX billing_records_days ON billing_records (user_id, day_start);
-- The operator's list over all accounts.
CREATE INDEX billing_records_newest ON billing_records (created_at, id);

CREATE TABLE top_up_orders (
    account TEXT COLLATE "C" NOT NULL,
    order_id TEXT COLLATE "C" NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    currency TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL,
    credits BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    close_reason TEXT COLLATE "C",
    provider_txn TEXT COLLATE "C",
    completed_at BIGINT,
    updated_at BIGINT NOT NULL,
    event_seq BIGINT NOT NULL,
    PRIMARY KEY (account, order_id)
);
-- A callback names the order only.
CREATE INDEX top_up_orders_order ON top_up_orders (order_id);
-- An owner's list, newest first.
CREATE INDEX top_up_orders_list ON top_up_orders (account, created_at, order_id);
-- The poller's work list.
CREATE INDEX top_up_orders_status ON top_up_orders (status, created_at, order_id);

-- One row per call that was metered. The key is what makes a record one, also when it is reported twice: the second net
-- under the watermark in `leases`.
CREATE TABLE usage_records (
    lease TEXT COLLATE "C" NOT NULL,
    n BIGINT NOT NULL,
    account TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    upstream_model TEXT COLLATE "C" NOT NULL,
    endpoint TEXT COLLATE "C" NOT NULL,
    -- JSON, as on the log: tokens by class, credits per million of each, tries at providers.
    tokens TEXT COLLATE "C" NOT NULL,
    price_version TEXT COLLATE "C" NOT NULL,
    unit_prices TEXT COLLATE "C" NOT NULL,
    -- A decimal as text: NUMERIC would make it a float.
    multiplier TEXT COLLATE "C" NOT NULL,
    charge BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    cost_prices TEXT COLLATE "C",
    paid BIGINT NOT NULL,
    uncovered BIGINT NOT NULL,
    late BIGINT NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    stream BIGINT NOT NULL,
    status BIGINT NOT NULL,
    ttft_ms BIGINT,
    duration_ms BIGINT NOT NULL,
    attempts TEXT COLLATE "C" NOT NULL,
    spent BIGINT NOT NULL,
    event_seq BIGINT NOT NULL,
    reported_at BIGINT NOT NULL,
    PRIMARY KEY (lease, n)
);
-- A receipt. Not unique: a call that was metered twice is a defect to be seen, not one to stop the log for.
CREATE INDEX usage_records_request ON usage_records (request_id);
-- An owner's history, newest first; other filters narrow within it.
CREATE INDEX usage_records_list ON usage_records (account, at, request_id);
-- The operator's history over all accounts.
CREATE INDEX usage_records_newest ON usage_records (at, request_id);

-- Sums by the local hour, so that statistics do not read every record. `day` is part of the key because the same hour
-- belongs to another day after the operator has changed the time zone.
CREATE TABLE usage_hourly (
    account TEXT COLLATE "C" NOT NULL,
    hour BIGINT NOT NULL,
    day TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    calls BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    tokens_input BIGINT NOT NULL,
    tokens_cache_read BIGINT NOT NULL,
    tokens_cache_write BIGINT NOT NULL,
    tokens_cache_write_1h BIGINT NOT NULL,
    tokens_output BIGINT NOT NULL,
    tokens_reasoning BIGINT NOT NULL,
    tokens_image_input BIGINT NOT NULL,
    tokens_image_output BIGINT NOT NULL,
    tokens_audio_input BIGINT NOT NULL,
    tokens_audio_output BIGINT NOT NULL,
    charge BIGINT NOT NULL,
    paid BIGINT NOT NULL,
    uncovered BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (account, hour, day, key_id, model, provider)
);
-- Statistics over all accounts.
CREATE INDEX usage_hourly_hour ON usage_hourly (hour);

CREATE TABLE leases (
    lease TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    account TEXT COLLATE "C" NOT NULL,
    -- NULL here and below: the log reports usage of a lease that it never granted (status `unknown`).
    epoch TEXT COLLATE "C",
    -- JSON: the account, or a key and its budget's period.
    scope TEXT COLLATE "C",
    credits BIGINT NOT NULL,
    ttl_ms BIGINT NOT NULL,
    -- By the log's clock, not a node's: a lease's age is measured by them.
    granted_at BIGINT,
    touched BIGINT,
    status TEXT COLLATE "C" NOT NULL,
    -- Every usage record up to n = watermark has been seen; `spent` is the last one's cumulative sum. `beyond` is JSON:
    -- [n, cumulative sum] of records seen after a gap.
    watermark BIGINT NOT NULL,
    spent BIGINT NOT NULL,
    beyond TEXT COLLATE "C" NOT NULL,
    closed_spent BIGINT,
    closed_count BIGINT,
    closed_by TEXT COLLATE "C",
    closed_at BIGINT,
    event_seq BIGINT NOT NULL
);
-- An account's open leases.
CREATE INDEX leases_account ON leases (account, status);
-- Open leases, the longest untouched first: the sweeper's work list, and the counts. Most rows are closed, but no index
-- over a part of a table exists in all three databases.
CREATE INDEX leases_status ON leases (status, touched);
-- The leases of one run of a node, for when it is sealed.
CREATE INDEX leases_epoch ON leases (epoch);

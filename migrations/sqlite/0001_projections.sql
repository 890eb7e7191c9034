-- Tables made of the log's events. Nothing else writes them; dropping them loses nothing but the time of a rebuild.
--
-- Credits are nano-credits, moments are microseconds since 1970 (UTC), truth is 0 or 1: whole numbers, the same in all
-- three databases, so that a rebuilt row equals the old one. Ids are texts. STRICT, because without it SQLite would turn
-- a sum that does not fit into a float and store that.

-- The last message that the tables contain. `hash` and `stream`, `created` tell a log that was cut or replaced, whose new
-- messages take the old ones' sequences.
CREATE TABLE projection_checkpoints (
    name TEXT NOT NULL PRIMARY KEY,
    sequence INTEGER NOT NULL,
    hash TEXT NOT NULL,
    stream TEXT NOT NULL,
    created TEXT NOT NULL
) STRICT;
INSERT INTO projection_checkpoints (name, sequence, hash, stream, created) VALUES ('live', 0, '', '', '');

-- total = credits_in - credits_out - used; available = credits_in - credits_out - leased - spent_closed.
CREATE TABLE account_balances (
    account TEXT NOT NULL PRIMARY KEY,
    credits_in INTEGER NOT NULL,
    credits_out INTEGER NOT NULL,
    leased INTEGER NOT NULL,
    spent_closed INTEGER NOT NULL,
    used INTEGER NOT NULL,
    position INTEGER NOT NULL
) STRICT;

-- Snapshots for whoever decides: a cache. `version` stands by itself so that a gap is seen also where the snapshot is of
-- a shape that this binary does not read.
CREATE TABLE account_states (
    account TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    shape INTEGER NOT NULL,
    snapshot TEXT NOT NULL
) STRICT;

CREATE TABLE billing_records (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    type TEXT NOT NULL,
    -- The order, grant or adjustment; for consumption the day and its zone.
    reference TEXT NOT NULL,
    -- The payer's money, in minor units of `currency`; a top-up's only.
    amount INTEGER,
    currency TEXT,
    quota_amount INTEGER NOT NULL,
    description TEXT NOT NULL,
    transaction_id TEXT,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    -- The first and the last event that made the row.
    first_seq INTEGER NOT NULL,
    event_seq INTEGER NOT NULL,
    -- The day the row counts in, by the operator's clock at the time of writing.
    day TEXT NOT NULL,
    day_start INTEGER NOT NULL,
    time_zone TEXT NOT NULL,
    requests INTEGER NOT NULL
) STRICT;
-- One row per order, grant, adjustment and day: what an event of an existing row finds it by.
CREATE UNIQUE INDEX billing_records_reference ON billing_records (user_id, type, reference);
-- An owner's list, newest first.
CREATE INDEX billing_records_list ON billing_records (user_id, created_at, id);
-- An owner's statistics by day and month.
CREATE INDEX billing_records_days ON billing_records (user_id, day_start);
-- The operator's list over all accounts.
CREATE INDEX billing_records_newest ON billing_records (created_at, id);

CREATE TABLE top_up_orders (
    account TEXT NOT NULL,
    order_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    status TEXT NOT NULL,
    close_reason TEXT,
    provider_txn TEXT,
    completed_at INTEGER,
    updated_at INTEGER NOT NULL,
    event_seq INTEGER NOT NULL,
    PRIMARY KEY (account, order_id)
) STRICT;
-- A callback names the order only.
CREATE INDEX top_up_orders_order ON top_up_orders (order_id);
-- An owner's list, newest first.
CREATE INDEX top_up_orders_list ON top_up_orders (account, created_at, order_id);
-- The poller's work list.
CREATE INDEX top_up_orders_status ON top_up_orders (status, created_at, order_id);

-- One row per call that was metered. The key is what makes a record one, also when it is reported twice: the second net
-- under the watermark in `leases`.
CREATE TABLE usage_records (
    lease TEXT NOT NULL,
    n INTEGER NOT NULL,
    account TEXT NOT NULL,
    request_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    -- JSON, as on the log: tokens by class, credits per million of each, tries at providers.
    tokens TEXT NOT NULL,
    price_version TEXT NOT NULL,
    unit_prices TEXT NOT NULL,
    -- A decimal as text: NUMERIC would make it a float.
    multiplier TEXT NOT NULL,
    charge INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    cost_prices TEXT,
    paid INTEGER NOT NULL,
    uncovered INTEGER NOT NULL,
    late INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    source TEXT NOT NULL,
    stream INTEGER NOT NULL,
    status INTEGER NOT NULL,
    ttft_ms INTEGER,
    duration_ms INTEGER NOT NULL,
    attempts TEXT NOT NULL,
    spent INTEGER NOT NULL,
    event_seq INTEGER NOT NULL,
    reported_at INTEGER NOT NULL,
    PRIMARY KEY (lease, n)
) STRICT;
-- A receipt. Not unique: a call that was metered twice is a defect to be seen, not one to stop the log for.
CREATE INDEX usage_records_request ON usage_records (request_id);
-- An owner's history, newest first; other filters narrow within it.
CREATE INDEX usage_records_list ON usage_records (account, at, request_id);
-- The operator's history over all accounts.
CREATE INDEX usage_records_newest ON usage_records (at, request_id);

-- Sums by the local hour, so that statistics do not read every record. `day` is part of the key because the same hour
-- belongs to another day after the operator has changed the time zone.
CREATE TABLE usage_hourly (
    account TEXT NOT NULL,
    hour INTEGER NOT NULL,
    day TEXT NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    calls INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    tokens_input INTEGER NOT NULL,
    tokens_cache_read INTEGER NOT NULL,
    tokens_cache_write INTEGER NOT NULL,
    tokens_cache_write_1h INTEGER NOT NULL,
    tokens_output INTEGER NOT NULL,
    tokens_reasoning INTEGER NOT NULL,
    tokens_image_input INTEGER NOT NULL,
    tokens_image_output INTEGER NOT NULL,
    tokens_audio_input INTEGER NOT NULL,
    tokens_audio_output INTEGER NOT NULL,
    charge INTEGER NOT NULL,
    paid INTEGER NOT NULL,
    uncovered INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (account, hour, day, key_id, model, provider)
) STRICT;
-- Statistics over all accounts.
CREATE INDEX usage_hourly_hour ON usage_hourly (hour);

CREATE TABLE leases (
    lease TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    -- NULL here and below: the log reports usage of a lease that it never granted (status `unknown`).
    epoch TEXT,
    -- JSON: the account, or a key and its budget's period.
    scope TEXT,
    credits INTEGER NOT NULL,
    ttl_ms INTEGER NOT NULL,
    -- By the log's clock, not a node's: a lease's age is measured by them.
    granted_at INTEGER,
    touched INTEGER,
    status TEXT NOT NULL,
    -- Every usage record up to n = watermark has been seen; `spent` is the last one's cumulative sum. `beyond` is JSON:
    -- [n, cumulative sum] of records seen after a gap.
    watermark INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    beyond TEXT NOT NULL,
    closed_spent INTEGER,
    closed_count INTEGER,
    closed_by TEXT,
    closed_at INTEGER,
    event_seq INTEGER NOT NULL
) STRICT;
-- An account's open leases.
CREATE INDEX leases_account ON leases (account, status);
-- Open leases, the longest untouched first: the sweeper's work list, and the counts. Most rows are closed, but no index
-- over a part of a table exists in all three databases.
CREATE INDEX leases_status ON leases (status, touched);
-- The leases of one run of a node, for when it is sealed.
CREATE INDEX leases_epoch ON leases (epoch);

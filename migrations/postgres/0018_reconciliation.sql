-- Reconciliation: the bills of payment channels, what comparing them with the ledger found, and who signed it off.

-- A bill as it was imported. The same file again is the same row; a later file of the same day stands in the place of the earlier.
CREATE TABLE reconciliation_bills (
    id TEXT COLLATE "C" PRIMARY KEY,
    channel TEXT COLLATE "C" NOT NULL,
    merchant TEXT COLLATE "C" NOT NULL, -- its number at the channel; empty: the channel does not say
    day TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL, -- trades | funds
    name TEXT COLLATE "C" NOT NULL,
    sha256 TEXT COLLATE "C" NOT NULL,
    entries BIGINT NOT NULL, -- how many rows
    source TEXT COLLATE "C" NOT NULL, -- upload | download
    is_current BIGINT NOT NULL,
    imported_by TEXT COLLATE "C",
    imported_at BIGINT NOT NULL,
    UNIQUE (channel, merchant, day, kind, sha256)
);
CREATE INDEX reconciliation_bills_by_day ON reconciliation_bills (channel, day);

-- Its rows. They are never changed.
CREATE TABLE reconciliation_rows (
    bill_id TEXT COLLATE "C" NOT NULL,
    line BIGINT NOT NULL,
    txn TEXT COLLATE "C" NOT NULL,
    refund_number TEXT COLLATE "C",
    body TEXT COLLATE "C" NOT NULL, -- JSON: the row
    PRIMARY KEY (bill_id, line)
);
CREATE INDEX reconciliation_rows_txn ON reconciliation_rows (txn);
CREATE INDEX reconciliation_rows_refund ON reconciliation_rows (refund_number);

-- Each comparison of a day, also one that found nothing.
CREATE TABLE reconciliation_runs (
    id TEXT COLLATE "C" PRIMARY KEY,
    channel TEXT COLLATE "C" NOT NULL,
    day TEXT COLLATE "C" NOT NULL,
    cause TEXT COLLATE "C" NOT NULL, -- upload | download | daily | again
    started_by TEXT COLLATE "C",
    started_at BIGINT NOT NULL,
    log_position BIGINT NOT NULL, -- how far the tables were
    is_preliminary BIGINT NOT NULL, -- the day was not over
    bills TEXT COLLATE "C" NOT NULL, -- JSON: ids
    matched BIGINT NOT NULL,
    found BIGINT NOT NULL,
    totals TEXT COLLATE "C" NOT NULL -- JSON
);
CREATE INDEX reconciliation_runs_by_day ON reconciliation_runs (channel, day);

CREATE TABLE reconciliation_differences (
    id TEXT COLLATE "C" PRIMARY KEY,
    run_id TEXT COLLATE "C" NOT NULL, -- that found it first
    channel TEXT COLLATE "C" NOT NULL,
    day TEXT COLLATE "C" NOT NULL,
    class TEXT COLLATE "C" NOT NULL,
    mark TEXT COLLATE "C" NOT NULL, -- SHA-256 of what it is about: by it a later run knows it again
    state TEXT COLLATE "C" NOT NULL, -- open | assigned | proposed | resolved | cleared
    order_number TEXT COLLATE "C",
    refund_number TEXT COLLATE "C",
    txn TEXT COLLATE "C",
    order_id TEXT COLLATE "C",
    account TEXT COLLATE "C",
    ledger_currency TEXT COLLATE "C",
    ledger_amount BIGINT,
    provider_currency TEXT COLLATE "C",
    provider_amount BIGINT,
    detail TEXT COLLATE "C" NOT NULL,
    linked_day TEXT COLLATE "C",
    owner TEXT COLLATE "C",
    act TEXT COLLATE "C",
    reason TEXT COLLATE "C",
    resolved_by TEXT COLLATE "C",
    approved_by TEXT COLLATE "C",
    note TEXT COLLATE "C",
    reopens TEXT COLLATE "C", -- the difference that was signed off before a later import showed it again
    cleared_run TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX reconciliation_differences_by_day ON reconciliation_differences (channel, day);
CREATE INDEX reconciliation_differences_by_state ON reconciliation_differences (state, id);

-- Whose turn a day is, and how far the daily run got with it.
CREATE TABLE reconciliation_days (
    channel TEXT COLLATE "C" NOT NULL,
    day TEXT COLLATE "C" NOT NULL,
    claim TEXT COLLATE "C", -- of the process that works on it
    claimed_until BIGINT NOT NULL,
    is_done BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    next_try_at BIGINT NOT NULL,
    last_error TEXT COLLATE "C",
    PRIMARY KEY (channel, day)
);

-- What was credited at a channel on a day.
CREATE INDEX top_up_orders_completed ON top_up_orders (channel, completed_at);

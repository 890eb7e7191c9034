-- Reconciliation: the bills of payment channels, what comparing them with the ledger found, and who signed it off.

-- A bill as it was imported. The same file again is the same row; a later file of the same day stands in the place of the earlier.
CREATE TABLE reconciliation_bills (
    id TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    merchant TEXT NOT NULL, -- its number at the channel; empty: the channel does not say
    day TEXT NOT NULL,
    kind TEXT NOT NULL, -- trades | funds
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    entries INTEGER NOT NULL, -- how many rows
    source TEXT NOT NULL, -- upload | download
    is_current INTEGER NOT NULL,
    imported_by TEXT,
    imported_at INTEGER NOT NULL,
    UNIQUE (channel, merchant, day, kind, sha256)
) STRICT;
CREATE INDEX reconciliation_bills_by_day ON reconciliation_bills (channel, day);

-- Its rows. They are never changed.
CREATE TABLE reconciliation_rows (
    bill_id TEXT NOT NULL,
    line INTEGER NOT NULL,
    txn TEXT NOT NULL,
    refund_number TEXT,
    body TEXT NOT NULL, -- JSON: the row
    PRIMARY KEY (bill_id, line)
) STRICT;
CREATE INDEX reconciliation_rows_txn ON reconciliation_rows (txn);
CREATE INDEX reconciliation_rows_refund ON reconciliation_rows (refund_number);

-- Each comparison of a day, also one that found nothing.
CREATE TABLE reconciliation_runs (
    id TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    day TEXT NOT NULL,
    cause TEXT NOT NULL, -- upload | download | daily | again
    started_by TEXT,
    started_at INTEGER NOT NULL,
    log_position INTEGER NOT NULL, -- how far the tables were
    is_preliminary INTEGER NOT NULL, -- the day was not over
    bills TEXT NOT NULL, -- JSON: ids
    matched INTEGER NOT NULL,
    found INTEGER NOT NULL,
    totals TEXT NOT NULL -- JSON
) STRICT;
CREATE INDEX reconciliation_runs_by_day ON reconciliation_runs (channel, day);

CREATE TABLE reconciliation_differences (
    id TEXT PRIMARY KEY,
    run_id TEXT NOT NULL, -- that found it first
    channel TEXT NOT NULL,
    day TEXT NOT NULL,
    class TEXT NOT NULL,
    mark TEXT NOT NULL, -- SHA-256 of what it is about: by it a later run knows it again
    state TEXT NOT NULL, -- open | assigned | proposed | resolved | cleared
    order_number TEXT,
    refund_number TEXT,
    txn TEXT,
    order_id TEXT,
    account TEXT,
    ledger_currency TEXT,
    ledger_amount INTEGER,
    provider_currency TEXT,
    provider_amount INTEGER,
    detail TEXT NOT NULL,
    linked_day TEXT,
    owner TEXT,
    act TEXT,
    reason TEXT,
    resolved_by TEXT,
    approved_by TEXT,
    note TEXT,
    reopens TEXT, -- the difference that was signed off before a later import showed it again
    cleared_run TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;
CREATE INDEX reconciliation_differences_by_day ON reconciliation_differences (channel, day);
CREATE INDEX reconciliation_differences_by_state ON reconciliation_differences (state, id);

-- Whose turn a day is, and how far the daily run got with it.
CREATE TABLE reconciliation_days (
    channel TEXT NOT NULL,
    day TEXT NOT NULL,
    claim TEXT, -- of the process that works on it
    claimed_until INTEGER NOT NULL,
    is_done INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    next_try_at INTEGER NOT NULL,
    last_error TEXT,
    PRIMARY KEY (channel, day)
) STRICT;

-- What was credited at a channel on a day.
CREATE INDEX top_up_orders_completed ON top_up_orders (channel, completed_at);

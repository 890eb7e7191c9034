-- Reconciliation: the bills of payment channels, what comparing them with the ledger found, and who signed it off.

-- A bill as it was imported. The same file again is the same row; a later file of the same day stands in the place of the earlier.
CREATE TABLE reconciliation_bills (
    id VARCHAR(36) PRIMARY KEY,
    channel VARCHAR(64) NOT NULL,
    merchant VARCHAR(64) NOT NULL, -- its number at the channel; empty: the channel does not say
    day VARCHAR(10) NOT NULL,
    kind VARCHAR(32) NOT NULL, -- trades | funds
    name VARCHAR(255) NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    entries BIGINT NOT NULL, -- how many rows
    source VARCHAR(32) NOT NULL, -- upload | download
    is_current BIGINT NOT NULL,
    imported_by VARCHAR(36),
    imported_at BIGINT NOT NULL,
    UNIQUE (channel, merchant, day, kind, sha256)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX reconciliation_bills_by_day ON reconciliation_bills (channel, day);

-- Its rows. They are never changed.
CREATE TABLE reconciliation_rows (
    bill_id VARCHAR(36) NOT NULL,
    line BIGINT NOT NULL,
    txn VARCHAR(128) NOT NULL,
    refund_number VARCHAR(128),
    body MEDIUMTEXT NOT NULL, -- JSON: the row
    PRIMARY KEY (bill_id, line)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX reconciliation_rows_txn ON reconciliation_rows (txn);
CREATE INDEX reconciliation_rows_refund ON reconciliation_rows (refund_number);

-- Each comparison of a day, also one that found nothing.
CREATE TABLE reconciliation_runs (
    id VARCHAR(36) PRIMARY KEY,
    channel VARCHAR(64) NOT NULL,
    day VARCHAR(10) NOT NULL,
    cause VARCHAR(32) NOT NULL, -- upload | download | daily | again
    started_by VARCHAR(36),
    started_at BIGINT NOT NULL,
    log_position BIGINT NOT NULL, -- how far the tables were
    is_preliminary BIGINT NOT NULL, -- the day was not over
    bills MEDIUMTEXT NOT NULL, -- JSON: ids
    matched BIGINT NOT NULL,
    found BIGINT NOT NULL,
    totals MEDIUMTEXT NOT NULL -- JSON
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX reconciliation_runs_by_day ON reconciliation_runs (channel, day);

CREATE TABLE reconciliation_differences (
    id VARCHAR(36) PRIMARY KEY,
    run_id VARCHAR(36) NOT NULL, -- that found it first
    channel VARCHAR(64) NOT NULL,
    day VARCHAR(10) NOT NULL,
    class VARCHAR(32) NOT NULL,
    mark VARCHAR(64) NOT NULL, -- SHA-256 of what it is about: by it a later run knows it again
    state VARCHAR(32) NOT NULL, -- open | assigned | proposed | resolved | cleared
    order_number VARCHAR(128),
    refund_number VARCHAR(128),
    txn VARCHAR(128),
    order_id VARCHAR(36),
    account VARCHAR(36),
    ledger_currency VARCHAR(32),
    ledger_amount BIGINT,
    provider_currency VARCHAR(32),
    provider_amount BIGINT,
    detail MEDIUMTEXT NOT NULL,
    linked_day VARCHAR(10),
    owner VARCHAR(36),
    act VARCHAR(32),
    reason MEDIUMTEXT,
    resolved_by VARCHAR(36),
    approved_by VARCHAR(36),
    note MEDIUMTEXT,
    reopens VARCHAR(36), -- the difference that was signed off before a later import showed it again
    cleared_run VARCHAR(36),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    ended_at BIGINT
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX reconciliation_differences_by_day ON reconciliation_differences (channel, day);
CREATE INDEX reconciliation_differences_by_state ON reconciliation_differences (state, id);

-- Whose turn a day is, and how far the daily run got with it.
CREATE TABLE reconciliation_days (
    channel VARCHAR(64) NOT NULL,
    day VARCHAR(10) NOT NULL,
    claim VARCHAR(36), -- of the process that works on it
    claimed_until BIGINT NOT NULL,
    is_done BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    next_try_at BIGINT NOT NULL,
    last_error MEDIUMTEXT,
    PRIMARY KEY (channel, day)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What was credited at a channel on a day.
CREATE INDEX top_up_orders_completed ON top_up_orders (channel, completed_at);

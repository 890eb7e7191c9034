-- Refunds and disputes: what goes back to payers, what gateways were asked and said of it, and what they say on their own.

-- Projected from the log: one row per refund.
CREATE TABLE refunds (
    account VARCHAR(36) NOT NULL,
    refund_id VARCHAR(36) NOT NULL,
    order_id VARCHAR(36) NOT NULL,
    channel VARCHAR(32) NOT NULL,
    currency VARCHAR(3) NOT NULL,
    amount BIGINT NOT NULL, -- minor units of the currency
    credits BIGINT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    status VARCHAR(16) NOT NULL, -- requested, approved, completed or failed
    approved_at BIGINT,
    provider_refund VARCHAR(200),
    failure TEXT,
    ended_at BIGINT,
    updated_at BIGINT NOT NULL,
    event_seq BIGINT NOT NULL,
    PRIMARY KEY (account, refund_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- A callback names the refund only.
CREATE INDEX refunds_refund ON refunds (refund_id);
-- An order's refunds.
CREATE INDEX refunds_order ON refunds (order_id);
-- An owner's list, newest first.
CREATE INDEX refunds_list ON refunds (account, created_at, refund_id);
-- What is approved and not done.
CREATE INDEX refunds_status ON refunds (status, created_at, refund_id);

-- Projected from the log: one row per payment that was taken back.
CREATE TABLE chargebacks (
    account VARCHAR(36) NOT NULL,
    chargeback_id VARCHAR(36) NOT NULL,
    order_id VARCHAR(36) NOT NULL,
    channel VARCHAR(32) NOT NULL,
    currency VARCHAR(3) NOT NULL,
    amount BIGINT NOT NULL,
    credits BIGINT NOT NULL,
    reference VARCHAR(200) NOT NULL, -- the channel's name of the dispute
    created_at BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    status VARCHAR(16) NOT NULL, -- posted or reversed
    reversed_at BIGINT,
    updated_at BIGINT NOT NULL,
    event_seq BIGINT NOT NULL,
    PRIMARY KEY (account, chargeback_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE INDEX chargebacks_chargeback ON chargebacks (chargeback_id);
CREATE INDEX chargebacks_order ON chargebacks (order_id);

-- A dispute, and a refund that somebody made at the gateway, name the transaction.
CREATE INDEX top_up_orders_paid_by ON top_up_orders (provider_txn);

-- What a gateway was asked about an approved refund, and what it said. That it is asked is written before it is asked.
CREATE TABLE refund_calls (
    refund_id VARCHAR(64) PRIMARY KEY,
    account VARCHAR(64) NOT NULL,
    state VARCHAR(16) NOT NULL, -- due, sending, pending, unknown, refused or done
    claims BIGINT NOT NULL, -- how often it was claimed; what a claim is made of
    attempts BIGINT NOT NULL, -- how often the gateway was asked to pay
    next_at BIGINT, -- NULL: nobody looks again by themselves
    last_error VARCHAR(1000),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX refund_calls_due ON refund_calls (next_at);

-- Money that a gateway says went back otherwise than the log knows: a person looks.
CREATE TABLE refund_differences (
    id VARCHAR(64) PRIMARY KEY,
    fingerprint VARCHAR(64) NOT NULL, -- what makes two tellings the same difference
    channel VARCHAR(32) NOT NULL,
    order_id VARCHAR(64), -- the order, where it is ours
    account VARCHAR(64),
    order_number VARCHAR(200), -- as the gateway wrote it
    refund_number VARCHAR(200),
    provider_refund VARCHAR(200),
    currency VARCHAR(3) NOT NULL,
    amount BIGINT NOT NULL,
    what VARCHAR(1000) NOT NULL,
    inbox BIGINT NOT NULL, -- where the callback lies; 0: it came otherwise
    state VARCHAR(16) NOT NULL, -- open or resolved
    note VARCHAR(1000),
    resolved_by VARCHAR(64),
    created_at BIGINT NOT NULL,
    resolved_at BIGINT
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE UNIQUE INDEX refund_differences_once ON refund_differences (fingerprint);
CREATE INDEX refund_differences_state ON refund_differences (state, id);

-- Disputed payments, as gateways or operators tell of them. The credits are the log's.
CREATE TABLE disputes (
    id VARCHAR(64) PRIMARY KEY, -- also the chargeback's
    channel VARCHAR(32) NOT NULL,
    reference VARCHAR(200) NOT NULL,
    order_id VARCHAR(64),
    account VARCHAR(64),
    provider_txn VARCHAR(200),
    currency VARCHAR(3) NOT NULL,
    amount BIGINT NOT NULL,
    state VARCHAR(16) NOT NULL, -- inquiry, open, won or lost
    what VARCHAR(1000) NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX disputes_state ON disputes (state, id);

-- Refunds and disputes: what goes back to payers, what gateways were asked and said of it, and what they say on their own.

-- Projected from the log: one row per refund.
CREATE TABLE refunds (
    account TEXT NOT NULL,
    refund_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount INTEGER NOT NULL, -- minor units of the currency
    credits INTEGER NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    status TEXT NOT NULL, -- requested, approved, completed or failed
    approved_at INTEGER,
    provider_refund TEXT,
    failure TEXT,
    ended_at INTEGER,
    updated_at INTEGER NOT NULL,
    event_seq INTEGER NOT NULL,
    PRIMARY KEY (account, refund_id)
) STRICT;
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
    account TEXT NOT NULL,
    chargeback_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    reference TEXT NOT NULL, -- the channel's name of the dispute
    created_at INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    status TEXT NOT NULL, -- posted or reversed
    reversed_at INTEGER,
    updated_at INTEGER NOT NULL,
    event_seq INTEGER NOT NULL,
    PRIMARY KEY (account, chargeback_id)
) STRICT;
CREATE INDEX chargebacks_chargeback ON chargebacks (chargeback_id);
CREATE INDEX chargebacks_order ON chargebacks (order_id);

-- A dispute, and a refund that somebody made at the gateway, name the transaction.
CREATE INDEX top_up_orders_paid_by ON top_up_orders (provider_txn);

-- What a gateway was asked about an approved refund, and what it said. That it is asked is written before it is asked.
CREATE TABLE refund_calls (
    refund_id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    state TEXT NOT NULL, -- due, sending, pending, unknown, refused or done
    claims INTEGER NOT NULL, -- how often it was claimed; what a claim is made of
    attempts INTEGER NOT NULL, -- how often the gateway was asked to pay
    next_at INTEGER, -- NULL: nobody looks again by themselves
    last_error TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX refund_calls_due ON refund_calls (next_at);

-- Money that a gateway says went back otherwise than the log knows: a person looks.
CREATE TABLE refund_differences (
    id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL, -- what makes two tellings the same difference
    channel TEXT NOT NULL,
    order_id TEXT, -- the order, where it is ours
    account TEXT,
    order_number TEXT, -- as the gateway wrote it
    refund_number TEXT,
    provider_refund TEXT,
    currency TEXT NOT NULL,
    amount INTEGER NOT NULL,
    what TEXT NOT NULL,
    inbox INTEGER NOT NULL, -- where the callback lies; 0: it came otherwise
    state TEXT NOT NULL, -- open or resolved
    note TEXT,
    resolved_by TEXT,
    created_at INTEGER NOT NULL,
    resolved_at INTEGER
) STRICT;
CREATE UNIQUE INDEX refund_differences_once ON refund_differences (fingerprint);
CREATE INDEX refund_differences_state ON refund_differences (state, id);

-- Disputed payments, as gateways or operators tell of them. The credits are the log's.
CREATE TABLE disputes (
    id TEXT PRIMARY KEY, -- also the chargeback's
    channel TEXT NOT NULL,
    reference TEXT NOT NULL,
    order_id TEXT,
    account TEXT,
    provider_txn TEXT,
    currency TEXT NOT NULL,
    amount INTEGER NOT NULL,
    state TEXT NOT NULL, -- inquiry, open, won or lost
    what TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX disputes_state ON disputes (state, id);

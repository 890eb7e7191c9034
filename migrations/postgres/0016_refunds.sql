-- Refunds and disputes: what goes back to payers, what gateways were asked and said of it, and what they say on their own.

-- Projected from the log: one row per refund.
CREATE TABLE refunds (
    account TEXT COLLATE "C" NOT NULL,
    refund_id TEXT COLLATE "C" NOT NULL,
    order_id TEXT COLLATE "C" NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    currency TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL, -- minor units of the currency
    credits BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    status TEXT COLLATE "C" NOT NULL, -- requested, approved, completed or failed
    approved_at BIGINT,
    provider_refund TEXT COLLATE "C",
    failure TEXT COLLATE "C",
    ended_at BIGINT,
    updated_at BIGINT NOT NULL,
    event_seq BIGINT NOT NULL,
    PRIMARY KEY (account, refund_id)
);
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
    account TEXT COLLATE "C" NOT NULL,
    chargeback_id TEXT COLLATE "C" NOT NULL,
    order_id TEXT COLLATE "C" NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    currency TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL,
    credits BIGINT NOT NULL,
    reference TEXT COLLATE "C" NOT NULL, -- the channel's name of the dispute
    created_at BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    status TEXT COLLATE "C" NOT NULL, -- posted or reversed
    reversed_at BIGINT,
    updated_at BIGINT NOT NULL,
    event_seq BIGINT NOT NULL,
    PRIMARY KEY (account, chargeback_id)
);
CREATE INDEX chargebacks_chargeback ON chargebacks (chargeback_id);
CREATE INDEX chargebacks_order ON chargebacks (order_id);

-- A dispute, and a refund that somebody made at the gateway, name the transaction.
CREATE INDEX top_up_orders_paid_by ON top_up_orders (provider_txn);

-- What a gateway was asked about an approved refund, and what it said. That it is asked is written before it is asked.
CREATE TABLE refund_calls (
    refund_id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    state TEXT COLLATE "C" NOT NULL, -- due, sending, pending, unknown, refused or done
    claims BIGINT NOT NULL, -- how often it was claimed; what a claim is made of
    attempts BIGINT NOT NULL, -- how often the gateway was asked to pay
    next_at BIGINT, -- NULL: nobody looks again by themselves
    last_error TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
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
    amount BIGINT NOT NULL,
    what TEXT NOT NULL,
    inbox BIGINT NOT NULL, -- where the callback lies; 0: it came otherwise
    state TEXT COLLATE "C" NOT NULL, -- open or resolved
    note TEXT,
    resolved_by TEXT,
    created_at BIGINT NOT NULL,
    resolved_at BIGINT
);
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
    amount BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL, -- inquiry, open, won or lost
    what TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX disputes_state ON disputes (state, id);

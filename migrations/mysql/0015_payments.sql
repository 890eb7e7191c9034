-- Payments: which orders are to be asked about at their gateway, and what became of each callback.

-- A row for each order at a channel. The order itself is on the log and in top_up_orders; this is only when to ask next, and
-- what the gateway calls it.
CREATE TABLE payment_orders (
    order_id VARCHAR(64) PRIMARY KEY,
    account VARCHAR(64) NOT NULL,
    method VARCHAR(32),
    reference VARCHAR(200), -- the gateway's own name of the order
    polls BIGINT NOT NULL, -- how often it was claimed; what a claim is made of
    next_poll_at BIGINT, -- NULL: it is not asked about any more
    created_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX payment_orders_due ON payment_orders (next_poll_at);

-- The callbacks in INBOX and what was found of each. One that was judged again has a row for each time.
CREATE TABLE payment_callbacks (
    id VARCHAR(64) PRIMARY KEY,
    inbox BIGINT NOT NULL, -- its sequence there
    channel VARCHAR(32) NOT NULL,
    verdict VARCHAR(64) NOT NULL,
    order_number VARCHAR(200), -- as the gateway wrote it, where it could be believed that far
    detail VARCHAR(1000) NOT NULL,
    at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX payment_callbacks_by_time ON payment_callbacks (at);

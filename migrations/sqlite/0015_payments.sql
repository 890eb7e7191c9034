-- Payments: which orders are to be asked about at their gateway, and what became of each callback.

-- A row for each order at a channel. The order itself is on the log and in top_up_orders; this is only when to ask next, and
-- what the gateway calls it.
CREATE TABLE payment_orders (
    order_id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    method TEXT,
    reference TEXT, -- the gateway's own name of the order
    polls INTEGER NOT NULL, -- how often it was claimed; what a claim is made of
    next_poll_at INTEGER, -- NULL: it is not asked about any more
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX payment_orders_due ON payment_orders (next_poll_at);

-- The callbacks in INBOX and what was found of each. One that was judged again has a row for each time.
CREATE TABLE payment_callbacks (
    id TEXT PRIMARY KEY,
    inbox INTEGER NOT NULL, -- its sequence there
    channel TEXT NOT NULL,
    verdict TEXT NOT NULL,
    order_number TEXT, -- as the gateway wrote it, where it could be believed that far
    detail TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX payment_callbacks_by_time ON payment_callbacks (at);

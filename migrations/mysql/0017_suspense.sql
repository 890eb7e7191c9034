-- Payments in suspense: they stand on the log, where their operators' acts are read; here is only which request may still end which.

-- A row for each request about a payment in suspense. Of two for one payment, one waits at a time.
CREATE TABLE suspense_requests (
    request_id VARCHAR(64) PRIMARY KEY,
    payment BIGINT NOT NULL, -- its sequence on the log
    open_payment BIGINT, -- the same while the request may come true; NULL once it cannot
    began_at BIGINT, -- when the channel was first asked for the refund
    UNIQUE (open_payment)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX suspense_requests_by_payment ON suspense_requests (payment);

-- A transaction that has paid one order pays no other.
CREATE INDEX top_up_orders_txn ON top_up_orders (channel, provider_txn);

-- What was found of one callback, and of an order's.
CREATE INDEX payment_callbacks_by_inbox ON payment_callbacks (inbox);
CREATE INDEX payment_callbacks_by_order ON payment_callbacks (order_number);

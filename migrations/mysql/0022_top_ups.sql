-- Beside top-ups: bonuses, and what owners were told of their refunds.

-- What was promised beside an order when it was opened, at the tiers of that moment. The grant itself is on the log.
CREATE TABLE top_up_bonuses (
    order_id VARCHAR(64) PRIMARY KEY,
    account VARCHAR(64) NOT NULL,
    credits BIGINT NOT NULL, -- nano-credits, above zero
    state VARCHAR(16) NOT NULL, -- due, given, forfeited
    event_seq BIGINT, -- where the grant stands on the log, once it is given
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX top_up_bonuses_due ON top_up_bonuses (state, created_at);

-- How far a refund was when its owner was told of it last. What was told is told once, whoever looks.
CREATE TABLE refund_notices (
    refund_id VARCHAR(64) PRIMARY KEY,
    account VARCHAR(64) NOT NULL,
    told VARCHAR(16) NOT NULL, -- requested, completed or failed
    updated_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
-- What changed lately, for whoever looks for refunds to tell of.
CREATE INDEX refunds_changed ON refunds (updated_at);

-- Telling people: alerts about balances, notices by mail and webhook, and accounts that are deleted.

-- What to be told of and how, as JSON; null: what is usual.
ALTER TABLE user_settings ADD COLUMN notifications LONGTEXT;
-- 0: the owner was warned, and the balance has not been at the threshold since. Whoever turns 1 into 0 sends the warning.
ALTER TABLE user_settings ADD COLUMN alert_armed BIGINT NOT NULL DEFAULT 1;
-- The watcher looks only at those who want to be warned.
CREATE INDEX user_settings_by_alert ON user_settings (low_balance_alert);
-- Names of zones are longer than offsets.
ALTER TABLE user_settings MODIFY COLUMN time_zone VARCHAR(64) NOT NULL;
-- What a notice's words are made of, as JSON; null: the words are made of the address alone.
ALTER TABLE mails ADD COLUMN details LONGTEXT;

-- Where notices go besides the mailbox: one address per user.
CREATE TABLE webhooks (
    user_id VARCHAR(64) PRIMARY KEY,
    url VARCHAR(1000) NOT NULL,
    secret_sealed VARCHAR(400) NOT NULL, -- AES-256-GCM under the master key: it signs, so its hash would not do
    previous_sealed VARCHAR(400), -- signs too, until then
    previous_until BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Calls of webhooks, waiting and done. The body is made once: every try sends the same bytes under the same id.
CREATE TABLE webhook_deliveries (
    id VARCHAR(64) PRIMARY KEY,
    user_id VARCHAR(64) NOT NULL,
    event VARCHAR(64) NOT NULL,
    body LONGTEXT NOT NULL,
    state VARCHAR(16) NOT NULL, -- queued | sending | delivered | failed
    attempts BIGINT NOT NULL, -- also the claim: whoever raises it from what they read may send
    next_try_at BIGINT NOT NULL, -- while sending: when the claim is over, should its owner have died
    last_status BIGINT,
    last_error LONGTEXT NOT NULL,
    created_at BIGINT NOT NULL,
    delivered_at BIGINT
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (state, next_try_at);
CREATE INDEX webhook_deliveries_list ON webhook_deliveries (user_id, id);

-- When a person was erased. The row stays, so that the id keeps its place on the ledger and in the audit log.
ALTER TABLE users ADD COLUMN deleted_at BIGINT;

-- Accounts of the deleted, on their way to being closed: leases come back by themselves, and what is left is then forfeited.
CREATE TABLE account_deletions (
    user_id VARCHAR(64) PRIMARY KEY,
    deleted_at BIGINT NOT NULL,
    deleted_by VARCHAR(64) NOT NULL, -- a user's id: their own, or an operator's
    reason VARCHAR(400) NOT NULL,
    credits_in BIGINT NOT NULL, -- all that had come in by then: what comes later is not forfeited
    forfeited BIGINT NOT NULL, -- nano-credits
    event_seq BIGINT, -- of the last forfeiture
    closed_at BIGINT
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX account_deletions_open ON account_deletions (closed_at);

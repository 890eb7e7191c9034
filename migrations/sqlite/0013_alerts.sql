-- Telling people: alerts about balances, notices by mail and webhook, and accounts that are deleted.

-- What to be told of and how, as JSON; null: what is usual.
ALTER TABLE user_settings ADD COLUMN notifications TEXT;
-- 0: the owner was warned, and the balance has not been at the threshold since. Whoever turns 1 into 0 sends the warning.
ALTER TABLE user_settings ADD COLUMN alert_armed INTEGER NOT NULL DEFAULT 1;
-- The watcher looks only at those who want to be warned.
CREATE INDEX user_settings_by_alert ON user_settings (low_balance_alert);
-- What a notice's words are made of, as JSON; null: the words are made of the address alone.
ALTER TABLE mails ADD COLUMN details TEXT;

-- Where notices go besides the mailbox: one address per user.
CREATE TABLE webhooks (
    user_id TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    secret_sealed TEXT NOT NULL, -- AES-256-GCM under the master key: it signs, so its hash would not do
    previous_sealed TEXT, -- signs too, until then
    previous_until INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- Calls of webhooks, waiting and done. The body is made once: every try sends the same bytes under the same id.
CREATE TABLE webhook_deliveries (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    event TEXT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL, -- queued | sending | delivered | failed
    attempts INTEGER NOT NULL, -- also the claim: whoever raises it from what they read may send
    next_try_at INTEGER NOT NULL, -- while sending: when the claim is over, should its owner have died
    last_status INTEGER,
    last_error TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    delivered_at INTEGER
) STRICT;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (state, next_try_at);
CREATE INDEX webhook_deliveries_list ON webhook_deliveries (user_id, id);

-- When a person was erased. The row stays, so that the id keeps its place on the ledger and in the audit log.
ALTER TABLE users ADD COLUMN deleted_at INTEGER;

-- Accounts of the deleted, on their way to being closed: leases come back by themselves, and what is left is then forfeited.
CREATE TABLE account_deletions (
    user_id TEXT PRIMARY KEY,
    deleted_at INTEGER NOT NULL,
    deleted_by TEXT NOT NULL, -- a user's id: their own, or an operator's
    reason TEXT NOT NULL,
    credits_in INTEGER NOT NULL, -- all that had come in by then: what comes later is not forfeited
    forfeited INTEGER NOT NULL, -- nano-credits
    event_seq INTEGER, -- of the last forfeiture
    closed_at INTEGER
) STRICT;
CREATE INDEX account_deletions_open ON account_deletions (closed_at);

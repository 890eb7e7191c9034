-- Accounts: proving an address, invitations, the mail queue, shared counters of tries, and what people set for themselves.

-- The address as it is compared where aliases count as one address (`registration.fold_aliases`): without "+tag", and without
-- dots at Gmail. Kept for everybody, so that the option can be switched on later; not unique, so that it can be off.
ALTER TABLE users ADD COLUMN email_alias VARCHAR(254) NOT NULL DEFAULT '';
UPDATE users SET email_alias = CASE WHEN instr(email_folded, '+') BETWEEN 2 AND instr(email_folded, '@') - 1
    THEN concat(substr(email_folded, 1, instr(email_folded, '+') - 1), substr(email_folded, instr(email_folded, '@')))
    ELSE email_folded END;
UPDATE users SET email_alias = concat(replace(substring_index(email_alias, '@', 1), '.', ''), '@gmail.com')
    WHERE email_alias LIKE '%@gmail.com' OR email_alias LIKE '%@googlemail.com';
CREATE INDEX users_by_alias ON users (email_alias);
-- An address that a user wants instead of theirs, in lower case; it becomes theirs when it is proven.
ALTER TABLE users ADD COLUMN email_wanted VARCHAR(254);

ALTER TABLE sessions ADD COLUMN address VARCHAR(45) NOT NULL DEFAULT ''; -- where it was opened from

-- Who wants to join and has not proven their address yet. Not users: nobody's address is taken by somebody else's claim, and
-- whether an address is known makes no difference to what a registration leaves behind.
CREATE TABLE registrations (
    id VARCHAR(64) PRIMARY KEY, -- becomes the user's id
    username VARCHAR(32) NOT NULL,
    username_folded VARCHAR(32) NOT NULL UNIQUE,
    email VARCHAR(254) NOT NULL,
    email_folded VARCHAR(254) NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    language VARCHAR(8) NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX registrations_by_email ON registrations (email_folded);

-- What a mail's link proves. Only the token's SHA-256 is here.
CREATE TABLE email_tokens (
    id VARCHAR(64) PRIMARY KEY,
    purpose VARCHAR(16) NOT NULL, -- verify | reset
    subject VARCHAR(64) NOT NULL, -- the id of a user or of a registration
    email VARCHAR(254) NOT NULL, -- the address that it went to
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX email_tokens_by_subject ON email_tokens (subject);
CREATE INDEX email_tokens_by_end ON email_tokens (expires_at);

CREATE TABLE invitations (
    id VARCHAR(64) PRIMARY KEY,
    code_hash VARCHAR(64) NOT NULL UNIQUE, -- SHA-256
    note VARCHAR(200) NOT NULL,
    max_uses BIGINT NOT NULL,
    uses BIGINT NOT NULL,
    expires_at BIGINT,
    created_by VARCHAR(36) NOT NULL,
    created_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Mails on their way. The words, and the token in them, are made when a mail is sent; the columns of the words stay empty but
-- in development, where mails end in the mailbox page.
CREATE TABLE mails (
    id VARCHAR(64) PRIMARY KEY,
    kind VARCHAR(16) NOT NULL, -- what was asked for: verify | resend | reset
    recipient VARCHAR(254) NOT NULL,
    language VARCHAR(8) NOT NULL,
    subject_id VARCHAR(36), -- the user or registration; null: found by the address when it is sent
    state VARCHAR(16) NOT NULL, -- queued | sending | sent | failed
    attempts BIGINT NOT NULL, -- also the claim: whoever raises it from what they read may send
    next_try_at BIGINT NOT NULL, -- while sending: when the claim is over, should its owner have died
    subject VARCHAR(200) NOT NULL,
    body_text LONGTEXT NOT NULL,
    body_html LONGTEXT NOT NULL,
    last_error TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    sent_at BIGINT
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX mails_due ON mails (state, next_try_at);

-- Tries at guessing, counted by all processes together: logins, registrations, requests for mail.
CREATE TABLE tries (
    id VARCHAR(64) PRIMARY KEY, -- SHA-256 of the rule and of what it counts by: no addresses are kept here
    tries BIGINT NOT NULL,
    started_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX tries_by_start ON tries (started_at);

CREATE TABLE user_settings (
    user_id VARCHAR(36) PRIMARY KEY,
    language VARCHAR(8) NOT NULL, -- en | zh-CN
    time_zone VARCHAR(6) NOT NULL, -- +08:00
    display_currency VARCHAR(3), -- null: credits
    low_balance_alert BIGINT -- nano-credits; null: no alert
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

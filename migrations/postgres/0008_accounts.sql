-- Accounts: proving an address, invitations, the mail queue, shared counters of tries, and what people set for themselves.

-- The address as it is compared where aliases count as one address (`registration.fold_aliases`): without "+tag", and without
-- dots at Gmail. Kept for everybody, so that the option can be switched on later; not unique, so that it can be off.
ALTER TABLE users ADD COLUMN email_alias TEXT COLLATE "C" NOT NULL DEFAULT '';
UPDATE users SET email_alias = CASE WHEN position('+' IN email_folded) BETWEEN 2 AND position('@' IN email_folded) - 1
    THEN substr(email_folded, 1, position('+' IN email_folded) - 1) || substr(email_folded, position('@' IN email_folded))
    ELSE email_folded END;
UPDATE users SET email_alias = replace(split_part(email_alias, '@', 1), '.', '') || '@gmail.com'
    WHERE email_alias LIKE '%@gmail.com' OR email_alias LIKE '%@googlemail.com';
CREATE INDEX users_by_alias ON users (email_alias);
-- An address that a user wants instead of theirs, in lower case; it becomes theirs when it is proven.
ALTER TABLE users ADD COLUMN email_wanted TEXT COLLATE "C";

ALTER TABLE sessions ADD COLUMN address TEXT COLLATE "C" NOT NULL DEFAULT ''; -- where it was opened from

-- Who wants to join and has not proven their address yet. Not users: nobody's address is taken by somebody else's claim, and
-- whether an address is known makes no difference to what a registration leaves behind.
CREATE TABLE registrations (
    id TEXT COLLATE "C" PRIMARY KEY, -- becomes the user's id
    username TEXT COLLATE "C" NOT NULL,
    username_folded TEXT COLLATE "C" NOT NULL UNIQUE,
    email TEXT COLLATE "C" NOT NULL,
    email_folded TEXT COLLATE "C" NOT NULL,
    password_hash TEXT COLLATE "C" NOT NULL,
    language TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX registrations_by_email ON registrations (email_folded);

-- What a mail's link proves. Only the token's SHA-256 is here.
CREATE TABLE email_tokens (
    id TEXT COLLATE "C" PRIMARY KEY,
    purpose TEXT COLLATE "C" NOT NULL, -- verify | reset
    subject TEXT COLLATE "C" NOT NULL, -- the id of a user or of a registration
    email TEXT COLLATE "C" NOT NULL, -- the address that it went to
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX email_tokens_by_subject ON email_tokens (subject);
CREATE INDEX email_tokens_by_end ON email_tokens (expires_at);

CREATE TABLE invitations (
    id TEXT COLLATE "C" PRIMARY KEY,
    code_hash TEXT COLLATE "C" NOT NULL UNIQUE, -- SHA-256
    note TEXT COLLATE "C" NOT NULL,
    max_uses BIGINT NOT NULL,
    uses BIGINT NOT NULL,
    expires_at BIGINT,
    created_by TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);

-- Mails on their way. The words, and the token in them, are made when a mail is sent; the columns of the words stay empty but
-- in development, where mails end in the mailbox page.
CREATE TABLE mails (
    id TEXT COLLATE "C" PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL, -- what was asked for: verify | resend | reset
    recipient TEXT COLLATE "C" NOT NULL,
    language TEXT COLLATE "C" NOT NULL,
    subject_id TEXT COLLATE "C", -- the user or registration; null: found by the address when it is sent
    state TEXT COLLATE "C" NOT NULL, -- queued | sending | sent | failed
    attempts BIGINT NOT NULL, -- also the claim: whoever raises it from what they read may send
    next_try_at BIGINT NOT NULL, -- while sending: when the claim is over, should its owner have died
    subject TEXT COLLATE "C" NOT NULL,
    body_text TEXT COLLATE "C" NOT NULL,
    body_html TEXT COLLATE "C" NOT NULL,
    last_error TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    sent_at BIGINT
);
CREATE INDEX mails_due ON mails (state, next_try_at);

-- Tries at guessing, counted by all processes together: logins, registrations, requests for mail.
CREATE TABLE tries (
    id TEXT COLLATE "C" PRIMARY KEY, -- SHA-256 of the rule and of what it counts by: no addresses are kept here
    tries BIGINT NOT NULL,
    started_at BIGINT NOT NULL
);
CREATE INDEX tries_by_start ON tries (started_at);

CREATE TABLE user_settings (
    user_id TEXT COLLATE "C" PRIMARY KEY,
    language TEXT COLLATE "C" NOT NULL, -- en | zh-CN
    time_zone TEXT COLLATE "C" NOT NULL, -- +08:00
    display_currency TEXT COLLATE "C", -- null: credits
    low_balance_alert BIGINT -- nano-credits; null: no alert
);

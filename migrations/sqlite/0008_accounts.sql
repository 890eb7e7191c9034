-- Accounts: proving an address, invitations, the mail queue, shared counters of tries, and what people set for themselves.

-- The address as it is compared where aliases count as one address (`registration.fold_aliases`): without "+tag", and without
-- dots at Gmail. Kept for everybody, so that the option can be switched on later; not unique, so that it can be off.
ALTER TABLE users ADD COLUMN email_alias TEXT NOT NULL DEFAULT '';
UPDATE users SET email_alias = CASE WHEN instr(email_folded, '+') BETWEEN 2 AND instr(email_folded, '@') - 1
    THEN substr(email_folded, 1, instr(email_folded, '+') - 1) || substr(email_folded, instr(email_folded, '@'))
    ELSE email_folded END;
UPDATE users SET email_alias = replace(substr(email_alias, 1, instr(email_alias, '@') - 1), '.', '') || '@gmail.com'
    WHERE email_alias LIKE '%@gmail.com' OR email_alias LIKE '%@googlemail.com';
CREATE INDEX users_by_alias ON users (email_alias);
-- An address that a user wants instead of theirs, in lower case; it becomes theirs when it is proven.
ALTER TABLE users ADD COLUMN email_wanted TEXT;

ALTER TABLE sessions ADD COLUMN address TEXT NOT NULL DEFAULT ''; -- where it was opened from

-- Who wants to join and has not proven their address yet. Not users: nobody's address is taken by somebody else's claim, and
-- whether an address is known makes no difference to what a registration leaves behind.
CREATE TABLE registrations (
    id TEXT PRIMARY KEY, -- becomes the user's id
    username TEXT NOT NULL,
    username_folded TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL,
    email_folded TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    language TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX registrations_by_email ON registrations (email_folded);

-- What a mail's link proves. Only the token's SHA-256 is here.
CREATE TABLE email_tokens (
    id TEXT PRIMARY KEY,
    purpose TEXT NOT NULL, -- verify | reset
    subject TEXT NOT NULL, -- the id of a user or of a registration
    email TEXT NOT NULL, -- the address that it went to
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER
) STRICT;
CREATE INDEX email_tokens_by_subject ON email_tokens (subject);
CREATE INDEX email_tokens_by_end ON email_tokens (expires_at);

CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    code_hash TEXT NOT NULL UNIQUE, -- SHA-256
    note TEXT NOT NULL,
    max_uses INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    expires_at INTEGER,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Mails on their way. The words, and the token in them, are made when a mail is sent; the columns of the words stay empty but
-- in development, where mails end in the mailbox page.
CREATE TABLE mails (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL, -- what was asked for: verify | resend | reset
    recipient TEXT NOT NULL,
    language TEXT NOT NULL,
    subject_id TEXT, -- the user or registration; null: found by the address when it is sent
    state TEXT NOT NULL, -- queued | sending | sent | failed
    attempts INTEGER NOT NULL, -- also the claim: whoever raises it from what they read may send
    next_try_at INTEGER NOT NULL, -- while sending: when the claim is over, should its owner have died
    subject TEXT NOT NULL,
    body_text TEXT NOT NULL,
    body_html TEXT NOT NULL,
    last_error TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    sent_at INTEGER
) STRICT;
CREATE INDEX mails_due ON mails (state, next_try_at);

-- Tries at guessing, counted by all processes together: logins, registrations, requests for mail.
CREATE TABLE tries (
    id TEXT PRIMARY KEY, -- SHA-256 of the rule and of what it counts by: no addresses are kept here
    tries INTEGER NOT NULL,
    started_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tries_by_start ON tries (started_at);

CREATE TABLE user_settings (
    user_id TEXT PRIMARY KEY,
    language TEXT NOT NULL, -- en | zh-CN
    time_zone TEXT NOT NULL, -- +08:00
    display_currency TEXT, -- null: credits
    low_balance_alert INTEGER -- nano-credits; null: no alert
) STRICT;

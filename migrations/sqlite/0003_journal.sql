-- The journal: what events mean for the books, in debits (above zero) and credits (below zero).
--
-- It begins with the log's first message, so a database that was projected into before begins again: what is missing from
-- a journal would not be seen. The log is read once more; until that is done, lists and balances show only what was read.
DELETE FROM account_balances;
DELETE FROM account_states;
DELETE FROM billing_records;
DELETE FROM top_up_orders;
DELETE FROM usage_records;
DELETE FROM usage_hourly;
DELETE FROM leases;
UPDATE projection_checkpoints SET sequence = 0, hash = '', stream = '', created = '';

-- The lines of decisions and of payments in suspense, one row each. Usage is not here line by line: its records are in
-- usage_records, its sums in journal_daily.
CREATE TABLE journal_entries (
    event_seq INTEGER NOT NULL,
    -- 0, 1, 2… within the event: a debit and its credit stand one after the other.
    line INTEGER NOT NULL,
    at INTEGER NOT NULL,
    -- The day by the operator's clock at the time of writing, as in billing_records.
    day TEXT NOT NULL,
    type TEXT NOT NULL,
    -- Whose decision it was: the same for all lines of the event. NULL: a payment in suspense.
    account TEXT,
    book TEXT NOT NULL,
    -- `credits` (nano-credits), or a currency (its minor units).
    unit TEXT NOT NULL,
    amount INTEGER NOT NULL,
    PRIMARY KEY (event_seq, line)
) STRICT;
-- The list, newest first: of everybody, of an account, of a book.
CREATE INDEX journal_entries_newest ON journal_entries (at, event_seq, line);
CREATE INDEX journal_entries_account ON journal_entries (account, at, event_seq, line);
CREATE INDEX journal_entries_book ON journal_entries (book, at, event_seq, line);

-- The sums of all lines, those of usage too, by day and book. The sums are over all accounts, and no rule bounds them: one
-- that did not fit 64 bits would stop the projections for ever. So each is two numbers: an amount's whole billions, and the
-- rest. debit = debit_billions × 1,000,000,000 + debit_units; both debit and credit are counted above zero.
CREATE TABLE journal_daily (
    day TEXT NOT NULL,
    unit TEXT NOT NULL,
    book TEXT NOT NULL,
    entries INTEGER NOT NULL,
    debit_billions INTEGER NOT NULL,
    debit_units INTEGER NOT NULL,
    credit_billions INTEGER NOT NULL,
    credit_units INTEGER NOT NULL,
    -- The trial balance reads the days up to one.
    PRIMARY KEY (day, unit, book)
) STRICT;

-- What an account had used up to a position of the log: its balance then. `paid` is in the index so that no row is read.
CREATE INDEX usage_records_balance ON usage_records (account, event_seq, paid);

-- JSON: what was counted as paid although a sweeper may still close the lease without it: records that came under another
-- run than the lease's, or behind a gap. Such a close takes them back. NULL: none, as nearly always.
ALTER TABLE leases ADD COLUMN at_risk TEXT;

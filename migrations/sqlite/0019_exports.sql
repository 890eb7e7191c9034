-- Files for finance, and months of the books that are closed.

-- Exports that were asked for. The file lies in a folder of the process that made it.
CREATE TABLE exports (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    format TEXT NOT NULL,
    from_day TEXT NOT NULL, -- days of the operator's zone, both included
    to_day TEXT NOT NULL,
    month TEXT, -- asked for by month: what is closed is shown as it was closed
    state TEXT NOT NULL, -- queued | running | done | failed | cancelled | expired
    attempts INTEGER NOT NULL, -- also the claim: whoever raises it from what they read may make the file
    rows_done INTEGER NOT NULL,
    rows_expected INTEGER,
    bytes INTEGER,
    sha256 TEXT,
    position INTEGER, -- every event up to it is in the file
    error TEXT,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    touched_at INTEGER, -- while running: a process that is silent for long is dead
    finished_at INTEGER,
    expires_at INTEGER -- when the file goes
) STRICT;
CREATE INDEX exports_work ON exports (state, created_at);

-- What closed months are signed with: Ed25519, the first one made. The private half is sealed under the master key.
CREATE TABLE period_keys (
    public_key TEXT PRIMARY KEY,
    sealed TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Closed months, in order and for good. The document is signed byte for byte.
CREATE TABLE period_closes (
    month TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    document TEXT NOT NULL,
    digest TEXT NOT NULL,
    signature TEXT NOT NULL,
    public_key TEXT NOT NULL,
    previous TEXT, -- the digest of the month before
    closed_at INTEGER NOT NULL,
    closed_by TEXT NOT NULL
) STRICT;

-- The sums of every book up to the end of a month as they stood when it was closed, in the parts of journal_daily. What comes
-- later for its days is the difference to them, and belongs to the next month.
CREATE TABLE period_books (
    month TEXT NOT NULL,
    unit TEXT NOT NULL,
    book TEXT NOT NULL,
    entries INTEGER NOT NULL,
    debit_billions INTEGER NOT NULL,
    debit_units INTEGER NOT NULL,
    credit_billions INTEGER NOT NULL,
    credit_units INTEGER NOT NULL,
    PRIMARY KEY (month, unit, book)
) STRICT;

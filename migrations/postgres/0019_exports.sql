-- Files for finance, and months of the books that are closed.

-- Exports that were asked for. The file lies in a folder of the process that made it.
CREATE TABLE exports (
    id TEXT COLLATE "C" PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    format TEXT COLLATE "C" NOT NULL,
    from_day TEXT COLLATE "C" NOT NULL, -- days of the operator's zone, both included
    to_day TEXT COLLATE "C" NOT NULL,
    month TEXT COLLATE "C", -- asked for by month: what is closed is shown as it was closed
    state TEXT COLLATE "C" NOT NULL, -- queued | running | done | failed | cancelled | expired
    attempts BIGINT NOT NULL, -- also the claim: whoever raises it from what they read may make the file
    rows_done BIGINT NOT NULL,
    rows_expected BIGINT,
    bytes BIGINT,
    sha256 TEXT COLLATE "C",
    position BIGINT, -- every event up to it is in the file
    error TEXT COLLATE "C",
    created_by TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    touched_at BIGINT, -- while running: a process that is silent for long is dead
    finished_at BIGINT,
    expires_at BIGINT -- when the file goes
);
CREATE INDEX exports_work ON exports (state, created_at);

-- What closed months are signed with: Ed25519, the first one made. The private half is sealed under the master key.
CREATE TABLE period_keys (
    public_key TEXT COLLATE "C" PRIMARY KEY,
    sealed TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);

-- Closed months, in order and for good. The document is signed byte for byte.
CREATE TABLE period_closes (
    month TEXT COLLATE "C" PRIMARY KEY,
    position BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    document TEXT COLLATE "C" NOT NULL,
    digest TEXT COLLATE "C" NOT NULL,
    signature TEXT COLLATE "C" NOT NULL,
    public_key TEXT COLLATE "C" NOT NULL,
    previous TEXT COLLATE "C", -- the digest of the month before
    closed_at BIGINT NOT NULL,
    closed_by TEXT COLLATE "C" NOT NULL
);

-- The sums of every book up to the end of a month as they stood when it was closed, in the parts of journal_daily. What comes
-- later for its days is the difference to them, and belongs to the next month.
CREATE TABLE period_books (
    month TEXT COLLATE "C" NOT NULL,
    unit TEXT COLLATE "C" NOT NULL,
    book TEXT COLLATE "C" NOT NULL,
    entries BIGINT NOT NULL,
    debit_billions BIGINT NOT NULL,
    debit_units BIGINT NOT NULL,
    credit_billions BIGINT NOT NULL,
    credit_units BIGINT NOT NULL,
    PRIMARY KEY (month, unit, book)
);

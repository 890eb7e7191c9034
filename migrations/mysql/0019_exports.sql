-- Files for finance, and months of the books that are closed.

-- Exports that were asked for. The file lies in a folder of the process that made it.
CREATE TABLE exports (
    id VARCHAR(64) PRIMARY KEY,
    kind VARCHAR(32) NOT NULL,
    format VARCHAR(16) NOT NULL,
    from_day VARCHAR(10) NOT NULL, -- days of the operator's zone, both included
    to_day VARCHAR(10) NOT NULL,
    month VARCHAR(7), -- asked for by month: what is closed is shown as it was closed
    state VARCHAR(16) NOT NULL, -- queued | running | done | failed | cancelled | expired
    attempts BIGINT NOT NULL, -- also the claim: whoever raises it from what they read may make the file
    rows_done BIGINT NOT NULL,
    rows_expected BIGINT,
    bytes BIGINT,
    sha256 VARCHAR(64),
    position BIGINT, -- every event up to it is in the file
    error LONGTEXT,
    created_by VARCHAR(64) NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    touched_at BIGINT, -- while running: a process that is silent for long is dead
    finished_at BIGINT,
    expires_at BIGINT -- when the file goes
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX exports_work ON exports (state, created_at);

-- What closed months are signed with: Ed25519, the first one made. The private half is sealed under the master key.
CREATE TABLE period_keys (
    public_key VARCHAR(64) PRIMARY KEY,
    sealed VARCHAR(400) NOT NULL,
    created_at BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Closed months, in order and for good. The document is signed byte for byte.
CREATE TABLE period_closes (
    month VARCHAR(7) PRIMARY KEY,
    position BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    document LONGTEXT NOT NULL,
    digest VARCHAR(64) NOT NULL,
    signature VARCHAR(200) NOT NULL,
    public_key VARCHAR(64) NOT NULL,
    previous VARCHAR(64), -- the digest of the month before
    closed_at BIGINT NOT NULL,
    closed_by VARCHAR(64) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The sums of every book up to the end of a month as they stood when it was closed, in the parts of journal_daily. What comes
-- later for its days is the difference to them, and belongs to the next month.
CREATE TABLE period_books (
    month VARCHAR(7) NOT NULL,
    unit VARCHAR(8) NOT NULL,
    book VARCHAR(220) NOT NULL,
    entries BIGINT NOT NULL,
    debit_billions BIGINT NOT NULL,
    debit_units BIGINT NOT NULL,
    credit_billions BIGINT NOT NULL,
    credit_units BIGINT NOT NULL,
    PRIMARY KEY (month, unit, book)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

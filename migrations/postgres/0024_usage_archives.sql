-- Whole months of calls may leave usage_records for files (docs/backup.md). This is what the tables keep of them.

-- Their sums, by quarter of an hour, in which days of every zone begin: balances and statements are made of them. Projected: a
-- rebuild makes them again.
CREATE TABLE usage_carried (
    account TEXT COLLATE "C" NOT NULL,
    -- The first moment of the quarter: microseconds since 1970.
    slot BIGINT NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    calls BIGINT NOT NULL,
    paid BIGINT NOT NULL, -- nano-credits
    last_at BIGINT NOT NULL, -- when the last of them ended
    PRIMARY KEY (account, slot, model)
);

-- Which calls: those of a month (UTC) that stand on the log at `position` or before. They leave in steps; those that ended before
-- `removed_to` have left. Plain: no log knows of it. Whoever empties usage_records so that the log fills it anew empties this as well.
CREATE TABLE usage_archives (
    month TEXT COLLATE "C" NOT NULL, -- 2026-05
    position BIGINT NOT NULL,
    last_seq BIGINT NOT NULL, -- the last position that one of them stands at
    file TEXT COLLATE "C" NOT NULL, -- its name, without a folder
    sha256 TEXT NOT NULL,
    calls BIGINT NOT NULL,
    paid BIGINT NOT NULL, -- nano-credits
    removed_to BIGINT NOT NULL,
    removed BIGINT NOT NULL DEFAULT 0, -- how many have left
    created_at BIGINT NOT NULL,
    PRIMARY KEY (month, position)
);

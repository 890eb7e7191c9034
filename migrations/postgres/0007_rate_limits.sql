-- How much a key, a group of users, a model or a provider may be called. No row: without limit.
CREATE TABLE rate_limits (
    kind TEXT COLLATE "C" NOT NULL, -- key | group | model | provider
    subject TEXT COLLATE "C" NOT NULL, -- the id of a key or provider, the name of a group or model
    requests_per_minute BIGINT,
    tokens_per_minute BIGINT,
    concurrency BIGINT,
    PRIMARY KEY (kind, subject)
);

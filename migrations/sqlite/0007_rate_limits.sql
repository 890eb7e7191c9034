-- How much a key, a group of users, a model or a provider may be called. No row: without limit.
CREATE TABLE rate_limits (
    kind TEXT NOT NULL, -- key | group | model | provider
    subject TEXT NOT NULL, -- the id of a key or provider, the name of a group or model
    requests_per_minute INTEGER,
    tokens_per_minute INTEGER,
    concurrency INTEGER,
    PRIMARY KEY (kind, subject)
) STRICT;

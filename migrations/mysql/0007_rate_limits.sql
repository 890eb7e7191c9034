-- How much a key, a group of users, a model or a provider may be called. No row: without limit.
CREATE TABLE rate_limits (
    kind VARCHAR(16) NOT NULL, -- key | group | model | provider
    subject VARCHAR(200) NOT NULL, -- the id of a key or provider, the name of a group or model
    requests_per_minute BIGINT,
    tokens_per_minute BIGINT,
    concurrency BIGINT,
    PRIMARY KEY (kind, subject)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

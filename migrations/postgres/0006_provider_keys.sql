-- Further keys of providers. A provider's first key stays in its own row, under the name "main"; a call takes one of
-- them as it takes one of several providers.
CREATE TABLE provider_keys (
    provider_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL, -- usage records carry it
    sealed TEXT COLLATE "C" NOT NULL, -- AES-256-GCM under the master key
    created_at BIGINT NOT NULL,
    PRIMARY KEY (provider_id, name)
);

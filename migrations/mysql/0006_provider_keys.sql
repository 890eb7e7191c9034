-- Further keys of providers. A provider's first key stays in its own row, under the name "main"; a call takes one of
-- them as it takes one of several providers.
CREATE TABLE provider_keys (
    provider_id VARCHAR(36) NOT NULL,
    name VARCHAR(200) NOT NULL, -- usage records carry it
    sealed TEXT NOT NULL, -- AES-256-GCM under the master key
    created_at BIGINT NOT NULL,
    PRIMARY KEY (provider_id, name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

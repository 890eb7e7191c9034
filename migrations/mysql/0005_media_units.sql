-- Units of media beside tokens: characters made into speech, seconds of audio heard, images generated. Rows that stand had
-- none. In usage_records they are within the JSON of tokens and unit_prices.
ALTER TABLE usage_hourly ADD COLUMN characters BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_hourly ADD COLUMN audio_seconds BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_hourly ADD COLUMN images BIGINT NOT NULL DEFAULT 0;

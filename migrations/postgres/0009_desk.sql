-- Roles: whoever was an admin first becomes the owner. Only an owner says who else operates the gateway.
-- MySQL reads no table that it writes; a table derived from it is read first.
UPDATE users SET role = 'owner' WHERE id IN (
    SELECT id FROM (SELECT id FROM users WHERE role = 'admin' ORDER BY status, created_at, id LIMIT 1) AS first_admin
);

-- A rotated key's former secret works until then. What is past stays until the next rotation and opens nothing.
ALTER TABLE api_keys ADD COLUMN previous_hash TEXT COLLATE "C";
ALTER TABLE api_keys ADD COLUMN previous_until BIGINT;
-- To the minute or so: relays write it behind the calls.
ALTER TABLE api_keys ADD COLUMN last_used_at BIGINT;
-- When somebody showed a secret of this key that its owner should alone know; null again after a rotation.
ALTER TABLE api_keys ADD COLUMN leaked_at BIGINT;
CREATE INDEX api_keys_by_previous ON api_keys (previous_hash);

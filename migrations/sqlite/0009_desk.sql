-- Roles: whoever was an admin first becomes the owner. Only an owner says who else operates the gateway.
-- MySQL reads no table that it writes; a table derived from it is read first.
UPDATE users SET role = 'owner' WHERE id IN (
    SELECT id FROM (SELECT id FROM users WHERE role = 'admin' ORDER BY status, created_at, id LIMIT 1) AS first_admin
);

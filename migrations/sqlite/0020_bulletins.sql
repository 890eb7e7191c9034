-- Bulletins: how far telling everybody who chose so has come.

-- The user who was told last, in the order of ids; empty: nobody was told; null: all were, or nobody is to be.
ALTER TABLE announcements ADD COLUMN told_up_to TEXT;
-- The month of the last statement that its owner was told of (`2026-10`); null: they have only just chosen so.
ALTER TABLE user_settings ADD COLUMN statement_told TEXT;

-- Rows that are written again and again: a balance with every report, a lease with every batch of its records. PostgreSQL
-- writes a new version of the row each time; with room left on the page it stays there, no index is touched, and the old
-- version is gone with the next look at the page. Without room every version is a new entry in every index. Holds for
-- pages written from now on; `projections rebuild` writes all of them anew.
ALTER TABLE account_balances SET (fillfactor = 75);
ALTER TABLE account_states SET (fillfactor = 75);
ALTER TABLE billing_records SET (fillfactor = 75);
ALTER TABLE usage_hourly SET (fillfactor = 75);
ALTER TABLE leases SET (fillfactor = 75);
ALTER TABLE IF EXISTS journal_daily SET (fillfactor = 75);

-- The books: where a file for finance lies, and which payments no bill has.

-- The folder that the file lies in, by an id that the folder itself keeps, and the host whose process made it.
ALTER TABLE exports ADD COLUMN place TEXT;
ALTER TABLE exports ADD COLUMN made_on TEXT;
-- Whether a difference tells of an order already.
CREATE INDEX reconciliation_differences_order ON reconciliation_differences (order_id);

-- Money that went back without us is no difference between a bill and the ledger: those are reconciliation's.
ALTER TABLE refund_differences RENAME TO outside_refunds;

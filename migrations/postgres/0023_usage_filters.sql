-- The list of an owner's calls, filtered: key, model and outcome stand in the index, so that a page of a rare one is found without
-- reading the rows between. An index for each filter would cost every call three more.
DROP INDEX usage_records_list;
CREATE INDEX usage_records_list ON usage_records (account, at, request_id, key_id, model, outcome);

use crate::facts::Facts;
use crate::{Database, DatabaseError, Halt, ProjectionError, Row, Set, Tx, Value};
use domain::{Account, AccountId};
use futures_util::future::BoxFuture;
use ledger::{Snapshot, Snapshots};
use std::collections::{BTreeMap, BTreeSet};

const TABLE: &str = "account_states";
const COLUMNS: [&str; 5] = ["account", "version", "sequence", "shape", "snapshot"];

/// The shape of [`Account`] as this binary folds and writes it. Count it up whenever a field of `Account` is added or
/// means something else: rows of another shape then read as none, and such accounts are folded from their first event.
const SHAPE: i64 = 2;
/// The shape of a row whose snapshot is left out: this binary could not read what an older one had written.
const NO_SHAPE: i64 = 0;

/// The states of the accounts that a batch touches.
#[derive(Debug, Default)]
pub(crate) struct StateRows {
    rows: BTreeMap<AccountId, StateRow>,
}

#[derive(Clone, Debug, Default)]
struct StateRow {
    version: u64,
    sequence: u64,
    hash: String,
    /// `None`: the row before was of another shape, so there is nothing to fold onto. The version is still checked;
    /// readers fold the account from the log.
    account: Option<Account>,
}

impl StateRows {
    /// Reads the states that a batch needs to know before it can be folded, but for those that are known.
    pub(crate) async fn learn(&mut self, tx: &mut Tx, facts: &Facts<'_>) -> Result<(), DatabaseError> {
        let unknown = self.begin(facts);
        let keys: Vec<Value> = unknown.into_iter().map(Value::from).collect();
        let sql = "SELECT account, version, sequence, shape, snapshot FROM account_states WHERE";
        for row in tx.fetch_in(sql, "account", &keys).await? {
            let snapshot = readable(row.int("shape")?, &row.text("snapshot")?);
            let state = StateRow {
                version: row.count("version")?,
                sequence: row.count("sequence")?,
                hash: String::new(),
                account: snapshot.map(|it| it.account),
            };
            self.rows.insert(row.parsed("account")?, state);
        }
        Ok(())
    }

    /// The states of accounts that are not known are those before their first event; answers which.
    pub(crate) fn begin(&mut self, facts: &Facts<'_>) -> BTreeSet<AccountId> {
        let accounts = facts.decisions.iter().map(|decision| decision.account);
        let unknown: BTreeSet<_> = accounts.filter(|account| !self.rows.contains_key(account)).collect();
        let fresh = || StateRow { account: Some(Account::default()), ..StateRow::default() };
        self.rows.extend(unknown.iter().map(|account| (*account, fresh())));
        unknown
    }

    /// How many states are known.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A copy of some of the states.
    pub(crate) fn only(&self, accounts: &BTreeSet<AccountId>) -> Self {
        let rows = accounts.iter().filter_map(|account| Some((*account, self.rows.get(account)?.clone())));
        Self { rows: rows.collect() }
    }

    /// Folds a batch's decisions onto the states; pure.
    pub(crate) fn fold(&mut self, facts: &Facts<'_>) -> Result<(), Halt> {
        for decision in &facts.decisions {
            let row = self.rows.entry(decision.account).or_default();
            let expected = row.version.saturating_add(1);
            if decision.recorded.version != expected {
                return Err(Halt::VersionGap {
                    account: decision.account,
                    expected,
                    found: decision.recorded.version,
                    sequence: decision.sequence(),
                });
            }
            row.version = expected;
            row.sequence = decision.sequence();
            row.hash = hex::encode(decision.logged.hash);
            if let Some(account) = &mut row.account {
                account.apply(&decision.recorded.with(decision.event.clone()));
            }
        }
        Ok(())
    }

    /// One upsert for all.
    pub(crate) async fn write(self, tx: &mut Tx) -> Result<(), ProjectionError> {
        let mut values = Vec::with_capacity(self.rows.len() * COLUMNS.len());
        for (account, row) in self.rows {
            let (shape, json) = match row.account {
                None => (NO_SHAPE, String::new()),
                Some(state) => {
                    let snapshot = Snapshot { account: state, sequence: row.sequence, hash: row.hash };
                    let json = serde_json::to_string(&snapshot)
                        .map_err(|error| Halt::Unreadable(format!("account {account}: {error}")))?;
                    (SHAPE, json)
                }
            };
            values.extend([
                account.into(),
                Value::count(row.version),
                Value::count(row.sequence),
                shape.into(),
                json.into(),
            ]);
        }
        let sets = [Set::New("version"), Set::New("sequence"), Set::New("shape"), Set::New("snapshot")];
        let tail = tx.dialect().upsert(TABLE, &["account"], &sets);
        tx.insert(TABLE, &COLUMNS, &values, &tail).await?;
        Ok(())
    }
}

/// A snapshot that this binary can trust.
fn readable(shape: i64, json: &str) -> Option<Snapshot> {
    (shape == SHAPE).then(|| serde_json::from_str(json).ok()).flatten()
}

/// Is a row of `account_states` that differs in these columns only one that was written as an older binary, or this one
/// after it, writes it? Such a snapshot reads as none, so it is not wrong.
pub(crate) fn is_older_snapshot(row: &Row, differing: &[&str]) -> bool {
    let left_out = || row.text("snapshot").is_ok_and(|text| text.is_empty());
    differing.iter().all(|column| ["shape", "snapshot"].contains(column))
        && row
            .int("shape")
            .is_ok_and(|shape| (shape == NO_SHAPE && left_out()) || (1..SHAPE).contains(&shape))
}

impl Snapshots for Database {
    fn load(&self, account: domain::AccountId) -> BoxFuture<'_, Option<Snapshot>> {
        Box::pin(async move {
            let sql = "SELECT shape, snapshot FROM account_states WHERE account = ?";
            let read = async {
                let row = self.fetch_optional(sql, &[account.into()]).await?;
                row.map(|row| Ok((row.int("shape")?, row.text("snapshot")?))).transpose()
            };
            match read.await {
                Ok(row) => row.and_then(|(shape, json)| readable(shape, &json)),
                Err(error) => {
                    let error: &DatabaseError = &error;
                    tracing::warn!(%account, %error, "no snapshot could be read; the account is folded from the log");
                    None
                }
            }
        })
    }
}

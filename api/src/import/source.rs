//! The source: an existing database, read in one consistent snapshot and never written.
//!
//! For: telling New API from One API, and the rows of the tables that are imported.
//! Claims: every statement reads inside a read-only transaction; a missing table is empty and a missing column absent,
//! whatever version the database is of; values come as text, so that no number becomes a float on its way.

use super::Kind;
use anyhow::{Context, bail};
use projections::{Database, DatabaseError, Dialect, Tx};
use std::collections::{BTreeMap, BTreeSet};

/// Table → columns.
pub type Catalogue = BTreeMap<String, BTreeSet<String>>;

/// A row, its values as texts.
#[derive(Clone, Debug, Default)]
pub struct Record {
    columns: &'static [&'static str],
    values: Vec<Option<String>>,
}

impl Record {
    /// A value; `None`: NULL, or there is no such column.
    pub fn opt(&self, column: &str) -> Option<&str> {
        let at = self.columns.iter().position(|it| *it == column)?;
        self.values.get(at)?.as_deref()
    }

    /// A text without the blanks that a column of fixed width adds. NULL and nothing are one.
    pub fn text(&self, column: &str) -> &str {
        self.opt(column).unwrap_or_default().trim_end_matches(' ')
    }

    /// A whole number; NULL is 0. Errors: it is none, or too large.
    pub fn int(&self, column: &str) -> Result<i64, String> {
        let Some(text) = self.opt(column).map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(0);
        };
        match text {
            "true" => Ok(1),
            "false" => Ok(0),
            // SQLite may have kept a whole number as a real one.
            text => text
                .strip_suffix(".0")
                .unwrap_or(text)
                .parse()
                .map_err(|_| format!("{column} is {text:?} and no whole number of 64 bits")),
        }
    }

    /// Yes or no; NULL is no.
    pub fn truth(&self, column: &str) -> Result<bool, String> {
        Ok(self.int(column)? != 0)
    }
}

#[cfg(test)]
impl Record {
    pub(crate) fn of(columns: &'static [&'static str], values: &[&str]) -> Self {
        let values = values.iter().map(|value| (*value != "NULL").then(|| (*value).to_owned())).collect();
        Self { columns, values }
    }
}

/// The columns that are read of each table; the order is that of a [`Record`].
pub mod columns {
    /// `users`
    pub const USERS: &[&str] = &[
        "id",
        "username",
        "password",
        "display_name",
        "role",
        "status",
        "email",
        "quota",
        "used_quota",
        "group",
        "aff_quota",
        "inviter_id",
        "created_at",
        "deleted_at",
        "aff_code",
    ];
    /// `tokens`
    pub const TOKENS: &[&str] = &[
        "id",
        "user_id",
        "key",
        "status",
        "name",
        "created_time",
        "expired_time",
        "remain_quota",
        "unlimited_quota",
        "model_limits_enabled",
        "model_limits",
        "allow_ips",
        "group",
        "deleted_at",
        "models",
        "subnet",
    ];
    /// `channels`
    pub const CHANNELS: &[&str] = &[
        "id",
        "type",
        "key",
        "status",
        "name",
        "weight",
        "base_url",
        "other",
        "models",
        "group",
        "model_mapping",
        "priority",
        "open_ai_organization",
        "status_code_mapping",
        "setting",
        "settings",
        "param_override",
        "header_override",
        "channel_info",
        "config",
        "system_prompt",
    ];
    /// `options`
    pub const OPTIONS: &[&str] = &["key", "value"];
    /// `redemptions`
    pub const REDEMPTIONS: &[&str] = &[
        "id",
        "key",
        "status",
        "name",
        "quota",
        "redeemed_time",
        "used_user_id",
        "expired_time",
        "deleted_at",
    ];
    /// `top_ups`
    pub const TOP_UPS: &[&str] = &[
        "id",
        "user_id",
        "amount",
        "money",
        "trade_no",
        "payment_method",
        "payment_provider",
        "create_time",
        "complete_time",
        "status",
    ];
}

/// The tables that either gateway makes; others are named in the report and left alone.
const KNOWN_TABLES: &[&str] = &[
    "users",
    "tokens",
    "channels",
    "abilities",
    "options",
    "redemptions",
    "top_ups",
    "logs",
    "quota_data",
    "tasks",
    "midjourneys",
    "subscription_plans",
    "subscription_orders",
    "user_subscriptions",
    "subscription_pre_consume_records",
    "two_fas",
    "two_fa_backup_codes",
    "passkey_credentials",
    "user_oauth_bindings",
    "custom_oauth_providers",
    "external_identity_claims",
    "user_sessions",
    "checkins",
    "models",
    "vendors",
    "prefill_groups",
    "authz_roles",
    "casbin_rules",
    "casbin_rule",
    "setups",
    "sqlite_sequence",
];

/// Everything that is read.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// Tables that neither gateway makes.
    pub unknown_tables: Vec<String>,
    /// `users`
    pub users: Vec<Record>,
    /// `tokens`
    pub tokens: Vec<Record>,
    /// `channels`
    pub channels: Vec<Record>,
    /// `options`
    pub options: BTreeMap<String, String>,
    /// `redemptions`
    pub redemptions: Vec<Record>,
    /// `top_ups`
    pub top_ups: Vec<Record>,
    /// Consumption less refunds by user, of `logs`; empty: there are none.
    pub consumed: BTreeMap<i64, i64>,
    /// Rows of tables that are not imported, where there are any.
    pub left_behind: BTreeMap<String, i64>,
}

/// An open source.
pub struct Source {
    tx: Tx,
    catalogue: Catalogue,
    db: Database,
}

/// The URL of what `--from` names: itself, or a SQLite file.
pub fn url_of(from: &str) -> anyhow::Result<String> {
    if from.contains("://") || from.starts_with("sqlite:") {
        return Ok(from.to_owned());
    }
    if !std::path::Path::new(from).is_file() {
        bail!("there is no file {from}; --from takes the path of a SQLite file, postgres://… or mysql://…");
    }
    Ok(format!("sqlite://{}", from.replace('%', "%25").replace('?', "%3f").replace('#', "%23")))
}

impl Source {
    /// Opens a database and looks at its tables.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        let db = Database::connect_to_read(url).await.context("cannot open the source")?;
        let mut tx = db.snapshot().await.context("cannot read the source")?;
        let catalogue = catalogue(&mut tx).await.context("cannot read the source's tables")?;
        if !["users", "tokens", "channels"].iter().all(|table| catalogue.contains_key(*table)) {
            bail!(
                "the source holds no tables users, tokens and channels: it is no New API or One API database"
            );
        }
        Ok(Self { tx, catalogue, db })
    }

    /// Which gateway's database it is, by its tables. `None`: they do not tell.
    pub fn kind(&self) -> Option<Kind> {
        let has = |table: &str, column: &str| self.catalogue.get(table).is_some_and(|it| it.contains(column));
        let one_api = has("tokens", "subnet") || has("channels", "config");
        let new_api =
            has("tokens", "model_limits") || has("top_ups", "trade_no") || has("quota_data", "quota");
        match (new_api, one_api) {
            (true, false) => Some(Kind::NewApi),
            (false, true) => Some(Kind::OneApi),
            (true, true) | (false, false) => None,
        }
    }

    /// Reads all that is imported, and closes the source.
    pub async fn read(mut self) -> anyhow::Result<Data> {
        let data = self.read_all().await.context("cannot read the source")?;
        self.tx.rollback().await.ok();
        self.db.close().await;
        Ok(data)
    }

    async fn read_all(&mut self) -> Result<Data, DatabaseError> {
        let known = |name: &&String| KNOWN_TABLES.contains(&name.as_str()) || name.starts_with("perf_");
        let mut data = Data {
            unknown_tables: self.catalogue.keys().filter(|name| !known(name)).cloned().collect(),
            users: self.rows("users", columns::USERS).await?,
            tokens: self.rows("tokens", columns::TOKENS).await?,
            channels: self.rows("channels", columns::CHANNELS).await?,
            redemptions: self.rows("redemptions", columns::REDEMPTIONS).await?,
            top_ups: self.rows("top_ups", columns::TOP_UPS).await?,
            ..Data::default()
        };
        for row in self.rows("options", columns::OPTIONS).await? {
            data.options.insert(row.text("key").to_owned(), row.text("value").to_owned());
        }
        data.consumed = self.consumed().await?;
        for table in [
            "two_fas",
            "passkey_credentials",
            "user_oauth_bindings",
            "user_subscriptions",
            "tasks",
            "midjourneys",
        ] {
            let rows = self.count(table).await?;
            if rows > 0 {
                data.left_behind.insert(table.to_owned(), rows);
            }
        }
        Ok(data)
    }

    fn has(&self, table: &str, column: &str) -> bool {
        self.catalogue.get(table).is_some_and(|columns| columns.contains(column))
    }

    /// Every row of a table, by its first column.
    async fn rows(
        &mut self,
        table: &str,
        columns: &'static [&'static str],
    ) -> Result<Vec<Record>, DatabaseError> {
        let Some((first, _)) = columns.split_first().filter(|(first, _)| self.has(table, first)) else {
            return Ok(Vec::new());
        };
        let dialect = self.tx.dialect();
        let there: Vec<bool> = columns.iter().map(|column| self.has(table, column)).collect();
        let selected: Vec<String> = columns
            .iter()
            .zip(&there)
            .enumerate()
            .filter(|(_, (_, there))| **there)
            .map(|(at, (column, _))| format!("{} AS c{at}", text_of(dialect, &quoted(dialect, column))))
            .collect();
        let (selected, table) = (selected.join(", "), quoted(dialect, table));
        let sql = format!("SELECT {selected} FROM {table} ORDER BY {}", quoted(dialect, first));
        let mut rows = Vec::new();
        let read = |row: projections::Row| {
            let value = |(at, there): (usize, &bool)| match there {
                true => row.opt_text(&format!("c{at}")),
                false => Ok(None),
            };
            let values = there.iter().enumerate().map(value).collect::<Result<_, _>>()?;
            rows.push(Record { columns, values });
            Ok(())
        };
        self.tx.for_each(&sql, &[], read).await?;
        Ok(rows)
    }

    /// What `logs` say was consumed, less refunds.
    async fn consumed(&mut self) -> Result<BTreeMap<i64, i64>, DatabaseError> {
        if !["user_id", "type", "quota"].iter().all(|column| self.has("logs", column)) {
            return Ok(BTreeMap::new());
        }
        let dialect = self.tx.dialect();
        let kind = quoted(dialect, "type");
        let sum = format!("SUM(CASE WHEN {kind} = 2 THEN quota WHEN {kind} = 6 THEN -quota ELSE 0 END)");
        let sql = format!(
            "SELECT {} AS c0, {} AS c1 FROM logs GROUP BY user_id",
            text_of(dialect, "user_id"),
            text_of(dialect, &sum)
        );
        let mut consumed = BTreeMap::new();
        let read = |row: projections::Row| {
            // A sum that is no number of 64 bits differs from every balance, and is shown as one that does.
            let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
            if let Some(user) = number(row.opt_text("c0")?) {
                consumed.insert(user, number(row.opt_text("c1")?).unwrap_or(i64::MAX));
            }
            Ok(())
        };
        self.tx.for_each(&sql, &[], read).await?;
        Ok(consumed)
    }

    async fn count(&mut self, table: &str) -> Result<i64, DatabaseError> {
        if !self.catalogue.contains_key(table) {
            return Ok(0);
        }
        let sql = format!("SELECT COUNT(*) AS n FROM {}", quoted(self.tx.dialect(), table));
        self.tx.fetch_one(&sql, &[]).await?.int("n")
    }
}

fn quoted(dialect: Dialect, name: &str) -> String {
    match dialect {
        Dialect::MySql => format!("`{name}`"),
        Dialect::Sqlite | Dialect::Postgres => format!("\"{name}\""),
    }
}

fn text_of(dialect: Dialect, expression: &str) -> String {
    match dialect {
        Dialect::MySql => format!("CAST({expression} AS CHAR)"),
        Dialect::Sqlite | Dialect::Postgres => format!("CAST({expression} AS TEXT)"),
    }
}

async fn catalogue(tx: &mut Tx) -> Result<Catalogue, DatabaseError> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => {
            "SELECT m.name AS t, p.name AS c FROM sqlite_master m JOIN pragma_table_info(m.name) p \
             WHERE m.type = 'table'"
        }
        Dialect::Postgres => {
            "SELECT CAST(table_name AS TEXT) AS t, CAST(column_name AS TEXT) AS c FROM information_schema.columns \
             WHERE table_schema = current_schema()"
        }
        Dialect::MySql => {
            "SELECT CAST(table_name AS CHAR) AS t, CAST(column_name AS CHAR) AS c FROM information_schema.columns \
             WHERE table_schema = DATABASE()"
        }
    };
    let mut catalogue = Catalogue::new();
    for row in tx.fetch_all(sql, &[]).await? {
        catalogue.entry(row.text("t")?).or_default().insert(row.text("c")?);
    }
    Ok(catalogue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_strictly_and_a_missing_one_is_nothing() {
        let row = Record::of(&["a", "b", "c", "d"], &["5.0", "true", "NULL", "padded   "]);
        assert_eq!((row.int("a"), row.truth("b"), row.int("c")), (Ok(5), Ok(true), Ok(0)));
        assert_eq!((row.text("d"), row.text("none"), row.opt("c")), ("padded", "", None));
        assert!(row.int("d").unwrap_err().contains("no whole number"));
        assert!(Record::of(&["a"], &["9223372036854775808"]).int("a").is_err());
        assert!(Record::of(&["a"], &["1.5"]).int("a").is_err());
    }
}

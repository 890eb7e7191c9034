//! The tables of a rebuild: made by the migrations' own statements under other names, without the indexes that only
//! readers need; swapped with the tables that are read; dropped.
//!
//! Claims: after a swap tables, indexes and options are what the migrations make; they are described nowhere else.

use crate::checksum::TABLES;
use crate::database::{Aliases, migrations, statements, words};
use crate::{Database, DatabaseError, Dialect, Tx};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Before the names of tables that a rebuild fills.
pub(super) const NEW: &str = "rebuild_";
/// Before the names of tables that were read until a swap.
pub(super) const OLD: &str = "replaced_";
/// Swapped together with the projected tables where a swap is no transaction.
pub(super) const CHECKPOINTS: &str = "projection_checkpoints";

/// How the migrations make the projected tables.
#[derive(Debug)]
pub(crate) struct Schema {
    dialect: Dialect,
    /// The projected tables; on MySQL with the checkpoints.
    pub(super) tables: Vec<&'static str>,
    /// Other names of the tables.
    pub(super) aliases: Option<Arc<Aliases>>,
    /// Makes them, and the unique indexes that the folds rely on.
    create: Vec<String>,
    /// Makes the other indexes.
    indexes: Vec<String>,
}

impl Schema {
    /// Of the tables as they are called.
    pub(crate) fn plain(dialect: Dialect) -> Self {
        Self::of(dialect, TABLES.iter().map(|(table, _)| *table).collect(), None)
    }

    /// Of the tables beside those that are read.
    pub(crate) fn beside(dialect: Dialect) -> Self {
        let mut tables: Vec<&str> = TABLES.iter().map(|(table, _)| *table).collect();
        if dialect == Dialect::MySql {
            tables.push(CHECKPOINTS);
        }
        Self::of(dialect, tables, Some(NEW))
    }

    fn of(dialect: Dialect, tables: Vec<&'static str>, prefix: Option<&str>) -> Self {
        let all: Vec<Statement<'_>> = migrations(dialect)
            .iter()
            .flat_map(|(_, _, script)| statements(script))
            .filter_map(|text| Statement::about(text, &tables))
            .collect();
        // MySQL's indexes are named within their table.
        let indexes = all.iter().filter_map(|it| it.index).filter(|_| dialect != Dialect::MySql);
        let names: BTreeSet<&str> = tables.iter().copied().chain(indexes).collect();
        let aliases = prefix.map(|prefix| Arc::new(Aliases::prefixed(names, prefix)));
        let mut schema = Self { dialect, tables, aliases, create: Vec::new(), indexes: Vec::new() };
        for it in all {
            let named = schema.aliases.as_ref().map_or(it.text.into(), |aliases| aliases.apply(it.text));
            match it.kind {
                Kind::Index => schema.indexes.push(named.into_owned()),
                Kind::DropIndex => {
                    let begun = schema.indexes.len();
                    schema.indexes.retain(|text| !makes_index(text, it.index));
                    if schema.indexes.len() == begun {
                        schema.create.push(named.into_owned());
                    }
                }
                Kind::Other => schema.create.push(named.into_owned()),
            }
        }
        schema
    }

    /// Makes the tables, empty.
    pub(crate) async fn create(&self, db: &Database) -> Result<(), DatabaseError> {
        for statement in &self.create {
            db.execute(statement, &[]).await?;
        }
        Ok(())
    }

    /// Makes the indexes that were left out.
    pub(super) async fn index(&self, db: &Database) -> Result<(), DatabaseError> {
        for statement in &self.indexes {
            db.execute(statement, &[]).await?;
        }
        Ok(())
    }

    /// Drops what an earlier rebuild left behind, and what this one replaced.
    pub(super) async fn drop_leftovers(&self, db: &Database) -> Result<(), DatabaseError> {
        for prefix in [NEW, OLD] {
            for table in &self.tables {
                db.execute(&format!("DROP TABLE IF EXISTS {prefix}{table}"), &[]).await?;
            }
        }
        Ok(())
    }

    /// Gives each table's name to the one beside it, within a transaction. `live`: those of the tables that exist.
    pub(super) async fn swap(&self, tx: &mut Tx, live: &BTreeSet<String>) -> Result<(), DatabaseError> {
        match self.dialect {
            Dialect::Sqlite => self.swap_sqlite(tx, live).await,
            Dialect::Postgres => self.swap_postgres(tx, live).await,
            Dialect::MySql => {
                Err(DatabaseError::Config("MySQL renames tables outside of transactions only".to_owned()))
            }
        }
    }

    /// SQLite has no word for renaming an index, so its name is changed in the schema itself, as SQLite's documentation
    /// of ALTER TABLE describes for changes that touch no content. The texts become those of the migrations again.
    async fn swap_sqlite(&self, tx: &mut Tx, live: &BTreeSet<String>) -> Result<(), DatabaseError> {
        let Some(aliases) = &self.aliases else { return Ok(()) };
        let back = aliases.reversed();
        let mut texts = Vec::new();
        for row in tx.fetch_all("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL", &[]).await? {
            let name = row.text("name")?;
            if let Some(plain) = name.strip_prefix(NEW) {
                texts.push((name.clone(), plain.to_owned(), back.apply(&row.text("sql")?).into_owned()));
            }
        }
        for table in &self.tables {
            if live.contains(*table) {
                tx.execute(&format!("ALTER TABLE {table} RENAME TO {OLD}{table}"), &[]).await?;
            }
            tx.execute(&format!("ALTER TABLE {NEW}{table} RENAME TO {table}"), &[]).await?;
        }
        let version = tx.fetch_one("PRAGMA schema_version", &[]).await?.int("schema_version")?;
        tx.execute("PRAGMA writable_schema = ON", &[]).await?;
        let known: BTreeSet<&str> = texts.iter().map(|(_, plain, _)| plain.as_str()).collect();
        let replaced = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name LIKE ?";
        for row in tx.fetch_all(replaced, &[format!("{OLD}%").into()]).await? {
            let (name, sql) = (row.text("name")?, row.text("sql")?);
            if known.contains(name.as_str()) {
                let sql = Aliases::prefixed([name.as_str()], OLD).apply(&sql).into_owned();
                let values = [format!("{OLD}{name}").into(), sql.into(), name.into()];
                let sql = "UPDATE sqlite_schema SET name = ?, sql = ? WHERE type = 'index' AND name = ?";
                tx.execute(sql, &values).await?;
            }
        }
        for (name, plain, sql) in texts {
            // A table has its plain name by now, an index not yet.
            let update =
                "UPDATE sqlite_schema SET name = ?, sql = ? WHERE sql IS NOT NULL AND name IN (?, ?)";
            tx.execute(update, &[plain.as_str().into(), sql.into(), name.into(), plain.as_str().into()])
                .await?;
        }
        // Every connection reads the schema again.
        tx.execute(&format!("PRAGMA schema_version = {}", version + 1), &[]).await?;
        tx.execute("PRAGMA writable_schema = RESET", &[]).await?;
        Ok(())
    }

    async fn swap_postgres(&self, tx: &mut Tx, live: &BTreeSet<String>) -> Result<(), DatabaseError> {
        for table in &self.tables {
            // Indexes, those of primary keys among them, are named within the schema.
            let sql = "SELECT indexname::text AS indexname FROM pg_indexes WHERE schemaname = current_schema() AND tablename = ?";
            if live.contains(*table) {
                for row in tx.fetch_all(sql, &[(*table).into()]).await? {
                    let name = row.text("indexname")?;
                    let rename =
                        format!("ALTER INDEX {} RENAME TO {}", quoted("", &name), quoted(OLD, &name));
                    tx.execute(&rename, &[]).await?;
                }
                tx.execute(&format!("ALTER TABLE {table} RENAME TO {OLD}{table}"), &[]).await?;
            }
            for row in tx.fetch_all(sql, &[format!("{NEW}{table}").into()]).await? {
                let name = row.text("indexname")?;
                if let Some(plain) = name.strip_prefix(NEW) {
                    let rename = format!("ALTER INDEX {} RENAME TO {}", quoted("", &name), quoted("", plain));
                    tx.execute(&rename, &[]).await?;
                }
            }
            tx.execute(&format!("ALTER TABLE {NEW}{table} RENAME TO {table}"), &[]).await?;
        }
        Ok(())
    }

    /// MySQL's swap: one statement, all tables or none.
    pub(super) fn rename(&self, live: &BTreeSet<String>) -> String {
        let renames = self.tables.iter().flat_map(|table| {
            let old = live.contains(*table).then(|| format!("{table} TO {OLD}{table}"));
            old.into_iter().chain([format!("{NEW}{table} TO {table}")])
        });
        format!("RENAME TABLE {}", renames.collect::<Vec<_>>().join(", "))
    }

    /// Those of the tables that exist: one that was dropped can be rebuilt as well.
    pub(crate) async fn present(&self, db: &Database) -> Result<BTreeSet<String>, DatabaseError> {
        let sql = match self.dialect {
            Dialect::Sqlite => "SELECT name AS table_found FROM sqlite_schema WHERE type = 'table'",
            Dialect::Postgres => {
                "SELECT tablename::text AS table_found FROM pg_tables WHERE schemaname = current_schema()"
            }
            Dialect::MySql => {
                "SELECT CAST(table_name AS CHAR) AS table_found FROM information_schema.tables \
                 WHERE table_schema = DATABASE()"
            }
        };
        let mut names = BTreeSet::new();
        for row in db.fetch_all(sql, &[]).await? {
            let name = row.text("table_found")?;
            if self.tables.contains(&name.as_str()) {
                names.insert(name);
            }
        }
        Ok(names)
    }
}

/// A statement of a migration about a projected table.
struct Statement<'a> {
    text: &'a str,
    kind: Kind,
    /// The index that it makes or drops.
    index: Option<&'a str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Makes an index that is not unique.
    Index,
    DropIndex,
    Other,
}

impl<'a> Statement<'a> {
    /// `None`: it is about other tables, or about rows, of which new tables have none but the first checkpoint.
    fn about(text: &'a str, tables: &[&str]) -> Option<Self> {
        let noise = ["IF", "NOT", "EXISTS", "ONLY", "CONCURRENTLY"];
        let words = words(text).map(|(_, word)| word);
        let rest: Vec<&'a str> = words
            .filter(|word| !noise.iter().any(|noise| noise.eq_ignore_ascii_case(word)))
            .take(6)
            .collect();
        let word = |at: usize| rest.get(at).copied().unwrap_or_default();
        let upper = |at: usize| word(at).to_ascii_uppercase();
        let (kind, index, table) = match (upper(0).as_str(), upper(1).as_str(), upper(2).as_str()) {
            ("CREATE", "TABLE", _) | ("ALTER", "TABLE", _) => (Kind::Other, None, word(2)),
            ("CREATE", "UNIQUE", "INDEX") => (Kind::Other, Some(word(3)), word(5)),
            ("CREATE", "INDEX", _) => (Kind::Index, Some(word(2)), word(4)),
            ("DROP", "INDEX", _) => (Kind::DropIndex, Some(word(2)), word(4)),
            ("INSERT", "INTO", _) if word(2) == CHECKPOINTS => (Kind::Other, None, word(2)),
            _ => return None,
        };
        // An index is dropped by its name alone in two of the dialects; by our habit that begins with the table's.
        let ours = tables.contains(&table)
            || (kind == Kind::DropIndex
                && tables.iter().any(|it| index.is_some_and(|name| name.starts_with(it))));
        ours.then_some(Self { text, kind, index })
    }
}

/// A name of PostgreSQL's catalogue, for a statement.
fn quoted(prefix: &str, name: &str) -> String {
    format!("\"{prefix}{}\"", name.replace('"', "\"\""))
}

fn makes_index(text: &str, index: Option<&str>) -> bool {
    let names: Vec<&str> = words(text).map(|(_, word)| word).collect();
    index
        .is_some_and(|index| names.iter().any(|name| *name == index || name.strip_prefix(NEW) == Some(index)))
}

//! The few places where the three databases differ.

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SQLite, in a file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    MySql,
}

/// What an upsert does to a column of a row that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set<'a> {
    /// Takes the new row's value.
    New(&'a str),
    /// Adds the new row's value to the old one.
    Add(&'a str),
    /// Takes the larger of the two.
    Larger(&'a str),
}

impl Dialect {
    /// The dialect's name, as the folder of its migrations is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }

    /// The statement with this dialect's placeholders: every `?` outside quotes and comments becomes `$1`, `$2`… for
    /// PostgreSQL and stays for the others.
    pub fn placeholders(self, sql: &str) -> String {
        match self {
            Self::Sqlite | Self::MySql => sql.to_owned(),
            Self::Postgres => number_placeholders(sql),
        }
    }

    /// The end of an `INSERT INTO table …` that turns it into an upsert on a unique key.
    ///
    /// MySQL reacts to *any* unique key of the table, so a table that is upserted should have one that can clash. Count
    /// nothing by the rows affected: MySQL says 2 for a changed row. The order of `sets` must not matter: MySQL
    /// assigns one after the other, the others all at once.
    pub fn upsert(self, table: &str, keys: &[&str], sets: &[Set<'_>]) -> String {
        let assignments: Vec<String> = sets
            .iter()
            .map(|set| match set {
                Set::New(column) => format!("{column} = {}", self.new_value(column)),
                Set::Add(column) => format!("{column} = {table}.{column} + {}", self.new_value(column)),
                Set::Larger(column) => {
                    let new = self.new_value(column);
                    format!(
                        "{column} = CASE WHEN {new} > {table}.{column} THEN {new} ELSE {table}.{column} END"
                    )
                }
            })
            .collect();
        let assignments = assignments.join(", ");
        match (self, sets.is_empty()) {
            (Self::Sqlite | Self::Postgres, false) => {
                format!(" ON CONFLICT ({}) DO UPDATE SET {assignments}", keys.join(", "))
            }
            (Self::Sqlite | Self::Postgres, true) => format!(" ON CONFLICT ({}) DO NOTHING", keys.join(", ")),
            (Self::MySql, false) => format!(" ON DUPLICATE KEY UPDATE {assignments}"),
            // `INSERT IGNORE` would swallow other errors too; an assignment to itself changes nothing.
            (Self::MySql, true) => {
                let key = keys.first().copied().unwrap_or_default();
                format!(" ON DUPLICATE KEY UPDATE {key} = {table}.{key}")
            }
        }
    }

    /// The value that the refused new row had for a column. `VALUES()` is the one form that MySQL and MariaDB share.
    fn new_value(self, column: &str) -> String {
        match self {
            Self::Sqlite | Self::Postgres => format!("excluded.{column}"),
            Self::MySql => format!("VALUES({column})"),
        }
    }

    /// A sum of integers as an integer, zero when there are no rows: PostgreSQL and MySQL widen sums to decimals. One that
    /// does not fit is an error of the statement, or NULL, which no reader takes for a number.
    pub fn sum(self, expression: &str) -> String {
        let sum = format!("COALESCE(SUM({expression}), 0)");
        match self {
            Self::Sqlite => sum,
            Self::Postgres => format!("CAST({sum} AS BIGINT)"),
            // The cast alone would answer with the largest number there is.
            Self::MySql => {
                let (least, most) = (i64::MIN, i64::MAX);
                format!("CASE WHEN {sum} BETWEEN {least} AND {most} THEN CAST({sum} AS SIGNED) END")
            }
        }
    }

    /// Most values that one statement may bind.
    pub fn bind_limit(self) -> usize {
        match self {
            Self::Sqlite => 32_766,
            Self::Postgres | Self::MySql => 65_535,
        }
    }

    /// Rows of so many columns per `INSERT … VALUES`: what measurements showed to be fast, within the bind limit.
    pub fn rows_per_insert(self, columns: usize) -> usize {
        let fast = match self {
            // As fast as 1000; and each connection keeps its prepared statements in memory, MySQL's in the server's.
            Self::Sqlite | Self::MySql => 128,
            // It has faster forms: see `bulk`.
            Self::Postgres => 1_000,
        };
        fast.min(self.bind_limit() / columns.max(1)).max(1)
    }
}

/// `?, ?, ?`: as many as asked.
pub fn question_marks(count: usize) -> String {
    let mut marks = "?, ".repeat(count);
    marks.truncate(marks.len().saturating_sub(2));
    marks
}

fn number_placeholders(sql: &str) -> String {
    let mut numbered = String::with_capacity(sql.len() + 16);
    let mut next = 1_usize;
    let mut rest = sql;
    while let Some(at) = rest.find(['?', '\'', '"', '-', '/']) {
        let (before, here) = rest.split_at(at);
        numbered.push_str(before);
        // The length of what is copied as it stands: a quoted text (a doubled quote is two of them in a row), a comment,
        // or one character.
        let untouched = match here.as_bytes() {
            [b'?', ..] => {
                numbered.push('$');
                numbered.push_str(&next.to_string());
                next += 1;
                rest = &here[1..];
                continue;
            }
            [quote @ (b'\'' | b'"'), ..] => {
                here[1..].find(char::from(*quote)).map_or(here.len(), |end| end + 2)
            }
            [b'-', b'-', ..] => here.find('\n').map_or(here.len(), |end| end + 1),
            [b'/', b'*', ..] => here.find("*/").map_or(here.len(), |end| end + 2),
            _ => 1,
        };
        numbered.push_str(&here[..untouched]);
        rest = &here[untouched..];
    }
    numbered.push_str(rest);
    numbered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_marks_become_numbers_except_in_quotes_and_comments() {
        for (sql, numbered) in [
            ("SELECT a FROM t WHERE b = ? AND c IN (?, ?)", "SELECT a FROM t WHERE b = $1 AND c IN ($2, $3)"),
            ("SELECT '?', 'it''s ?', \"a?\" WHERE x = ?", "SELECT '?', 'it''s ?', \"a?\" WHERE x = $1"),
            (
                "SELECT a - ? / ? -- why ?\nWHERE /* ? */ b = ?",
                "SELECT a - $1 / $2 -- why ?\nWHERE /* ? */ b = $3",
            ),
            ("SELECT 'open ?", "SELECT 'open ?"),
            ("", ""),
        ] {
            assert_eq!(Dialect::Postgres.placeholders(sql), numbered);
            assert_eq!(Dialect::Sqlite.placeholders(sql), sql);
        }
    }

    #[test]
    fn an_upsert_speaks_each_dialect() {
        let sets = [Set::New("a"), Set::Add("b")];
        assert_eq!(
            Dialect::Postgres.upsert("t", &["k", "l"], &sets),
            " ON CONFLICT (k, l) DO UPDATE SET a = excluded.a, b = t.b + excluded.b"
        );
        assert_eq!(
            Dialect::MySql.upsert("t", &["k", "l"], &sets),
            " ON DUPLICATE KEY UPDATE a = VALUES(a), b = t.b + VALUES(b)"
        );
        assert_eq!(Dialect::Sqlite.upsert("t", &["k"], &[]), " ON CONFLICT (k) DO NOTHING");
        assert_eq!(Dialect::MySql.upsert("t", &["k"], &[]), " ON DUPLICATE KEY UPDATE k = t.k");
    }

    #[test]
    fn no_insert_binds_more_than_the_database_allows() {
        for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql] {
            for columns in [1, 15, 40, 500, 40_000] {
                let rows = dialect.rows_per_insert(columns);
                assert!(rows >= 1 && (rows == 1 || rows * columns <= dialect.bind_limit()));
            }
        }
    }
}

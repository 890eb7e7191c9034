//! Other names for tables: the same statements, about the tables that a rebuild fills beside those that are read.
//!
//! Claims: whole names are replaced, in statements and nowhere else: not in quotes, not in comments, not in parts of other
//! names. (No column has a table's name: a test says so.)

use std::borrow::Cow;

/// Names, and what stands for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aliases {
    pairs: Vec<(String, String)>,
}

impl Aliases {
    /// Each name with a prefix before it.
    pub(crate) fn prefixed<'a>(names: impl IntoIterator<Item = &'a str>, prefix: &str) -> Self {
        let pairs = names.into_iter().map(|name| (name.to_owned(), format!("{prefix}{name}")));
        Self { pairs: pairs.collect() }
    }

    /// From what stands for a name back to it.
    pub(crate) fn reversed(&self) -> Self {
        Self { pairs: self.pairs.iter().map(|(name, other)| (other.clone(), name.clone())).collect() }
    }

    /// The statement with the other names.
    pub(crate) fn apply<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        let mut changed = String::new();
        let mut copied = 0;
        for (at, word) in words(sql) {
            if let Some((_, other)) = self.pairs.iter().find(|(name, _)| name == word) {
                changed.push_str(&sql[copied..at]);
                changed.push_str(other);
                copied = at + word.len();
            }
        }
        if copied == 0 {
            return Cow::Borrowed(sql);
        }
        changed.push_str(&sql[copied..]);
        Cow::Owned(changed)
    }
}

/// The words of a statement (names, keywords, numbers) with their places; not those in quotes and comments.
pub(crate) fn words(sql: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = sql.get(at..).filter(|rest| !rest.is_empty())?;
            if let Some(skipped) = skip(rest) {
                at += skipped;
                continue;
            }
            let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            if end == 0 {
                at += rest.chars().next().map_or(1, char::len_utf8);
                continue;
            }
            let word = (at, &rest[..end]);
            at += end;
            return Some(word);
        }
    })
}

/// The length of the quoted text or the comment that a statement's rest begins with.
fn skip(rest: &str) -> Option<usize> {
    match rest.as_bytes() {
        // A doubled quote is two quoted texts in a row.
        [quote @ (b'\'' | b'"' | b'`'), ..] => {
            Some(rest[1..].find(char::from(*quote)).map_or(rest.len(), |end| end + 2))
        }
        [b'-', b'-', ..] => Some(rest.find('\n').map_or(rest.len(), |end| end + 1)),
        [b'/', b'*', ..] => Some(rest.find("*/").map_or(rest.len(), |end| end + 2)),
        _ => None,
    }
}

/// The statements of a script, without what separates them.
pub(crate) fn statements(script: &str) -> Vec<&str> {
    let (mut found, mut begin, mut at) = (Vec::new(), 0, 0);
    while let Some(rest) = script.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(skipped) = skip(rest) {
            at += skipped;
            continue;
        }
        if rest.starts_with(';') {
            found.push(script[begin..at].trim());
            begin = at + 1;
        }
        at += rest.chars().next().map_or(1, char::len_utf8);
    }
    found.push(script[begin..].trim());
    // What is left behind the last one may be a comment.
    found.retain(|statement| words(statement).next().is_some());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_are_replaced_outside_quotes_and_comments() {
        let aliases = Aliases::prefixed(["leases", "usage_hourly"], "new_");
        for (sql, expected) in [
            ("SELECT * FROM leases WHERE leases.n = ?", "SELECT * FROM new_leases WHERE new_leases.n = ?"),
            (
                "INSERT INTO usage_hourly(a) VALUES ('leases')",
                "INSERT INTO new_usage_hourly(a) VALUES ('leases')",
            ),
            ("CREATE INDEX leases_account ON leases (a)", "CREATE INDEX leases_account ON new_leases (a)"),
            ("leases", "new_leases"),
            (
                "-- the owner's leases\nleases /* leases */ \"leases\" `leases`",
                "-- the owner's leases\nnew_leases /* leases */ \"leases\" `leases`",
            ),
            ("'it''s leases' leases", "'it''s leases' new_leases"),
            ("SELECT é, leases, 'open leases", "SELECT é, new_leases, 'open leases"),
            ("SELECT 1", "SELECT 1"),
        ] {
            assert_eq!(aliases.apply(sql), expected);
            assert_eq!(aliases.reversed().apply(&aliases.apply(sql)), sql);
        }
    }

    #[test]
    fn a_script_falls_into_its_statements() {
        let script = "-- one's; comment\nCREATE TABLE a (b TEXT DEFAULT ';'); \n/* ; */ INSERT INTO a VALUES ('x;y''z');\n-- end;\n";
        let found = statements(script);
        assert_eq!(found.len(), 2);
        assert!(found[0].ends_with("CREATE TABLE a (b TEXT DEFAULT ';')"));
        assert!(found[1].ends_with("INSERT INTO a VALUES ('x;y''z')"));
    }
}

//! The journal as beancount reads it: text that a program of somebody else's checks.
//!
//! Books become accounts of beancount's five roots, credits a commodity of their own. What the books had before is one
//! transaction, every event another, every day's usage one; at the end stand assertions of all balances, so that
//! `bean-check` says whether lines and trial balance are the same.

use domain::{Book, Unit};
use projections::exports::{JournalLine, LineSource};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::{self, Write};

/// What credits are called.
const CREDIT: &str = "CREDIT";

/// A journal under way.
pub struct Beancount<W: Write> {
    out: W,
    /// The first day; nothing is dated before it.
    first: String,
    /// Books that are open, but for accounts', each of which comes once.
    open: BTreeSet<String>,
    /// Which transaction the last line was of.
    current: Option<String>,
}

impl<W: Write> Beancount<W> {
    /// From this day on.
    pub fn begin(mut out: W, title: &str, first: &str) -> io::Result<Self> {
        writeln!(out, "option \"title\" \"{}\"", plain(title))?;
        writeln!(out, "{first} commodity {CREDIT}")?;
        writeln!(out, "  name: \"credits\"")?;
        let mut file = Self { out, first: first.to_owned(), open: BTreeSet::new(), current: None };
        // Whatever is owed to accounts is under one, which is asserted as a whole.
        file.open(Book::LIABILITY)?;
        Ok(file)
    }

    /// A book that will be named.
    pub fn open(&mut self, book: &str) -> io::Result<()> {
        let is_an_accounts = book.strip_prefix(Book::LIABILITY).is_some_and(|rest| rest.starts_with(':'));
        if !is_an_accounts && !self.open.insert(book.to_owned()) {
            return Ok(());
        }
        writeln!(self.out, "{} open {}", self.first, account(book))?;
        writeln!(self.out, "  book: \"{}\"", plain(book))
    }

    /// What a book had before.
    pub fn opening(&mut self, book: &str, unit: Unit, amount: i128) -> io::Result<()> {
        let first = self.first.clone();
        self.transaction("opening".to_owned(), |out| {
            writeln!(out, "\n{first} * \"Balances brought forward\"")
        })?;
        self.posting(book, unit, amount)
    }

    /// A line. Those of an event come one after the other.
    pub fn line(&mut self, it: &JournalLine) -> io::Result<()> {
        // What belongs to a closed month and came later stands on the first day that is open.
        let day = it.day.as_str().max(&self.first).to_owned();
        match &it.source {
            LineSource::Event { event_seq, at, .. } => self.transaction(event_seq.to_string(), |out| {
                writeln!(out, "\n{day} * \"{}\"", plain(&it.kind))?;
                writeln!(out, "  event: {event_seq}")?;
                writeln!(out, "  at: \"{at}\"")?;
                match it.account {
                    Some(account) => writeln!(out, "  account: \"{account}\""),
                    None => Ok(()),
                }
            })?,
            LineSource::Usage => {
                self.transaction(format!("usage {day}"), |out| writeln!(out, "\n{day} * \"usage\""))?
            }
        }
        self.posting(&it.book, it.unit, it.debit - it.credit)
    }

    /// What a book has when a day begins.
    pub fn balance(&mut self, day: &str, book: &str, unit: Unit, amount: i128) -> io::Result<()> {
        self.transaction("balances".to_owned(), |out| writeln!(out))?;
        writeln!(self.out, "{day} balance {} {} {}", account(book), unit.decimal(amount), commodity(unit))
    }

    /// Ends the text.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn transaction(&mut self, name: String, head: impl FnOnce(&mut W) -> io::Result<()>) -> io::Result<()> {
        if self.current.as_ref() != Some(&name) {
            head(&mut self.out)?;
            self.current = Some(name);
        }
        Ok(())
    }

    fn posting(&mut self, book: &str, unit: Unit, amount: i128) -> io::Result<()> {
        writeln!(self.out, "  {}  {} {}", account(book), unit.decimal(amount), commodity(unit))
    }
}

fn commodity(unit: Unit) -> String {
    match unit {
        Unit::Credits => CREDIT.to_owned(),
        Unit::Money(currency) => currency.to_string(),
    }
}

/// A book's name as an account's. Parts that beancount would not take are written with a digest, so that no two become one.
pub fn account(book: &str) -> String {
    let (root, rest) = book.split_once(':').unwrap_or((book, ""));
    let (root, chapter) = match root {
        "asset" => ("Assets", None),
        "liability" => ("Liabilities", None),
        "payable" | "suspense" => ("Liabilities", Some(root)),
        "revenue" => ("Income", None),
        "expense" => ("Expenses", None),
        "equity" => ("Equity", None),
        other => ("Equity", Some(other)),
    };
    // A model's or a provider's name may hold colons, so at most one chapter is split off.
    let mut parts: Vec<&str> = chapter.into_iter().collect();
    match rest.split_once(':') {
        Some((chapter, name)) if parts.is_empty() => parts.extend([chapter, name]),
        _ if rest.is_empty() => {}
        _ => parts.push(rest),
    }
    let mut name = root.to_owned();
    for part in parts {
        name.push(':');
        name.push_str(&component(part));
    }
    name
}

fn component(part: &str) -> String {
    if let Ok(id) = uuid::Uuid::parse_str(part) {
        return id.to_string().to_uppercase();
    }
    let mut characters = part.chars();
    let fits = characters.next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        && characters.all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-');
    let mut text: String =
        part.chars().take(60).map(|it| if it.is_ascii_alphanumeric() { it } else { '-' }).collect();
    if !text.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        text.insert(0, 'X');
    }
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if !fits {
        text.push('-');
        text.push_str(&hex::encode(&Sha256::digest(part)[..4]));
    }
    text
}

/// A text within quotes.
fn plain(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).collect::<String>().replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::account;

    #[test]
    fn every_book_is_an_account_and_no_two_are_one() {
        for (book, expected) in [
            ("asset:clearing:sandbox", "Assets:Clearing:Sandbox"),
            ("fx:CNY", "Equity:Fx:CNY-5ea8f24c"),
            ("revenue:usage:gpt-4o", "Income:Usage:Gpt-4o"),
            ("expense:promotions", "Expenses:Promotions"),
            ("equity:opening", "Equity:Opening"),
            ("payable:provider:antinomy", "Liabilities:Payable:Provider-antinomy-0"),
            ("suspense:sandbox", "Liabilities:Suspense:Sandbox"),
            (
                "liability:credits:0197a000-0000-7000-8000-00000000ad31",
                "Liabilities:Credits:0197A000-0000-7000-8000-00000000AD31",
            ),
        ] {
            let found = account(book);
            // A digest stands behind names that were changed.
            let stem = |it: &str| it.rsplit_once('-').map_or(it.to_owned(), |(stem, _)| stem.to_owned());
            assert!(found == expected || stem(&found) == stem(expected), "{book}: {found}");
        }
        let names = ["m.1", "m-1", "M-1", "模型", "m/1", "m_1", "-m", "m 1"];
        let accounts: std::collections::BTreeSet<_> =
            names.iter().map(|it| account(&format!("revenue:usage:{it}"))).collect();
        assert_eq!(accounts.len(), names.len());
    }
}

//! Deferred revenue: what accounts have paid for and not used yet.
//!
//! Credits of one account are all alike; which of them are left is a rule: **gifts are used first**, so that what was paid is
//! owed for as long as it can be, and where an account paid in several currencies, what is left is of each in proportion. It is
//! made of the books alone: what is owed to an account, and what its decisions did to the books where currencies meet credits.

use super::{Cut, Reader};
use crate::{DatabaseError, Row};
use domain::{AccountId, Book, Currency, Unit};

/// What an account has of what it paid in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// Whose.
    pub account: AccountId,
    /// In which currency it was paid.
    pub currency: Currency,
    /// What was paid, less what went back: minor units.
    pub paid_minor: i128,
    /// The credits that it bought, less those that went back: nano-credits.
    pub bought: i128,
    /// Those of them that are left.
    pub unspent: i128,
    /// Their share of what was paid: minor units, rounded half to even.
    pub deferred_minor: i128,
    /// All that the account has, gifts too.
    pub owed: i128,
}

/// What is known of an account while its rows come.
#[derive(Debug, Default)]
struct Account {
    owed: i128,
    /// By currency: what was paid, and what it bought.
    paid: Vec<(Currency, i128, i128)>,
}

impl Reader {
    /// What is left of what was paid, by account and currency. Accounts that have paid nothing are not in it.
    pub async fn deferred(
        &mut self,
        until: &Cut,
        mut with: impl FnMut(Deferred) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        let owed = Book::LIABILITY;
        let sum = |column: &str| self.tx.dialect().sum(column);
        let ((sums, first), (holds, of_entries)) = (until.sums(""), until.holds());
        // `SUBSTR` counts from 1 in all three. An fx book's two units: the money, and the credits that it bought.
        let sql = format!(
            "SELECT account, book, unit, {} AS billions, {} AS units FROM (\
             SELECT SUBSTR(book, {}) AS account, '{owed}' AS book, unit, debit_billions - credit_billions AS billions, \
             debit_units - credit_units AS units FROM ({sums}) sums WHERE book >= '{owed}:' AND book < '{owed};' \
             UNION ALL \
             SELECT account, book, unit, (amount - amount % 1000000000) / 1000000000, amount % 1000000000 \
             FROM journal_entries WHERE book >= 'fx:' AND book < 'fx;' AND account IS NOT NULL AND {holds}\
             ) owed GROUP BY account, book, unit ORDER BY account, book, unit",
            sum("billions"),
            sum("units"),
            owed.len() + 2,
        );
        let mut values = vec![first];
        values.extend(of_entries);
        let mut current: Option<(AccountId, Account)> = None;
        self.tx
            .for_each(&sql, &values, |row| {
                let id = row.parsed("account")?;
                let account = match &mut current {
                    Some((known, account)) if *known == id => account,
                    _ => {
                        let before = current.replace((id, Account::default()));
                        hand_over(before, &mut with)?;
                        let Some((_, account)) = &mut current else { return Ok(()) };
                        account
                    }
                };
                account.take(&row)
            })
            .await?;
        hand_over(current, &mut with)
    }
}

impl Account {
    fn take(&mut self, row: &Row) -> Result<(), DatabaseError> {
        let amount = i128::from(row.int("billions")?) * 1_000_000_000 + i128::from(row.int("units")?);
        let (book, unit) = (row.text("book")?, row.parsed::<Unit>("unit")?);
        let Some(code) = book.strip_prefix("fx:") else {
            // What is owed is a credit, and below zero.
            self.owed -= amount;
            return Ok(());
        };
        let currency = Currency::try_new(code).map_err(|error| DatabaseError::column("book", error))?;
        let paid = match self.paid.iter_mut().find(|(known, ..)| *known == currency) {
            Some(paid) => paid,
            None => {
                self.paid.push((currency, 0, 0));
                let Some(paid) = self.paid.last_mut() else { return Ok(()) };
                paid
            }
        };
        match unit {
            Unit::Credits => paid.2 += amount,
            Unit::Money(_) => paid.1 -= amount,
        }
        Ok(())
    }
}

fn hand_over(
    account: Option<(AccountId, Account)>,
    with: &mut impl FnMut(Deferred) -> Result<(), DatabaseError>,
) -> Result<(), DatabaseError> {
    let Some((id, Account { owed, paid })) = account else { return Ok(()) };
    let bought: i128 = paid.iter().map(|(_, _, bought)| (*bought).max(0)).sum();
    let left = owed.clamp(0, bought.max(0));
    // Shares add up to the whole: each is what is due up to it, less what was given before.
    let (mut before, mut given) = (0, 0);
    for (currency, paid_minor, of_it) in paid {
        before += of_it.max(0);
        let due = share(left, before, bought);
        let unspent = due - given;
        given = due;
        with(Deferred {
            account: id,
            currency,
            paid_minor,
            bought: of_it,
            unspent,
            deferred_minor: share(paid_minor.max(0), unspent, of_it),
            owed,
        })?;
    }
    Ok(())
}

/// `whole × part ÷ of`, rounded half to even; nothing where there is nothing to share.
fn share(whole: i128, part: i128, of: i128) -> i128 {
    // Sums of one account: each below 2^63, their product below 2^126.
    if of <= 0 {
        return 0;
    }
    let product = whole.saturating_mul(part);
    let (quotient, rest) = (product / of, product % of);
    match (rest * 2).cmp(&of) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Equal => quotient + quotient % 2,
        std::cmp::Ordering::Greater => quotient + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_are_rounded_half_to_even() {
        for (whole, part, of, expected) in [
            (5_000, 1, 2, 2_500),
            (5, 1, 2, 2),
            (7, 1, 2, 4),
            (1, 1, 3, 0),
            (2, 1, 3, 1),
            (5, 3, 0, 0),
            (9, 9, 9, 9),
        ] {
            assert_eq!(share(whole, part, of), expected, "{whole} × {part} ÷ {of}");
        }
    }
}

//! Postings: what an event means for the books.
//!
//! Double entry: debits are positive, credits negative. Claims: the postings of any event sum to zero per unit; the
//! books are made of events alone. Chart of accounts: `asset:clearing:<channel>`, `fx:<currency>`,
//! `liability:credits:<account>`, `revenue:usage:<model>`, `expense:provider:<provider>`,
//! `payable:provider:<provider>`, `expense:promotions`, `expense:goodwill`, `expense:metering_loss`,
//! `equity:opening`, `suspense:<channel>`.

use crate::event::{AccountEvent, Event, GrantSource, NodeEvent, SuspenseEvent};
use crate::{AccountId, ChannelName, Credits, Currency, Label, Money, UsageRecord};

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Which book account.
    pub book: Book,
    /// In which unit.
    pub unit: Unit,
    /// Debit above zero, credit below: nano-credits or minor units of the currency.
    pub amount: i64,
}

/// What an amount is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Nano-credits.
    Credits,
    /// Minor units of a currency.
    Money(Currency),
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Credits => f.write_str("credits"),
            Self::Money(currency) => currency.fmt(f),
        }
    }
}

/// An account of the books.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Book {
    /// Money on its way from a channel to the operator's bank.
    Clearing(ChannelName),
    /// Where a currency meets the credits it bought.
    Fx(Currency),
    /// Credits owed to an account's owner.
    Liability(AccountId),
    /// Earned by serving a model.
    Revenue(Label),
    /// What a provider's service cost.
    ProviderExpense(Label),
    /// What is owed to a provider.
    ProviderPayable(Label),
    /// Credits given away.
    Promotions,
    /// Corrections.
    Goodwill,
    /// Usage that nobody's credits covered.
    MeteringLoss,
    /// Balances brought from another system.
    Opening,
    /// Payments that wait for a person.
    Suspense(ChannelName),
}

impl std::fmt::Display for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clearing(channel) => write!(f, "asset:clearing:{channel}"),
            Self::Fx(currency) => write!(f, "fx:{currency}"),
            Self::Liability(account) => write!(f, "liability:credits:{account}"),
            Self::Revenue(model) => write!(f, "revenue:usage:{model}"),
            Self::ProviderExpense(provider) => write!(f, "expense:provider:{provider}"),
            Self::ProviderPayable(provider) => write!(f, "payable:provider:{provider}"),
            Self::Promotions => f.write_str("expense:promotions"),
            Self::Goodwill => f.write_str("expense:goodwill"),
            Self::MeteringLoss => f.write_str("expense:metering_loss"),
            Self::Opening => f.write_str("equity:opening"),
            Self::Suspense(channel) => write!(f, "suspense:{channel}"),
        }
    }
}

/// The journal lines of an event; none where no money moves.
pub fn postings(event: &Event) -> Vec<Posting> {
    match event {
        Event::Account(account, event) => of_account(*account, event),
        Event::Node(_, NodeEvent::UsageReported(report)) => {
            report.records.iter().flat_map(of_usage).collect()
        }
        Event::Node(_, NodeEvent::NodeSealed(_)) => Vec::new(),
        Event::Suspense(channel, SuspenseEvent::PaymentSuspended(it)) => {
            money(it.paid, Book::Clearing(channel.clone()), Book::Suspense(channel.clone()))
        }
    }
}

fn of_account(account: AccountId, event: &AccountEvent) -> Vec<Posting> {
    let owed = Book::Liability(account);
    match event {
        AccountEvent::TopUpCompleted(it) => {
            let fx = Book::Fx(it.paid.currency);
            let mut lines = money(it.paid, Book::Clearing(it.channel.clone()), fx.clone());
            lines.extend(credits(it.credits, fx, owed));
            lines
        }
        AccountEvent::CreditGranted(it) => {
            let from = match it.source {
                GrantSource::Import => Book::Opening,
                GrantSource::Signup
                | GrantSource::Redemption
                | GrantSource::Referral
                | GrantSource::Promotion
                | GrantSource::Admin => Book::Promotions,
            };
            credits(it.credits, from, owed)
        }
        AccountEvent::AdjustmentPosted(it) => credits(it.credits, Book::Goodwill, owed),
        AccountEvent::TopUpInitiated(_)
        | AccountEvent::TopUpClosed(_)
        | AccountEvent::LeaseGranted(_)
        | AccountEvent::LeaseAmended(_)
        | AccountEvent::LeaseClosed(_) => Vec::new(),
    }
}

/// Usage: the owner's credits (and, for what they could not cover, the operator's loss) become revenue; the provider's
/// cost becomes a debt to it.
pub fn of_usage(record: &UsageRecord) -> Vec<Posting> {
    let usage = &record.usage;
    let revenue = Book::Revenue(usage.model.clone());
    let mut lines = credits(record.paid(), Book::Liability(record.account), revenue.clone());
    lines.extend(credits(record.uncovered, Book::MeteringLoss, revenue));
    let provider = usage.provider.clone();
    lines.extend(credits(
        usage.cost,
        Book::ProviderExpense(provider.clone()),
        Book::ProviderPayable(provider),
    ));
    lines
}

/// A pair of lines in credits: debit one book, credit the other.
fn credits(amount: Credits, debit: Book, credit: Book) -> Vec<Posting> {
    pair(Unit::Credits, amount.nano(), debit, credit)
}

/// A pair of lines in a currency.
fn money(amount: Money, debit: Book, credit: Book) -> Vec<Posting> {
    pair(Unit::Money(amount.currency), amount.minor, debit, credit)
}

fn pair(unit: Unit, amount: i64, debit: Book, credit: Book) -> Vec<Posting> {
    // `i64::MIN` has no counterpart; no accepted amount comes near it (see `decide::MOST_CREDITS_IN`).
    match amount.checked_neg() {
        None | Some(0) => Vec::new(),
        Some(negated) => {
            vec![Posting { book: debit, unit, amount }, Posting { book: credit, unit, amount: negated }]
        }
    }
}

#[cfg(test)]
mod tests;

//! Postings: what an event means for the books.
//!
//! Double entry: debits are positive, credits negative. Claims: lines come in pairs, a debit and its credit one after the
//! other, so the postings of any event sum to zero per unit; the books are made of events alone. Chart of accounts:
//! `asset:clearing:<channel>`, `fx:<currency>`, `liability:credits:<account>`, `liability:refunds:<channel>`, `revenue:usage:<model>`,
//! `expense:provider:<provider>`, `payable:provider:<provider>`, `expense:promotions`, `expense:goodwill`,
//! `expense:metering_loss`, `expense:fees:<channel>`, `equity:opening`, `suspense:<channel>`.
//!
//! Who bears a call's charge is known to whoever reads the log in order: a record may come after its lease was closed
//! without it, or a second time. So usage is booked by [`of_usage`] with the [`Split`] that was counted, once per record.

use crate::event::{AccountEvent, ChannelEvent, Event, GrantSource, NodeEvent, Resolution, SuspenseEvent};
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

impl Unit {
    /// A sum of amounts as a decimal string, written as [`Credits`] and [`Money::amount`] write theirs.
    pub fn decimal(self, sum: i128) -> String {
        let decimals = match self {
            Self::Credits => 9,
            Self::Money(currency) => currency.decimals() as usize,
        };
        let sign = if sum < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", sum.unsigned_abs(), width = decimals + 1);
        let (whole, rest) = digits.split_at(digits.len() - decimals);
        let rest = match self {
            Self::Credits => rest.trim_end_matches('0'),
            Self::Money(_) => rest,
        };
        if rest.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") }
    }
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Credits => f.write_str("credits"),
            Self::Money(currency) => currency.fmt(f),
        }
    }
}

impl std::str::FromStr for Unit {
    type Err = crate::money::MoneyError;

    /// Errors: neither `credits` nor a currency's code.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "credits" => Ok(Self::Credits),
            code => Currency::try_new(code).map(Self::Money),
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
    /// Credits that were set aside for refunds whose money has not gone yet.
    RefundsDue(ChannelName),
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
    /// What a channel keeps of payments.
    ChannelFees(ChannelName),
    /// Balances brought from another system.
    Opening,
    /// Payments that wait for a person.
    Suspense(ChannelName),
}

impl std::fmt::Display for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clearing(channel)
            | Self::Suspense(channel)
            | Self::RefundsDue(channel)
            | Self::ChannelFees(channel) => {
                write!(f, "{}:{channel}", self.chapter())
            }
            Self::Fx(currency) => write!(f, "{}:{currency}", self.chapter()),
            Self::Liability(account) => write!(f, "{}:{account}", self.chapter()),
            Self::Revenue(name) | Self::ProviderExpense(name) | Self::ProviderPayable(name) => {
                write!(f, "{}:{name}", self.chapter())
            }
            Self::Promotions | Self::Goodwill | Self::MeteringLoss | Self::Opening => {
                f.write_str(self.chapter())
            }
        }
    }
}

/// A text that names no account of the books.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no account of the books")]
pub struct UnknownBook(pub String);

impl std::str::FromStr for Book {
    type Err = UnknownBook;

    /// Reads back what `Display` writes.
    fn from_str(text: &str) -> Result<Self, UnknownBook> {
        fn named<T: std::str::FromStr>(name: &str, book: impl FnOnce(T) -> Book) -> Option<Book> {
            name.parse().ok().map(book)
        }
        let book = match text {
            "expense:promotions" => Some(Self::Promotions),
            "expense:goodwill" => Some(Self::Goodwill),
            "expense:metering_loss" => Some(Self::MeteringLoss),
            "equity:opening" => Some(Self::Opening),
            text => {
                let after = |chapter: &str| text.strip_prefix(chapter)?.strip_prefix(':');
                None.or_else(|| named(after(CLEARING)?, Self::Clearing))
                    .or_else(|| named(after(FX)?, Self::Fx))
                    .or_else(|| named(after(Self::LIABILITY)?, Self::Liability))
                    .or_else(|| named(after(REFUNDS_DUE)?, Self::RefundsDue))
                    .or_else(|| named(after(Self::REVENUE)?, Self::Revenue))
                    .or_else(|| named(after(PROVIDER_EXPENSE)?, Self::ProviderExpense))
                    .or_else(|| named(after(PROVIDER_PAYABLE)?, Self::ProviderPayable))
                    .or_else(|| named(after(SUSPENSE)?, Self::Suspense))
                    .or_else(|| named(after(CHANNEL_FEES)?, Self::ChannelFees))
            }
        };
        book.ok_or_else(|| UnknownBook(text.to_owned()))
    }
}

const CLEARING: &str = "asset:clearing";
const FX: &str = "fx";
const REFUNDS_DUE: &str = "liability:refunds";
const PROVIDER_EXPENSE: &str = "expense:provider";
const PROVIDER_PAYABLE: &str = "payable:provider";
const SUSPENSE: &str = "suspense";
const CHANNEL_FEES: &str = "expense:fees";

impl Book {
    /// The chapter of what is owed to accounts.
    pub const LIABILITY: &'static str = "liability:credits";
    /// The chapter of what models earn.
    pub const REVENUE: &'static str = "revenue:usage";

    /// Where the book stands in the chart of accounts: its name without the channel, currency, account, model or
    /// provider.
    pub fn chapter(&self) -> &'static str {
        match self {
            Self::Clearing(_) => CLEARING,
            Self::Fx(_) => FX,
            Self::Liability(_) => Self::LIABILITY,
            Self::RefundsDue(_) => REFUNDS_DUE,
            Self::Revenue(_) => Self::REVENUE,
            Self::ProviderExpense(_) => PROVIDER_EXPENSE,
            Self::ProviderPayable(_) => PROVIDER_PAYABLE,
            Self::Promotions => "expense:promotions",
            Self::Goodwill => "expense:goodwill",
            Self::MeteringLoss => "expense:metering_loss",
            Self::Opening => "equity:opening",
            Self::Suspense(_) => SUSPENSE,
            Self::ChannelFees(_) => CHANNEL_FEES,
        }
    }
}

/// Who bears the charge of a usage record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// What the account pays.
    pub paid: Credits,
    /// What the operator loses.
    pub uncovered: Credits,
}

impl Split {
    /// As the record says.
    pub fn reported(record: &UsageRecord) -> Self {
        Self { paid: record.paid(), uncovered: record.uncovered }
    }

    /// Of a record that came after its lease had been closed without it: the whole charge is the operator's loss.
    pub fn late(record: &UsageRecord) -> Self {
        Self { paid: Credits::ZERO, uncovered: record.usage.charge }
    }
}

/// The journal lines of an event; none where no money moves.
///
/// Of usage: as its report says. Whoever keeps books uses [`of_usage`] on each record that counts.
pub fn postings(event: &Event) -> Vec<Posting> {
    match event {
        Event::Account(account, event) => of_account(*account, event),
        Event::Node(_, NodeEvent::UsageReported(report)) => {
            report.records.iter().flat_map(|record| of_usage(record, Split::reported(record))).collect()
        }
        Event::Node(_, NodeEvent::NodeSealed(_)) => Vec::new(),
        Event::Suspense(channel, SuspenseEvent::PaymentSuspended(it)) => {
            money(it.paid, Book::Clearing(channel.clone()), Book::Suspense(channel.clone()))
        }
        // Back to where it came from: the claimant's order takes it from there, a refund took it from there, and what never
        // came is not there. So a claimed payment is credited by the same lines as any other.
        Event::Suspense(channel, SuspenseEvent::SuspenseResolved(it)) => match it.resolution {
            Resolution::Claimed { .. } | Resolution::Returned { .. } | Resolution::Dismissed => {
                money(it.paid, Book::Suspense(channel.clone()), Book::Clearing(channel.clone()))
            }
        },
        Event::Channel(channel, ChannelEvent::ChannelFeePosted(it)) => {
            money(it.fee, Book::ChannelFees(channel.clone()), Book::Clearing(channel.clone()))
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
        AccountEvent::RefundRequested(it) => credits(it.credits, owed, Book::RefundsDue(it.channel.clone())),
        AccountEvent::RefundFailed(it) => credits(it.credits, Book::RefundsDue(it.channel.clone()), owed),
        AccountEvent::RefundCompleted(it) => {
            let due = Book::RefundsDue(it.channel.clone());
            let mut lines = money(it.pay, Book::Fx(it.pay.currency), Book::Clearing(it.channel.clone()));
            lines.extend(credits(bought(it.credits, it.bonus), due.clone(), Book::Fx(it.pay.currency)));
            lines.extend(credits(it.bonus, due, Book::Promotions));
            lines
        }
        AccountEvent::ChargebackPosted(it) => {
            let fx = Book::Fx(it.pay.currency);
            let mut lines = money(it.pay, fx.clone(), Book::Clearing(it.channel.clone()));
            lines.extend(credits(bought(it.credits, it.bonus), owed.clone(), fx));
            lines.extend(credits(it.bonus, owed, Book::Promotions));
            lines
        }
        AccountEvent::ChargebackReversed(it) => {
            let fx = Book::Fx(it.pay.currency);
            let mut lines = money(it.pay, Book::Clearing(it.channel.clone()), fx.clone());
            lines.extend(credits(bought(it.credits, it.bonus), fx, owed.clone()));
            lines.extend(credits(it.bonus, Book::Promotions, owed));
            lines
        }
        AccountEvent::TopUpInitiated(_)
        | AccountEvent::TopUpClosed(_)
        | AccountEvent::RefundApproved(_)
        | AccountEvent::LeaseGranted(_)
        | AccountEvent::LeaseAmended(_)
        | AccountEvent::LeaseClosed(_) => Vec::new(),
    }
}

/// What of credits that go back was paid for. `decide` makes no bonus above the whole.
fn bought(credits: Credits, bonus: Credits) -> Credits {
    credits.checked_sub(bonus).unwrap_or(Credits::ZERO)
}

/// Usage, as it was counted: what the owner pays (and what the operator loses) becomes revenue; the provider's cost
/// becomes a debt to it.
pub fn of_usage(record: &UsageRecord, split: Split) -> Vec<Posting> {
    let usage = &record.usage;
    let revenue = Book::Revenue(usage.model.clone());
    let mut lines = credits(split.paid, Book::Liability(record.account), revenue.clone());
    lines.extend(credits(split.uncovered, Book::MeteringLoss, revenue));
    let provider = usage.provider.clone();
    lines.extend(credits(
        usage.cost,
        Book::ProviderExpense(provider.clone()),
        Book::ProviderPayable(provider),
    ));
    lines
}

/// Usage that was booked as paid by its owner, and turns out to be the operator's loss: a sweeper closed its lease without
/// it, which gave those credits back.
pub fn of_taken_back(account: AccountId, paid: Credits) -> Vec<Posting> {
    credits(paid, Book::MeteringLoss, Book::Liability(account))
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

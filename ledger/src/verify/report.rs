use domain::posting::Unit;
use domain::{Credits, Moment};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// What a pass over a log came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Nothing was found.
    pub clean: bool,
    /// The first sequence that was read; `None`: there was no message.
    pub first_sequence: Option<u64>,
    /// The last sequence that was read.
    pub last_sequence: Option<u64>,
    /// When that message was stored, by the log's clock.
    pub last_stored_at: Option<Moment>,
    /// How much there was.
    pub counts: Counts,
    /// All accounts in sum.
    pub wallets: Wallets,
    /// The postings of all events, by unit.
    pub totals: BTreeMap<String, Total>,
    /// All findings, listed or not.
    pub findings_total: u64,
    /// The first [`FINDINGS_LISTED`] of them.
    pub findings: Vec<Finding>,
    /// What is worth knowing, and no fault.
    pub notes: Vec<Note>,
}

/// Findings that a report lists; the others are only counted.
pub const FINDINGS_LISTED: usize = 1000;

/// How much there was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Accounts.
    pub accounts: u64,
    /// Runs of relay nodes.
    pub nodes: u64,
    /// Of these, sealed.
    pub sealed_nodes: u64,
    /// Leases granted.
    pub leases_granted: u64,
    /// Leases closed.
    pub leases_closed: u64,
    /// Leases open at the end.
    pub leases_open: u64,
    /// Usage records, each counted once.
    pub usage_records: u64,
    /// Reports of a record that was on the log already.
    pub repeated_records: u64,
    /// Records that came too late for their lease.
    pub late_records: u64,
    /// Payments that matched no order.
    pub suspended_payments: u64,
    /// Of these, resolved.
    pub resolved_payments: u64,
}

/// All accounts in sum, in credits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Wallets {
    /// All credits that ever came in.
    #[serde(serialize_with = "in_credits")]
    pub credits_in: i128,
    /// All that was taken out, other than by usage.
    #[serde(serialize_with = "in_credits")]
    pub credits_out: i128,
    /// All that was spent of leases that are closed.
    #[serde(serialize_with = "in_credits")]
    pub spent_of_closed_leases: i128,
    /// What open leases hold, spent or not.
    #[serde(serialize_with = "in_credits")]
    pub leased: i128,
    /// What may be spent, leased or taken out.
    #[serde(serialize_with = "in_credits")]
    pub available: i128,
}

/// The postings in one unit: both sides, which must be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// In credits or in a currency?
    is_credits: bool,
    /// The sum of all debits: nano-credits, or minor units of the currency.
    pub debit: i128,
    /// The sum of all credit lines, without their sign.
    pub credit: i128,
}

impl Total {
    pub(super) fn of(unit: Unit) -> Self {
        Self { is_credits: unit == Unit::Credits, debit: 0, credit: 0 }
    }

    fn text(&self, amount: i128) -> String {
        if self.is_credits { credits_text(amount) } else { amount.to_string() }
    }

    /// The debits as text: credits, or minor units of the currency.
    pub fn debit_text(&self) -> String {
        self.text(self.debit)
    }

    /// The credit lines as text.
    pub fn credit_text(&self) -> String {
        self.text(self.credit)
    }
}

impl Serialize for Total {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        BTreeMap::from([("credit", self.credit_text()), ("debit", self.debit_text())]).serialize(serializer)
    }
}

fn in_credits<S: Serializer>(nano: &i128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&credits_text(*nano))
}

/// Nano-credits as a decimal number of credits: a sum over accounts may be more than one account can hold.
pub fn credits_text(nano: i128) -> String {
    if let Ok(nano) = i64::try_from(nano) {
        return Credits::from_nano(nano).to_string();
    }
    let per_credit = u128::from(Credits::NANO_PER_CREDIT.unsigned_abs());
    let (sign, size) = (if nano < 0 { "-" } else { "" }, nano.unsigned_abs());
    let text = format!("{sign}{}.{:09}", size / per_credit, size % per_credit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of fault.
    pub code: Code,
    /// The message where it shows; absent where it is the whole that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Its subject; a stream's name where the message's cannot be told.
    pub subject: String,
    /// What is wrong, in words.
    pub sentence: String,
}

/// Something worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What kind.
    pub code: NoteCode,
    /// In words.
    pub sentence: String,
}

/// Kinds of faults. Their names in JSON are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Messages are missing.
    SequenceGap,
    /// A message stands before its predecessor.
    SequenceOrder,
    /// A subject that no event belongs on.
    ForeignSubject,
    /// Bytes that are no event, or an event of another subject.
    Unreadable,
    /// An event that this version does not know.
    UnknownEvent,
    /// A version that does not follow.
    Version,
    /// A hash that is not that of the subject's message before.
    Chain,
    /// An event that stands twice on its subject.
    RepeatedEvent,
    /// An event after the end of a node's run.
    AfterSeal,
    /// Debits and credits differ.
    PostingsUnbalanced,
    /// Less than nothing is available.
    AvailableNegative,
    /// More was leased or taken out than was available.
    AboveAvailable,
    /// More went back than was left of an order, or of one that was not paid.
    AboveOrder,
    /// A refund or chargeback that was not there, not approved, or over.
    RefundOutOfTurn,
    /// An amount that no decision may have.
    AmountInvalid,
    /// An account above what the ledger can count.
    Overflow,
    /// A decision that was made before.
    DecisionRepeated,
    /// An idempotency key that was used before.
    KeyReused,
    /// An order that was never opened.
    OrderUnknown,
    /// An order that was opened before, with other contents.
    OrderRepeated,
    /// An order paid a second time, or closed after it was paid.
    OrderPaid,
    /// A payment by another channel or of another sum than the order's.
    PaymentDiffers,
    /// Other credits came in than the order said.
    CreditsDiffer,
    /// The end of a payment that is not in suspense, or is not the one that was put there.
    SuspenseUnknown,
    /// A payment in suspense resolved a second time.
    SuspenseResolved,
    /// A lease that was never granted.
    LeaseUnknown,
    /// A lease that is closed.
    LeaseClosed,
    /// A second lease of the same run and scope.
    LeaseOpen,
    /// More was spent than a lease held.
    SpentAboveLease,
    /// A lease closed with another sum than its records come to.
    CloseSpent,
    /// A lease closed by its holder with fewer records than it had reported.
    CloseCount,
    /// Records of a closed lease that are not on the log.
    RecordsMissing,
    /// A record that is not the one first reported under its number.
    RecordDiffers,
    /// A record numbered 0.
    RecordNumber,
    /// A record of another account than its lease.
    RecordAccount,
    /// A cumulative sum that does not follow from the record before.
    RecordSum,
    /// An uncovered part below nothing or above the charge.
    RecordUncovered,
    /// A charge that does not follow from tokens, prices and multiplier.
    RecordCharge,
    /// Bytes of an archive that are not those that were written.
    ArchiveDamaged,
    /// An archive that does not hold all that was written.
    ArchiveIncomplete,
}

/// Kinds of notes. Their names in JSON are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteCode {
    /// Leases are open.
    LeasesOpen,
    /// Records of open leases have not come yet.
    RecordsPending,
    /// Records came too late for their leases.
    RecordsLate,
    /// Records were reported again so late that their first report was forgotten.
    RepeatsNotCompared,
    /// Payments wait for a person.
    PaymentsSuspended,
    /// Payments were claimed out of suspense and are not credited yet.
    ClaimsUnfinished,
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

impl std::fmt::Display for NoteCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

/// Findings as they come: the first are kept, the rest counted.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) listed: Vec<Finding>,
    pub(super) total: u64,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        self.total += 1;
        if self.listed.len() < FINDINGS_LISTED {
            self.listed.push(finding);
        }
    }
}

/// Where a finding shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) sequence: u64,
    pub(super) subject: &'a str,
}

impl Place<'_> {
    pub(super) fn finding(self, code: Code, sentence: String) -> Finding {
        Finding { code, sequence: Some(self.sequence), subject: self.subject.to_owned(), sentence }
    }
}

//! An account under random commands: what may be asked, in any order, again and again, by several nodes and keys.

use super::books::recorded;
use super::fixed;
use crate::account::event::{AccountEvent, CloseReason, Closer, GrantSource, Scope};
use crate::account::{Amend, Budget};
use crate::posting::Book;
use crate::samples::{channel, key, label, nano, reason};
use crate::{
    Account, AccountId, AdjustmentId, ChargebackId, Command, Credits, Decision, EpochId, Event, GrantId,
    IdempotencyKey, KeyId, LeaseId, Moment, Money, OrderId, Recorded, RefundId, decide, postings,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What happens next. Ids come from small pools on purpose, so that they are used again for other things.
#[derive(Clone, Debug)]
enum Step {
    /// A command; with an idempotency key perhaps, if it takes one.
    Ask(Command, Option<u8>),
    /// The channel confirms an order as it was opened.
    Pay(OrderId),
    /// An amendment of a lease: its budget is that of the lease's scope.
    Amend { lease: LeaseId, amend: Amend },
    /// The lease comes back with this many thousandths of it spent.
    Close { lease: LeaseId, thousandths: u16, by: Closer },
    /// A part of an order goes back, in minor units: asked for, and then one of these.
    GiveBack { refund: RefundId, order: OrderId, minor: i64, way: Way },
    /// One of the commands accepted before, once more.
    Again(Index),
}

/// How a refund goes on.
#[derive(Clone, Copy, Debug)]
enum Way {
    Waits,
    Rejected,
    Pending,
    Done,
    Failed,
    Disputed,
}

fn pooled<T>(wrap: fn(Uuid) -> T, size: u128) -> impl Strategy<Value = T>
where
    T: std::fmt::Debug,
{
    (0..size).prop_map(move |n| wrap(Uuid::from_u128(n)))
}

/// Mostly a few credits; sometimes a few nanos, nothing, less than nothing, or far too much.
fn amount() -> impl Strategy<Value = Credits> {
    prop_oneof![
        12 => 1_i64..20_000_000_000,
        3 => 0_i64..10,
        1 => -10_i64..0,
        1 => select(vec![i64::MIN, i64::MIN + 1, i64::MAX / 4, i64::MAX / 4 - 3, i64::MAX]),
    ]
    .prop_map(nano)
}

/// Small beside what comes in, so that more than one fits.
fn slice() -> impl Strategy<Value = Credits> {
    prop_oneof![8 => 1_i64..2_000_000_000, 2 => 0_i64..4, 1 => amount().prop_map(Credits::nano)]
        .prop_map(nano)
}

fn scope() -> impl Strategy<Value = Scope> {
    let period = select(vec![
        "total",
        "2026-10",
        "2026-11",
        "2026-11-20",
        "2026-11-21",
        "2026-11-22",
        "2026-11-23",
        "2026-11-24",
    ]);
    let of_key = (pooled(KeyId::from_uuid, 2), period)
        .prop_map(|(key, period)| Scope::Key { key, period: label(period) });
    prop_oneof![2 => Just(Scope::Account), 3 => of_key]
}

/// The limit of every key's budget. One limit, so that a use above it can have no other cause than a wrong decision.
const LIMIT: Credits = Credits::from_nano(3_000_000_000);

fn budget_of(scope: &Scope) -> Option<Budget> {
    match scope {
        Scope::Account => None,
        Scope::Key { .. } => Some(Budget { limit: LIMIT }),
    }
}

fn money() -> impl Strategy<Value = Money> {
    (select(vec!["CNY", "USD"]), prop_oneof![6 => Just(5_000), 1 => -1_i64..3])
        .prop_map(|(code, minor)| Money { currency: code.parse().unwrap(), minor })
}

fn command() -> impl Strategy<Value = Command> {
    let order = || pooled(OrderId::from_uuid, 4);
    let at = || select(vec!["sandbox", "epay"]).prop_map(channel);
    let initiate = (order(), at(), money(), amount()).prop_map(|(order, channel, pay, credits)| {
        Command::InitiateTopUp { order, channel, pay, credits, expires_at: Moment::from_micros(0) }
    });
    let complete =
        (order(), at(), select(vec!["tx-1", "tx-2"]), money()).prop_map(|(order, channel, txn, paid)| {
            Command::CompleteTopUp { order, channel, provider_txn: label(txn), paid }
        });
    let close = (order(), select(vec![CloseReason::Failed, CloseReason::Expired]))
        .prop_map(|(order, reason)| Command::CloseTopUp { order, reason });
    let give = (pooled(GrantId::from_uuid, 6), amount()).prop_map(|(grant, credits)| Command::GrantCredit {
        grant,
        source: GrantSource::Promotion,
        credits,
        reason: None,
    });
    let either_way = (any::<bool>(), amount()).prop_map(|(minus, amount)| match minus {
        true => amount.checked_neg().unwrap_or(amount),
        false => amount,
    });
    let adjust = (pooled(AdjustmentId::from_uuid, 6), either_way).prop_map(|(adjustment, credits)| {
        Command::PostAdjustment { adjustment, credits, reason: reason("a slip") }
    });
    let lease = (pooled(LeaseId::from_uuid, 12), pooled(EpochId::from_uuid, 3), scope(), slice(), amount())
        .prop_map(|(lease, epoch, scope, at_least, wanted)| {
            let budget = budget_of(&scope);
            Command::GrantLease { lease, epoch, scope, at_least, wanted, ttl_ms: 60_000, budget }
        });
    prop_oneof![2 => initiate, 2 => complete, 2 => close, 2 => give, 1 => adjust, 8 => lease, 2 => money_back()]
}

/// Refunds and disputes of those orders, in any order.
fn money_back() -> impl Strategy<Value = Command> {
    let refund = || pooled(RefundId::from_uuid, 5);
    let order = || pooled(OrderId::from_uuid, 4);
    let part = || {
        (select(vec!["CNY", "CNY", "USD"]), select(vec![1_i64, 900, 2_500, 5_000, 0, 5_001]))
            .prop_map(|(code, minor)| Money { currency: code.parse().unwrap(), minor })
    };
    let request = (refund(), order(), part()).prop_map(|(refund, order, pay)| Command::RequestRefund {
        refund,
        order,
        pay,
        reason: reason("not wanted"),
    });
    let end = (refund(), 0..4).prop_map(|(refund, how)| match how {
        0 => Command::RejectRefund { refund, reason: reason("no") },
        1 => Command::FailRefund { refund, reason: reason("closed") },
        _ => Command::CompleteRefund { refund, provider_refund: Some(label("re_1")) },
    });
    let chargeback = || pooled(ChargebackId::from_uuid, 2);
    let taken = (chargeback(), order(), part()).prop_map(|(chargeback, order, pay)| {
        Command::PostChargeback { chargeback, order, pay, reference: label("dp_1") }
    });
    prop_oneof![
        6 => request,
        6 => refund().prop_map(|refund| Command::ApproveRefund { refund }),
        6 => end,
        1 => taken,
        1 => chargeback().prop_map(|chargeback| Command::ReverseChargeback { chargeback }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let lease = || pooled(LeaseId::from_uuid, 12);
    let extend = (slice(), amount()).prop_map(|(at_least, wanted)| Amend::Extend { at_least, wanted });
    let shrink = slice().prop_map(|to| Amend::Shrink { to });
    prop_oneof![
        10 => (command(), proptest::option::weighted(0.2, 0_u8..4)).prop_map(|(command, key)| Step::Ask(command, key)),
        3 => (lease(), prop_oneof![3 => extend, 1 => shrink]).prop_map(|(lease, amend)| Step::Amend { lease, amend }),
        4 => (lease(), 0_u16..=1_050, select(vec![Closer::Holder, Closer::Sweeper]))
            .prop_map(|(lease, thousandths, by)| Step::Close { lease, thousandths, by }),
        1 => pooled(OrderId::from_uuid, 4).prop_map(Step::Pay),
        6 => (pooled(RefundId::from_uuid, 60), pooled(OrderId::from_uuid, 4), select(vec![1, 7, 900, 2_500, 5_000]), ways())
            .prop_map(|(refund, order, minor, way)| Step::GiveBack { refund, order, minor, way }),
        2 => any::<Index>().prop_map(Step::Again),
    ]
}

fn ways() -> impl Strategy<Value = Way> {
    let usual = vec![Way::Waits, Way::Rejected, Way::Pending, Way::Done, Way::Done, Way::Failed];
    prop_oneof![8 => select(usual), 3 => Just(Way::Disputed)]
}

/// The books kept beside the account, from its events alone and in wide integers: what the fold is compared with.
#[derive(Default)]
struct Tally {
    came_in: i128,
    went_out: i128,
    spent: i128,
    open: BTreeMap<LeaseId, (Scope, i128)>,
    spent_by_period: BTreeMap<Scope, i128>,
    /// Somebody's bank has taken something back: only then may there be less than nothing.
    in_dispute: bool,
}

impl Tally {
    fn count(&mut self, event: &AccountEvent) {
        let wide = |credits: Credits| i128::from(credits.nano());
        match event {
            AccountEvent::TopUpInitiated(_) | AccountEvent::TopUpClosed(_) => {}
            AccountEvent::TopUpCompleted(it) => self.came_in += wide(it.credits),
            AccountEvent::CreditGranted(it) => self.came_in += wide(it.credits),
            AccountEvent::AdjustmentPosted(it) if it.credits.is_negative() => {
                self.went_out -= wide(it.credits)
            }
            AccountEvent::AdjustmentPosted(it) => self.came_in += wide(it.credits),
            AccountEvent::RefundRequested(it) => self.went_out += wide(it.credits),
            AccountEvent::RefundFailed(it) => self.went_out -= wide(it.credits),
            AccountEvent::RefundApproved(_) | AccountEvent::RefundCompleted(_) => {}
            AccountEvent::ChargebackPosted(it) => {
                self.went_out += wide(it.credits);
                self.in_dispute = true;
            }
            AccountEvent::ChargebackReversed(it) => self.went_out -= wide(it.credits),
            AccountEvent::LeaseGranted(it) => {
                let twice = self.open.insert(it.lease, (it.scope.clone(), wide(it.credits)));
                assert_eq!(twice, None, "a lease was granted twice");
            }
            AccountEvent::LeaseAmended(it) => {
                self.open.get_mut(&it.lease).expect("it is open").1 = wide(it.credits)
            }
            AccountEvent::LeaseClosed(it) => {
                let (scope, size) = self.open.remove(&it.lease).expect("it is open");
                assert!((0..=size).contains(&wide(it.spent)), "spent {} of {size}", it.spent);
                self.spent += wide(it.spent);
                *self.spent_by_period.entry(scope).or_default() += wide(it.spent);
            }
        }
    }

    fn leased(&self) -> i128 {
        self.open.values().map(|(_, size)| size).sum()
    }

    /// Spent, or still out, by scope.
    fn used(&self) -> BTreeMap<Scope, i128> {
        let mut used = self.spent_by_period.clone();
        for (scope, size) in self.open.values() {
            *used.entry(scope.clone()).or_default() += size;
        }
        used
    }
}

/// An account with its whole history.
#[derive(Default)]
struct Story {
    account: Account,
    events: Vec<Recorded<AccountEvent>>,
    accepted: Vec<(Command, Option<IdempotencyKey>, u64)>,
    tally: Tally,
}

impl Story {
    fn of(steps: &[Step]) -> Result<Self, TestCaseError> {
        let mut story = Self::default();
        for step in steps {
            match step {
                Step::Ask(command, with) => {
                    let with = with.filter(|_| takes_key(command));
                    story.ask(command.clone(), with.map(|n| key(&format!("key-{n}"))))?;
                }
                Step::Pay(order) => {
                    let Some(known) = story.account.orders.get(order) else { continue };
                    let (channel, provider_txn, paid) = (known.channel.clone(), label("tx-1"), known.pay);
                    story.ask(Command::CompleteTopUp { order: *order, channel, provider_txn, paid }, None)?;
                }
                Step::GiveBack { refund, order, minor, way } => {
                    let Some(known) = story.account.orders.get(order) else { continue };
                    story.give_back(*refund, *order, Money { minor: *minor, ..known.pay }, *way)?;
                }
                Step::Amend { lease, amend } => {
                    let budget = story.account.leases.get(lease).and_then(|open| budget_of(&open.scope));
                    story.ask(
                        Command::AmendLease { lease: *lease, amend: *amend, ttl_ms: 60_000, budget },
                        None,
                    )?;
                }
                Step::Close { lease, thousandths, by } => {
                    let size =
                        story.account.leases.get(lease).map_or(0, |open| i128::from(open.credits.nano()));
                    let spent = i64::try_from(size * i128::from(*thousandths) / 1_000).unwrap();
                    story.ask(
                        Command::CloseLease { lease: *lease, spent: nano(spent), count: 1, by: *by },
                        None,
                    )?;
                }
                Step::Again(_) if story.accepted.is_empty() => {}
                Step::Again(which) => {
                    let (command, key, sequence) = which.get(&story.accepted).clone();
                    story.repeat(&command, key.as_ref(), sequence)?;
                }
            }
        }
        Ok(story)
    }

    fn ask(&mut self, command: Command, key: Option<IdempotencyKey>) -> Result<(), TestCaseError> {
        let before = self.account.clone();
        let decision = decide(&self.account, &command, key.as_ref());
        prop_assert_eq!(&self.account, &before, "deciding changed the account");
        prop_assert_eq!(
            &decide(&self.account, &command, key.as_ref()),
            &decision,
            "the same question, another answer"
        );
        let Ok(Decision::Append(event)) = decision else { return Ok(()) };

        if let (Command::GrantLease { at_least, wanted, .. }, AccountEvent::LeaseGranted(it)) =
            (&command, &event)
        {
            prop_assert!(
                (*at_least..=*wanted.max(at_least)).contains(&it.credits),
                "{:?} for {:?}",
                it,
                command
            );
        }
        self.tally.count(&event);
        let version = self.account.version + 1;
        let recorded = Recorded { key: key.clone(), ..recorded(version, event) };
        self.account.apply(&recorded);
        let sequence = recorded.sequence;
        self.events.push(recorded);
        self.check()?;
        self.repeat(&command, key.as_ref(), sequence)?;
        self.accepted.push((command, key, sequence));
        Ok(())
    }

    fn give_back(
        &mut self,
        refund: RefundId,
        order: OrderId,
        pay: Money,
        way: Way,
    ) -> Result<(), TestCaseError> {
        let why = || reason("not wanted");
        let approve = Command::ApproveRefund { refund };
        let then = match way {
            Way::Waits => vec![],
            Way::Rejected => vec![Command::RejectRefund { refund, reason: why() }],
            Way::Pending => vec![approve],
            Way::Done => vec![approve, Command::CompleteRefund { refund, provider_refund: None }],
            Way::Failed => vec![approve, Command::FailRefund { refund, reason: why() }],
            Way::Disputed => {
                let chargeback = ChargebackId::from_uuid(refund.uuid());
                let post = Command::PostChargeback { chargeback, order, pay, reference: label("dp") };
                vec![post, Command::ReverseChargeback { chargeback }]
            }
        };
        self.ask(Command::RequestRefund { refund, order, pay, reason: why() }, None)?;
        then.into_iter().try_for_each(|command| self.ask(command, None))
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let tally = &self.tally;
        let available = i128::from(self.account.available().nano());
        prop_assert!(available >= 0 || tally.in_dispute, "available is {}", available);
        for order in self.account.orders.values() {
            prop_assert!(!order.taken_credits.is_negative() && order.taken_minor >= 0, "{:?}", order);
            prop_assert!(!order.taken_bonus.is_negative(), "{:?}", order);
            // A dispute beside a refund that is under way takes money, credits and bonus a second time.
            if !tally.in_dispute {
                prop_assert!(
                    order.taken_credits <= order.credits,
                    "more credits went back than came: {:?}",
                    order
                );
                prop_assert!(order.taken_bonus <= order.bonus, "more of the bonus went back: {:?}", order);
                prop_assert!(
                    order.taken_minor <= order.pay.minor.max(0),
                    "more money went back: {:?}",
                    order
                );
            }
        }
        prop_assert_eq!(available + tally.leased(), tally.came_in - tally.went_out - tally.spent);
        for (scope, used) in tally.used() {
            if let Scope::Key { key, period } = &scope {
                prop_assert!(used <= i128::from(LIMIT.nano()), "{} used of the budget {:?}", used, scope);
                let known = i128::from(self.account.budget_used(*key, period).nano());
                prop_assert!(
                    known == used || known == i128::from(i64::MAX),
                    "{} known of {} used",
                    known,
                    used
                );
            }
        }
        Ok(())
    }

    /// The books owe the owner what came in and did not go out: spending is booked by the usage records.
    fn check_books(&self) -> Result<(), TestCaseError> {
        let ann = AccountId::from_uuid(Uuid::from_u128(1));
        let lines = self.events.iter().flat_map(|it| postings(&Event::Account(ann, it.event.clone())));
        let owed: i128 =
            lines.filter(|line| line.book == Book::Liability(ann)).map(|line| i128::from(line.amount)).sum();
        prop_assert_eq!(-owed, self.tally.came_in - self.tally.went_out);
        Ok(())
    }

    /// A command that was accepted makes no second event, now or later.
    fn repeat(
        &self,
        command: &Command,
        key: Option<&IdempotencyKey>,
        first: u64,
    ) -> Result<(), TestCaseError> {
        let again = decide(&self.account, command, key);
        let applied = Ok(Decision::AlreadyApplied { sequence: first });
        match command {
            Command::InitiateTopUp { .. }
            | Command::CompleteTopUp { .. }
            | Command::GrantCredit { .. }
            | Command::PostAdjustment { .. }
            | Command::CloseLease { .. } => prop_assert_eq!(again, applied),
            Command::RequestRefund { .. }
            | Command::CompleteRefund { .. }
            | Command::FailRefund { .. }
            | Command::RejectRefund { .. }
            | Command::PostChargeback { .. }
            | Command::ReverseChargeback { .. } => prop_assert_eq!(again, applied),
            // Paid after the close, failed since, or open no more: a refusal, and still no event.
            Command::CloseTopUp { .. } | Command::ApproveRefund { .. } | Command::GrantLease { .. } => {
                prop_assert!(again == applied || again.is_err())
            }
            // An amendment is not remembered. To shrink again leaves the size; to extend again is another extension, within
            // the same bounds. Its holder learns the whole size from the answer, so nothing is spent twice.
            Command::AmendLease { lease, amend: Amend::Shrink { to }, .. } => {
                if let Ok(decision) = again {
                    let same = matches!(&decision, Decision::Append(AccountEvent::LeaseAmended(it))
                        if it.lease == *lease && it.credits == *to);
                    prop_assert!(same, "{:?}", decision);
                }
            }
            Command::AmendLease { amend: Amend::Extend { .. }, .. } => {}
        }
        Ok(())
    }
}

fn takes_key(command: &Command) -> bool {
    matches!(
        command,
        Command::InitiateTopUp { .. }
            | Command::GrantCredit { .. }
            | Command::PostAdjustment { .. }
            | Command::RequestRefund { .. }
    )
}

fn folded(account: Account, events: &[Recorded<AccountEvent>]) -> Account {
    events.iter().fold(account, Account::evolve)
}

proptest! {
    #![proptest_config(fixed(150))]

    /// Checked after every accepted command: nothing below zero, the sums of the history, budgets, repetitions.
    #[test]
    fn no_sequence_of_commands_breaks_the_sums(steps in proptest::collection::vec(step(), 1..120)) {
        Story::of(&steps)?.check_books()?;
    }

    #[test]
    fn folding_in_two_parts_is_folding_the_whole(steps in proptest::collection::vec(step(), 1..80), cut in any::<Index>()) {
        let story = Story::of(&steps)?;
        let cut = cut.index(story.events.len() + 1);
        let (first, second) = story.events.split_at(cut);
        let half = folded(Account::default(), first);
        let json = serde_json::to_string(&half).unwrap();
        let kept: Account = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&kept, &half, "a snapshot is not what was kept");
        prop_assert_eq!(&folded(kept, second), &story.account);
        prop_assert_eq!(&folded(half, second), &story.account);
    }
}

/// The random stories above are worth something only if they get far: most kinds of events, in good numbers.
#[test]
fn the_random_stories_are_eventful() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::new(fixed(1));
    let mut seen = BTreeMap::new();
    for _ in 0..40 {
        let steps = proptest::collection::vec(step(), 120).new_tree(&mut runner).unwrap().current();
        for recorded in Story::of(&steps).unwrap().events {
            *seen.entry(kind(&recorded.event)).or_insert(0) += 1;
        }
    }
    for kind in [
        "top-up initiated",
        "completed",
        "closed",
        "granted",
        "adjusted",
        "refund requested",
        "refund approved",
        "refund completed",
        "refund failed",
        "charged back",
        "leased",
        "amended",
        "lease closed",
    ] {
        assert!(seen.get(kind).is_some_and(|count| *count >= 20), "{kind}: {seen:?}");
    }
}

fn kind(event: &AccountEvent) -> &'static str {
    match event {
        AccountEvent::TopUpInitiated(_) => "top-up initiated",
        AccountEvent::TopUpCompleted(_) => "completed",
        AccountEvent::TopUpClosed(_) => "closed",
        AccountEvent::CreditGranted(_) => "granted",
        AccountEvent::AdjustmentPosted(_) => "adjusted",
        AccountEvent::RefundRequested(_) => "refund requested",
        AccountEvent::RefundApproved(_) => "refund approved",
        AccountEvent::RefundCompleted(_) => "refund completed",
        AccountEvent::RefundFailed(_) => "refund failed",
        AccountEvent::ChargebackPosted(_) => "charged back",
        AccountEvent::ChargebackReversed(_) => "charge returned",
        AccountEvent::LeaseGranted(_) => "leased",
        AccountEvent::LeaseAmended(_) => "amended",
        AccountEvent::LeaseClosed(_) => "lease closed",
    }
}

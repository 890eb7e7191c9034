//! The book under any order of holds, settlements and answers of the log.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Hold(i64),
    Settle { which: usize, charge: i64 },
    Release(usize),
    Granted(i64),
    Amended(i64),
    Shrink,
    Close,
    EndedByLog,
    Sealed,
    Acknowledge,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..40_i64).prop_map(Step::Hold),
        4 => (any::<usize>(), 0..60_i64).prop_map(|(which, charge)| Step::Settle { which, charge }),
        1 => any::<usize>().prop_map(Step::Release),
        1 => (1..100_i64).prop_map(Step::Granted),
        2 => (0..50_i64).prop_map(Step::Amended),
        1 => Just(Step::Shrink),
        1 => Just(Step::Close),
        1 => Just(Step::EndedByLog),
        1 => Just(Step::Sealed),
        2 => Just(Step::Acknowledge),
    ]
}

/// What a lease's records and holds must add up to.
#[derive(Default)]
struct Model {
    n: u64,
    spent: i64,
    unacknowledged: u64,
}

fn nano(nano: i64) -> Credits {
    Credits::from_nano(nano)
}

fn epoch() -> EpochId {
    EpochId::from_uuid(uuid::Uuid::max())
}

/// The next grant, asked for and granted.
fn granted(book: &mut Book, credits: Credits, life: Duration, asked: Asked) -> LeaseId {
    let (lease, _) = book.next_id();
    book.next_grant(Credits::ZERO);
    assert!(book.granted(lease, epoch(), credits, life, asked));
    lease
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn held_and_spent_never_exceed_the_lease(steps in prop::collection::vec(step(), 1..120)) {
        let entry = Entry::new(AccountId::from_uuid(uuid::Uuid::nil()), Scope::Account);
        let mut book = entry.book();
        let (life, now) = (Duration::from_secs(3600), Instant::now());
        let mut holds: Vec<(LeaseId, Credits)> = Vec::new();
        let mut models = std::collections::HashMap::<LeaseId, Model>::new();
        for step in steps {
            match step {
                Step::Hold(worst) => holds.extend(book.try_hold(nano(worst), now).map(|lease| (lease, nano(worst)))),
                Step::Settle { which, charge } if !holds.is_empty() => {
                    let (lease, mut held) = holds.swap_remove(which % holds.len());
                    let before = held;
                    let (open, free) = book.payer(lease).map_or((false, Credits::ZERO), |it| (true, it.free()));
                    let missing = book.grow(lease, &mut held, nano(charge));
                    let settled = book.settle(lease, held, nano(charge), now);
                    let model = models.entry(lease).or_default();
                    model.n += 1;
                    model.unacknowledged += 1;
                    model.spent += settled.paid.nano();
                    prop_assert_eq!((settled.n, settled.spent.nano()), (model.n, model.spent));
                    let payable = if open { charge.min(before.nano() + free.nano()) } else { 0 };
                    prop_assert_eq!(settled.paid, nano(payable));
                    prop_assert!(!open || missing.nano() == charge - payable);
                }
                Step::Release(which) if !holds.is_empty() => {
                    let (lease, held) = holds.swap_remove(which % holds.len());
                    book.release(lease, held);
                }
                Step::Granted(credits) if book.open.is_none() => {
                    let lease = granted(&mut book, nano(credits), life, Asked::now());
                    prop_assert!(book.is(lease));
                }
                Step::Amended(more) => {
                    if let Some((lease, size)) = book.open.as_ref().map(|lease| (lease.id, lease.credits)) {
                        book.amended(lease, plus(size, nano(more)), nano(more), life, Asked::now());
                    }
                }
                Step::Shrink => {
                    let free = book.free();
                    let shrunk = book.shrink_to_use();
                    prop_assert!(shrunk.is_none() || free.is_positive());
                    prop_assert!(shrunk.is_none() || book.free() == Credits::ZERO);
                }
                Step::Close => {
                    let lease = book.open.as_ref().map(|lease| lease.id);
                    if book.begin_close_if_unused(false) {
                        let lease = lease.expect("there was one to close");
                        prop_assert!(!holds.iter().any(|(held, _)| *held == lease), "closed under a call");
                        let model = models.remove(&lease).unwrap_or_default();
                        prop_assert_eq!(model.unacknowledged, 0, "closed with records on the way");
                        prop_assert_eq!(book.closing(), Some((lease, nano(model.spent), model.n)));
                        prop_assert!(book.try_hold(Credits::ZERO, now).is_none(), "held while closing");
                        book.end_lease(LeaseEnd::Closed);
                    }
                }
                Step::EndedByLog => book.end_lease(LeaseEnd::Lost),
                Step::Sealed => book.end_epoch(epoch()),
                Step::Acknowledge => {
                    let former = book.former.first().map(|it| it.lease.id);
                    if let Some(lease) = former.or(book.open.as_ref().map(|lease| lease.id))
                        && let Some(model) = models.get_mut(&lease)
                        && model.unacknowledged > 0
                    {
                        model.unacknowledged -= 1;
                        book.acknowledged(lease);
                    }
                }
                Step::Settle { .. } | Step::Release(_) | Step::Granted(_) => {}
            }
            while let Some((lease, spent, count)) = book.closable() {
                prop_assert!(!holds.iter().any(|(held, _)| *held == lease), "closed under a call");
                let model = models.remove(&lease).unwrap_or_default();
                prop_assert_eq!((spent.nano(), count, model.unacknowledged), (model.spent, model.n, 0));
                book.closed(lease, LeaseEnd::Closed);
            }
            while book.finished().is_some() {}
            let former = book.former.iter().map(|it| &it.lease);
            for lease in book.open.iter().chain(former) {
                let used = lease.held.nano() + lease.spent.nano();
                prop_assert!(used <= lease.credits.nano(), "{used} of {}", lease.credits);
                let held: i64 = holds.iter().filter(|(id, _)| *id == lease.id).map(|(_, held)| held.nano()).sum();
                prop_assert_eq!(lease.held, nano(held));
            }
            prop_assert_eq!(book.calls(), u64::try_from(holds.len()).unwrap());
        }
    }
}

#[test]
fn a_lease_that_has_run_out_admits_nothing() {
    let entry = Entry::new(AccountId::from_uuid(uuid::Uuid::nil()), Scope::Account);
    let mut book = entry.book();
    let (asked, life) = (Asked::now(), Duration::from_secs(60));
    let lease = granted(&mut book, nano(10), life, asked);
    let (early, late) = (asked.monotonic + life - Duration::from_millis(1), asked.monotonic + life);
    assert_eq!(book.try_hold(nano(1), early), Some(lease));
    assert!(book.is_live(lease, early));
    assert_eq!(book.try_hold(Credits::ZERO, late), None);
    assert!(!book.is_live(lease, late));

    // A machine that slept: its monotonic clock stood still, its wall clock did not.
    let slept = Asked { monotonic: asked.monotonic, wall: asked.wall - life };
    book.amended(lease, nano(10), Credits::ZERO, life, slept);
    assert_eq!(book.try_hold(nano(1), asked.monotonic), None);
    assert!(!book.is_live(lease, asked.monotonic));
}

#[test]
fn a_lease_is_renewed_about_half_way_and_asked_for_more_only_where_there_is_more() {
    let entry = Entry::new(AccountId::from_uuid(uuid::Uuid::nil()), Scope::Account);
    let mut book = entry.book();
    let (asked, life, idle) = (Asked::now(), Duration::from_secs(60), Duration::from_secs(3600));
    let at = |part: f32| asked.monotonic + life.mul_f32(part);
    let lease = granted(&mut book, nano(10), life, asked);
    assert_eq!(book.care(idle, true, at(0.39)), Care::Nothing);
    assert_eq!(book.care(idle, true, at(0.61)), Care::Renew { lease, wanted: Credits::ZERO });

    // Nine of ten are gone within the window: nine more are wanted, of which one is left.
    book.try_hold(nano(9), at(0.0)).unwrap();
    book.settle(lease, nano(9), nano(9), at(0.0));
    assert_eq!(book.care(idle, true, at(0.01)), Care::Renew { lease, wanted: nano(8) });
    assert_eq!(book.care(idle, false, at(0.01)), Care::Nothing, "who may not ask does not");
    book.amended(lease, nano(13), nano(8), life, asked);
    assert_eq!(
        book.care(idle, true, at(0.01)),
        Care::Nothing,
        "the account had less: no use to ask again at once"
    );
    assert_eq!(
        book.care(idle, true, at(0.61)),
        Care::Renew { lease, wanted: nano(5) },
        "but with its renewal"
    );
}

use crate::{Checkpoint, Halt};
use domain::{Event, NodeEvent};
use ledger::{Hash, Logged, StreamIdentity};

/// Is this log the one that the tables were made of? `at_checkpoint` is the hash of the message that the log has at the
/// checkpoint.
///
/// A stream that lost its tail gives the lost sequences to new messages; a reader who only counts would skip them
/// without a word.
pub(crate) fn check(
    checkpoint: &Checkpoint,
    identity: &StreamIdentity,
    at_checkpoint: Option<Hash>,
) -> Result<(), Halt> {
    if checkpoint.sequence == 0 {
        return Ok(());
    }
    if (&checkpoint.stream, &checkpoint.created) != (&identity.stream, &identity.created) {
        return Err(Halt::OtherStream {
            expected: format!("{} of {}", checkpoint.stream, checkpoint.created),
            found: format!("{} of {}", identity.stream, identity.created),
        });
    }
    if identity.last_sequence < checkpoint.sequence {
        return Err(Halt::ShorterLog { last: identity.last_sequence, checkpoint: checkpoint.sequence });
    }
    check_hash(checkpoint, at_checkpoint)
}

/// Is this the message that the tables contain at the checkpoint?
pub(crate) fn check_hash(checkpoint: &Checkpoint, at_checkpoint: Option<Hash>) -> Result<(), Halt> {
    match at_checkpoint.map(hex::encode) {
        Some(hash) if hash == checkpoint.hash => Ok(()),
        Some(_) | None => Err(Halt::OtherMessage { checkpoint: checkpoint.sequence }),
    }
}

/// Do messages behind the checkpoint prove by themselves that the message there is the one that the tables contain?
///
/// A report of usage names the hash of its run's report before, and only the run itself writes reports on its subject,
/// never back to where it was: so the log that has the report has that one too. Any other message proves nothing: a writer
/// who remembers a lost one may name it and still be taken, if another has come to its sequence.
pub(crate) fn proves(checkpoint: &Checkpoint, behind: &[Logged]) -> bool {
    behind.iter().any(|logged| match (&logged.recorded.event, logged.prev) {
        (Event::Node(_, NodeEvent::UsageReported(_)), Some(prev)) => hex::encode(prev) == checkpoint.hash,
        (
            Event::Node(_, NodeEvent::NodeSealed(_))
            | Event::Account(..)
            | Event::Suspense(..)
            | Event::Channel(..),
            _,
        )
        | (Event::Node(_, NodeEvent::UsageReported(_)), None) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_cut_replaced_or_altered_halts() {
        let checkpoint = Checkpoint {
            sequence: 7,
            hash: hex::encode([1; 32]),
            stream: "LEDGER".into(),
            created: "2026-11-22T10:00:00Z".into(),
        };
        let log = |created: &str, last_sequence| StreamIdentity {
            stream: "LEDGER".into(),
            created: created.into(),
            last_sequence,
        };
        let same = "2026-11-22T10:00:00Z";
        assert_eq!(check(&checkpoint, &log(same, 7), Some([1; 32])), Ok(()));
        assert_eq!(check(&checkpoint, &log(same, 900), Some([1; 32])), Ok(()));
        assert_eq!(check(&checkpoint, &log(same, 6), None), Err(Halt::ShorterLog { last: 6, checkpoint: 7 }));
        for other in [Some([2; 32]), None] {
            assert_eq!(check(&checkpoint, &log(same, 9), other), Err(Halt::OtherMessage { checkpoint: 7 }));
        }
        let replaced = check(&checkpoint, &log("2026-11-22T10:00:01Z", 9), Some([1; 32]));
        assert!(matches!(replaced, Err(Halt::OtherStream { .. })));
        assert_eq!(check(&Checkpoint::default(), &log(same, 0), None), Ok(()));
    }

    #[test]
    fn only_a_runs_own_reports_prove_what_stands_before_them() {
        let checkpoint = Checkpoint { sequence: 7, hash: hex::encode([7; 32]), ..Checkpoint::default() };
        let behind = |event: Event, prev| Logged {
            recorded: domain::Recorded {
                id: domain::EventId::from_uuid(uuid::Uuid::nil()),
                sequence: 8,
                version: 2,
                at: domain::Moment::from_micros(0),
                actor: domain::Actor {
                    kind: domain::ActorKind::Node,
                    id: domain::Label::try_new("node").unwrap(),
                },
                key: None,
                event,
            },
            hash: [8; 32],
            prev,
            stored_at: domain::Moment::from_micros(0),
        };
        let epoch = domain::EpochId::from_uuid(uuid::Uuid::nil());
        let batch = domain::BatchId::from_uuid(uuid::Uuid::nil());
        let reported = domain::event::UsageReported { batch, records: Vec::new() };
        let report = Event::Node(epoch, NodeEvent::UsageReported(reported));
        assert!(proves(&checkpoint, &[behind(report.clone(), Some([7; 32]))]));
        assert!(proves(&checkpoint, &[behind(report.clone(), None), behind(report.clone(), Some([7; 32]))]));
        for prev in [Some([6; 32]), None] {
            assert!(!proves(&checkpoint, &[behind(report.clone(), prev)]));
        }
        let order = domain::OrderId::from_uuid(uuid::Uuid::nil());
        let closed = domain::account::event::TopUpClosed {
            order,
            reason: domain::account::event::CloseReason::Expired,
        };
        let account = domain::AccountId::from_uuid(uuid::Uuid::nil());
        let decision = Event::Account(account, domain::AccountEvent::TopUpClosed(closed));
        assert!(!proves(&checkpoint, &[behind(decision, Some([7; 32]))]));
        assert!(!proves(&checkpoint, &[]));
    }
}

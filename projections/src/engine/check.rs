use crate::{Checkpoint, Halt};
use ledger::{Hash, StreamIdentity};

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
}

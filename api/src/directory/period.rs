//! Closing months of the books: the document of what a month was, and its signature.
//!
//! Claims: a month, its sums, its document and the act that tells of it are one transaction, at one position of the log; a
//! document is signed byte for byte and names the digest of the one before, so that none can be changed, left out or put in
//! between without being seen by whoever kept a later one; nothing here opens a month again.
//!
//! The key is made at the first close, and lies in the database sealed under the master key, as providers' keys do.

use super::{Directory, DirectoryError, act, corrupt, now};
use domain::{AccountId, Actor, Unit};
use projections::exports::BookMove;
use projections::periods::{self, Closed, Contents, Month, Standing};
use projections::{Database, DatabaseError, Tx, Value};
use relay::Secret;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What the signing key is sealed for.
const OWNER: &str = "period_keys";
/// What a document says it is.
const WHAT: &str = "nexusroute: a closed month of the books, version 1";

/// Why a month cannot be closed.
#[derive(Debug, thiserror::Error)]
pub enum ClosingError {
    /// It is closed.
    #[error("{0} is closed, and no month is opened again")]
    Closed(Month),
    /// Months are closed one after the other.
    #[error("{0} comes before it")]
    OutOfOrder(Month),
    /// A sum is not zero: the tables are damaged.
    #[error("the books of {0} do not balance: the tables are damaged")]
    Unbalanced(Month),
    /// The directory's own errors.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl From<DatabaseError> for ClosingError {
    fn from(error: DatabaseError) -> Self {
        Self::Directory(error.into())
    }
}

/// What is signed. Its JSON is the document: fields in this order, amounts as decimal strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    what: String,
    month: String,
    /// The offset from UTC by which days were counted.
    time_zone: String,
    closed_at: domain::Moment,
    closed_by: AccountId,
    /// The log, its last event that is in the month's figures, and the SHA-256 of that event's stored bytes.
    log: String,
    position: u64,
    event_sha256: String,
    /// The journal's lines of the month: how many, and the SHA-256 over all of them.
    entries: u64,
    entries_sha256: String,
    /// The books at the month's end: how many, and the SHA-256 over all sums.
    books: u64,
    books_sha256: String,
    trial_balance: Vec<TrialLine>,
    /// The digest of the month before.
    previous_sha256: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrialLine {
    unit: String,
    book: String,
    opening: String,
    debit: String,
    credit: String,
    closing: String,
    entries: u64,
}

impl TrialLine {
    fn of(it: &BookMove) -> Self {
        let in_unit = |sum: i128| Unit::decimal(it.unit, sum);
        Self {
            unit: it.unit.to_string(),
            book: it.book.clone(),
            opening: in_unit(it.opening),
            debit: in_unit(it.debit),
            credit: in_unit(it.credit),
            closing: in_unit(it.closing()),
            entries: it.entries,
        }
    }
}

impl Directory {
    /// Closes a month, for good. The tables must hold what it is to be closed with, and the month must be over: both are the
    /// caller's to see to.
    pub async fn close_month(
        &self,
        month: Month,
        time_zone: String,
        by: AccountId,
        actor: Actor,
    ) -> Result<Closed, ClosingError> {
        let mut change = self.change_aside().await?;
        // From here on no projector moves the tables, and nobody else closes a month.
        let standing = periods::hold(&mut change.tx).await?;
        let before = periods::last_in(&mut change.tx).await?;
        if let Some(before) = &before {
            if month <= before.month {
                return Err(ClosingError::Closed(month));
            }
            if month != before.month.next() {
                return Err(ClosingError::OutOfOrder(before.month.next()));
            }
        }
        let contents = periods::keep_books(&mut change.tx, month, before.as_ref(), standing.position).await?;
        if !periods::is_balanced(&contents.trial) {
            return Err(ClosingError::Unbalanced(month));
        }
        let key = self.signing_key(&mut change.tx).await?;
        let closed_at = now();
        let document = Document {
            what: WHAT.to_owned(),
            month: month.to_string(),
            time_zone,
            closed_at,
            closed_by: by,
            previous_sha256: before.map(|it| it.digest),
            ..Document::of(&standing, &contents)
        };
        let previous = document.previous_sha256.clone();
        let document = serde_json::to_string(&document).map_err(|error| corrupt("a closed month", error))?;
        let closed = Closed {
            month,
            position: standing.position,
            entries: contents.entries.0,
            digest: hex::encode(Sha256::digest(&document)),
            signature: hex::encode(key.sign(document.as_bytes())),
            public_key: hex::encode(key.public_key()),
            previous,
            document,
            closed_at,
            closed_by: by,
        };
        periods::insert(&mut change.tx, &closed).await?;
        let told = serde_json::json!({
            "position": closed.position, "digest": closed.digest, "signature": closed.signature,
            "public_key": closed.public_key,
        });
        change.acts.push(act(actor, "period.close", month.to_string(), None, Some(told)));
        self.finish(change).await?;
        Ok(closed)
    }

    /// The key that months are signed with, made where there is none yet.
    async fn signing_key(&self, tx: &mut Tx) -> Result<Ed25519KeyPair, DirectoryError> {
        let bad = |fault: &dyn std::fmt::Display| corrupt("the key of closed months", fault);
        let found = "SELECT sealed FROM period_keys ORDER BY created_at, public_key LIMIT 1";
        if let Some(row) = tx.fetch_optional(found, &[]).await? {
            let seed = self.0.sealer.open(&row.text("sealed")?, OWNER)?;
            let seed = hex::decode(seed.expose()).map_err(|error| bad(&error))?;
            return Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|error| bad(&error));
        }
        let seed: [u8; 32] = rand::random();
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|error| bad(&error))?;
        let sealed = self.0.sealer.seal(&Secret::new(hex::encode(seed)), OWNER)?;
        let values: [Value; 3] = [hex::encode(key.public_key()).into(), sealed.into(), now().into()];
        tx.execute("INSERT INTO period_keys (public_key, sealed, created_at) VALUES (?, ?, ?)", &values)
            .await?;
        Ok(key)
    }
}

impl Document {
    fn of(standing: &Standing, contents: &Contents) -> Self {
        Self {
            what: String::new(),
            month: String::new(),
            time_zone: String::new(),
            closed_at: domain::Moment::MIN,
            closed_by: AccountId::from_uuid(uuid::Uuid::nil()),
            log: standing.log.clone(),
            position: standing.position,
            event_sha256: standing.hash.clone(),
            entries: contents.entries.0,
            entries_sha256: contents.entries.1.clone(),
            books: contents.books.0,
            books_sha256: contents.books.1.clone(),
            trial_balance: contents.trial.iter().map(TrialLine::of).collect(),
            previous_sha256: None,
        }
    }

    /// The last event that is in it, and the SHA-256 of its stored bytes.
    pub fn last_event(&self) -> (u64, &str) {
        (self.position, &self.event_sha256)
    }
}

/// Checks all closed months against their signatures, against each other and against the tables; answers a sentence for each fault,
/// and what the last document says of the log. `key`: the public key that they must be signed with, where it is known from
/// elsewhere.
pub async fn verify(
    db: &Database,
    key: Option<&str>,
) -> Result<(Vec<Closed>, Vec<String>, Option<Document>), DatabaseError> {
    let mut closed = periods::list(db).await?;
    closed.reverse();
    let (mut faults, mut last) = (Vec::new(), None);
    for (at, it) in closed.iter().enumerate() {
        let month = it.month;
        let before = at.checked_sub(1).and_then(|at| closed.get(at));
        let mut fault = |what: &str| faults.push(format!("{month}: {what}"));
        if hex::encode(Sha256::digest(&it.document)) != it.digest {
            fault("the digest is not the document's");
        }
        if !is_signed(it) {
            fault("the signature is not the document's");
        }
        if key.is_some_and(|key| !key.eq_ignore_ascii_case(&it.public_key)) {
            fault("it is signed with another key");
        }
        if before.is_some_and(|before| before.month.next() != month || before.position > it.position) {
            fault("it does not follow the month before it");
        }
        if it.previous.as_ref() != before.map(|it| &it.digest) {
            fault("it names another month before it");
        }
        let Ok(document) = serde_json::from_str::<Document>(&it.document) else {
            fault("the document is not one of a closed month");
            continue;
        };
        if document.month != month.to_string()
            || document.position != it.position
            || document.previous_sha256 != it.previous
        {
            fault("the document is of another month, position or predecessor than its row");
        }
        let contents = periods::read_again(db, it, before).await?;
        if (document.entries, &document.entries_sha256) != (contents.entries.0, &contents.entries.1) {
            fault("the journal's lines are not those that were signed");
        }
        if (document.books, &document.books_sha256) != (contents.books.0, &contents.books.1) {
            fault("the sums of the books are not those that were signed");
        }
        if document.trial_balance != contents.trial.iter().map(TrialLine::of).collect::<Vec<_>>() {
            fault("the trial balance is not the one that was signed");
        }
        if !periods::is_balanced(&contents.trial) {
            fault("the trial balance does not balance");
        }
        last = Some(document);
    }
    Ok((closed, faults, last))
}

fn is_signed(it: &Closed) -> bool {
    let (Ok(key), Ok(signature)) = (hex::decode(&it.public_key), hex::decode(&it.signature)) else {
        return false;
    };
    UnparsedPublicKey::new(&ED25519, key).verify(it.document.as_bytes(), &signature).is_ok()
}

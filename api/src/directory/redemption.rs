//! Redemption codes: made in batches, given away on paper, each good for some credits once.
//!
//! For: the codes' rows: who holds which, until when, what became of it. May not touch: credits; the ledger grants them.
//! Claims: a code is kept only as SHA-256, like a key, so the table gives none away; it is claimed by one account for ever, in
//! one statement, before anything is granted; its grant's id is made of the code, so granting it again is the same grant.

use super::{Directory, DirectoryError, act, now, words};
use domain::{AccountId, Actor, Credits, GrantId, Moment};
use projections::{Row, Value};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The most codes of one batch.
pub const MAX_CODES: u32 = 10_000;
/// Random characters of a code, five bits each: a hundred bits, which nobody guesses.
const CODE_LEN: usize = 20;
/// Crockford's base 32: without I, L, O and U, so that a code can be read aloud and typed.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A batch to be.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// What it is called.
    pub name: String,
    /// What each code is good for.
    pub credits: Credits,
    /// How many, 1 to [`MAX_CODES`].
    pub codes: u32,
    /// When the codes end; `None`: never.
    pub expires_at: Option<Moment>,
}

/// A batch of codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its id.
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    /// What each code is good for.
    pub credits: Credits,
    /// How many codes there are.
    pub codes: i64,
    /// How many were redeemed.
    pub redeemed: i64,
    /// How many were voided.
    pub voided: i64,
    /// When they end.
    pub expires_at: Option<Moment>,
    /// Who made it: a user's id.
    pub author: String,
    /// When it was made.
    pub created_at: Moment,
}

words! {
    /// What became of a code.
    CodeState {
        /// It can be redeemed.
        Open = "open",
        /// Somebody redeemed it.
        Redeemed = "redeemed",
        /// It was voided before anybody redeemed it.
        Void = "void",
        /// Its time is over.
        Expired = "expired",
    }
}

/// A code, as far as it is known after it was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// SHA-256 of the code, in hexadecimal.
    pub hash: String,
    /// Its last four characters, to recognise it by.
    pub ending: String,
    /// What became of it.
    pub state: CodeState,
    /// Who redeemed it.
    pub account: Option<AccountId>,
    /// When.
    pub claimed_at: Option<Moment>,
    /// Where its grant stands on the log; `None` while it is on its way.
    pub event_seq: Option<i64>,
}

/// A code that belongs to one account for ever; its credits are granted, or about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// SHA-256 of the code, in hexadecimal.
    pub hash: String,
    /// Its last four characters.
    pub ending: String,
    /// Whose it is.
    pub account: AccountId,
    /// What it is good for.
    pub credits: Credits,
}

impl Claim {
    /// The grant that this code is: made of it, so that there is one whoever grants it how often.
    pub fn grant(&self) -> GrantId {
        let digest = Sha256::digest(format!("redemption code {}", self.hash));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        GrantId::from_uuid(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

/// Why a code cannot be redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeFault {
    /// There is none like it.
    Unknown,
    /// Another account has redeemed it.
    Used,
    /// It was voided.
    Void,
    /// Its time is over.
    Expired,
}

/// A code as it is hashed: letters that are taken for digits become those, what is there for the eye goes.
fn normal(code: &str) -> String {
    let letter = |c: char| match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    code.chars().filter(|c| !matches!(c, '-' | ' ')).map(letter).collect()
}

fn hash(normal: &str) -> String {
    hex::encode(Sha256::digest(normal.as_bytes()))
}

/// How long a code is that another gateway made.
const IMPORTED_LEN: std::ops::RangeInclusive<usize> = 8..=128;

/// A code of another gateway, as it is kept.
pub struct ImportedForm {
    /// SHA-256 of its normal form, in hexadecimal.
    pub hash: String,
    /// Its last four characters.
    pub ending: String,
}

/// Reads a code that another gateway made; `None`: it can be none here.
pub fn imported(code: &str) -> Option<ImportedForm> {
    let normal = normal(code.trim());
    let fits = IMPORTED_LEN.contains(&normal.len()) && normal.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| ImportedForm { hash: hash(&normal), ending: normal[normal.len() - 4..].to_owned() })
}

/// A fresh code in its normal form.
fn mint() -> String {
    rand::random::<[u8; CODE_LEN]>().iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// A code for people: groups of five.
fn display(normal: &str) -> String {
    let groups = [&normal[..5], &normal[5..10], &normal[10..15], &normal[15..]];
    groups.join("-")
}

const BATCH: &str = "SELECT b.id, b.name, b.credits, b.codes, b.expires_at, b.author, b.created_at, \
     (SELECT COUNT(c.account) FROM redemption_codes c WHERE c.batch = b.id) AS redeemed, \
     (SELECT COUNT(c.voided_at) FROM redemption_codes c WHERE c.batch = b.id) AS voided \
     FROM redemption_batches b";

fn batch(row: &Row) -> Result<Batch, DirectoryError> {
    Ok(Batch {
        id: row.parsed("id")?,
        name: row.text("name")?,
        credits: row.credits("credits")?,
        codes: row.int("codes")?,
        redeemed: row.int("redeemed")?,
        voided: row.int("voided")?,
        expires_at: row.opt_moment("expires_at")?,
        author: row.text("author")?,
        created_at: row.moment("created_at")?,
    })
}

/// Rows of one statement.
const ROWS: usize = 100;

impl Directory {
    /// Makes a batch. Returns it with its codes, which cannot be seen again.
    pub async fn create_codes(
        &self,
        new: NewBatch,
        actor: Actor,
    ) -> Result<(Batch, Vec<String>), DirectoryError> {
        let made = Batch {
            id: Uuid::now_v7(),
            name: new.name,
            credits: new.credits,
            codes: new.codes.into(),
            redeemed: 0,
            voided: 0,
            expires_at: new.expires_at,
            author: actor.id.to_string(),
            created_at: now(),
        };
        let codes: Vec<String> = (0..new.codes).map(|_| mint()).collect();
        let mut change = self.change_aside().await?;
        let values: [Value; 7] = [
            made.id.to_string().into(),
            made.name.as_str().into(),
            made.credits.into(),
            made.codes.into(),
            made.expires_at.into(),
            made.author.as_str().into(),
            made.created_at.into(),
        ];
        let insert = "INSERT INTO redemption_batches (id, name, credits, codes, expires_at, author, created_at) \
                      VALUES (?, ?, ?, ?, ?, ?, ?)";
        change.tx.execute(insert, &values).await?;
        for rows in codes.chunks(ROWS) {
            let places = vec!["(?, ?, ?)"; rows.len()].join(", ");
            let insert = format!("INSERT INTO redemption_codes (hash, batch, ending) VALUES {places}");
            let mut values: Vec<Value> = Vec::with_capacity(rows.len() * 3);
            for code in rows {
                let ending = &code[CODE_LEN - 4..];
                values.extend([hash(code).into(), made.id.to_string().into(), ending.into()]);
            }
            change.tx.execute(&insert, &values).await?;
        }
        let after = json!({
            "name": made.name, "credits": made.credits, "codes": made.codes, "expires_at": made.expires_at,
        });
        change.acts.push(act(actor, "redemption.create", made.id.to_string(), None, Some(after)));
        self.finish(change).await?;
        Ok((made, codes.iter().map(|code| display(code)).collect()))
    }

    /// Batches, newest first, from below `before`.
    pub async fn code_batches(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Batch>, DirectoryError> {
        let sql = format!("{BATCH} WHERE b.id < ? ORDER BY b.id DESC LIMIT ?");
        // Every id sorts below "~".
        let before = before.map_or("~".to_owned(), |id| id.to_string());
        let rows = self.0.db.fetch_all(&sql, &[before.into(), i64::from(limit).into()]).await?;
        rows.iter().map(batch).collect()
    }

    /// One batch.
    pub async fn code_batch(&self, id: Uuid) -> Result<Batch, DirectoryError> {
        let row =
            self.0.db.fetch_optional(&format!("{BATCH} WHERE b.id = ?"), &[id.to_string().into()]).await?;
        batch(&row.ok_or(DirectoryError::NotFound("batch of redemption codes"))?)
    }

    /// A batch's codes by their hashes, from behind `after`.
    pub async fn codes(
        &self,
        batch: &Batch,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Code>, DirectoryError> {
        let sql = "SELECT hash, ending, account, claimed_at, voided_at, event_seq FROM redemption_codes \
                   WHERE batch = ? AND hash > ? ORDER BY hash LIMIT ?";
        let values: [Value; 3] =
            [batch.id.to_string().into(), after.unwrap_or_default().into(), i64::from(limit).into()];
        let is_over = batch.expires_at.is_some_and(|end| end <= now());
        let code = |row: &Row| -> Result<Code, DirectoryError> {
            let account: Option<AccountId> = row.opt_parsed("account")?;
            let is_void = row.opt_moment("voided_at")?.is_some();
            let state = match (account, is_void, is_over) {
                (Some(_), _, _) => CodeState::Redeemed,
                (None, true, _) => CodeState::Void,
                (None, false, true) => CodeState::Expired,
                (None, false, false) => CodeState::Open,
            };
            Ok(Code {
                hash: row.text("hash")?,
                ending: row.text("ending")?,
                state,
                account,
                claimed_at: row.opt_moment("claimed_at")?,
                event_seq: row.opt_int("event_seq")?,
            })
        };
        self.0.db.fetch_all(sql, &values).await?.iter().map(code).collect()
    }

    /// Voids the codes of a batch that nobody has redeemed; answers how many those were.
    pub async fn void_codes(&self, id: Uuid, actor: Actor) -> Result<u64, DirectoryError> {
        self.code_batch(id).await?;
        let mut change = self.change_aside().await?;
        let update = "UPDATE redemption_codes SET voided_at = ? \
                      WHERE batch = ? AND account IS NULL AND voided_at IS NULL";
        let voided = change.tx.execute(update, &[now().into(), id.to_string().into()]).await?;
        change.acts.push(act(
            actor,
            "redemption.void",
            id.to_string(),
            None,
            Some(json!({"voided": voided})),
        ));
        self.finish(change).await?;
        Ok(voided)
    }

    /// Claims a code for an account, once and for ever. Claiming one's own again is the same claim.
    pub async fn claim_code(
        &self,
        code: &str,
        account: AccountId,
    ) -> Result<Result<Claim, CodeFault>, DirectoryError> {
        let normal = normal(code);
        // One of ours has its own length; one that was imported has that of where it was made.
        if normal.len() != CODE_LEN && !IMPORTED_LEN.contains(&normal.len()) {
            return Ok(Err(CodeFault::Unknown));
        }
        let hash = hash(&normal);
        let select = "SELECT c.hash, c.ending, c.account, c.voided_at, b.credits, b.expires_at \
                      FROM redemption_codes c JOIN redemption_batches b ON b.id = c.batch WHERE c.hash = ?";
        let at = now();
        loop {
            let Some(row) = self.0.db.fetch_optional(select, &[hash.as_str().into()]).await? else {
                return Ok(Err(CodeFault::Unknown));
            };
            match row.opt_parsed::<AccountId>("account")? {
                Some(owner) if owner == account => return claim(&row).map(Ok),
                Some(_) => return Ok(Err(CodeFault::Used)),
                None => {}
            }
            if row.opt_moment("voided_at")?.is_some() {
                return Ok(Err(CodeFault::Void));
            }
            if row.opt_moment("expires_at")?.is_some_and(|end| end <= at) {
                return Ok(Err(CodeFault::Expired));
            }
            let update = "UPDATE redemption_codes SET account = ?, claimed_at = ? \
                          WHERE hash = ? AND account IS NULL AND voided_at IS NULL";
            let values: [Value; 3] = [account.into(), at.into(), hash.as_str().into()];
            // Whoever won, the next look says; nobody can lose twice, for nothing gives a code back.
            self.0.db.execute(update, &values).await?;
        }
    }

    /// Notes where a claim's grant stands on the log.
    pub async fn finish_claim(&self, claim: &Claim, event_seq: u64) -> Result<(), DirectoryError> {
        let position = i64::try_from(event_seq).unwrap_or(i64::MAX);
        let update = "UPDATE redemption_codes SET event_seq = ? WHERE hash = ? AND event_seq IS NULL";
        self.0.db.execute(update, &[position.into(), claim.hash.as_str().into()]).await?;
        Ok(())
    }

    /// Claims from before a moment whose grant nobody has noted: a process may have died in between.
    pub async fn unfinished_claims(&self, before: Moment) -> Result<Vec<Claim>, DirectoryError> {
        let sql = "SELECT c.hash, c.ending, c.account, b.credits FROM redemption_codes c \
                   JOIN redemption_batches b ON b.id = c.batch \
                   WHERE c.event_seq IS NULL AND c.claimed_at < ? ORDER BY c.claimed_at LIMIT 100";
        self.0.db.fetch_all(sql, &[before.into()]).await?.iter().map(claim).collect()
    }
}

fn claim(row: &Row) -> Result<Claim, DirectoryError> {
    Ok(Claim {
        hash: row.text("hash")?,
        ending: row.text("ending")?,
        account: row.parsed("account")?,
        credits: row.credits("credits")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_same_however_it_was_typed() {
        let code = "0123456789ABCDEFGHJK";
        assert_eq!(display(code), "01234-56789-ABCDE-FGHJK");
        for typed in ["01234-56789-ABCDE-FGHJK", "oi234 56789 abcde fghjk", "OL23456789-aBcDeFGHJK"] {
            assert_eq!(normal(typed), code);
        }
        let (one, other) = (mint(), mint());
        assert!(one.len() == CODE_LEN && one != other && normal(&display(&one)) == one);
    }

    #[test]
    fn a_grant_is_made_of_the_code_alone() {
        let claim = |hash: &str, account| Claim {
            hash: hash.into(),
            ending: "X".into(),
            account: AccountId::from_uuid(Uuid::from_u128(account)),
            credits: Credits::ZERO,
        };
        assert_eq!(claim("a", 1).grant(), claim("a", 2).grant());
        assert_ne!(claim("a", 1).grant(), claim("b", 1).grant());
    }
}

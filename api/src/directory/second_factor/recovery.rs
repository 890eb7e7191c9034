//! Recovery codes: what lets in who lost the app or the key.
//!
//! Claims: a code is 80 random bits, of which the table holds the SHA-256 only; it works once, whoever sends it at the same
//! moment; new codes end the old ones.

use super::super::{DirectoryError, digest};
use data_encoding::BASE32_NOPAD;
use domain::{AccountId, Moment};
use projections::{Tx, Value};
use relay::Secret;

/// How many there are.
const CODES: usize = 10;
/// 80 bits: a stolen table is of no use, however fast it is hashed.
const CODE_BYTES: usize = 10;
const LETTERS: usize = 16;

/// A new code, as it is shown: four groups of four letters and digits.
fn new_code() -> String {
    let text = BASE32_NOPAD.encode(&rand::random::<[u8; CODE_BYTES]>()).to_lowercase();
    let groups: Vec<String> =
        text.as_bytes().chunks(4).map(|it| String::from_utf8_lossy(it).into_owned()).collect();
    groups.join("-")
}

/// What the table holds of a code; `None`: no code looks like this. People may leave out what stands between the groups.
fn stored(user: AccountId, code: &str) -> Option<String> {
    let plain: String = code
        .chars()
        .filter(|c| !matches!(c, '-' | ' '))
        .flat_map(char::to_lowercase)
        .take(LETTERS + 1)
        .collect();
    let fits = plain.len() == LETTERS && plain.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
    fits.then(|| digest(&format!("{user}\n{plain}")))
}

/// Makes new codes; those from before end.
pub(super) async fn make(tx: &mut Tx, user: AccountId, at: Moment) -> Result<Vec<Secret>, DirectoryError> {
    end(tx, user).await?;
    let mut codes = Vec::with_capacity(CODES);
    for _ in 0..CODES {
        let code = new_code();
        let values: [Value; 3] = [stored(user, &code).unwrap_or_default().into(), user.into(), at.into()];
        let insert = "INSERT INTO recovery_codes (id, user_id, created_at) VALUES (?, ?, ?)";
        tx.execute(insert, &values).await?;
        codes.push(Secret::new(code));
    }
    Ok(codes)
}

/// Ends all codes of a user.
pub(super) async fn end(tx: &mut Tx, user: AccountId) -> Result<(), DirectoryError> {
    // By their own keys: a range without rows is locked on MySQL, and two users' changes could wait for each other's.
    let sql = "SELECT id FROM recovery_codes WHERE user_id = ?";
    for row in tx.fetch_all(sql, &[user.into()]).await? {
        tx.execute("DELETE FROM recovery_codes WHERE id = ?", &[row.text("id")?.into()]).await?;
    }
    Ok(())
}

/// Uses a code up; of a crowd with the same code one succeeds.
pub(super) async fn use_up(
    tx: &mut Tx,
    user: AccountId,
    code: &str,
    at: Moment,
) -> Result<bool, DirectoryError> {
    let Some(id) = stored(user, code) else { return Ok(false) };
    let update = "UPDATE recovery_codes SET used_at = ? WHERE id = ? AND user_id = ? AND used_at IS NULL";
    Ok(tx.execute(update, &[at.into(), id.into(), user.into()]).await? == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_code_is_read_however_it_is_written() {
        let user = AccountId::from_uuid(Uuid::nil());
        let code = new_code();
        assert_eq!(code.len(), 19, "{code}");
        let kept = stored(user, &code).unwrap();
        for same in [code.to_uppercase(), code.replace('-', ""), code.replace('-', " ")] {
            assert_eq!(stored(user, &same).as_ref(), Some(&kept), "{same}");
        }
        for other in
            ["", "123456", &code[1..], &format!("{code}a"), "0000-0000-0000-0000", "äöüß-äöüß-äöüß-äöüß"]
        {
            assert_eq!(stored(user, other), None, "{other}");
        }
        assert_ne!(stored(AccountId::from_uuid(Uuid::max()), &code), Some(kept), "another's hash is another");
    }
}

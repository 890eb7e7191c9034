//! Passwords that came with an import: bcrypt, accepted until their user logs in and gets an Argon2id hash.
//!
//! Claims: while such hashes are in use, every check of a password costs what the dearest of them costs, whoever it is for:
//! neither who was imported, nor who exists, can be told by the time an answer takes. A hash dearer than [`MAX_COST`]
//! is never stored, so that no imported row can keep the gateway busy.

use super::{Directory, DirectoryError};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// The dearest cost that is accepted: 2^13 rounds take about half a second, eight times what the usual cost of 10 takes.
pub const MAX_COST: u32 = 13;
const MIN_COST: u32 = 4;
/// What stands for the password of a user who has none: nothing fits it.
pub const NO_PASSWORD: &str = "!";
/// The row of `settings` that tells every process the cost.
pub(super) const SETTING: &str = "imported_password_cost";

/// The cost of the dearest imported hash in use, as a power of two; shared by who learns it and who spends it.
#[derive(Clone, Debug, Default)]
pub struct ImportedCost(Arc<AtomicU32>);

impl ImportedCost {
    /// `None`: no imported hash is in use.
    pub fn get(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|cost| *cost > 0)
    }

    /// Sets it.
    pub fn set(&self, cost: Option<u32>) {
        self.0.store(cost.unwrap_or(0), Ordering::Relaxed);
    }
}

/// The cost of a bcrypt hash that can be accepted; `None`: it is none, is damaged, or costs too much.
pub fn cost_of(hash: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|version| hash.strip_prefix(version))?;
    let (cost, digits) = rest.split_once('$')?;
    let well_formed =
        digits.len() == 53 && digits.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/');
    let is_number = cost.len() == 2 && cost.bytes().all(|b| b.is_ascii_digit());
    let cost: u32 = is_number.then(|| cost.parse().ok())??;
    (well_formed && (MIN_COST..=MAX_COST).contains(&cost)).then_some(cost)
}

/// Is this the password of a bcrypt hash? `None` as hash: nobody's, which takes as long to find out. The work is that of
/// `dearest`, whatever the hash's own cost: checks at c, c, c+1, … d-1 are together as much as one at d.
pub fn verify(hash: Option<&str>, password: &str, dearest: u32) -> bool {
    let own = hash.and_then(cost_of);
    let fits = match (hash, own) {
        (Some(hash), Some(_)) => bcrypt::verify(password, hash).unwrap_or(false),
        (_, _) => false,
    };
    fill(own, dearest).for_each(|cost| spend(password, cost));
    fits
}

/// The costs of the checks that are made for nothing, so that all together are as much as one of the dearest.
fn fill(own: Option<u32>, dearest: u32) -> std::ops::Range<u32> {
    match own {
        Some(own) => own..dearest,
        None => dearest..dearest + 1,
    }
}

/// Work of a cost for nothing.
fn spend(password: &str, cost: u32) {
    // Too cheap or too dear a cost is refused at once; neither can come here.
    std::hint::black_box(bcrypt::hash_with_salt(password, cost, [0; 16])).ok();
}

impl Directory {
    /// What a check of a password must cost at least, kept up to date with the catalogue.
    pub fn imported_cost(&self) -> ImportedCost {
        self.0.imported_cost.clone()
    }

    /// Learns the cost anew.
    pub(super) async fn load_imported_cost(&self) -> Result<(), DirectoryError> {
        let cost = self.setting(SETTING).await?.map(|text| text.parse()).transpose();
        match cost {
            Ok(cost) => self.0.imported_cost.set(cost),
            Err(error) => tracing::error!(setting = SETTING, %error, "a setting cannot be used"),
        }
        Ok(())
    }

    /// Once the last imported hash is gone, nobody need work for them any more. Reads all users, so it is asked rarely.
    pub(super) async fn forget_imported_cost(&self) -> Result<(), DirectoryError> {
        if self.setting(SETTING).await?.is_none() {
            return Ok(());
        }
        let left = "SELECT id FROM users WHERE password_hash LIKE '$2%' LIMIT 1";
        if self.0.db.fetch_optional(left, &[]).await?.is_none() {
            let mut change = self.change().await?;
            change.tx.execute("DELETE FROM settings WHERE name = ?", &[SETTING.into()]).await?;
            self.finish(change).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A published vector of bcrypt.
    const VECTOR: (&str, &str) = ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");

    #[test]
    fn the_password_of_a_bcrypt_hash_fits_and_no_other() {
        let (password, hash) = VECTOR;
        assert!(verify(Some(hash), password, 5));
        assert!(!verify(Some(hash), "U*V", 5));
        for version in ["$2b$", "$2y$"] {
            assert!(verify(Some(&hash.replace("$2a$", version)), password, 6));
        }
        assert!(!verify(None, "", 5));
    }

    #[test]
    fn a_hash_that_is_damaged_or_too_dear_is_not_accepted() {
        let (_, hash) = VECTOR;
        assert_eq!(cost_of(hash), Some(5));
        assert_eq!(cost_of(&hash.replace("$05$", "$13$")), Some(13));
        for bad in [
            "",
            NO_PASSWORD,
            "$2a$",
            "$argon2id$v=19$m=19456,t=2,p=1$AAAA$AAAA",
            &hash[..59],
            &hash.replace("$05$", "$14$"),
            &hash.replace("$05$", "$31$"),
            &hash.replace("$05$", "$+5$"),
            &hash.replace("CC.", "C:."),
        ] {
            assert_eq!(cost_of(bad), None, "{bad}");
            assert!(!verify(Some(bad), "U*U", 4), "{bad}");
        }
    }

    #[test]
    fn a_check_is_as_much_work_for_a_cheap_hash_a_dear_one_and_nobody() {
        for own in [None, Some(4), Some(9), Some(10)] {
            let checked: u64 = own.map_or(0, |cost| 1 << cost);
            let filled: u64 = fill(own, 10).map(|cost| 1 << cost).sum();
            assert_eq!(checked + filled, 1 << 10, "{own:?}");
        }
    }
}

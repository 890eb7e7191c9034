//! Passwords: Argon2id, off the async threads, a few at a time.
//!
//! Claims: checking the password of someone who does not exist takes the same work as a wrong one; a crowd of logins
//! waits or is turned away, and never takes all memory (19 MiB each) or all threads.

use super::DirectoryError;
use super::imported_password::{self, ImportedCost};
use crate::config::PasswordConfig;
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::Semaphore;

/// The shortest password, in characters.
pub const MIN_CHARS: usize = 8;
/// The longest password, in characters.
pub const MAX_CHARS: usize = 256;

/// 8 to 256 characters, whatever they are.
pub fn check_password(password: &str) -> Result<(), &'static str> {
    if (MIN_CHARS..=MAX_CHARS).contains(&password.chars().count()) {
        Ok(())
    } else {
        Err("must be 8 to 256 characters long")
    }
}

/// Hashes and checks passwords.
#[derive(Clone)]
pub struct Passwords {
    at_once: Arc<Semaphore>,
    nobody: Arc<OnceLock<String>>,
    cost: PasswordConfig,
    imported: ImportedCost,
}

/// What came of checking a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is not theirs.
    Wrong,
    /// It is.
    Right,
    /// It is, and its hash costs less than it should by now.
    RightButWeak,
}

/// Argon2id, version 19, 19 MiB, 2 passes: OWASP's first choice.
impl Default for Passwords {
    fn default() -> Self {
        Self::new(PasswordConfig { memory_kib: 19_456, passes: 2 })
    }
}

impl Passwords {
    /// How long one waits for a turn before being sent away.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// With hashes of this cost.
    pub fn new(cost: PasswordConfig) -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            at_once: Arc::new(Semaphore::new(threads)),
            nobody: Arc::default(),
            cost,
            imported: ImportedCost::default(),
        }
    }

    /// The PHC string of a new password, with a random salt.
    pub async fn hash(&self, password: String) -> Result<String, DirectoryError> {
        let cost = self.cost;
        self.run(move || hash(&password, cost)).await?
    }

    /// The same, with checks that cost as much as the dearest imported hash.
    #[must_use]
    pub fn beside(mut self, imported: ImportedCost) -> Self {
        self.imported = imported;
        self
    }

    /// Is this the password? `None`: there is no such user, which takes as long to find out.
    pub async fn verify(&self, hash_of: Option<String>, password: String) -> Result<bool, DirectoryError> {
        Ok(self.check(hash_of, password).await? != Checked::Wrong)
    }

    /// The same, and whether the hash should be made anew.
    pub async fn check(&self, hash_of: Option<String>, password: String) -> Result<Checked, DirectoryError> {
        let (nobody, cost, dearest) = (Arc::clone(&self.nobody), self.cost, self.imported.get());
        self.run(move || {
            let bcrypt = hash_of.as_deref().and_then(imported_password::cost_of);
            // Both checks are made for everyone, each for nobody where the hash is of the other kind.
            let imported = match (bcrypt, dearest) {
                (None, None) => false,
                (own, dearest) => {
                    let hash = hash_of.as_deref().filter(|_| own.is_some());
                    imported_password::verify(hash, &password, own.max(dearest).unwrap_or(0))
                }
            };
            let ours = |hash: &String| bcrypt.is_none() && hash != imported_password::NO_PASSWORD;
            let hash_of = hash_of.filter(ours);
            let exists = hash_of.is_some();
            let stored = match hash_of {
                Some(stored) => stored,
                None => match nobody.get() {
                    Some(stored) => stored.clone(),
                    None => {
                        let made = hash("nobody's password", cost)?;
                        nobody.get_or_init(|| made).clone()
                    }
                },
            };
            let parsed =
                PasswordHash::new(&stored).map_err(|error| DirectoryError::Password(error.to_string()))?;
            // The cost is that of the stored hash, not that of new ones.
            let fits = Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok() && exists;
            Ok(match (imported, fits) {
                (true, _) => Checked::RightButWeak,
                (false, false) => Checked::Wrong,
                (false, true) if is_weaker(&parsed, cost) => Checked::RightButWeak,
                (false, true) => Checked::Right,
            })
        })
        .await?
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, DirectoryError> + Send + 'static,
    ) -> Result<Result<T, DirectoryError>, DirectoryError> {
        let turn = tokio::time::timeout(Self::PATIENCE, Arc::clone(&self.at_once).acquire_owned());
        let turn = turn.await.map_err(|_| DirectoryError::Busy)?.map_err(|_| DirectoryError::Busy)?;
        tokio::task::spawn_blocking(move || {
            let _turn = turn; // kept until the work is done, even if the caller has left
            work()
        })
        .await
        .map_err(|error| DirectoryError::Password(error.to_string()))
    }
}

fn hash(password: &str, cost: PasswordConfig) -> Result<String, DirectoryError> {
    let failed = |error: String| DirectoryError::Password(error);
    let params =
        Params::new(cost.memory_kib, cost.passes, 1, None).map_err(|error| failed(error.to_string()))?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| failed(error.to_string()))
}

/// Would a thief of this hash have less work than with a new one?
fn is_weaker(hash: &PasswordHash, cost: PasswordConfig) -> bool {
    let Ok(params) = Params::try_from(hash) else { return true };
    let passes_and_memory = |memory: u32, passes: u32| u64::from(memory) * u64::from(passes);
    hash.algorithm.as_str() != Algorithm::Argon2id.as_str()
        || params.m_cost() < cost.memory_kib
        || passes_and_memory(params.m_cost(), params.t_cost())
            < passes_and_memory(cost.memory_kib, cost.passes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_hashed_with_its_own_salt_and_only_it_fits() {
        let passwords = Passwords::default();
        let first = passwords.hash("correct horse".into()).await.unwrap();
        let second = passwords.hash("correct horse".into()).await.unwrap();
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, second);
        assert!(passwords.verify(Some(first.clone()), "correct horse".into()).await.unwrap());
        assert!(!passwords.verify(Some(first), "correct horsf".into()).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_that_costs_less_than_it_should_is_found_when_its_password_comes() {
        let weak = Passwords::new(PasswordConfig { memory_kib: 8_192, passes: 1 });
        let old = weak.hash("correct horse".into()).await.unwrap();
        assert!(old.contains("m=8192,t=1"), "{old}");
        let check = async |by: &Passwords, hash: &str, word: &str| {
            by.check(Some(hash.to_owned()), word.to_owned()).await.unwrap()
        };
        let usual = Passwords::default();
        assert_eq!(check(&weak, &old, "correct horse").await, Checked::Right);
        assert_eq!(check(&usual, &old, "correct horse").await, Checked::RightButWeak);
        assert_eq!(check(&usual, &old, "wrong horse").await, Checked::Wrong);
        let new = usual.hash("correct horse".into()).await.unwrap();
        assert_eq!(check(&usual, &new, "correct horse").await, Checked::Right);
        assert_eq!(check(&weak, &new, "correct horse").await, Checked::Right, "a dearer one stays");
    }

    #[tokio::test]
    async fn nobody_has_no_password_that_fits() {
        let passwords = Passwords::default();
        for guess in ["", "nobody's password"] {
            assert!(!passwords.verify(None, guess.into()).await.unwrap());
        }
    }

    #[tokio::test]
    async fn an_imported_password_fits_and_is_to_be_hashed_anew() {
        let imported = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".to_owned();
        let cost = ImportedCost::default();
        let passwords = Passwords::default().beside(cost.clone());
        let ours = passwords.hash("U*U".into()).await.unwrap();
        // Before and after the directory learned that there are imported hashes.
        for dearest in [None, Some(6)] {
            cost.set(dearest);
            let check = async |hash: &str, word: &str| {
                passwords.check(Some(hash.to_owned()), word.to_owned()).await.unwrap()
            };
            assert_eq!(check(&imported, "U*U").await, Checked::RightButWeak);
            assert_eq!(check(&imported, "U*V").await, Checked::Wrong);
            assert_eq!(check(&imported, "nobody's password").await, Checked::Wrong);
            assert_eq!(check(&ours, "U*U").await, Checked::Right);
            assert_eq!(check(imported_password::NO_PASSWORD, "").await, Checked::Wrong);
            assert!(!passwords.verify(None, "U*U".into()).await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_damaged_hash_is_an_error_and_not_a_wrong_password() {
        assert!(Passwords::default().verify(Some("$argon2id$".into()), "x".into()).await.is_err());
    }

    #[test]
    fn length_is_counted_in_characters() {
        assert!(check_password("1234567").is_err());
        assert!(check_password("12345678").is_ok());
        assert!(check_password(&"密".repeat(256)).is_ok());
        assert!(check_password(&"密".repeat(257)).is_err());
    }
}

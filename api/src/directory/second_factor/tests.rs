//! Second factors on a real database: SQLite in a temporary folder. The other databases are walked in the system tests.

use super::{challenge::MAX_TRIES, *};
use crate::directory::user::NewUser;
use crate::secrets::Sealer;
use futures_util::future::join_all;
use projections::Database;
use tempfile::TempDir;

struct Fixture {
    directory: Directory,
    db: Database,
    _folder: TempDir,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("t.db").display());
    let db = Database::connect(&url).await.unwrap();
    db.migrate().await.unwrap();
    let directory = Directory::open(db.clone(), Sealer::new(&[1; 32])).await.unwrap();
    Fixture { directory, db, _folder: folder }
}

/// A moment in the middle of a step.
fn noon() -> Moment {
    Moment::from_micros((1_795_435_200 + 15) * 1_000_000)
}

const STEP_MS: i64 = 30_000;

impl Fixture {
    async fn user(&self, username: &str) -> AccountId {
        let new = NewUser {
            username: username.into(),
            email: format!("{username}@example.org"),
            password_hash: "hash".into(),
            role: Role::User,
            email_verified: true,
        };
        self.directory.create_user(new, None).await.unwrap().id
    }

    /// Sets an app up; answers its secret and the recovery codes.
    async fn with_app(&self, user: AccountId) -> (String, Vec<String>) {
        let (secret, _) = self.directory.begin_totp(user, "gw").await.unwrap();
        let code = code(secret.expose(), noon());
        let codes = self.directory.confirm_totp_at(user, &code, noon()).await.unwrap();
        (secret.expose().to_owned(), codes.iter().map(|it| it.expose().to_owned()).collect())
    }

    /// A login that waits, with one try counted.
    async fn waiting(&self, user: AccountId, at: Moment) -> WaitingLogin {
        let asked = self.directory.ask_second_factor_at(user, at).await.unwrap();
        self.directory.waiting_login_at(asked.token.expose(), at).await.unwrap()
    }

    async fn acts(&self) -> Vec<String> {
        let rows = self.db.fetch_all("SELECT act FROM audit_outbox ORDER BY id", &[]).await.unwrap();
        rows.iter().map(|row| row.json::<ledger::Act>("act").unwrap().act).collect()
    }
}

fn code(secret: &str, at: Moment) -> String {
    totp::shown(secret, seconds(at))
}

#[tokio::test]
async fn an_app_counts_once_a_code_of_it_has_come() {
    let it = fixture().await;
    let ann = it.user("ann").await;
    let (first, uri) = it.directory.begin_totp(ann, "gw.example.org").await.unwrap();
    assert!(
        uri.expose().starts_with("otpauth://totp/NexusRoute:ann%40gw.example.org?secret="),
        "{}",
        uri.expose()
    );
    assert!(!it.directory.second_factors(ann).await.unwrap().any(), "it counts for nothing yet");
    // Begun again: the secret of before is gone.
    let (second, _) = it.directory.begin_totp(ann, "gw").await.unwrap();
    for wrong in
        [code(first.expose(), noon()), code(second.expose(), noon().plus_ms(2 * STEP_MS)), "x".into()]
    {
        let refused = it.directory.confirm_totp_at(ann, &wrong, noon()).await;
        assert!(matches!(refused, Err(DirectoryError::WrongCode)), "{refused:?}");
    }
    let codes = it.directory.confirm_totp_at(ann, &code(second.expose(), noon()), noon()).await.unwrap();
    assert_eq!(codes.len(), 10);
    let factors = it.directory.second_factors(ann).await.unwrap();
    assert_eq!((factors.totp_since, factors.recovery_codes), (Some(noon()), 10));
    assert!(matches!(it.directory.begin_totp(ann, "gw").await, Err(DirectoryError::TotpOn)));
    // What the tables hold lets nobody in.
    let row = it.db.fetch_one("SELECT secret_sealed FROM totp_secrets", &[]).await.unwrap();
    assert!(!row.text("secret_sealed").unwrap().contains(second.expose()));
    let rows = it.db.fetch_all("SELECT id FROM recovery_codes", &[]).await.unwrap();
    let plain = codes[0].expose().replace('-', "");
    assert!(rows.iter().all(|row| !row.text("id").unwrap().contains(&plain)));
    it.directory.end_totp(ann).await.unwrap();
    assert_eq!(
        it.directory.second_factors(ann).await.unwrap(),
        SecondFactors::default(),
        "codes go with the last"
    );
    assert!(matches!(it.directory.end_totp(ann).await, Err(DirectoryError::NotFound(_))));
    assert!(matches!(it.directory.new_recovery_codes(ann).await, Err(DirectoryError::NoSecondFactor)));
    assert_eq!(it.acts().await, ["user.totp_on", "user.totp_off"]);
}

#[tokio::test]
async fn of_a_crowd_with_one_code_one_gets_in() {
    let it = fixture().await;
    let ann = it.user("ann").await;
    let (secret, recovery) = it.with_app(ann).await;
    let later = noon().plus_ms(STEP_MS);
    // A step is one moment's code and one recovery code another's; each crowd has challenges of its own.
    for answer in [code(&secret, later), recovery[3].clone()] {
        let waiting = join_all((0..20).map(|_| it.waiting(ann, later))).await;
        let tried =
            join_all(waiting.iter().map(|one| it.directory.answer_login_at(one, &answer, later))).await;
        let (let_in, refused): (Vec<_>, Vec<_>) = tried.into_iter().partition(Result::is_ok);
        assert_eq!(let_in.len(), 1, "{answer}");
        assert!(refused.iter().all(|it| matches!(it, Err(DirectoryError::WrongCode))), "{refused:?}");
    }
    assert_eq!(it.directory.second_factors(ann).await.unwrap().recovery_codes, 9);
    // The code by which the app was set up was used by that, and one of a step before is older than the last.
    for old in [code(&secret, noon()), code(&secret, later)] {
        let waiting = it.waiting(ann, later).await;
        let refused = it.directory.answer_login_at(&waiting, &old, later).await;
        assert!(matches!(refused, Err(DirectoryError::WrongCode)));
    }
    let next = later.plus_ms(STEP_MS);
    let waiting = it.waiting(ann, next).await;
    assert_eq!(it.directory.answer_login_at(&waiting, &code(&secret, next), next).await.unwrap().id, ann);
}

#[tokio::test]
async fn a_login_waits_for_five_minutes_and_five_tries_and_is_answered_once() {
    let it = fixture().await;
    let (ann, bob) = (it.user("ann").await, it.user("bob").await);
    let (secret, recovery) = it.with_app(ann).await;
    let (bobs, _) = it.with_app(bob).await;
    let over =
        |tried: Result<WaitingLogin, DirectoryError>| matches!(tried, Err(DirectoryError::BadChallenge));

    let asked = it.directory.ask_second_factor_at(ann, noon()).await.unwrap();
    let token = asked.token.expose();
    let life = challenge::LIFE_MS;
    assert!(over(it.directory.waiting_login_at(token, noon().plus_ms(life)).await), "too late");
    assert!(over(it.directory.waiting_login_at("forged", noon()).await));
    for _ in 0..MAX_TRIES {
        let waiting = it.directory.waiting_login_at(token, noon().plus_ms(life - 1)).await.unwrap();
        // Another's code is no code.
        let at = noon().plus_ms(life - 1);
        assert!(it.directory.answer_login_at(&waiting, &code(&bobs, at), at).await.is_err());
    }
    assert!(over(it.directory.waiting_login_at(token, noon()).await), "tried too often");

    // Once is once, with another good code too.
    let waiting = it.waiting(ann, noon()).await;
    it.directory.answer_login_at(&waiting, &recovery[0], noon()).await.unwrap();
    let again = it.directory.answer_login_at(&waiting, &recovery[1], noon()).await;
    assert!(matches!(again, Err(DirectoryError::BadChallenge)), "{again:?}");
    assert_eq!(it.directory.second_factors(ann).await.unwrap().recovery_codes, 9, "and takes no code");

    // A new password ends what was begun with the old one.
    let waiting = it.waiting(ann, noon()).await;
    let actor = crate::session::actor(ActorKind::User, ann);
    it.directory.set_password(ann, "another hash".into(), None, actor).await.unwrap();
    let at = noon().plus_ms(STEP_MS);
    let ended = it.directory.answer_login_at(&waiting, &code(&secret, at), at).await;
    assert!(matches!(ended, Err(DirectoryError::BadChallenge)), "{ended:?}");
}

#[tokio::test]
async fn new_recovery_codes_end_the_old_ones() {
    let it = fixture().await;
    let ann = it.user("ann").await;
    let (_, old) = it.with_app(ann).await;
    let new = it.directory.new_recovery_codes(ann).await.unwrap();
    assert!(matches!(it.directory.take_code(ann, &old[0]).await, Err(DirectoryError::WrongCode)));
    it.directory.take_code(ann, new[0].expose()).await.unwrap();
    assert!(it.directory.take_code(ann, new[0].expose()).await.is_err(), "once");
    assert!(it.directory.take_code(it.user("bob").await, new[1].expose()).await.is_err(), "another's");
    assert_eq!(it.acts().await, ["user.totp_on", "user.recovery_codes", "user.recovery_code_used"]);
}

#[tokio::test]
async fn a_secret_sealed_for_another_is_refused() {
    let it = fixture().await;
    let (ann, bob) = (it.user("ann").await, it.user("bob").await);
    it.with_app(ann).await;
    let (secret, _) = it.with_app(bob).await;
    let copy = "UPDATE totp_secrets SET secret_sealed = (SELECT secret_sealed FROM totp_secrets WHERE user_id = ?) \
                WHERE user_id = ?";
    it.db.execute(copy, &[bob.into(), ann.into()]).await.unwrap();
    let at = noon().plus_ms(STEP_MS);
    let waiting = it.waiting(ann, at).await;
    let refused = it.directory.answer_login_at(&waiting, &code(&secret, at), at).await;
    assert!(matches!(refused, Err(DirectoryError::Seal(_))), "{refused:?}");
}

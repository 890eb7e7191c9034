//! Identities on a real database: SQLite in a temporary folder. The other databases are walked in the system tests.

use super::*;
use crate::secrets::Sealer;
use futures_util::future::join_all;
use projections::Database;
use tempfile::TempDir;

struct Fixture {
    directory: Directory,
    _folder: TempDir,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("t.db").display());
    let db = Database::connect(&url).await.unwrap();
    db.migrate().await.unwrap();
    Fixture { directory: Directory::open(db, Sealer::new(&[1; 32])).await.unwrap(), _folder: folder }
}

const ISSUER: &str = "https://issuer.example";

fn at_issuer(subject: &str) -> IdentityName<'_> {
    IdentityName { issuer: ISSUER, subject }
}

impl Fixture {
    async fn joins(&self, subject: &str, called: &str, email: &str) -> Result<User, DirectoryError> {
        let new = NewByIdentity {
            identity: at_issuer(subject),
            called,
            email,
            language: Language::English,
            invite_hash: None,
        };
        self.directory.join_by_identity(new, false).await
    }

    async fn begins(&self, state: &str) {
        let attempt = NewAttempt {
            state,
            browser: "browser",
            issuer: "google",
            nonce: "nonce",
            verifier: &Secret::new("verifier"),
            links: None,
            invite: None,
            return_to: "/keys",
        };
        self.directory.begin_attempt(attempt).await.unwrap();
    }
}

#[tokio::test]
async fn a_login_under_way_comes_back_once_to_the_browser_that_began_it() {
    let it = fixture().await;
    it.begins("state").await;
    let take = async |issuer, state, browser, at| {
        it.directory.take_attempt_at(issuer, state, browser, at).await.unwrap()
    };
    assert!(take("google", "state", "another", now()).await.is_none());
    assert!(take("google", "other", "browser", now()).await.is_none());
    assert!(take("github", "state", "browser", now()).await.is_none());
    assert!(take("google", "state", "browser", now().plus_ms(ATTEMPT_MS)).await.is_none(), "too late");
    let crowd = join_all((0..10).map(|_| it.directory.take_attempt("google", "state", "browser"))).await;
    let taken: Vec<Attempt> = crowd.into_iter().filter_map(|it| it.unwrap()).collect();
    let [attempt] = taken.as_slice() else { panic!("{taken:?}") };
    assert_eq!((attempt.nonce.as_str(), attempt.return_to.as_str()), ("nonce", "/keys"));
    assert!(attempt.links.is_none() && attempt.verifier.expose() == "verifier");
}

#[tokio::test]
async fn whoever_joins_gets_a_name_that_nobody_has() {
    let it = fixture().await;
    for (n, (called, name)) in [
        ("Ann", "Ann"),
        ("ann", "ann-2"),
        ("ANN@example.org", "ANN-3"),
        ("Ann Müller (Köln)", "Ann-M-ller-K-ln"),
        ("小明", "user"),
        ("小红", "user-2"),
        ("x", "user-x"),
        ("", "user-3"),
        ("--a..b--", "a-b"),
        ("a-very-long-name-that-goes-on-and-on", "a-very-long-name-that-go"),
    ]
    .into_iter()
    .enumerate()
    {
        let made = it.joins(&n.to_string(), called, &format!("{n}@example.org")).await.unwrap();
        assert_eq!(made.username, name, "{called}");
        assert_eq!(check_username(&made.username), Ok(()));
        assert!(made.email_verified && made.role == Role::User);
    }
    for n in 100..115 {
        it.joins(&n.to_string(), "Ann", &format!("{n}@example.org")).await.unwrap();
    }
    assert!(matches!(it.joins("new", "new", "7@example.org").await, Err(DirectoryError::Taken(_))));
    assert!(matches!(it.joins("7", "new", "new@example.org").await, Err(DirectoryError::Taken(_))));
    let nobody = it.directory.credentials("new@example.org").await.unwrap();
    assert!(nobody.is_none(), "nothing is left of a refusal");
}

#[tokio::test]
async fn an_identity_is_one_users_whatever_it_looks_like() {
    let it = fixture().await;
    let ann = it.joins("7", "ann", "ann@example.org").await.unwrap();
    let bob = it.joins("7 ", "bob", "bob@example.org").await.unwrap();
    let who = async |name: IdentityName<'_>| {
        it.directory.user_by_identity(name, "now").await.unwrap().map(|user| user.id)
    };
    assert_eq!((who(at_issuer("7")).await, who(at_issuer("7 ")).await), (Some(ann.id), Some(bob.id)));
    for (issuer, subject) in [("https://other.example", "7"), ("https://issuer.example\n7", ""), (ISSUER, "")]
    {
        assert_eq!(who(IdentityName { issuer, subject }).await, None, "{issuer} {subject}");
    }
    let actor = || crate::session::actor(ActorKind::User, bob.id);
    let taken = it.directory.link_identity(bob.id, at_issuer("7"), "x", actor()).await;
    assert!(matches!(taken, Err(DirectoryError::Taken(_))));
    assert_eq!(it.directory.identities(ann.id).await.unwrap()[0].label, "now");
}

#[tokio::test]
async fn the_last_way_in_stays_however_many_unlink_at_once() {
    let it = fixture().await;
    let ann = it.joins("1", "ann", "ann@example.org").await.unwrap();
    let actor = || crate::session::actor(ActorKind::User, ann.id);
    it.directory.link_identity(ann.id, at_issuer("2"), "two", actor()).await.unwrap();
    let elsewhere = IdentityName { issuer: "https://gone.example", subject: "3" };
    it.directory.link_identity(ann.id, elsewhere, "three", actor()).await.unwrap();
    let all = it.directory.identities(ann.id).await.unwrap();
    let unlink = |id: String| {
        let (directory, actor) = (it.directory.clone(), actor());
        async move { directory.unlink_identity(ann.id, &id, &[ISSUER], actor).await }
    };
    let tried = join_all(all.iter().filter(|it| it.issuer == ISSUER).map(|it| unlink(it.id.clone()))).await;
    assert_eq!(tried.iter().filter(|it| it.is_ok()).count(), 1, "{tried:?}");
    assert!(tried.iter().any(|it| matches!(it, Err(DirectoryError::LastWayIn))), "{tried:?}");
    // With a password both may go; by an issuer that is not configured any more nobody logs in.
    it.directory.set_password(ann.id, "a hash".into(), None, actor()).await.unwrap();
    assert!(it.directory.has_password(ann.id).await.unwrap());
    for left in it.directory.identities(ann.id).await.unwrap() {
        unlink(left.id.clone()).await.unwrap();
        assert!(matches!(unlink(left.id).await, Err(DirectoryError::NotFound(_))));
    }
    assert!(it.directory.identities(ann.id).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_passkey_is_a_way_in_too_and_stays_if_it_is_the_last() {
    let it = fixture().await;
    let ann = it.joins("1", "ann", "ann@example.org").await.unwrap();
    let actor = || crate::session::actor(ActorKind::User, ann.id);
    for id in ["one", "two"] {
        let insert = "INSERT INTO passkeys (id, user_id, name, credential, static_state, dynamic_state, transports, \
                      created_at) VALUES (?, ?, 'a key', 'c', 's', 'd', '[]', 0)";
        it.directory.0.db.execute(insert, &[id.into(), ann.id.into()]).await.unwrap();
    }
    let identity = it.directory.identities(ann.id).await.unwrap().remove(0);
    it.directory.unlink_identity(ann.id, &identity.id, &[ISSUER], actor()).await.unwrap();
    it.directory.remove_passkey(ann.id, "one").await.unwrap();
    let last = it.directory.remove_passkey(ann.id, "two").await;
    assert!(matches!(last, Err(DirectoryError::LastWayIn)), "{last:?}");
    assert_eq!(it.directory.passkeys(ann.id).await.unwrap().len(), 1, "nothing was taken away");
    it.directory.set_password(ann.id, "a hash".into(), None, actor()).await.unwrap();
    it.directory.remove_passkey(ann.id, "two").await.unwrap();
    // Each of it is told to its owner: an unlinking, two removals, a new password.
    let mails = it.directory.mails(None, None, 10).await.unwrap();
    let kinds: Vec<_> = mails.iter().map(|mail| mail.kind.as_str()).collect();
    assert_eq!(kinds, ["login-changed", "password-changed", "login-changed", "login-changed"]);
}

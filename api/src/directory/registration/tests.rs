//! Tokens, registrations, mails and tries on a real database: SQLite in a temporary folder. The other databases are walked in
//! the system tests.

use super::*;
use crate::directory::{
    identity::IdentityName,
    key::{KeyStatus, KeyTerms},
    mail::{CLAIM_MS, MailState, Matter},
    user::{alias, check_email},
};
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

fn wants(username: &str, email: &str) -> NewRegistration {
    NewRegistration {
        username: username.into(),
        email: email.into(),
        password_hash: format!("hash of {username}"),
        language: Language::Chinese,
        invite: None,
        referrer: None,
    }
}

fn operator() -> Actor {
    crate::session::actor(ActorKind::Admin, AccountId::from_uuid(Uuid::nil()))
}

impl Fixture {
    async fn user(&self, username: &str) -> User {
        let new = wants(username, &format!("{username}@example.org"));
        self.directory.join(new, false, false).await.unwrap()
    }

    /// The matters of the mails that are due, as if they were sent.
    async fn posted(&self) -> Vec<(String, Option<Matter>)> {
        let mut posted = Vec::new();
        for mail in self.directory.claim_mails(100).await.unwrap() {
            let letter = self.directory.letter(&mail, false).await.unwrap();
            self.directory.mail_sent(&mail, "subject", None).await.unwrap();
            posted.push((mail.to, letter.map(|letter| letter.matter)));
        }
        posted
    }

    async fn verify_token(&self) -> String {
        match self.posted().await.pop() {
            Some((_, Some(Matter::Verify(token)))) => token.expose().to_owned(),
            other => panic!("{other:?}"),
        }
    }
}

fn is_bad<T: std::fmt::Debug>(result: Result<T, DirectoryError>) -> bool {
    matches!(result, Err(DirectoryError::BadToken))
}

#[tokio::test]
async fn a_registration_becomes_a_user_by_its_token_once() {
    let it = fixture().await;
    it.directory.ask_to_join(wants("Ann", "Ann@example.org")).await.unwrap();
    assert!(it.directory.credentials("ann").await.unwrap().is_none(), "nobody yet");
    let hash = it.directory.pending_password("ANN@example.org").await.unwrap();
    assert_eq!(hash.as_deref(), Some("hash of Ann"));
    let token = it.verify_token().await;
    let stored = it.db.fetch_one("SELECT id FROM email_tokens", &[]).await.unwrap().text("id").unwrap();
    assert!(stored != token && !stored.contains(&token), "only its hash is kept");

    let crowd = join_all((0..20).map(|_| it.directory.prove_email(&token, false))).await;
    let (mut made, mut refused) = (0, 0);
    for answer in crowd {
        match answer {
            Ok(user) => {
                made += 1;
                assert!(user.email_verified && user.username == "Ann" && user.email == "Ann@example.org");
            }
            Err(DirectoryError::BadToken) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!((made, refused), (1, 19));
    let (user, hash) = it.directory.credentials("ann@EXAMPLE.org").await.unwrap().unwrap();
    assert_eq!(hash, "hash of Ann");
    assert_eq!(it.directory.settings(user.id).await.unwrap().unwrap().language, Language::Chinese);
    assert_eq!(it.directory.pending_password("ann").await.unwrap(), None);
}

#[tokio::test]
async fn a_token_that_is_forged_foreign_or_too_old_is_one_refusal() {
    let it = fixture().await;
    let ann = it.user("ann").await;
    let id = ann.id.to_string();
    let made = async |purpose, at: Moment| {
        let token = it.directory.make_email_token_at(purpose, &id, &ann.email, at).await.unwrap();
        token.expose().to_owned()
    };
    let at = now();
    let (verify, reset) = (made(Purpose::Verify, at).await, made(Purpose::Reset, at).await);
    for forged in ["", "x", &format!("{verify}A"), &verify.to_uppercase()] {
        assert!(is_bad(it.directory.prove_email(forged, false).await), "{forged}");
        assert!(is_bad(it.directory.reset_password(forged, "new".into()).await), "{forged}");
    }
    assert!(is_bad(it.directory.prove_email(&reset, false).await), "of another purpose");
    assert!(is_bad(it.directory.reset_password(&verify, "new".into()).await), "of another purpose");
    let day = at.plus_ms(24 * 3_600_000);
    assert!(is_bad(it.directory.prove_email_at(&verify, false, day).await), "too old");
    let half_hour = at.plus_ms(30 * 60_000);
    assert!(is_bad(it.directory.reset_password_at(&reset, "new".into(), half_hour).await), "too old");
    // A moment before they are good, and then used.
    assert!(it.directory.prove_email_at(&verify, false, day.plus_ms(-1)).await.is_ok());
    assert!(it.directory.reset_password_at(&reset, "new".into(), half_hour.plus_ms(-1)).await.is_ok());
    assert!(is_bad(it.directory.prove_email(&verify, false).await), "used");
    assert!(is_bad(it.directory.reset_password(&reset, "newer".into()).await), "used");
    assert_eq!(it.directory.password_hash(ann.id).await.unwrap().as_deref(), Some("new"));
}

#[tokio::test]
async fn a_reset_ends_sessions_proves_the_address_and_uses_up_older_tokens() {
    let it = fixture().await;
    let ann = it.user("ann").await;
    let session = it.directory.open_session(&ann, "test").await.unwrap().token;
    for _ in 0..2 {
        it.directory.ask_for_mail(MailKind::Reset, "ANN@example.org", Language::English).await.unwrap();
    }
    let tokens: Vec<String> = it
        .posted()
        .await
        .into_iter()
        .map(|(_, matter)| match matter {
            Some(Matter::Reset(token)) => token.expose().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(tokens.len(), 2);
    let early = it.directory.make_email_token(Purpose::Reset, &ann.id.to_string(), &ann.email).await.unwrap();
    let bob = it.user("bob").await;
    let bobs = it.directory.make_email_token(Purpose::Reset, &bob.id.to_string(), &bob.email).await.unwrap();
    it.directory.reset_password(&tokens[0], "new".into()).await.unwrap();
    assert!(it.directory.session(&session).await.unwrap().is_none());
    assert!(it.directory.user(ann.id).await.unwrap().unwrap().email_verified);
    for used in [tokens[1].as_str(), early.expose()] {
        assert!(is_bad(it.directory.reset_password(used, "newer".into()).await));
    }
    // So does a password that was changed by who knew the old one; others' links stay.
    let late = it.directory.make_email_token(Purpose::Reset, &ann.id.to_string(), &ann.email).await.unwrap();
    it.directory.set_password(ann.id, "changed".into(), None, operator()).await.unwrap();
    assert!(is_bad(it.directory.reset_password(late.expose(), "newer".into()).await));
    it.directory.reset_password(bobs.expose(), "new".into()).await.unwrap();
}

/// Somebody made an account with another's address, and prepared to come back: the other's reset leaves nothing of that.
#[tokio::test]
async fn a_reset_of_an_unproven_account_leaves_its_maker_no_way_back() {
    let it = fixture().await;
    for (name, was_proven) in [("ann", false), ("bob", true)] {
        let user = it.user(name).await;
        if was_proven {
            let token =
                it.directory.make_email_token(Purpose::Verify, &user.id.to_string(), &user.email).await;
            it.directory.prove_email(token.unwrap().expose(), false).await.unwrap();
        }
        let (secret, _) = it.directory.begin_totp(user.id, "gw.example.org").await.unwrap();
        let code = second_factor::totp::shown(secret.expose(), now().micros() / 1_000_000);
        it.directory.confirm_totp(user.id, &code).await.unwrap();
        let subject = IdentityName { issuer: "https://id.example.org", subject: name };
        it.directory.link_identity(user.id, subject, name, operator()).await.unwrap();
        it.directory.put_webhook(user.id, "https://hook.example.org/x", operator()).await.unwrap();
        let terms = KeyTerms {
            name: "first".into(),
            status: KeyStatus::Active,
            expires_at: None,
            models: None,
            ip_allow: Vec::new(),
            budget: None,
            limit: relay::limits::Limit::default(),
        };
        let (key, secret) = it.directory.create_key(user.id, terms.clone(), operator()).await.unwrap();
        let elsewhere = format!("{name}@elsewhere.example.org");
        it.directory.want_email(user.id, &elsewhere, Language::English, operator()).await.unwrap();
        let wanted = it.directory.make_email_token(Purpose::Verify, &user.id.to_string(), &elsewhere).await;
        let token = it.directory.make_email_token(Purpose::Reset, &user.id.to_string(), &user.email).await;
        it.directory.reset_password(token.unwrap().expose(), "new".into()).await.unwrap();
        assert!(is_bad(it.directory.prove_email(wanted.unwrap().expose(), false).await), "{name}");
        let left = (
            it.directory.second_factors(user.id).await.unwrap().any(),
            it.directory.user_by_identity(subject, name).await.unwrap().is_some(),
            it.directory.webhook(user.id).await.unwrap().is_some(),
            it.directory.key(user.id, key.id).await.unwrap().terms.status == KeyStatus::Active,
        );
        assert_eq!(left, (was_proven, was_proven, was_proven, was_proven), "{name}");
        // Switched on again, a key that its maker knows is still closed to them.
        it.directory.change_key(user.id, key.id, |it| *it = terms, operator()).await.unwrap();
        let catalogue = it.directory.catalogue_handle().load_full();
        let works = catalogue.keys.contains_key(&relay::key::hash(secret.expose()));
        assert_eq!(works, was_proven, "{name}");
    }
}

#[tokio::test]
async fn a_mail_to_an_address_that_was_given_up_proves_nothing() {
    let it = fixture().await;
    let ann = it.user("ann").await;
    let token =
        it.directory.make_email_token(Purpose::Verify, &ann.id.to_string(), &ann.email).await.unwrap();
    let reset = it.directory.make_email_token(Purpose::Reset, &ann.id.to_string(), &ann.email).await.unwrap();
    let elsewhere = Some("ann@example.com".to_owned());
    it.directory.rename_user(ann.id, None, elsewhere, operator()).await.unwrap();
    assert!(is_bad(it.directory.prove_email(token.expose(), false).await));
    assert!(is_bad(it.directory.reset_password(reset.expose(), "new".into()).await));
    let ann = it.directory.user(ann.id).await.unwrap().unwrap();
    assert_eq!((ann.email.as_str(), ann.email_verified), ("ann@example.com", false));
}

#[tokio::test]
async fn a_wanted_address_is_the_users_once_it_is_proven() {
    let it = fixture().await;
    let (ann, bob) = (it.user("ann").await, it.user("bob").await);
    let want = async |email: &str| {
        it.directory.want_email(ann.id, email, Language::English, operator()).await.unwrap();
    };
    want("wrong@example.com").await;
    let wrong = it.verify_token().await;
    want("Right@example.com").await;
    let right = it.verify_token().await;
    assert!(is_bad(it.directory.prove_email(&wrong, false).await), "it was wanted, and is not any more");
    assert_eq!(it.directory.user(ann.id).await.unwrap().unwrap().email, "ann@example.org");
    assert_eq!(it.directory.prove_email(&right, false).await.unwrap().email, "Right@example.com");
    assert!(it.directory.credentials("right@example.com").await.unwrap().is_some());
    // The address before is told.
    let told = it.posted().await;
    assert!(
        matches!(told.as_slice(), [(to, Some(Matter::Notice(MailKind::EmailChanged, _)))] if to == "ann@example.org"),
        "{told:?}"
    );
    // Another's address: nothing is sent, and nothing changes.
    want(&bob.email).await;
    assert!(matches!(it.posted().await.as_slice(), [(_, None)]));
}

#[tokio::test]
async fn asking_leaves_the_same_for_known_and_unknown_addresses_and_writes_to_who_is_there() {
    let it = fixture().await;
    it.user("ann").await;
    it.directory.ask_to_join(wants("new1", "ann@example.org")).await.unwrap();
    it.directory.ask_to_join(wants("new2", "nobody@example.org")).await.unwrap();
    for (email, kind) in [
        ("ann@example.org", MailKind::Reset),
        ("unknown@example.org", MailKind::Reset),
        ("unknown@example.org", MailKind::Resend),
    ] {
        it.directory.ask_for_mail(kind, email, Language::English).await.unwrap();
    }
    let count = it.db.fetch_one("SELECT COUNT(*) AS n FROM registrations", &[]).await.unwrap();
    assert_eq!(count.int("n").unwrap(), 2);
    let posted: Vec<_> = it
        .posted()
        .await
        .into_iter()
        .map(|(to, matter)| {
            let what = match matter {
                Some(Matter::Verify(_)) => "verify",
                Some(Matter::Reset(_)) => "reset",
                Some(Matter::AccountExists) => "exists",
                Some(Matter::Notice(..)) => "notice",
                None => "nothing",
            };
            (to, what)
        })
        .collect();
    let expected = [
        ("ann@example.org", "exists"),
        ("nobody@example.org", "verify"),
        ("ann@example.org", "reset"),
        ("unknown@example.org", "nothing"),
        ("unknown@example.org", "nothing"),
    ];
    assert_eq!(posted, expected.map(|(to, what)| (to.to_owned(), what)));
    // Names are kept for who asked first, of users and of those who wait.
    for name in ["ann", "NEW1", "new2"] {
        let refused = it.directory.ask_to_join(wants(name, "other@example.org")).await;
        assert!(matches!(refused, Err(DirectoryError::Taken(_))), "{name}");
    }
}

#[tokio::test]
async fn of_two_who_wait_with_one_address_the_first_to_prove_it_has_it() {
    let it = fixture().await;
    it.directory.ask_to_join(wants("first", "ann@example.org")).await.unwrap();
    let first = it.verify_token().await;
    it.directory.ask_to_join(wants("second", "ANN@example.org")).await.unwrap();
    let second = it.verify_token().await;
    it.directory.prove_email(&second, false).await.unwrap();
    assert!(matches!(it.directory.prove_email(&first, false).await, Err(DirectoryError::Taken(_))));
    assert!(it.directory.credentials("first").await.unwrap().is_none());
}

#[tokio::test]
async fn a_mail_is_claimed_by_one_process_until_its_claim_ends() {
    let it = fixture().await;
    let other = Directory::open(it.db.clone(), Sealer::new(&[1; 32])).await.unwrap();
    for n in 0..10 {
        let to = format!("{n}@example.org");
        it.directory.ask_for_mail(MailKind::Reset, &to, Language::English).await.unwrap();
    }
    let at = now();
    let (here, there) = tokio::join!(it.directory.claim_mails_at(7, at), other.claim_mails_at(7, at));
    let mut claimed: Vec<_> = here.unwrap().into_iter().chain(there.unwrap()).collect();
    claimed.extend(it.directory.claim_mails_at(7, at).await.unwrap());
    let mut ids: Vec<_> = claimed.iter().map(|mail| mail.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((claimed.len(), ids.len()), (10, 10));
    assert!(other.claim_mails_at(7, at.plus_ms(CLAIM_MS - 1)).await.unwrap().is_empty());
    // Its owner has died, it seems: another takes it, and what the owner says later counts for nothing.
    let late = at.plus_ms(CLAIM_MS);
    let again = other.claim_mails_at(100, late).await.unwrap();
    assert_eq!((again.len(), again[0].attempts), (10, 2));
    it.directory.mail_failed(&claimed[0], "too late", None).await.unwrap();
    it.directory.mail_sent(&claimed[1], "too late", None).await.unwrap();
    let states: Vec<_> = other.mails(None, None, 100).await.unwrap().into_iter().map(|it| it.state).collect();
    assert_eq!(states, [MailState::Sending; 10]);
}

#[tokio::test]
async fn a_mail_that_failed_waits_for_its_time_or_for_an_operator() {
    let it = fixture().await;
    it.directory.ask_for_mail(MailKind::Reset, "a@example.org", Language::English).await.unwrap();
    let at = now();
    let mail = it.directory.claim_mails(1).await.unwrap().remove(0);
    assert!(matches!(
        it.directory.retry_mail(mail.id, operator()).await,
        Err(DirectoryError::MailNotWaiting(MailState::Sending))
    ));
    it.directory.mail_failed(&mail, "no\r\nserver", Some(at.plus_ms(60_000))).await.unwrap();
    assert!(it.directory.claim_mails_at(1, at.plus_ms(59_999)).await.unwrap().is_empty());
    let shown = it.directory.mails(Some(MailState::Queued), None, 10).await.unwrap().remove(0);
    assert_eq!((shown.attempts, shown.last_error.as_deref()), (1, Some("noserver")));
    let mail = it.directory.claim_mails_at(1, at.plus_ms(60_000)).await.unwrap().remove(0);
    it.directory.mail_failed(&mail, "no such user", None).await.unwrap();
    let failed = it.directory.mails(Some(MailState::Failed), None, 10).await.unwrap().remove(0);
    assert_eq!((failed.attempts, failed.next_try_at), (2, None));
    assert!(it.directory.claim_mails_at(1, at.plus_ms(i64::from(u32::MAX))).await.unwrap().is_empty());
    assert_eq!(it.directory.retry_mail(failed.id, operator()).await.unwrap().state, MailState::Queued);
    assert_eq!(it.directory.claim_mails(1).await.unwrap()[0].attempts, 3);
}

#[tokio::test]
async fn aliases_of_an_address_are_that_address_where_the_operator_says_so() {
    for (email, known_as) in [
        ("Ann@Example.org", "ann@example.org"),
        ("ann+shop@example.org", "ann@example.org"),
        ("a.n.n+x+y@gmail.com", "ann@gmail.com"),
        ("A.nn@googlemail.com", "ann@gmail.com"),
        ("a.nn@example.org", "a.nn@example.org"),
        ("+x@example.org", "+x@example.org"),
    ] {
        assert!(check_email(email).is_ok());
        assert_eq!(alias(email), known_as);
    }
    let it = fixture().await;
    it.directory.join(wants("one", "an.n@gmail.com"), true, false).await.unwrap();
    let refused = it.directory.join(wants("two", "ann+2@googlemail.com"), true, false).await;
    assert!(matches!(refused, Err(DirectoryError::Taken(_))));
    it.directory.join(wants("two", "ann+2@googlemail.com"), false, false).await.unwrap();
}

/// The migration's words for the same, on rows that were there before.
#[tokio::test]
async fn the_migration_folds_addresses_as_the_program_does() {
    let it = fixture().await;
    let addresses =
        ["ann+shop@example.org", "a.n.n+x+y@gmail.com", "a.nn@googlemail.com", "+x@example.org", "b@c.d"];
    for (n, address) in addresses.iter().enumerate() {
        it.directory.join(wants(&format!("user{n}"), address), false, false).await.unwrap();
    }
    it.db.execute("UPDATE users SET email_alias = ''", &[]).await.unwrap();
    let migration = include_str!("../../../../migrations/sqlite/0008_accounts.sql");
    for statement in migration.split(';').filter(|it| it.contains("UPDATE users SET email_alias")) {
        it.db.execute(statement, &[]).await.unwrap();
    }
    for row in it.db.fetch_all("SELECT email, email_alias FROM users", &[]).await.unwrap() {
        let email = row.text("email").unwrap();
        assert_eq!(row.text("email_alias").unwrap(), alias(&email), "{email}");
    }
}

#[tokio::test]
async fn an_invitation_lets_in_as_many_as_it_says() {
    let it = fixture().await;
    let (invitation, code) = it.directory.invite("friends".into(), 3, None, operator()).await.unwrap();
    let by = |name: &str, code: &str| NewRegistration {
        invite: Some(code.to_owned()),
        ..wants(name, &format!("{name}@example.org"))
    };
    let tries = (0..10).map(|n| {
        let new = by(&format!("user{n}"), code.expose());
        it.directory.join(new, false, false)
    });
    let answers = join_all(tries).await;
    assert_eq!(answers.iter().filter(|it| it.is_ok()).count(), 3);
    assert!(answers.iter().all(|it| matches!(it, Ok(_) | Err(DirectoryError::BadInvitation))));
    assert_eq!(it.directory.invitations(None, 10).await.unwrap()[0].uses, 3);
    let stored = it.db.fetch_one("SELECT code_hash FROM invitations", &[]).await.unwrap();
    assert!(!stored.text("code_hash").unwrap().contains(code.expose()));

    let (_, old) = it.directory.invite(String::new(), 1, Some(now()), operator()).await.unwrap();
    let (revoked, code) = it.directory.invite(String::new(), 1, None, operator()).await.unwrap();
    it.directory.revoke_invitation(revoked.id, operator()).await.unwrap();
    for code in [old.expose(), code.expose(), "", "nothing"] {
        let refused = it.directory.ask_to_join(by("late", code)).await;
        assert!(matches!(refused, Err(DirectoryError::BadInvitation)), "{code}");
    }
    // A registration that is refused uses nothing up.
    let (open, code) = it.directory.invite(String::new(), 1, None, operator()).await.unwrap();
    assert!(it.directory.join(by("user0", code.expose()), false, false).await.is_err());
    let left = it.directory.invitations(None, 10).await.unwrap();
    assert_eq!(left.iter().find(|it| it.id == open.id).unwrap().uses, 0);
    assert_eq!(left.iter().find(|it| it.id == invitation.id).unwrap().uses, 3);
}

#[tokio::test]
async fn tries_are_counted_by_all_processes_together_until_their_window_ends() {
    let it = fixture().await;
    let other = Directory::open(it.db.clone(), Sealer::new(&[1; 32])).await.unwrap();
    let at = now();
    let (minute, id) = (60_000, "an id");
    for (directory, tries) in [(&it.directory, 1), (&other, 2), (&it.directory, 3)] {
        assert_eq!(directory.count_try(id, minute, at.plus_ms(tries)).await.unwrap().tries, tries);
    }
    other.forgive_try(id).await.unwrap();
    assert_eq!(it.directory.count_try(id, minute, at.plus_ms(minute)).await.unwrap().tries, 3);
    let next = it.directory.count_try(id, minute, at.plus_ms(minute + 1)).await.unwrap();
    assert_eq!((next.tries, next.started_at), (1, at.plus_ms(minute + 1)), "a new window");
    let crowd = join_all((0..50).map(|_| it.directory.count_try("crowd", minute, at))).await;
    assert_eq!(crowd.into_iter().map(|it| it.unwrap().tries).max(), Some(50));
    it.directory.clear_tries(id).await.unwrap();
    assert_eq!(other.count_try(id, minute, at).await.unwrap().tries, 1);
}

#[tokio::test]
async fn what_has_ended_is_deleted_in_time_and_what_lives_stays() {
    let it = fixture().await;
    it.directory.ask_to_join(wants("old", "old@example.org")).await.unwrap();
    it.directory.ask_to_join(wants("new", "new@example.org")).await.unwrap();
    it.db.execute("UPDATE registrations SET expires_at = 1 WHERE username = 'old'", &[]).await.unwrap();
    assert_eq!(it.directory.pending_password("old").await.unwrap(), None);
    // Its name is free again, and then it is gone.
    it.directory.ask_to_join(wants("Old", "other@example.org")).await.unwrap();
    it.db.execute("UPDATE registrations SET expires_at = 1 WHERE username = 'Old'", &[]).await.unwrap();
    it.directory.purge().await.unwrap();
    let left = it.db.fetch_all("SELECT username FROM registrations", &[]).await.unwrap();
    assert_eq!(left.iter().map(|row| row.text("username").unwrap()).collect::<Vec<_>>(), ["new"]);
    assert_eq!(it.directory.mails(None, None, 10).await.unwrap().len(), 3, "those that wait are kept");
}

use super::*;
use crate::directory::{
    announcement::{Announced, Level},
    mail::{Mail, MailKind},
    settings::{Language, Settings},
    user::Role,
};
use crate::http::tests::{Gateway, gateway};
use futures_util::future::join_all;

fn moment(text: &str) -> Moment {
    text.parse().unwrap()
}

const MAIL: Ways = Ways { mail: true, webhook: false };

impl Gateway {
    async fn chooses(&self, name: &str, zone: &str, notifications: Choices) -> AccountId {
        let token = self.token(name, Role::User).await;
        let user = self.account_of(&token).await;
        let time_zone = zone.parse().unwrap();
        let settings = Settings { time_zone, notifications, ..Settings::new(Language::English) };
        self.app.directory.put_settings(user, &settings).await.unwrap();
        user
    }

    async fn mails_of(&self, kind: MailKind) -> Vec<String> {
        let mails = self.app.directory.claim_mails(1000).await.unwrap();
        let mut to: Vec<String> = mails.iter().filter(|it| it.kind == kind).map(|it| it.to.clone()).collect();
        to.sort_unstable();
        to
    }

    async fn announces(&self, starts_at: Option<Moment>) {
        let announced = Announced {
            level: Level::Warning,
            title: "Repairs".into(),
            body: "On Sunday.".into(),
            starts_at,
            ends_at: None,
        };
        let actor = crate::session::actor(domain::ActorKind::Admin, AccountId::from_uuid(uuid::Uuid::nil()));
        self.app.directory.announce(announced, actor).await.unwrap();
    }
}

fn announcements() -> Choices {
    Choices { announcements: MAIL, ..Choices::default() }
}

fn statements() -> Choices {
    Choices { statements: MAIL, ..Choices::default() }
}

#[tokio::test]
async fn an_announcement_is_told_once_to_whoever_chose_so_when_it_begins() {
    let it = gateway().await;
    it.chooses("ann", "+00:00", announcements()).await;
    it.chooses("bob", "+00:00", statements()).await;
    it.token("eve", Role::User).await;
    let begin = super::super::now().plus_ms(3_600_000);
    it.announces(Some(begin)).await;
    let tell = async |at| it.app.directory.tell_announcements(at).await.unwrap();
    assert_eq!(tell(begin.plus_ms(-1)).await, 0);
    // As many processes as you like look at the same moment.
    let crowd = join_all((0..10).map(|_| it.app.directory.tell_announcements(begin))).await;
    assert_eq!(crowd.into_iter().map(Result::unwrap).sum::<usize>(), 1);
    it.chooses("zoe", "+00:00", announcements()).await;
    assert_eq!(tell(begin.plus_ms(1)).await, 0, "it had been told before she chose");
    assert_eq!(it.mails_of(MailKind::Announcement).await, ["ann@example.org"]);
}

#[tokio::test]
async fn more_users_than_a_page_are_told_and_none_twice_though_it_stops_in_between() {
    let it = gateway().await;
    let count = usize::try_from(PAGE).unwrap() + 5;
    for index in 0..count {
        let settings = Settings { notifications: announcements(), ..Settings::new(Language::English) };
        let user = AccountId::from_uuid(uuid::Uuid::from_u128(1_000 + index as u128));
        let insert = "INSERT INTO users (id, username, username_folded, email, email_folded, password_hash, role, status, \
                      email_verified, group_name, created_at) VALUES (?, ?, ?, ?, ?, '', 'user', 'active', 1, 'default', 0)";
        let (name, email) = (format!("user{index}"), format!("user{index}@example.com"));
        let values: [Value; 5] = [
            user.into(),
            name.as_str().into(),
            name.as_str().into(),
            email.as_str().into(),
            email.as_str().into(),
        ];
        it.app.db.execute(insert, &values).await.unwrap();
        it.app.directory.put_settings(user, &settings).await.unwrap();
    }
    it.announces(None).await;
    let at = super::super::now();
    let sql = format!("SELECT {}, told_up_to FROM announcements", announcement::COLUMNS);
    let row = it.app.db.fetch_one(&sql, &[]).await.unwrap();
    let announced = announcement::announcement(&row).unwrap();
    let (first, behind) = it.app.directory.tell_page(&announced, "", at).await.unwrap();
    assert!(first == count - 5 && behind.is_some());
    assert_eq!(
        it.app.directory.tell_page(&announced, "", at).await.unwrap(),
        (0, None),
        "it was told already"
    );
    assert_eq!(it.app.directory.tell_announcements(at).await.unwrap(), 5);
    assert_eq!(it.app.directory.tell_announcements(at).await.unwrap(), 0);
    let mails: Vec<Mail> = it.app.directory.mails(None, None, 1_000).await.unwrap();
    assert_eq!(mails.iter().filter(|mail| mail.kind == MailKind::Announcement).count(), count);
}

#[tokio::test]
async fn a_months_end_is_told_once_by_each_ones_own_clock() {
    let it = gateway().await;
    it.chooses("ann", "Asia/Shanghai", statements()).await;
    it.chooses("bob", "America/New_York", statements()).await;
    it.chooses("eve", "+00:00", announcements()).await;
    let tell = async |at| it.app.directory.tell_statements(moment(at)).await.unwrap();
    assert_eq!(tell("2026-10-20T00:00:00Z").await, 0, "September was over before they chose");
    assert_eq!(tell("2026-10-31T15:59:59Z").await, 0);
    let crowd =
        join_all((0..10).map(|_| it.app.directory.tell_statements(moment("2026-10-31T16:00:00Z")))).await;
    assert_eq!(crowd.into_iter().map(Result::unwrap).sum::<usize>(), 1);
    assert_eq!(it.mails_of(MailKind::Statement).await, ["ann@example.org"]);
    assert_eq!(tell("2026-11-01T03:59:59Z").await, 0);
    assert_eq!(tell("2026-11-01T04:00:00Z").await, 1);
    assert_eq!(it.mails_of(MailKind::Statement).await, ["bob@example.org"]);
    assert_eq!(tell("2026-11-30T00:00:00Z").await, 0);
    // Nobody looked for months: the last one is told of.
    assert_eq!(tell("2027-02-10T00:00:00Z").await, 2);
    let told: Vec<Option<String>> = it
        .app
        .db
        .fetch_all("SELECT statement_told FROM user_settings WHERE statement_told IS NOT NULL", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.opt_text("statement_told").unwrap())
        .collect();
    assert_eq!(told, [Some("2027-01".to_owned()), Some("2027-01".to_owned())]);
}

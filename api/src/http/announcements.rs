//! Announcements: operators write them, everybody reads them.
//!
//! Claims: what is answered to everybody is plain text, and only what is shown at this moment.

use crate::{
    app::App,
    body::{Json, Path},
    directory::{
        announcement::{Announced, Announcement, Level},
        now,
    },
    http::permission::{Permission, Routes},
    problem::Problem,
    session::Admin,
};
use axum::{extract::State, http::StatusCode};
use domain::Moment;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .open(routes!(list_shown))
        .guarded(Permission::SettingsRead, routes!(list))
        .guarded(Permission::SettingsWrite, routes!(create))
        .guarded(Permission::SettingsWrite, routes!(put, delete))
}

/// What is announced.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Announce {
    /// How much it matters; `info` where absent.
    level: Option<Level>,
    /// 1 to 200 characters.
    title: String,
    /// Plain text of up to 10000 characters; empty where absent.
    body: Option<String>,
    /// From when it is shown; absent: at once.
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<Moment>,
    /// Until when it is shown; absent: until it is taken back.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Moment>,
}

/// An announcement.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AnnouncementView {
    /// Its id.
    id: Uuid,
    /// How much it matters.
    level: Level,
    /// A few words.
    title: String,
    /// The rest, plain text: never to be shown as markup.
    body: String,
    /// From when it is shown; null: since it was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<Moment>,
    /// Until when it is shown; null: until it is taken back.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Moment>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When it was last stated anew.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<Announcement> for AnnouncementView {
    fn from(it: Announcement) -> Self {
        let Announced { level, title, body, starts_at, ends_at } = it.announced;
        let (created_at, updated_at) = (it.created_at, it.updated_at);
        Self { id: it.id, level, title, body, starts_at, ends_at, created_at, updated_at }
    }
}

/// Announcements.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Announcements {
    /// Newest first.
    items: Vec<AnnouncementView>,
}

impl From<Vec<Announcement>> for Announcements {
    fn from(all: Vec<Announcement>) -> Self {
        Self { items: all.into_iter().map(AnnouncementView::from).collect() }
    }
}

fn checked(body: Announce) -> Result<Announced, Problem> {
    let text = body.body.unwrap_or_default();
    // Lines are fine in the text, and nothing else that a terminal or a page would take for an order.
    let is_odd = |c: char| c.is_control() && c != '\n';
    if !(1..=200).contains(&body.title.chars().count()) || body.title.chars().any(char::is_control) {
        return Err(Problem::invalid(
            "title",
            "must be 1 to 200 characters, none of them a control character",
        ));
    }
    if text.chars().count() > 10_000 || text.chars().any(is_odd) {
        return Err(Problem::invalid("body", "must be up to 10000 characters without control characters"));
    }
    if let (Some(start), Some(end)) = (body.starts_at, body.ends_at)
        && end <= start
    {
        return Err(Problem::invalid("ends_at", "lies before the start"));
    }
    let (starts_at, ends_at) = (body.starts_at, body.ends_at);
    Ok(Announced {
        level: body.level.unwrap_or(Level::Info),
        title: body.title,
        body: text,
        starts_at,
        ends_at,
    })
}

/// What is announced at this moment.
#[utoipa::path(operation_id = "list_shown_announcements", get, path = "/api/announcements", tag = "announcements",
    responses((status = 200, body = Announcements)))]
async fn list_shown(State(app): State<App>) -> Result<Json<Announcements>, Problem> {
    Ok(Json(app.directory.announcements_at(now()).await?.into()))
}

/// All announcements, also those to come and those that are over.
#[utoipa::path(operation_id = "list_announcements", get, path = "/api/admin/announcements", tag = "admin: settings",
    responses((status = 200, body = Announcements)))]
async fn list(State(app): State<App>, _: Admin) -> Result<Json<Announcements>, Problem> {
    Ok(Json(app.directory.announcements().await?.into()))
}

/// Announces something to everybody.
#[utoipa::path(operation_id = "create_announcement", post, path = "/api/admin/announcements", tag = "admin: settings",
    request_body = Announce, responses((status = 201, body = AnnouncementView)))]
async fn create(
    State(app): State<App>,
    admin: Admin,
    Json(body): Json<Announce>,
) -> Result<(StatusCode, Json<AnnouncementView>), Problem> {
    let made = app.directory.announce(checked(body)?, admin.actor()).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// States an announcement anew, whole.
#[utoipa::path(operation_id = "put_announcement", put, path = "/api/admin/announcements/{id}", tag = "admin: settings",
    params(("id" = Uuid, Path)), request_body = Announce, responses((status = 200, body = AnnouncementView)))]
async fn put(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Json(body): Json<Announce>,
) -> Result<Json<AnnouncementView>, Problem> {
    Ok(Json(app.directory.announce_anew(id, checked(body)?, admin.actor()).await?.into()))
}

/// Takes an announcement back.
#[utoipa::path(operation_id = "delete_announcement", delete, path = "/api/admin/announcements/{id}", tag = "admin: settings",
    params(("id" = Uuid, Path)), responses((status = 204, description = "Taken back")))]
async fn delete(State(app): State<App>, admin: Admin, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    app.directory.unannounce(id, admin.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use crate::directory::user::Role;
    use crate::http::tests::gateway;
    use serde_json::{Value, json};

    #[tokio::test]
    async fn everybody_sees_what_is_announced_now_and_operators_all_of_it() {
        let it = gateway().await;
        let admin = it.token("root", Role::Admin).await;
        let path = "/api/admin/announcements";
        let announce = async |body: Value| it.call("POST", path, Some(&admin), Some(body)).await;
        let titles = async |path: &str, token: Option<&str>| {
            let items = it.call("GET", path, token, None).await.body["items"].clone();
            items
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["title"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let made = announce(json!({"title": "Welcome", "body": "Line\nby line <b>"})).await;
        assert_eq!((made.status.as_u16(), &made.body["level"]), (201, &json!("info")), "{}", made.body);
        announce(json!({"title": "Later", "starts_at": "2099-01-01T00:00:00Z"})).await;
        announce(json!({"title": "Over", "level": "warning", "ends_at": "2020-01-01T00:00:00Z"})).await;
        assert_eq!(titles("/api/announcements", None).await, ["Welcome"]);
        assert_eq!(titles(path, Some(&admin)).await, ["Over", "Later", "Welcome"]);
        let one = format!("{path}/{}", made.body["id"].as_str().unwrap());
        let anew = json!({"title": "Down", "level": "critical", "starts_at": "2020-01-01T00:00:00Z"});
        let put = it.call("PUT", &one, Some(&admin), Some(anew)).await.body;
        assert_eq!(
            (&put["level"], &put["body"], &put["id"]),
            (&json!("critical"), &json!(""), &made.body["id"])
        );
        assert_eq!(titles("/api/announcements", None).await, ["Down"]);
        assert_eq!(it.call("DELETE", &one, Some(&admin), None).await.status, 204);
        assert_eq!(it.call("DELETE", &one, Some(&admin), None).await.status, 404);
        assert!(titles("/api/announcements", None).await.is_empty());
        for (body, field) in [
            (json!({"title": ""}), "title: "),
            (json!({"title": "a\u{1b}"}), "title: "),
            (json!({"title": "a", "body": "\u{0}"}), "body: "),
            (json!({"title": "a", "level": "loud"}), "level: "),
            (
                json!({"title": "a", "starts_at": "2026-01-02T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}),
                "ends_at: ",
            ),
        ] {
            let refused = announce(body).await;
            assert_eq!(refused.status, 422);
            assert!(refused.body["detail"].as_str().unwrap().starts_with(field), "{}", refused.body);
        }
    }
}

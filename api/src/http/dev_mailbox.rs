//! The development mailbox: mails that would have been sent, links and all.
//!
//! Claims: it is there only where no mail server is configured and production mode is off, and only for who sits at the same
//! machine; whoever could read it could take over any account.

use super::pages::{page, wants_page};
use crate::http::permission::Routes;
use crate::{
    app::App,
    body::{Json, Page},
    directory::{mail::Kept, settings::Language},
    mail::words::escape,
    problem::Problem,
    session::ClientIp,
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().open(routes!(mailbox))
}

/// Headers by which a proxy says that the request is somebody else's.
const FORWARDED: [&str; 3] = ["x-forwarded-for", "forwarded", "x-real-ip"];

/// The last mails. Development only, and only from the machine that the gateway runs on.
///
/// Answers a page where `Accept` asks for `text/html`, else JSON.
#[utoipa::path(operation_id = "dev_mailbox", get, path = "/api/dev/mailbox", tag = "development", security(()),
    responses((status = 200, description = "Newest first", body = Page<Kept>)))]
async fn mailbox(
    State(app): State<App>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let is_near = ip.is_loopback() && FORWARDED.iter().all(|name| !headers.contains_key(*name));
    if !app.post.has_mailbox() || !is_near {
        return Err(Problem::not_found("there is no mailbox here"));
    }
    let items = app.directory.mailbox(50).await?;
    if !wants_page(&headers) {
        return Ok(Json(Page { items, next_cursor: None }).into_response());
    }
    let mut content =
        String::from("<p>Mails that would have been sent. This page is there in development only.</p>");
    for mail in items {
        let text: Vec<String> = mail.text.lines().map(line).collect();
        let (to, subject) = (escape(&mail.to), escape(&mail.subject));
        content.push_str(&format!(
            "<article><h2>{subject}</h2><p>to {to}</p><pre>{}</pre></article>",
            text.join("\n")
        ));
    }
    Ok(page(StatusCode::OK, Language::English, "Development mailbox", &content, ""))
}

/// A line of text; one that is a link can be clicked.
fn line(text: &str) -> String {
    let text = escape(text);
    let is_link = (text.starts_with("http://") || text.starts_with("https://")) && !text.contains(' ');
    if is_link { format!("<a href=\"{text}\">{text}</a>") } else { text }
}

//! The few pages that a mail's link or a developer opens in a browser; everything else is the console's.
//!
//! Claims: what is put in is escaped; a page runs no script but its own, and names it by its hash.

use crate::directory::settings::Language;
use crate::mail::words::escape;
use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

const STYLE: &str = "body{margin:0;padding:2rem;background:#f4f5f7;color:#1d2127;font:16px/1.5 system-ui,sans-serif}\
    main{max-width:34rem;margin:0 auto;padding:2rem;background:#fff;border-radius:8px}\
    h1{font-size:1.3rem;margin-top:0}label{display:block;margin:1rem 0 .3rem}\
    input{width:100%;box-sizing:border-box;padding:.6rem;font:inherit;border:1px solid #9aa4b2;border-radius:6px}\
    button{margin-top:1rem;padding:.6rem 1.2rem;font:inherit;color:#fff;background:#1a56db;border:0;border-radius:6px}\
    pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit}article{border-top:1px solid #d5dae1;padding:.5rem 0}";

/// A page with this title and content. The content is HTML, escaped by its maker; `script` is the only one that may run.
pub(super) fn page(
    status: StatusCode,
    language: Language,
    title: &str,
    content: &str,
    script: &str,
) -> Response {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let (scripts, tag) = match script.is_empty() {
        true => ("'none'".to_owned(), String::new()),
        false => (hash(script), format!("<script>{script}</script>")),
    };
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {scripts}; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(STYLE)
    );
    let title = escape(title);
    let body = format!(
        "<!doctype html><html lang=\"{language}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1>{content}</main>{tag}</body></html>"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        // The page's own address may hold a token.
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    (status, headers, body).into_response()
}

/// Does a browser ask?
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|it| it.split(';').next().is_some_and(|mime| mime.trim().eq_ignore_ascii_case("text/html")))
}

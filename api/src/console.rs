//! The web console's files, out of the binary.
//!
//! For: which file a path is, in which encoding, and under which headers; the console's page for every path that is none
//! of the API's. May not touch: anything of the gateway but the channels' origins. The console is a client like any other.
//! Claims: a path of the API, of model calls or of health is never answered with a page; a file whose name holds its hash
//! may be kept for ever and any other may not; each page has a nonce of its own, and runs no script and no style but ours.

use crate::problem::Problem;
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use std::fmt::Write as _;
use std::sync::Arc;

/// A file of the built console.
#[derive(Clone, Copy, Debug)]
struct File {
    /// From the root: `/assets/index-4f.js`.
    path: &'static str,
    plain: &'static [u8],
    br: Option<&'static [u8]>,
    gz: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/console.rs"));

/// The first parts of paths that are never a page, whatever is or is not behind them.
const RESERVED: &[&str] = &["api", "v1", "v1beta", "healthz", "readyz", "metrics", "assets"];

/// What stands for the nonce in the built page.
const NONCE: &str = "__CSP_NONCE__";

/// What is shown where the console was not built.
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><title>NexusRoute</title></head><body><main>\
    <h1>NexusRoute</h1><p>The gateway runs. This binary was built without its web console: run <code>make console</code> \
    and build again, or use <code>make run</code>, which does both.</p>\
    <p>The API can be browsed at <a href=\"/api/docs\">/api/docs</a>.</p></main></body></html>";

/// Serves the console at every path that `router` does not know. `form_targets` are the origins that payment forms are
/// sent to.
pub(crate) fn behind(router: Router, form_targets: &[String]) -> Router {
    let console = Arc::new(Console::new(BUILT, form_targets));
    router.fallback_service(
        axum::routing::any(
            async |State(console): State<Arc<Console>>, method: Method, uri: Uri, headers: HeaderMap| {
                console.answer(&method, uri.path(), &headers)
            },
        )
        .with_state::<()>(console),
    )
}

struct Console {
    files: &'static [File],
    form_action: String,
}

impl Console {
    fn new(files: &'static [File], form_targets: &[String]) -> Self {
        let mut form_action = String::from("'self'");
        // One that is no plain origin could end the directive and begin another.
        for origin in form_targets.iter().filter(|it| is_origin(it)) {
            let _ = write!(form_action, " {origin}");
        }
        Self { files, form_action }
    }

    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return nothing(path);
        }
        if path != "/index.html"
            && let Ok(at) = self.files.binary_search_by(|file| file.path.cmp(path))
        {
            return asset(&self.files[at], headers);
        }
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let last = path.rsplit('/').next().unwrap_or_default();
        // No page of the console has a point in its name: those are files that are not there.
        if RESERVED.contains(&first) || (last.contains('.') && path != "/index.html") {
            return nothing(path);
        }
        self.page()
    }

    /// The page that is the same for all of the console's addresses, under a nonce of its own.
    fn page(&self) -> Response {
        let nonce = STANDARD.encode(rand::random::<[u8; 16]>());
        let policy = format!(
            "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; img-src 'self'; \
             font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; object-src 'none'; \
             frame-ancestors 'none'; form-action {}",
            self.form_action
        );
        let built = self.files.iter().find(|file| file.path == "/index.html");
        let body = match built.map(|file| std::str::from_utf8(file.plain)) {
            Some(Ok(page)) => page.replace(NONCE, &nonce),
            Some(Err(_)) | None => NOT_BUILT.to_owned(),
        };
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
            (header::CONTENT_SECURITY_POLICY, policy),
            // An old body beside a new header would have another nonce, and no style.
            (header::CACHE_CONTROL, "no-store".to_owned()),
            // Payment pages of some channels refuse visitors without a referrer; they learn the origin and no path.
            (header::REFERRER_POLICY, "strict-origin-when-cross-origin".to_owned()),
            (
                header::HeaderName::from_static("permissions-policy"),
                "camera=(), geolocation=(), microphone=(), payment=(), usb=()".to_owned(),
            ),
            (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin".to_owned()),
        ];
        (StatusCode::OK, headers, body).into_response()
    }
}

fn nothing(path: &str) -> Response {
    Problem::not_found(format!("there is nothing at {path}")).into_response()
}

fn asset(file: &File, headers: &HeaderMap) -> Response {
    let (bytes, encoding) = match (file.br, file.gz) {
        (Some(br), _) if accepts(headers, "br") => (br, Some("br")),
        (_, Some(gz)) if accepts(headers, "gzip") => (gz, Some("gzip")),
        _ => (file.plain, None),
    };
    let caching = match file.path.starts_with("/assets/") {
        true => "public, max-age=31536000, immutable",
        false => "public, max-age=3600",
    };
    let mut response = Response::new(Body::from(Bytes::from_static(bytes)));
    let mut set = |name, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, content_type(file.path));
    set(header::CACHE_CONTROL, caching);
    set(header::VARY, "Accept-Encoding");
    set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    if let Some(encoding) = encoding {
        set(header::CONTENT_ENCODING, encoding);
    }
    response
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "json" | "webmanifest" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Does the browser take this encoding? `br;q=0` is a no.
fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|it| {
        let (name, weight) = it.split_once(';').unwrap_or((it, ""));
        let refused = weight
            .trim()
            .strip_prefix("q=")
            .is_some_and(|q| q.trim_matches(|letter| matches!(letter, '0' | '.')).is_empty());
        name.trim().eq_ignore_ascii_case(encoding) && !refused
    })
}

/// Scheme and authority, and nothing that could mean more in a policy.
fn is_origin(text: &str) -> bool {
    let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    authority.is_some_and(|it| {
        !it.is_empty()
            && it.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    static SOME: &[File] = &[
        File { path: "/assets/main-1a.js", plain: b"plain", br: Some(b"br"), gz: Some(b"gz") },
        File { path: "/favicon.svg", plain: b"<svg/>", br: None, gz: None },
        File { path: "/index.html", plain: b"<script nonce=\"__CSP_NONCE__\">", br: Some(b"old"), gz: None },
    ];

    fn console() -> Console {
        Console::new(SOME, &[])
    }

    fn get(path: &str, encodings: &'static str) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(encodings));
        console().answer(&Method::GET, path, &headers)
    }

    fn text(response: &Response, name: header::HeaderName) -> &str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    async fn body(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn what_was_built_is_in_the_order_that_it_is_searched_in() {
        for files in [SOME, BUILT] {
            assert!(files.is_sorted_by_key(|file| file.path));
        }
    }

    #[tokio::test]
    async fn a_file_comes_in_the_best_encoding_that_the_browser_takes() {
        for (encodings, encoding, content) in [
            ("gzip, deflate, br, zstd", "br", "br"),
            ("gzip", "gzip", "gz"),
            ("br;q=0, gzip;q=0.5", "gzip", "gz"),
            ("br;q=0.0", "", "plain"),
            ("", "", "plain"),
        ] {
            let response = get("/assets/main-1a.js", encodings);
            assert_eq!(text(&response, header::CONTENT_ENCODING), encoding, "{encodings}");
            assert_eq!(text(&response, header::CACHE_CONTROL), "public, max-age=31536000, immutable");
            assert_eq!(text(&response, header::CONTENT_TYPE), "text/javascript; charset=utf-8");
            assert_eq!(text(&response, header::VARY), "Accept-Encoding");
            assert_eq!(body(response).await, content, "{encodings}");
        }
    }

    #[tokio::test]
    async fn a_page_has_a_nonce_of_its_own_in_its_policy_and_in_its_tags() {
        let (one, other) = (get("/keys", "br"), get("/", "br"));
        let policy = text(&one, header::CONTENT_SECURITY_POLICY).to_owned();
        assert_ne!(policy, text(&other, header::CONTENT_SECURITY_POLICY));
        assert_eq!(text(&one, header::CACHE_CONTROL), "no-store");
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert_eq!(nonce.len(), 24);
        assert_eq!(body(one).await, format!("<script nonce=\"{nonce}\">"));
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn what_is_not_the_consoles_is_not_answered_with_a_page() {
        for path in [
            "/api/",
            "/api",
            "/v1",
            "/v1beta",
            "/v1beta/",
            "/healthz/",
            "/metrics",
            "/assets/gone-2b.js",
            "/assets",
            "/wp-login.php",
            "/.env",
            "/topup/x.js",
            "//api/user",
        ] {
            assert_eq!(get(path, "").status(), StatusCode::NOT_FOUND, "{path}");
        }
        for path in ["/", "/index.html", "/keys", "/topup/01930000-0000-7000-8000-000000000000", "/apis"] {
            assert_eq!(get(path, "").status(), StatusCode::OK, "{path}");
        }
        let posted = console().answer(&Method::POST, "/keys", &HeaderMap::new());
        assert_eq!(posted.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn payment_forms_may_go_to_the_channels_origins_and_nowhere_else() {
        let targets = [
            "https://pay.example".to_owned(),
            "https://x; script-src *".to_owned(),
            "javascript:".to_owned(),
        ];
        let page = Console::new(SOME, &targets).page();
        let policy = text(&page, header::CONTENT_SECURITY_POLICY);
        assert!(policy.ends_with("form-action 'self' https://pay.example"), "{policy}");
    }

    #[tokio::test]
    async fn a_binary_without_the_console_says_how_to_build_it() {
        let page = Console::new(&[], &[]).page();
        assert!(body(page).await.contains("make console"));
    }
}

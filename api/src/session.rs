//! Who calls: the extractors [`Caller`] and [`Admin`], and where from: [`ClientIp`].
//!
//! A session is a random token, in the cookie `nexusroute_session` or as `Authorization: Bearer`; the table keeps its
//! SHA-256 only.
//! Claims: nobody is 401, a user without an office 403; a write with the cookie from another origin is refused; a
//! disabled user has no session.

use crate::{app::App, directory::user::Role, problem::Problem};
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, Method, header, request::Parts},
};
use domain::{AccountId, Actor, ActorKind, Label, Moment};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The name of the session cookie.
pub const COOKIE: &str = "nexusroute_session";

/// A logged-in user.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user; also their account.
    pub user: AccountId,
    /// Their name.
    pub username: String,
    /// What they may do.
    pub role: Role,
    /// Their price group.
    pub group: String,
    /// SHA-256 of the session's token, in hexadecimal.
    pub session: String,
    /// When they last proved to be who they are: at the login, or since.
    pub confirmed_at: Moment,
}

/// A logged-in person who acts for the gateway. What they may do is said where the route is declared
/// ([`crate::http::permission`]).
#[derive(Clone, Debug)]
pub struct Admin(pub Caller);

impl Caller {
    /// The caller as the cause of an event about their own account.
    pub fn actor(&self) -> Actor {
        actor(ActorKind::User, self.user)
    }
}

impl Admin {
    /// The person as the cause of an event.
    pub fn actor(&self) -> Actor {
        actor(ActorKind::Admin, self.0.user)
    }
}

/// An actor named by a user's id.
#[expect(clippy::expect_used, reason = "a hyphenated UUID is a valid label: 36 printable characters")]
pub fn actor(kind: ActorKind, user: AccountId) -> Actor {
    Actor { kind, id: Label::try_new(user.to_string()).expect("a UUID is a label") }
}

/// A part of the gateway as the cause of what nobody asked for, or of what its command line was told.
#[expect(
    clippy::expect_used,
    reason = "each caller names itself by a literal that a test of its road has used"
)]
pub fn gateway(part: &'static str) -> Actor {
    Actor { kind: ActorKind::System, id: Label::try_new(part).expect("a literal that is a label") }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let token = match (bearer(&parts.headers), cookie(&parts.headers)) {
            (Some(token), _) => token,
            (None, Some(token)) => {
                same_origin(&parts.method, &parts.headers, &app.live.now().public_url)?;
                token
            }
            (None, None) => return Err(Problem::unauthenticated()),
        };
        let caller = app.directory.session(token).await?.ok_or_else(Problem::unauthenticated)?;
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

impl FromRequestParts<App> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        match caller.role {
            Role::Support | Role::Finance | Role::Auditor | Role::Admin | Role::Owner => Ok(Self(caller)),
            Role::User => Err(Problem::forbidden("this needs a role above user")),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The session cookie's value.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    cookie_named(headers, COOKIE)
}

/// The value of the cookie with this name.
pub(crate) fn cookie_named<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == wanted).then_some(value))
}

/// Refuses writes that another site made the browser send along with our cookie.
///
/// Browsers put `Origin` on every write, so one that is absent means a tool like curl; `Sec-Fetch-Site` is the second
/// witness, `SameSite=Lax` the third.
pub(crate) fn same_origin(method: &Method, headers: &HeaderMap, public_url: &str) -> Result<(), Problem> {
    if method.is_safe() {
        return Ok(());
    }
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let same = match text(header::ORIGIN) {
        Some(origin) => {
            let host = text(header::HOST).unwrap_or_default();
            let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
            (!host.is_empty() && authority == host) || origin == origin_of(public_url)
        }
        None => text(header::HeaderName::from_static("sec-fetch-site"))
            .is_none_or(|site| matches!(site, "same-origin" | "none")),
    };
    if same { Ok(()) } else { Err(Problem::forbidden("this write came from another origin")) }
}

/// Scheme and authority of a URL, as a browser writes an origin.
fn origin_of(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    url[authority..].find('/').map_or(url, |end| &url[..authority + end])
}

/// The address the request came from; behind a trusted proxy, the one that the proxy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

impl FromRequestParts<App> for ClientIp {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|it| it.0);
        Ok(Self(client_ip(peer, &parts.headers, &app.config.trusted_proxies)))
    }
}

/// The address that a call comes from too ([`relay::caller::address`]); where a proxy of ours names none that can be read, the
/// proxy's own.
fn client_ip(peer: Option<SocketAddr>, headers: &HeaderMap, trusted: &[ipnet::IpNet]) -> IpAddr {
    relay::caller::address(peer, headers, trusted)
        .or_else(|| peer.map(|peer| peer.ip().to_canonical()))
        .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_cookie_write_from_another_origin_is_refused() {
        let public = "https://gw.example.org/";
        let host = ("host", "127.0.0.1:3000");
        let write = |pairs: &[_]| same_origin(&Method::POST, &headers(pairs), public).is_ok();
        assert!(write(&[host]), "a tool without Origin");
        assert!(write(&[host, ("origin", "http://127.0.0.1:3000")]));
        assert!(write(&[host, ("origin", "https://gw.example.org")]), "behind a proxy that rewrites Host");
        assert!(write(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(!write(&[host, ("origin", "https://evil.example")]));
        assert!(!write(&[host, ("origin", "http://127.0.0.1:3001")]));
        assert!(!write(&[host, ("origin", "https://gw.example.org.evil.example")]));
        assert!(!write(&[host, ("origin", "null")]));
        assert!(!write(&[("origin", "null")]));
        assert!(!write(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(!write(&[host, ("sec-fetch-site", "same-site")]));
        assert!(same_origin(&Method::GET, &headers(&[("origin", "https://evil.example")]), public).is_ok());
    }

    #[test]
    fn the_token_is_found_among_other_cookies() {
        let found = |value| cookie(&headers(&[("cookie", value)])).map(str::to_owned);
        assert_eq!(found("a=b; nexusroute_session=tok; c=d").as_deref(), Some("tok"));
        assert_eq!(found("xnexusroute_session=tok"), None);
        assert_eq!(bearer(&headers(&[("authorization", "bearer tok")])), Some("tok"));
        assert_eq!(bearer(&headers(&[("authorization", "Basic tok")])), None);
    }

    #[test]
    fn only_a_trusted_proxy_names_the_address() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let seen = |peer: &str, forwarded| {
            let peer = SocketAddr::new(peer.parse().unwrap(), 443);
            client_ip(Some(peer), &headers(&[("x-forwarded-for", forwarded)]), &trusted).to_string()
        };
        assert_eq!(seen("192.0.2.1", "1.2.3.4"), "192.0.2.1", "a stranger's word counts for nothing");
        assert_eq!(seen("10.0.0.1", "1.2.3.4"), "1.2.3.4");
        assert_eq!(
            seen("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2"),
            "1.2.3.4",
            "what the client claims is not reached"
        );
        assert_eq!(seen("::ffff:10.0.0.1", "1.2.3.4"), "1.2.3.4");
        assert_eq!(seen("10.0.0.1", "rubbish"), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", "1.2.3.4:5678"), "1.2.3.4", "some proxies name the port too");
        assert_eq!(seen("10.0.0.1", "[2001:db8::7]:5678"), "2001:db8::7");
    }
}

//! Who is calling: the key in the headers, and the address it comes from.
//!
//! May not touch: the body.
//! Claims: a key that was let in has that noted; nothing is looked up for a text that cannot be a key; a forwarded address is believed only from our own
//! proxies.

use crate::catalogue::{Catalogue, KeyGrant, KeyStatus};
use crate::error::CallError;
use crate::key;
use axum::http::{HeaderMap, HeaderValue, header};
use domain::Moment;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The grant of the key that these headers carry, if it may be used from this address at this moment.
///
/// # Errors
/// What is wrong with the key: 401 or 403.
pub fn authenticate(
    catalogue: &Catalogue,
    headers: &HeaderMap,
    query: Option<&str>,
    address: Option<IpAddr>,
    now: Moment,
) -> Result<Arc<KeyGrant>, CallError> {
    let secret = secret(headers, query)?;
    let hash = key::lookup_hash(secret).ok_or(CallError::InvalidKey)?;
    let grant = catalogue.keys.get(&hash).ok_or(CallError::InvalidKey)?;
    match grant.status {
        KeyStatus::Active => {}
        KeyStatus::Disabled => return Err(CallError::KeyDisabled),
        KeyStatus::OwnerDisabled => return Err(CallError::OwnerDisabled),
    }
    if grant.expires_at.is_some_and(|end| end <= now) {
        return Err(CallError::KeyExpired);
    }
    let is_allowed = grant.ip_allow.is_empty()
        || address.is_some_and(|address| grant.ip_allow.iter().any(|network| network.contains(&address)));
    if !is_allowed {
        return Err(CallError::AddressNotAllowed);
    }
    grant.last_use.note(now);
    Ok(Arc::clone(grant))
}

/// The key, in whichever way the caller's protocol sends it: `Authorization: Bearer` (OpenAI), `x-api-key` (Anthropic),
/// `x-goog-api-key` or `?key=` (Google). Any of them does at any endpoint; the first of this list counts.
fn secret<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Result<&'a str, CallError> {
    let text = |value: &'a HeaderValue| value.to_str().map_err(|_| CallError::InvalidKey);
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        return match text(value)?.split_once(' ') {
            Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => Ok(secret.trim()),
            _ => Err(CallError::MissingKey),
        };
    }
    if let Some(value) = headers.get("x-api-key").or_else(|| headers.get("x-goog-api-key")) {
        return Ok(text(value)?.trim());
    }
    // No key of ours holds a character that would be escaped in a query.
    let in_query = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("key=")));
    in_query.ok_or(CallError::MissingKey)
}

/// Where a request comes from.
///
/// A peer that is not one of our proxies is the caller itself, whatever its headers say. Behind our proxies the
/// right-most address in `X-Forwarded-For` that is not one of them is: what stands further left, the caller may have
/// written. An entry there that is no address leaves the caller unknown.
pub fn address(peer: Option<SocketAddr>, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> Option<IpAddr> {
    let is_ours = |address: &IpAddr| trusted_proxies.iter().any(|network| network.contains(address));
    let peer = peer?.ip().to_canonical();
    if !is_ours(&peer) {
        return Some(peer);
    }
    let forwarded: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|line| line.to_str().unwrap_or("not an address"))
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .collect();
    for entry in forwarded.into_iter().rev() {
        let address = parse_address(entry)?;
        if !is_ours(&address) {
            return Some(address);
        }
    }
    Some(peer)
}

/// An address, perhaps with a port, perhaps in brackets.
fn parse_address(entry: &str) -> Option<IpAddr> {
    let plain = entry.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(entry);
    let address = plain.parse().or_else(|_| entry.parse::<SocketAddr>().map(|with_port| with_port.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{AccountId, KeyId};

    const NOW: Moment = Moment::from_micros(1_000_000);

    fn grant() -> KeyGrant {
        let id = uuid::Uuid::nil();
        KeyGrant {
            key: KeyId::from_uuid(id),
            account: AccountId::from_uuid(id),
            status: KeyStatus::Active,
            expires_at: None,
            models: None,
            ip_allow: Vec::new(),
            budget: None,
            multiplier: rust_decimal::Decimal::ONE,
            limits: Vec::new(),
            last_use: Arc::default(),
        }
    }

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(authorization).unwrap())])
    }

    fn ask(grant: KeyGrant, address: Option<&str>) -> Result<Arc<KeyGrant>, CallError> {
        let key = key::mint_from([1; 32]);
        let catalogue = Catalogue { keys: [(key.hash, Arc::new(grant))].into(), ..Catalogue::default() };
        let headers = headers(&format!("Bearer {}", key.secret.expose()));
        authenticate(&catalogue, &headers, None, address.map(|it| it.parse().unwrap()), NOW)
    }

    #[test]
    fn a_good_key_is_let_in() {
        assert!(ask(grant(), None).is_ok());
        assert!(ask(KeyGrant { expires_at: Some(NOW.plus_ms(1)), ..grant() }, None).is_ok());
    }

    #[test]
    fn only_a_key_that_was_let_in_was_used() {
        let good = grant();
        assert!(ask(good.clone(), None).is_ok());
        assert_eq!(good.last_use.get(), Some(NOW));
        let bad = KeyGrant { status: KeyStatus::Disabled, ..grant() };
        assert!(ask(bad.clone(), None).is_err());
        assert_eq!(bad.last_use.get(), None);
        for (later_ms, noted) in
            [(1, NOW), (10_000, NOW), (10_001, NOW.plus_ms(10_001)), (9_000, NOW.plus_ms(10_001))]
        {
            good.last_use.note(NOW.plus_ms(later_ms));
            assert_eq!(good.last_use.get(), Some(noted), "{later_ms}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said() {
        let refused = |grant, error| assert_eq!(ask(grant, Some("10.0.0.1")).unwrap_err(), error);
        refused(KeyGrant { status: KeyStatus::Disabled, ..grant() }, CallError::KeyDisabled);
        refused(KeyGrant { status: KeyStatus::OwnerDisabled, ..grant() }, CallError::OwnerDisabled);
        refused(KeyGrant { expires_at: Some(NOW), ..grant() }, CallError::KeyExpired);
        refused(
            KeyGrant { ip_allow: vec!["10.1.0.0/16".parse().unwrap()], ..grant() },
            CallError::AddressNotAllowed,
        );
    }

    #[test]
    fn a_key_bound_to_networks_is_refused_from_nowhere() {
        let bound = KeyGrant { ip_allow: vec!["10.1.0.0/16".parse().unwrap()], ..grant() };
        assert_eq!(ask(bound.clone(), None).unwrap_err(), CallError::AddressNotAllowed);
        assert!(ask(bound, Some("10.1.2.3")).is_ok());
    }

    #[test]
    fn what_is_no_key_of_ours_is_refused() {
        let catalogue = Catalogue::default();
        let ask = |headers: &HeaderMap| authenticate(&catalogue, headers, None, None, NOW).unwrap_err();
        assert_eq!(ask(&HeaderMap::new()), CallError::MissingKey);
        assert_eq!(ask(&headers("Basic dXNlcjpwYXNz")), CallError::MissingKey);
        assert_eq!(ask(&headers("Bearer ")), CallError::InvalidKey);
        assert_eq!(ask(&headers("Bearer sk-abc")), CallError::InvalidKey);
        let unknown = key::mint_from([2; 32]);
        assert_eq!(ask(&headers(&format!("bearer {}", unknown.secret.expose()))), CallError::InvalidKey);
    }

    #[test]
    fn an_imported_key_is_a_key_without_a_checksum() {
        let key = key::imported(&"Ab".repeat(24)).unwrap();
        let catalogue = Catalogue { keys: [(key.hash, Arc::new(grant()))].into(), ..Catalogue::default() };
        let ask = |text: &str| authenticate(&catalogue, &headers(text), None, None, NOW);
        assert!(ask(&format!("Bearer {}", key.secret.expose())).is_ok());
        assert!(ask(&format!("Bearer {}", "Ab".repeat(24))).is_ok());
        assert_eq!(ask(&format!("Bearer sk-{}", "aB".repeat(24))).unwrap_err(), CallError::InvalidKey);
    }

    #[test]
    fn every_protocols_way_of_sending_a_key_does() {
        let key = key::mint_from([1; 32]);
        let catalogue = Catalogue { keys: [(key.hash, Arc::new(grant()))].into(), ..Catalogue::default() };
        let secret = key.secret.expose();
        for name in ["x-api-key", "x-goog-api-key"] {
            let headers =
                HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_str(secret).unwrap())]);
            assert!(authenticate(&catalogue, &headers, None, None, NOW).is_ok(), "{name}");
        }
        let query = format!("alt=sse&key={secret}");
        assert!(authenticate(&catalogue, &HeaderMap::new(), Some(&query), None, NOW).is_ok());
        let other = authenticate(&catalogue, &headers("Bearer sk-x"), Some(&query), None, NOW);
        assert_eq!(other.unwrap_err(), CallError::InvalidKey, "the header counts");
    }

    #[test]
    fn only_our_own_proxies_are_believed() {
        let proxies: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let cases = [
            ("203.0.113.9:1", "6.6.6.6", Some("203.0.113.9")),
            ("10.0.0.1:1", "6.6.6.6, 198.51.100.7", Some("198.51.100.7")),
            ("10.0.0.1:1", "198.51.100.7, 10.9.9.9", Some("198.51.100.7")),
            ("10.0.0.1:1", "6.6.6.6, 198.51.100.7:5555, 10.9.9.9,", Some("198.51.100.7")),
            ("[::1]:1", "[2001:db8::1]", Some("2001:db8::1")),
            ("[::ffff:10.0.0.1]:1", "::ffff:198.51.100.7", Some("198.51.100.7")),
            ("10.0.0.1:1", "198.51.100.7, unknown", None),
            ("10.0.0.1:1", "10.3.3.3", Some("10.0.0.1")),
            ("10.0.0.1:1", "", Some("10.0.0.1")),
        ];
        for (peer, forwarded, expected) in cases {
            let headers = HeaderMap::from_iter([(
                "x-forwarded-for".parse().unwrap(),
                HeaderValue::from_static(forwarded),
            )]);
            let found = address(Some(peer.parse().unwrap()), &headers, &proxies);
            assert_eq!(found, expected.map(|it| it.parse().unwrap()), "{peer} {forwarded}");
        }
        assert_eq!(address(None, &HeaderMap::new(), &proxies), None);
    }
}

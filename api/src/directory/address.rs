//! Where a provider may be: the guard against an admin's (or a stolen admin session's) URL that points inward.
//!
//! The URL is checked when it is set; what a name resolves to can change later, so [`Guard`] checks it again at every
//! connection that this crate makes.
//! Claims: without the operator's switch no private, loopback, link-local or otherwise special address is accepted or
//! connected to, however it is written; plain http goes to private addresses only, so that a key never crosses the
//! internet in the clear.

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

/// How long a name server may take.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// Checks a base URL and returns it without a trailing slash. The error says what is wrong with it.
///
/// A name that does not resolve now is accepted: there is nothing behind it yet, and [`Guard`] asks again.
pub async fn check_base_url(text: &str, allow_private: bool) -> Result<String, String> {
    let url = check_shape(text, allow_private)?;
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(443);
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let addresses: Vec<IpAddr> = match literal {
        Some(ip) => vec![ip],
        None => match tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host((host, port))).await {
            Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        },
    };
    for ip in addresses {
        if !allow_private && !is_public(ip) {
            return Err(format!(
                "{host} is the private address {ip}; providers there need the option allow_private_providers"
            ));
        }
        if url.scheme() == "http" && is_public(ip) {
            return Err("must start with https:// (http:// is for private addresses only)".to_owned());
        }
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The same of what the text itself tells, without asking what its name resolves to, which [`Guard`] does at every connection.
pub fn check_literal(text: &str, allow_private: bool) -> Result<String, String> {
    let url = check_shape(text, allow_private)?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(ip) if !allow_private && !is_public(ip) => Err(format!("{host} is a private address")),
        Ok(ip) if url.scheme() == "http" && is_public(ip) => Err("must start with https://".to_owned()),
        Ok(_) | Err(_) => Ok(url.as_str().trim_end_matches('/').to_owned()),
    }
}

fn check_shape(text: &str, allow_private: bool) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("is not a URL such as https://api.example.org/v1: {error}"))?;
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        _ => return Err("must start with https://".to_owned()),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not hold a query or fragment".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("must name a host".to_owned());
    }
    if text.len() > 1000 {
        return Err("must not be longer than 1000 bytes".to_owned());
    }
    Ok(url)
}

/// Checks where a user wants notices to be posted, and returns it as it is called. Unlike a provider's, it may hold a query.
///
/// A name that does not resolve now is accepted, as a provider's is: [`Guard`] asks again at every connection.
pub async fn check_webhook_url(text: &str, allow_private: bool) -> Result<String, String> {
    let url = check_webhook_literal(text, allow_private)?;
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(443);
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let found = match tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    for ip in found {
        check_webhook_address(&url, ip, allow_private)?;
    }
    Ok(url.as_str().to_owned())
}

/// The same of what the text itself tells: an address that is written as one is connected to without asking any [`Guard`].
pub fn check_webhook_literal(text: &str, allow_private: bool) -> Result<Url, String> {
    if text.len() > 1000 {
        return Err("must not be longer than 1000 bytes".to_owned());
    }
    let url = Url::parse(text)
        .map_err(|error| format!("is not a URL such as https://example.org/hooks/nexusroute: {error}"))?;
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        _ => return Err("must start with https://".to_owned()),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password".to_owned());
    }
    if url.fragment().is_some() {
        return Err("must not hold a fragment".to_owned());
    }
    if url.as_str().len() > 1000 {
        return Err("must not be longer than 1000 bytes".to_owned());
    }
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        return Err("must name a host".to_owned());
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        check_webhook_address(&url, ip, allow_private)?;
    }
    Ok(url)
}

fn check_webhook_address(url: &Url, ip: IpAddr, allow_private: bool) -> Result<(), String> {
    if !allow_private && !is_public(ip) {
        return Err(format!("leads to the private address {ip}"));
    }
    if url.scheme() == "http" && is_public(ip) {
        return Err("must start with https:// (http:// is for private addresses only)".to_owned());
    }
    Ok(())
}

/// May a provider be at this address without the operator's switch?
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local() // the clouds' metadata services live at 169.254.169.254
        || ip.is_documentation()
        || a == 0
        || (a == 100 && (64..128).contains(&b)) // carriers' NAT
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99) // 6to4 relays
        || (a == 198 && (18..20).contains(&b)) // benchmarks
        || a >= 224; // multicast, reserved, broadcast
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] => embedded(high, low), // IPv4 in another coat
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low), // NAT64
        [0x2002, high, low, ..] => embedded(high, low),            // 6to4
        [0x2001, second, ..] if second < 0x200 => false,           // Teredo, benchmarks, ORCHID
        [0x2001, 0xdb8, ..] => false,                              // documentation
        // Global unicast is 2000::/3: all else is loopback, local, multicast or not assigned.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Resolves names for our own calls to providers, and keeps only addresses that are allowed.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// Are private addresses allowed?
    pub allow_private: bool,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|it| allow_private || is_public(it.ip())).collect();
            if allowed.is_empty() {
                return Err(format!("{} has no public address", name.as_str()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn inward_addresses_are_refused_however_they_are_written() {
        for url in [
            "https://127.0.0.1/v1",
            "https://2130706433/v1",
            "https://0x7f.1/v1",
            "https://0177.0.0.1/v1",
            "https://10.1.2.3",
            "https://172.16.0.1",
            "https://192.168.1.1:8443",
            "https://169.254.169.254/latest/meta-data",
            "https://100.64.0.1",
            "https://0.0.0.0",
            "https://255.255.255.255",
            "https://[::1]",
            "https://[::]",
            "https://[::ffff:127.0.0.1]",
            "https://[::ffff:a9fe:a9fe]",
            "https://[64:ff9b::7f00:1]",
            "https://[2002:7f00:1::]",
            "https://[fe80::1]",
            "https://[fd00:ec2::254]",
            "https://localhost",
        ] {
            let fault = check_base_url(url, false).await.unwrap_err();
            assert!(fault.contains("private"), "{url}: {fault}");
        }
    }

    #[tokio::test]
    async fn odd_urls_are_refused() {
        for (url, fault) in [
            ("ftp://93.184.216.34", "https://"),
            ("file:///etc/passwd", "https://"),
            ("http://93.184.216.34/v1", "https://"),
            ("https://user@93.184.216.34", "user name"),
            ("https://:pw@93.184.216.34", "user name"),
            ("https://93.184.216.34/?a=b", "query"),
            ("https://93.184.216.34/#a", "fragment"),
            ("93.184.216.34", "not a URL"),
            ("", "not a URL"),
        ] {
            let found = check_base_url(url, false).await.unwrap_err();
            assert!(found.contains(fault), "{url}: {found}");
        }
    }

    #[tokio::test]
    async fn public_addresses_pass_and_lose_their_trailing_slash() {
        for (url, kept) in [
            ("https://93.184.216.34/v1/", "https://93.184.216.34/v1"),
            ("https://93.184.216.34", "https://93.184.216.34"),
            ("https://[2606:4700::1111]:8443/v1", "https://[2606:4700::1111]:8443/v1"),
        ] {
            assert_eq!(check_base_url(url, false).await.unwrap(), kept);
        }
    }

    #[tokio::test]
    async fn the_switch_opens_private_addresses_and_http_to_them_alone() {
        for url in ["http://127.0.0.1:8080/v1", "https://10.0.0.1", "http://localhost:1"] {
            assert!(check_base_url(url, true).await.is_ok(), "{url}");
        }
        let fault = check_base_url("http://93.184.216.34", true).await.unwrap_err();
        assert!(fault.contains("https://"), "{fault}");
    }

    #[tokio::test]
    async fn a_webhook_goes_outward_by_https_and_may_hold_a_query() {
        for url in ["https://93.184.216.34/hook?token=a&b=c", "https://[2606:4700::1111]:8443/"] {
            assert_eq!(check_webhook_url(url, false).await.unwrap(), url);
        }
        for (url, fault) in [
            ("https://127.0.0.1/", "private"),
            ("https://2130706433/", "private"),
            ("https://0177.0.0.1/", "private"),
            ("https://169.254.169.254/latest", "private"),
            ("https://[::ffff:10.0.0.1]/", "private"),
            ("https://[fd00:ec2::254]/", "private"),
            ("https://localhost/", "private"),
            ("http://93.184.216.34/", "https://"),
            ("ftp://93.184.216.34/", "https://"),
            ("https://user:pw@93.184.216.34/", "user name"),
            ("https://93.184.216.34/#x", "fragment"),
            ("/hook", "not a URL"),
        ] {
            let found = check_webhook_url(url, false).await.unwrap_err();
            assert!(found.contains(fault), "{url}: {found}");
        }
        assert!(
            check_webhook_url(&format!("https://93.184.216.34/{}", "x".repeat(1000)), false).await.is_err()
        );
        assert!(check_webhook_url("http://127.0.0.1:1/hook", true).await.is_ok());
        assert!(check_webhook_url("http://93.184.216.34/hook", true).await.is_err());
    }

    #[tokio::test]
    async fn a_name_that_resolves_inward_is_not_connected_to() {
        let resolve = |allow_private| Guard { allow_private }.resolve("localhost".parse().unwrap());
        assert!(resolve(false).await.is_err());
        assert!(resolve(true).await.is_ok_and(|found| found.count() > 0));
    }
}

//! Keeps other web sites out of a server that has no authentication: pages of another origin may not change anything
//! (cross-site request forgery), and a name that merely resolves to this machine does not make a page one of ours (DNS
//! rebinding). And the headers that keep our own page from being misused.
//!
//! Programs that are no browsers send neither `Origin` nor `Sec-Fetch-Site` and are let through.

use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use super::problem::Problem;

/// Under which names the server may be addressed. Always allowed: IP addresses (a rebinding attack needs a name),
/// `localhost`, names without a dot and names under `.localhost`, `.local` and `.internal`, none of which the public DNS
/// can answer.
#[derive(Debug, Clone, Default)]
pub struct HostPolicy {
    /// Further names, lower case, without port.
    pub allowed: BTreeSet<String>,
    /// Any name will do: the server authenticates its callers.
    pub any: bool,
}

impl HostPolicy {
    /// Whether the host part of an authority (`name`, `name:port`, `[address]:port`) may be used.
    pub fn allows(&self, authority: &str) -> bool {
        let host = host_of(authority).to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        self.any
            || host.parse::<IpAddr>().is_ok()
            || (!host.is_empty() && !host.contains('.'))
            || [".localhost", ".local", ".internal"].iter().any(|suffix| host.ends_with(suffix))
            || self.allowed.contains(host)
    }
}

/// The host of an authority, without port and brackets.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

fn text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or(""))
}

/// The authority that the request is for: `Host`, or `:authority` of HTTP/2.
fn authority<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    text(headers, header::HOST).or_else(|| uri.authority().map(axum::http::uri::Authority::as_str))
}

/// Whether a request that would change something comes from our own page or from no page at all.
fn is_same_origin(headers: &HeaderMap, uri: &Uri) -> bool {
    if let Some(site) = text(headers, "sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(headers, header::ORIGIN) else { return true };
    let asked = authority(headers, uri);
    // `null` and everything that is no URL has no authority and so is never ours.
    origin.split_once("://").is_some_and(|(_, from)| Some(from) == asked)
}

/// What to refuse a request with, if it is to be refused.
pub fn refusal(policy: &HostPolicy, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Problem> {
    if let Some(authority) = authority(headers, uri)
        && !policy.allows(authority)
    {
        let host = host_of(authority);
        let detail = format!(
            "This server is not known as `{host}`. Address it by IP address or as localhost, or start it with --allow-host {host}."
        );
        return Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown-host", "Unknown host", detail));
    }
    let changes_something = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if changes_something && !is_same_origin(headers, uri) {
        let detail = "A page of another origin may look, but not change anything here. Use this server's own page, or a program.";
        return Some(Problem::new(StatusCode::FORBIDDEN, "cross-origin", "Cross-origin request refused", detail));
    }
    None
}

/// Everything from here, except what hls.js needs: its worker and the media it feeds to the browser are `blob:` URLs, and the
/// text track that it makes for the gaps of a recording (`EXT-X-DATERANGE`) begins as an empty `data:` URL.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob: data:; \
    worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// Adds the headers that every response carries.
pub fn add_security_headers(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &Method, headers: &[(&'static str, &'static str)]) -> Option<u16> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let policy = HostPolicy { allowed: ["nvr.example.com".to_owned()].into(), any: false };
        refusal(&policy, method, &Uri::from_static("/x"), &headers).map(|problem| problem.status)
    }

    #[test]
    fn names_that_the_public_dns_could_answer_are_refused_unless_allowed() {
        for host in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "localhost:8080",
            "nvr",
            "nvr.local",
            "a.localhost",
            "NVR.example.com",
            "192.0.2.7",
        ] {
            assert_eq!(refused(&Method::GET, &[("host", host)]), None, "{host}");
        }
        for host in
            ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "", "a.b."]
        {
            assert_eq!(refused(&Method::GET, &[("host", host)]), Some(421), "{host}");
        }
    }

    #[test]
    fn only_our_own_page_and_programs_may_change_something() {
        let host = ("host", "localhost:8080");
        assert_eq!(refused(&Method::POST, &[host]), None, "a program");
        assert_eq!(refused(&Method::POST, &[host, ("origin", "http://localhost:8080")]), None);
        assert_eq!(refused(&Method::POST, &[host, ("sec-fetch-site", "same-origin")]), None);
        assert_eq!(refused(&Method::POST, &[host, ("sec-fetch-site", "none")]), None, "typed by the user");
        for origin in ["http://evil.example", "http://localhost:9999", "null", "", "http://localhost:8080.evil.example"]
        {
            assert_eq!(refused(&Method::POST, &[host, ("origin", origin)]), Some(403), "{origin}");
            assert_eq!(refused(&Method::GET, &[host, ("origin", origin)]), None, "{origin} may look");
        }
        for site in ["cross-site", "same-site"] {
            let own = ("origin", "http://localhost:8080");
            assert_eq!(refused(&Method::DELETE, &[host, own, ("sec-fetch-site", site)]), Some(403), "{site}");
        }
    }
}

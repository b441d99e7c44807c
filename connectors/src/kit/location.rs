//! Locations: where a connection points, and where it may never point.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use url::{Host, Url};

use crate::{Error, ErrorKind, Result};

/// The address of a tool: http(s), without user info, query or fragment, without a trailing slash.
#[derive(Clone, PartialEq, Eq)]
pub struct Location(Url);

impl Location {
    /// Reads what a user typed. A missing scheme means https. Plain http is accepted on loopback, or with `allow_http`.
    ///
    /// # Errors
    /// `ErrorKind::Settings` that says what is wrong and how to mend it.
    pub fn parse(text: &str, allow_http: bool) -> Result<Self> {
        let wrong = |why: String| Error::new("reading `location`", ErrorKind::Settings(why.into()));
        let text = text.trim();
        let text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let mut url = Url::parse(&text).map_err(|error| wrong(format!("`location` is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(format!("`location` has the scheme `{}`, but only https (and http) are spoken", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("`location` holds a user name or password; put secrets into their own fields".into()));
        }
        url.set_query(None);
        url.set_fragment(None);
        let Some(host) = url.host() else { return Err(wrong("`location` names no host".into())) };
        if url.scheme() == "http" && !allow_http && !is_loopback(&host) {
            return Err(wrong(
                "`location` is plain http; use https, or set `http = { allow_http = true }` if the network is trusted".into(),
            ));
        }
        if is_forbidden_host(&host) {
            return Err(wrong(format!("`location` points to {host}, a link-local or metadata address, which is never polled")));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Location(url))
    }

    /// The same location without these endings of its path (users paste them), tried in order until none fits.
    #[must_use]
    pub fn without_endings(mut self, endings: &[&str]) -> Self {
        while let Some(rest) = endings.iter().find_map(|ending| self.0.path().trim_end_matches('/').strip_suffix(ending)) {
            let rest = rest.trim_end_matches('/').to_owned();
            self.0.set_path(&rest);
        }
        self
    }

    /// The same scheme and port at another host, without a path.
    #[must_use]
    pub fn at_host(mut self, host: &str) -> Self {
        // A host that is none leaves the location as it is; it is a constant of a connector, or cut from a good one.
        let _ = self.0.set_host(Some(host));
        self.0.set_path("");
        self
    }

    /// The same location without its path from the first segment of these names on (users paste whole API addresses).
    #[must_use]
    pub fn before(mut self, names: &[&str]) -> Self {
        let kept: Vec<&str> = self.0.path().split('/').take_while(|segment| !names.contains(segment)).collect();
        let kept = kept.join("/");
        self.0.set_path(kept.trim_end_matches('/'));
        self
    }

    /// The host name or address, with its port.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host(), self.0.port_or_known_default().unwrap_or_default())
    }

    /// The host name or address.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        self.0.host().is_some_and(|host| is_loopback(&host))
    }

    pub(crate) fn url(&self) -> &Url {
        &self.0
    }

    /// The URL of a path below the location. `{}` in the template stands for the next argument, percent-encoded as one
    /// path segment.
    pub(crate) fn join(&self, template: &str, arguments: &[&str]) -> Url {
        let mut url = self.0.clone();
        let mut arguments = arguments.iter();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty();
            for segment in template.trim_start_matches('/').split('/') {
                path.push(if segment == "{}" { arguments.next().copied().unwrap_or_default() } else { segment });
            }
        }
        url
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

/// Names under which clouds serve their machines' credentials.
const METADATA_NAMES: &[&str] =
    &["metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal", "metadata.tencentyun.com"];

/// Whether a host is one that is never contacted, as far as its spelling tells.
pub(crate) fn is_forbidden_host(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(ip) => is_forbidden(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => is_forbidden(IpAddr::V6(*ip)),
        Host::Domain(name) => METADATA_NAMES.contains(&name.trim_end_matches('.').to_ascii_lowercase().as_str()),
    }
}

/// Link-local and metadata addresses: a location or a resolved name may never lead there.
pub(crate) fn is_forbidden(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            // Besides 169.254.0.0/16, where most clouds have theirs: those of Alibaba, Oracle and Azure.
            let metadata = [[100, 100, 100, 200], [192, 0, 0, 192], [168, 63, 129, 16]];
            ip.is_link_local() || ip.octets()[0] == 0 || metadata.contains(&ip.octets())
        }
        IpAddr::V6(ip) => {
            // Those of AWS, Google and Scaleway.
            let metadata =
                [[0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]];
            ip.is_unicast_link_local()
                || ip.is_unspecified()
                || metadata.contains(&ip.segments())
                || embedded(ip).is_some_and(|ip| is_forbidden(IpAddr::V4(ip)))
        }
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, translated (NAT64) or tunnelled (6to4).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match (a, b, [c, d, e, f]) {
        // `::1` is loopback, not 0.0.0.1.
        (0, 0, [0, 0, 0, 0]) if g != 0 => v4(g, h),
        (0, 0, [0, 0, 0, 0xffff]) | (0x64, 0xff9b, [0, 0, 0, 0]) => v4(g, h),
        (0x2002, high, [low, ..]) => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o3_locations_that_must_never_be_polled_are_refused() {
        for text in [
            "http://169.254.169.254/latest",
            "https://[fe80::1]/",
            "https://[fd00:ec2::254]/",
            "https://[fe80::a9fe:a9fe%25eth0]/",
            "https://[febf::1]",
            "https://[::ffff:169.254.169.254]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[::169.254.169.254]/",
            "https://[64:ff9b::169.254.169.254]/",
            "https://[2002:a9fe:a9fe::1]/",
            "https://[::]/",
            "https://[::ffff:0.0.0.0]",
            "https://0.0.0.0",
            "https://169.254.0.1",
            "https://169.254.255.255:8443",
            "https://2852039166/",
            "https://0xa9fea9fe/",
            "https://0251.0376.0251.0376/",
            "https://169.254.43518/",
            "https://１６９.254.169.254/",
            "https://100.100.100.200",
            "https://192.0.0.192",
            "https://168.63.129.16",
            "https://[fd20:ce::254]",
            "https://metadata.google.internal",
            "https://METADATA.google.internal./",
            "https://metadata",
            "https://instance-data.ec2.internal",
            "file:///etc/passwd",
            "https://user:word@x.example",
            "http://x.example",
            "ftp://x.example",
        ] {
            assert!(Location::parse(text, false).is_err(), "{text}");
        }
        for text in [
            "https://x.example/",
            "x.example",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://localhost",
            "https://10.0.0.1/sub/path/",
            "https://169.253.1.1",
            "https://[fd00::1]",
            "https://[2001:db8::a9fe:a9fe]",
            "https://[::ffff:10.0.0.1]",
            "https://metadata.example",
        ] {
            assert!(Location::parse(text, false).is_ok(), "{text}");
        }
        // Loopback is where plain http is harmless, and nowhere that only looks like it.
        for text in ["http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://10.0.0.1", "http://[fd00::1]"] {
            assert!(Location::parse(text, false).is_err(), "{text}");
        }
        // Not even where plain http is allowed.
        assert!(Location::parse("http://169.254.169.254", true).is_err());
        assert!(Location::parse("http://x.example", true).is_ok());
    }

    #[test]
    fn a_pasted_api_address_is_cut_where_the_api_begins() {
        for (pasted, kept) in [
            ("https://x.example:8443/graphql/v1/", "https://x.example:8443"),
            ("x.example/api/key/v0.1/scan?x=1", "https://x.example"),
            ("https://x.example/proxy/burp/api-internal", "https://x.example/proxy/burp"),
            ("https://x.example/apis/", "https://x.example/apis"),
        ] {
            let location = Location::parse(pasted, false).expect("a location").before(&["graphql", "api", "api-internal"]);
            assert_eq!(location.to_string(), kept, "{pasted}");
        }
    }

    #[test]
    fn paths_join_below_the_location_and_arguments_cannot_leave_their_segment() {
        let location = Location::parse("https://x.example/sub/api/v1/", false).expect("a location").without_endings(&["/api", "/v1"]);
        assert_eq!(location.to_string(), "https://x.example/sub");
        assert_eq!(location.clone().at_host("api.x.example").to_string(), "https://api.x.example");
        assert_eq!(location.join("/api/v1/project/{}", &["../a b/?x"]).as_str(), "https://x.example/sub/api/v1/project/..%2Fa%20b%2F%3Fx");
    }
}

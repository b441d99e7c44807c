//! Where a tenant is: its API, and the IAM host with its realm.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    kit::{HttpOptions, Location},
    prelude::*,
};

pub(super) const REGIONS: &str = "https://ast.checkmarx.net (US), https://us.ast.checkmarx.net (US2), https://eu.ast.checkmarx.net, \
                       https://eu-2.ast.checkmarx.net, https://deu.ast.checkmarx.net, https://anz.ast.checkmarx.net, \
                       https://ind.ast.checkmarx.net, https://sng.ast.checkmarx.net, https://mea.ast.checkmarx.net";

/// Where a tenant is: its API, and the IAM host with its realm.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) api: Location,
    pub(super) iam: Location,
    pub(super) tenant: String,
    /// What should be corrected in the settings.
    pub(super) note: Option<String>,
}

impl Home {
    /// From what was typed and what the API key says of itself. A key is unverified: it leads to hosts of Checkmarx only.
    pub(super) fn find(typed: &Location, tenant: &str, iam_url: Option<&str>, key: Option<&Claims>, options: &HttpOptions) -> Result<Home> {
        let parse = |text: &str| Location::parse(text, options.allow_http);
        let mut tenant = tenant.trim().to_lowercase();
        let mut notes = Vec::new();
        let mut api = typed.clone().without_endings(&["/api"]);
        if known(typed.host()) {
            api = typed.clone().at_host(&swap(typed.host(), "iam.", "ast."));
            if api.host() != typed.host() {
                notes.push(format!("`location` is the IAM host, {api} is used"));
            }
        }
        let realm = key.and_then(Claims::realm).and_then(|(host, realm)| Some((parse(host).ok()?, realm)));
        let iam = match iam_url {
            Some(text) => parse(text.trim().split("/auth/realms").next().unwrap_or(text))?.without_endings(&["/auth"]),
            None => match &realm {
                Some((host, _)) if known(host.host()) && host.url().scheme() == "https" => host.clone(),
                _ if known(api.host()) => api.clone().at_host(&swap(api.host(), "ast.", "iam.")),
                _ => api.clone(),
            },
        };
        if let Some((host, realm)) = realm
            && host.host() == iam.host()
        {
            if !tenant.is_empty() && tenant != realm {
                notes.push(format!("the API key belongs to tenant `{realm}`, not to `{tenant}`: set `tenant` to that"));
            }
            tenant = realm.to_owned();
            let region = swap(host.host(), "iam.", "ast.");
            if known(host.host()) && known(api.host()) && region != api.host() {
                api = api.at_host(&region);
                notes.push(format!("the API key belongs to another region than {typed}: {api} is used, set `location` to that"));
            }
        }
        if tenant.is_empty() {
            return Err(Error::settings("`tenant` is empty; the log-in page shows its name"));
        }
        Ok(Home { api, iam, tenant, note: (!notes.is_empty()).then(|| notes.join("; ")) })
    }
}

/// Whether a host is Checkmarx's own.
fn known(host: &str) -> bool {
    let of = |suffix: &str| host == suffix || host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    of("ast.checkmarx.net") || of("iam.checkmarx.net") || host.ends_with(".cxone.cloud")
}

/// The host's twin in the same region: `eu.ast.checkmarx.net` and `eu.iam.checkmarx.net`.
fn swap(host: &str, from: &str, to: &str) -> String {
    let region = host.strip_suffix(&[from, "checkmarx.net"].concat()).filter(|region| region.is_empty() || region.ends_with('.'));
    region.map_or_else(|| host.to_owned(), |region| [region, to, "checkmarx.net"].concat())
}

/// What an API key, a JWT, says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    aud: Option<Audience>,
    pub(super) azp: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Claims {
    pub(super) fn of(key: &str) -> Option<Claims> {
        let payload = URL_SAFE_NO_PAD.decode(key.trim().split('.').nth(1)?.trim_end_matches('=')).ok()?;
        serde_json::from_slice(&payload).ok()
    }

    /// Address of the IAM host, and the realm.
    fn realm(&self) -> Option<(&str, &str)> {
        let audience = match self.aud.as_ref()? {
            Audience::One(text) => text,
            Audience::Many(texts) => texts.iter().find(|text| !text.is_empty())?,
        };
        let (host, realm) = audience.split_once("/auth/realms/")?;
        Some((host, realm.trim_end_matches('/'))).filter(|(_, realm)| !realm.is_empty() && !realm.contains('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_iam_host_follows_from_what_was_typed_and_from_the_key() {
        const EU: &str = "https://eu.iam.checkmarx.net";
        for (typed, iam_url, audience, api, iam, tenant, noted) in [
            ("https://eu.ast.checkmarx.net/", None, None, "https://eu.ast.checkmarx.net", EU, "acme", ""),
            ("ast.checkmarx.net/api/", None, None, "https://ast.checkmarx.net", "https://iam.checkmarx.net", "acme", ""),
            ("https://eu.ast.checkmarx.net/projects/x/overview", None, None, "https://eu.ast.checkmarx.net", EU, "acme", ""),
            ("https://eu.iam.checkmarx.net/auth", None, None, "https://eu.ast.checkmarx.net", EU, "acme", "is the IAM host"),
            ("https://acme.cxone.cloud", None, None, "https://acme.cxone.cloud", "https://acme.cxone.cloud", "acme", ""),
            ("https://cx.acme.example/api", None, None, "https://cx.acme.example", "https://cx.acme.example", "acme", ""),
            (
                "https://cx.acme.example",
                Some("https://iam.acme.example/auth/realms/acme"),
                None,
                "https://cx.acme.example",
                "https://iam.acme.example",
                "acme",
                "",
            ),
            // A key names its realm: of another region, of another tenant.
            ("https://ast.checkmarx.net", None, Some(EU), "https://eu.ast.checkmarx.net", EU, "acme", "another region"),
            ("https://cx.acme.example", None, Some(EU), "https://cx.acme.example", EU, "acme", ""),
            // But it leads to no other hosts.
            ("https://eu.ast.checkmarx.net", None, Some("https://evil.example"), "https://eu.ast.checkmarx.net", EU, "acme", ""),
            (
                "https://eu.ast.checkmarx.net",
                None,
                Some("https://ast.checkmarx.net.evil.example"),
                "https://eu.ast.checkmarx.net",
                EU,
                "acme",
                "",
            ),
            ("https://eu.ast.checkmarx.net", None, Some("https://evilast.checkmarx.net"), "https://eu.ast.checkmarx.net", EU, "acme", ""),
        ] {
            let claims = audience.map(|host| Claims { aud: Some(Audience::One([host, "/auth/realms/acme"].concat())), azp: None });
            let location = Location::parse(typed, false).expect("a location");
            let home = Home::find(&location, " ACME ", iam_url, claims.as_ref(), &HttpOptions::default()).expect("a home");
            assert_eq!((&*home.api.to_string(), &*home.iam.to_string(), &*home.tenant), (api, iam, tenant), "{typed} {audience:?}");
            assert!(
                home.note.as_deref().map_or(noted.is_empty(), |note| note.contains(noted) && !noted.is_empty()),
                "{typed}: {:?}",
                home.note
            );
        }
        let claims = Claims { aud: Some(Audience::Many(vec![String::new(), [EU, "/auth/realms/other"].concat()])), azp: None };
        let location = Location::parse("https://eu.ast.checkmarx.net", false).expect("a location");
        let home = Home::find(&location, "acme", None, Some(&claims), &HttpOptions::default()).expect("a home");
        assert_eq!((&*home.tenant, home.note.as_deref().is_some_and(|note| note.contains("belongs to tenant `other`"))), ("other", true));
    }

    #[test]
    fn what_a_key_says_is_read_and_anything_else_is_no_claim() {
        let key = |claims: &str| ["e30", &URL_SAFE_NO_PAD.encode(claims), "x"].join(".");
        let claims = Claims::of(&key(r#"{"azp":"app","aud":["","https://iam.checkmarx.net/auth/realms/acme/"]}"#)).expect("claims");
        assert_eq!((claims.azp.as_deref(), claims.realm()), (Some("app"), Some(("https://iam.checkmarx.net", "acme"))));
        for odd in ["no jwt", "a.b.c", &key("[1]"), &key(r#"{"aud":"https://x/auth/realms/a/b"}"#), &key(r#"{"aud":"account"}"#)] {
            assert_eq!(Claims::of(odd).and_then(|claims| claims.realm().map(|_| ())), None, "{odd}");
        }
    }
}

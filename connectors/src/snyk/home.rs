//! Where the API is, from what people paste.

use crate::kit::Location;

/// Where the API is, from what people paste: the web interface, the API V1, a path.
pub(super) fn resolve_api_url(location: &Location) -> (Location, Option<String>) {
    let host = location.host().to_owned();
    let path = location.url().path().trim_end_matches('/').to_owned();
    let right = match host.strip_prefix("app.") {
        Some(rest) if rest.ends_with("snyk.io") || rest.ends_with("snykgov.io") => ["api.", rest].concat(),
        _ if matches!(&*host, "snyk.io" | "www.snyk.io") => "api.snyk.io".to_owned(),
        _ => host.clone(),
    };
    let as_it_is = right == host && matches!(&*path, "" | "/rest");
    let corrected = location.clone().at_host(&right);
    let note = (!as_it_is).then(|| format!("`location` {location} is not the REST API; {corrected}/rest is used: set `location` to that"));
    (corrected, note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_paste_leads_to_the_api_of_the_same_region() {
        for (text, api, noted) in [
            ("https://api.snyk.io/rest", "https://api.snyk.io", false),
            ("https://api.eu.snyk.io", "https://api.eu.snyk.io", false),
            ("https://api.au.snyk.io/v1", "https://api.au.snyk.io", true),
            ("https://api.snyk.io/api/v1/", "https://api.snyk.io", true),
            ("https://snyk.io/api", "https://api.snyk.io", true),
            ("https://app.us.snyk.io/org/acme", "https://api.us.snyk.io", true),
            ("https://app.snykgov.io", "https://api.snykgov.io", true),
            ("https://api.acme.snyk.io/rest/", "https://api.acme.snyk.io", false),
        ] {
            let (location, note) = resolve_api_url(&Location::parse(text, false).expect("a location"));
            assert_eq!((&*location.to_string(), note.is_some()), (api, noted), "{text}: {note:?}");
        }
    }
}

//! The two API keys, in the forms in which people write them as one.

use crate::prelude::*;

/// Both keys, from the forms in which they are written as one.
pub(super) fn split(both: &str) -> Option<(Secret, Secret)> {
    let whole = both.trim().trim_end_matches(';');
    if whole.starts_with('{') {
        let Both { access, secret } = serde_json::from_str(whole).ok()?;
        return Some((access, secret));
    }
    let (first, second) = whole.split_once([';', ':', ','])?;
    let (first, second) = (first.trim(), second.trim());
    let named = |text: &str, name: &str| text.strip_prefix(name).and_then(|rest| rest.trim_start().strip_prefix('=')).map(Secret::new);
    match (named(first, "accessKey"), named(second, "secretKey"), named(first, "secretKey"), named(second, "accessKey")) {
        (Some(access), Some(secret), ..) | (.., Some(secret), Some(access)) => Some((access, secret)),
        _ if first.is_empty() || second.is_empty() => None,
        _ => Some((Secret::new(first), Secret::new(second))),
    }
}

#[derive(Deserialize)]
struct Both {
    #[serde(alias = "accessKey", alias = "access_key")]
    access: Secret,
    #[serde(alias = "secretKey", alias = "secret_key")]
    secret: Secret,
}

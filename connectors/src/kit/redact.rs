//! Cuts a secret out of a foreign text, in whatever form it may be echoed there.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use super::Secret;

/// Shorter ones are no secrets: cutting them would only spoil the text.
const SHORTEST: usize = 4;
/// Fewer characters of a base64 text may stand there by chance.
const SHORTEST_CODED: usize = 6;
const CUT: &str = "…";

/// A foreign text without a secret: as it is, URL- and JSON-escaped, in hexadecimal, and in base64 wherever in a longer text
/// it was encoded (`user:secret`).
pub(crate) fn redact(text: &str, secret: &Secret) -> String {
    let secret = secret.expose();
    if secret.len() < SHORTEST {
        return text.to_owned();
    }
    let json = serde_json::to_string(secret).unwrap_or_default();
    let json = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
    let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut text = text.to_owned();
    // Letters change their case in a host name, and in what an escape is written with.
    for form in [secret, json, &form, &form.replace('+', "%20"), &hex] {
        text = cut(&text, form);
    }
    for form in coded(secret.as_bytes()) {
        text = text.replace(&form, CUT);
    }
    text
}

/// The text without any spelling of `form` in large and small letters.
fn cut(text: &str, form: &str) -> String {
    if form.is_empty() {
        return text.to_owned();
    }
    let (haystack, needle) = (text.to_ascii_lowercase(), form.to_ascii_lowercase());
    let (mut kept, mut from) = (String::with_capacity(text.len()), 0);
    for (at, _) in haystack.match_indices(&needle) {
        kept.push_str(&text[from..at]);
        kept.push_str(CUT);
        from = at + needle.len();
    }
    kept.push_str(&text[from..]);
    kept
}

/// What base64 makes of these bytes behind 0, 1 or 2 others: the characters that depend on nothing else.
fn coded(bytes: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let mut whole = vec![0; before];
        whole.extend_from_slice(bytes);
        // A character holds six bits: the first that is all ours, and the last.
        let (first, last) = ((before * 8).div_ceil(6), whole.len() * 8 / 6);
        for text in [STANDARD_NO_PAD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
            forms.extend(text.get(first..last).filter(|text| text.len() >= SHORTEST_CODED).map(str::to_owned));
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn k1_an_echoed_secret_is_cut_from_what_is_shown() {
        let secret = Secret::new("s3cr3t/with+signs \"q\"");
        for (echo, shown) in [
            ("bad key s3cr3t/with+signs \"q\"!", "bad key …!"),
            ("S3CR3T/WITH+SIGNS \"Q\".evil.example", "….evil.example"),
            ("k=s3cr3t%2Fwith%2Bsigns+%22q%22&x", "k=…&x"),
            ("k=s3cr3t%2fwith%2bsigns%20%22q%22&x", "k=…&x"),
            (r#"{"k":"s3cr3t/with+signs \"q\""}"#, r#"{"k":"…"}"#),
            ("0x7333637233742f776974682b7369676e732022712200", "0x…00"),
            ("7333637233742F776974682B7369676E7320227122", "…"),
        ] {
            assert_eq!(redact(echo, &secret), shown);
        }
        for user in ["", "a", "ab", "abc", "user"] {
            for after in ["", ":", "::", ":::"] {
                let shown = redact(&STANDARD.encode(format!("{user}{}{after}", secret.expose())), &secret);
                // Characters at the edges mix a few bits of the secret with what stands beside it.
                assert!(shown.contains(CUT) && shown.chars().count() <= 2 + (user.len() + after.len()) * 4 / 3 + 3, "{shown}");
            }
        }
        assert_eq!(redact("nothing here", &secret), "nothing here");
        assert_eq!(redact("an a and a b", &Secret::new("a")), "an a and a b");
        assert_eq!(redact("ÄÖ s3cr3t ß", &Secret::new("s3cr3t")), "ÄÖ … ß");
    }
}

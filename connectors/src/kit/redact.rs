//! Cuts a secret out of a foreign text, in whatever form it may be echoed there.

use std::{collections::HashSet, ops::Range};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use super::Secret;
use crate::model::text::entity;

/// Shorter ones are no secrets: cutting them would only spoil the text.
const SHORTEST: usize = 4;
/// Bytes of a longer secret that are a part of it worth cutting out.
const PART: usize = 8;
/// How often a text may have been escaped: JSON in JSON in an HTML page.
const LAYERS: usize = 4;
const CUT: &str = "…";

/// A foreign text without a secret or a part of it of eight bytes: as it is, in hexadecimal, and in base64 wherever in a longer
/// text it was encoded (`user:secret`); each also escaped up to four times, as in URLs, JSON, HTML.
pub(crate) fn redact(text: &str, secret: &Secret) -> String {
    let secret = secret.expose().as_bytes();
    if secret.len() < SHORTEST {
        return text.to_owned();
    }
    let forms = forms(secret);
    let parts: Vec<(usize, HashSet<&[u8]>)> = forms.iter().map(|(form, part)| (*part, form.windows(*part).collect())).collect();
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut layer: Vec<Byte> = text.bytes().enumerate().map(|(at, byte)| Byte { byte: plain(byte), from: at, until: at + 1 }).collect();
    for _ in 0..=LAYERS {
        for (length, parts) in &parts {
            search(&layer, *length, parts, &mut found);
        }
        let inner = unescaped(&layer);
        if inner.len() == layer.len() {
            break;
        }
        layer = inner;
    }
    without(text, found)
}

/// One byte of what a text says, and the bytes of the text that say it.
#[derive(Clone, Copy)]
struct Byte {
    byte: u8,
    from: usize,
    until: usize,
}

/// What is compared: letters change their case in a host name and in what an escape is written with, and a form writes a blank
/// as `+`.
fn plain(byte: u8) -> u8 {
    if byte == b'+' { b' ' } else { byte.to_ascii_lowercase() }
}

/// The secret as it may stand there, and how many bytes of it running are worth cutting out.
fn forms(secret: &[u8]) -> Vec<(Vec<u8>, usize)> {
    let part = PART.min(secret.len());
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![(secret.to_vec(), part), (hex.into_bytes(), 2 * part)];
    // What base64 makes of it behind 0, 1 or 2 other bytes: the characters that depend on nothing else. A character holds six bits.
    for before in 0..3 {
        let whole = [vec![0; before], secret.to_vec()].concat();
        let (first, last) = ((before * 8).div_ceil(6), whole.len() * 8 / 6);
        for text in [STANDARD_NO_PAD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
            let form = text.as_bytes().get(first..last).unwrap_or_default().to_vec();
            let part = (part * 8 / 6).min(form.len());
            forms.push((form, part));
        }
    }
    // Fewer characters may stand there by chance.
    forms.retain(|(form, part)| !form.is_empty() && *part >= SHORTEST);
    for (form, _) in &mut forms {
        form.iter_mut().for_each(|byte| *byte = plain(*byte));
    }
    forms
}

/// Notes where one of these parts, which all have this length, stands.
fn search(layer: &[Byte], length: usize, parts: &HashSet<&[u8]>, found: &mut Vec<Range<usize>>) {
    let bytes: Vec<u8> = layer.iter().map(|byte| byte.byte).collect();
    for (at, window) in bytes.windows(length).enumerate() {
        if parts.contains(window) {
            found.push(layer[at].from..layer[at + length - 1].until);
        }
    }
}

/// The same with each escape read once: `%2F`, `\\u002f`, `\\"`, `&#47;`.
fn unescaped(layer: &[Byte]) -> Vec<Byte> {
    let bytes: Vec<u8> = layer.iter().map(|byte| byte.byte).collect();
    let (mut inner, mut at) = (Vec::with_capacity(layer.len()), 0);
    while at < layer.len() {
        let (length, said) = escape(&bytes[at..]);
        let (from, until) = (layer[at].from, layer[at + length - 1].until);
        match said {
            Some(character) => {
                inner.extend(character.to_string().bytes().map(|byte| Byte { byte: plain(byte), from, until }));
            }
            // A byte of a character that is written in several.
            None if length == 3 => {
                let byte = hex(&bytes[at + 1..at + 3]).and_then(|byte| u8::try_from(byte).ok());
                inner.extend(byte.map(|byte| Byte { byte: plain(byte), from, until }));
            }
            None => inner.push(layer[at]),
        }
        at += length;
    }
    inner
}

/// How many bytes the first thing of a text takes, and the character that it stands for when it is an escape.
fn escape(text: &[u8]) -> (usize, Option<char>) {
    match text {
        [b'%', digits @ ..] if digits.len() >= 2 && hex(&digits[..2]).is_some() => (3, None),
        [b'\\', b'u', digits @ ..] if digits.len() >= 4 => match hex(&digits[..4]).and_then(char::from_u32) {
            Some(character) => (6, Some(character)),
            None => (1, None),
        },
        [b'\\', b'x', digits @ ..] if digits.len() >= 2 => match hex(&digits[..2]).and_then(char::from_u32) {
            Some(character) => (4, Some(character)),
            None => (1, None),
        },
        [b'\\', b'n' | b'r' | b't', ..] => (2, Some(' ')),
        [b'\\', other, ..] if other.is_ascii_punctuation() => (2, Some(char::from(*other))),
        [b'&', ..] => {
            let end = text.len().min(12);
            let read = text[..end].iter().position(|byte| *byte == b';').and_then(|end| entity(std::str::from_utf8(&text[..=end]).ok()?));
            read.map_or((1, None), |(character, length)| (length, Some(character)))
        }
        _ => (1, None),
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

/// The text without these ranges, which may overlap.
fn without(text: &str, mut found: Vec<Range<usize>>) -> String {
    found.sort_unstable_by_key(|range| range.start);
    let (mut kept, mut from) = (String::with_capacity(text.len()), 0);
    for range in found {
        if range.start > from || kept.is_empty() {
            kept.push_str(text.get(from..text.floor_char_boundary(range.start)).unwrap_or_default());
        }
        if !kept.ends_with(CUT) {
            kept.push_str(CUT);
        }
        from = from.max(text.ceil_char_boundary(range.end));
    }
    kept.push_str(&text[from..]);
    kept
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
        for (echo, shown) in [
            ("k=s3cr3t&#x2F;with&#43;signs &quot;q&quot;!", "k=…!"),
            ("k=s3cr3t&sol;with&plus;signs&#32;&#34;q&#34;!", "k=…!"),
            ("k=s3cr3t%252Fwith%252Bsigns%2520%2522q%2522!", "k=…!"),
            (r#"{"k":"{\"k\":\"s3cr3t/with+signs \\\"q\\\"\"}"}"#, r#"{"k":"{\"k\":\"…\"}"}"#),
            (r"k=s3cr3t\u002fwith\u002Bsigns\u0020\u0022q\u0022!", "k=…!"),
            (r"k=\u0073\u0033\u0063\u0072\u0033\u0074\u002f\u0077ith+signs", "k=…"),
            ("%26%2347%3Bs3cr3t%26%2347%3Bwith%26%2343%3Bsigns!", "%26%2347%3B…!"),
            ("it begins with s3cr3t/w, ends in igns \"q\"", "it begins with …, ends in …"),
            ("s3cr3t alone is seven", "s3cr3t alone is seven"),
            ("ns \\\"q\\\" is six", "ns \\\"q\\\" is six"),
        ] {
            assert_eq!(redact(echo, &secret), shown, "{echo}");
        }
        assert!(!redact("Basic dXNlcjpzM2NyM3Qvd2l0aCtzaWducyAicSI=", &secret).contains("M2NyM3Qvd2l0aCtz"));
        assert_eq!(redact("&amp;%zz\\u12 \\ud83d &#xffffffff; é%", &secret), "&amp;%zz\\u12 \\ud83d &#xffffffff; é%");
        assert_eq!(redact("nothing here", &secret), "nothing here");
        assert_eq!(redact("an a and a b", &Secret::new("a")), "an a and a b");
        assert_eq!(redact("ÄÖ s3cr3t ß", &Secret::new("s3cr3t")), "ÄÖ … ß");
    }
}

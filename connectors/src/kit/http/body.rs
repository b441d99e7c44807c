//! From the bytes of a good answer to its text: however they are encoded, and no more of it than is good for anybody.

use std::io::Read;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::ErrorKind;

/// Values in one list, and members in one object, of an answer: the largest page of any tool has a tenth of that.
pub(crate) const MOST_IN_A_LIST: usize = 64 << 10;
/// Lists inside of each other that are counted; deeper ones are not read.
const DEEPEST: usize = 128;

/// An answer's text, and what about its bytes is not as JSON's ought to be: told as a warning.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) odd: Vec<&'static str>,
}

/// Reads a body of at most `limit` bytes as text.
///
/// # Errors
/// `ErrorKind::TooLarge` when it is more than that once it is unpacked.
pub(crate) fn read(body: Bytes, limit: usize) -> Result<Text, ErrorKind> {
    let mut odd = Vec::new();
    let mut bytes = Vec::from(body);
    if bytes.starts_with(&[0x1f, 0x8b])
        && let Some(unpacked) = unpacked(&bytes, limit)?
    {
        odd.push("is compressed with gzip, which no header says");
        bytes = unpacked;
    }
    let text = if let Some(text) = from_utf16(&bytes) {
        odd.push("is UTF-16 instead of UTF-8");
        text
    } else {
        if bytes.starts_with(BYTE_ORDER_MARK) {
            odd.push("begins with a byte order mark");
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        String::from_utf8(bytes).unwrap_or_else(|error| {
            odd.push("holds bytes that are not UTF-8, each read as U+FFFD");
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        })
    };
    if text.len() > limit {
        return Err(ErrorKind::too_large(limit));
    }
    Ok(Text { text, odd })
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What gzip packed; `None` when it is none.
fn unpacked(bytes: &[u8], limit: usize) -> Result<Option<Vec<u8>>, ErrorKind> {
    let mut unpacked = Vec::new();
    let read = flate2::read::MultiGzDecoder::new(bytes).take(limit as u64 + 1).read_to_end(&mut unpacked);
    if unpacked.len() > limit {
        return Err(ErrorKind::too_large(limit));
    }
    Ok(read.is_ok().then_some(unpacked))
}

/// The text of UTF-16 with a byte order mark, or of which the first character is an ASCII one, as in all JSON.
fn from_utf16(bytes: &[u8]) -> Option<String> {
    let (big, from) = match bytes {
        [0xfe, 0xff, ..] => (true, 2),
        [0xff, 0xfe, ..] => (false, 2),
        [0, other, ..] if *other != 0 => (true, 0),
        [other, 0, ..] if *other != 0 => (false, 0),
        _ => return None,
    };
    let units = bytes[from..]
        .chunks_exact(2)
        .map(|two| if big { u16::from_be_bytes([two[0], two[1]]) } else { u16::from_le_bytes([two[0], two[1]]) });
    let text: String = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Some(text)
}

/// Whether a body is a web page: nothing that begins like one is JSON or a plain text.
pub(crate) fn is_page(body: &[u8]) -> bool {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    body.trim_ascii_start().starts_with(b"<")
}

/// Whether a text is JSON from its beginning to its end, which half an answer is not.
pub(super) fn is_whole(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<&RawValue>(text).map(drop)
}

/// Whether no list or object of this JSON has more values than are read: each becomes many times its size in memory.
pub(super) fn is_bounded(json: &str) -> bool {
    let (mut commas, mut depth, mut in_text, mut escaped) = ([0_usize; DEEPEST], 0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => {
                depth += 1;
                if let Some(commas) = commas.get_mut(depth) {
                    *commas = 0;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => {
                if let Some(commas) = commas.get_mut(depth) {
                    *commas += 1;
                    if *commas >= MOST_IN_A_LIST {
                        return false;
                    }
                }
            }
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("into memory");
        encoder.finish().expect("into memory")
    }

    #[test]
    fn bytes_in_any_encoding_become_text_and_what_is_odd_about_them_is_told() {
        let json = r#"{"a":"é😀"}"#;
        let marked = format!("\u{feff}{json}");
        for (bytes, text, odd) in [
            (json.into(), json, &[][..]),
            (marked.clone().into(), json, &["byte order mark"]),
            (utf16(&marked, true), &marked[..], &["UTF-16"]),
            (utf16(&marked, false), &marked, &["UTF-16"]),
            (utf16(json, true), json, &["UTF-16"]),
            (utf16(json, false), json, &["UTF-16"]),
            (b"{\"a\":\"caf\xe9\"}".to_vec(), "{\"a\":\"caf\u{fffd}\"}", &["not UTF-8"]),
            (packed(json.as_bytes()), json, &["gzip"]),
            (packed(marked.as_bytes()), json, &["gzip", "byte order mark"]),
            (Vec::new(), "", &[]),
        ] {
            let read = read(bytes.into(), 1000).expect("not too large");
            assert_eq!(read.text.trim_start_matches('\u{feff}'), text.trim_start_matches('\u{feff}'));
            assert!(!read.text.starts_with('\u{feff}'), "{read:?}");
            assert!(read.odd.len() == odd.len() && read.odd.iter().zip(odd).all(|(told, word)| told.contains(word)), "{read:?}");
        }
        assert!(matches!(read(packed(&[b' '; 1001]).into(), 1000), Err(ErrorKind::TooLarge { limit: 1000, .. })));
        assert!(matches!(read(vec![0xff; 400].into(), 1000), Err(ErrorKind::TooLarge { .. })), "each becomes three bytes");
        assert!(read(packed(json.as_bytes())[..20].to_vec().into(), 1000).is_ok_and(|read| is_whole(&read.text).is_err()));
    }

    #[test]
    fn pages_are_known_behind_blanks_and_marks() {
        for page in ["<html>", "\r\n\t <!doctype html>", "\u{feff}<html>", "\u{feff}\n\n<?xml version=\"1.0\"?>"] {
            assert!(is_page(page.as_bytes()), "{page}");
        }
        assert!(!is_page(b"{\"a\":\"<\"}") && !is_page(b""));
    }

    #[test]
    fn lists_and_objects_are_counted_each_on_its_own() {
        let list = |count: usize, value: &str| format!("[{}{value}]", format!("{value},").repeat(count - 1));
        assert!(is_bounded(&list(MOST_IN_A_LIST, "0")));
        assert!(!is_bounded(&list(MOST_IN_A_LIST + 1, "0")));
        assert!(!is_bounded(&format!("{{\"data\":{{\"rows\":{}}}}}", list(MOST_IN_A_LIST + 1, "\"a\""))));
        assert!(!is_bounded(&format!("{{{}\"a\":0}}", "\"a\":0,".repeat(MOST_IN_A_LIST))));
        let many = list(MOST_IN_A_LIST, "{\"a\":[1,2],\"b\":\"],[\\\"\\\\\"}");
        assert!(is_bounded(&format!("[{many},{many}]")));
        assert!(is_bounded(&format!("\"{}\"", ",".repeat(2 * MOST_IN_A_LIST))));
    }
}

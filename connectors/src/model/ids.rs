//! Ids of vulnerabilities and weaknesses as vendors write them: in any case, with spaces, several in one text.

/// The ids of one finding, by what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// `CVE-…` ids, in capitals.
    pub cve: Vec<Box<str>>,
    /// `CWE-n` ids, each once.
    pub cwe: Vec<Box<str>>,
    /// What is neither (GHSA, OSV, vendor advisories), as it came.
    pub other: Vec<Box<str>>,
}

impl Ids {
    /// Sorts texts that each hold one id or several, in order and without repeats. A text without a CVE or CWE id is an id of
    /// another kind; one that says "none" (`NVD-CWE-noinfo`, `CWE-0`) is nothing.
    pub fn of<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Self {
        let mut ids = Ids::default();
        for text in texts {
            let text = text.as_ref().trim();
            let (cves, cwes) = (cves(text), cwes(text));
            if cves.is_empty() && cwes.is_empty() && !text.is_empty() && !says_none(text) {
                add(&mut ids.other, super::text::single_line(text));
            }
            cves.into_iter().for_each(|id| add(&mut ids.cve, id));
            cwes.into_iter().for_each(|id| add(&mut ids.cwe, id));
        }
        ids
    }
}

fn add(ids: &mut Vec<Box<str>>, id: Box<str>) {
    if !ids.contains(&id) {
        ids.push(id);
    }
}

/// Words of the field "CWE" and "CVE" that name none.
fn says_none(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    let rest = ["NVD-CWE-", "CWE-", "CVE-"].iter().find_map(|prefix| text.strip_prefix(prefix));
    rest.is_some_and(|rest| rest.bytes().all(|byte| byte == b'0' || byte == b'-' || byte.is_ascii_alphabetic()) || rest.starts_with('-'))
}

/// Every CVE id in a text, in capitals, in order, without repeats. Spaces beside the hyphens are read over.
pub fn cves(text: &str) -> Vec<Box<str>> {
    let mut found = Vec::new();
    for rest in after(text, b"CVE") {
        let Some((year, rest)) = number_after_hyphen(rest) else { continue };
        let Some((number, _)) = number_after_hyphen(rest) else { continue };
        if year.len() == 4 && number.len() >= 4 {
            add(&mut found, format!("CVE-{year}-{number}").into());
        }
    }
    found
}

/// Every `CWE-n` in a text, in order, without repeats. `CWE-0` and the like are none.
pub fn cwes(text: &str) -> Vec<Box<str>> {
    let mut found = Vec::new();
    for rest in after(text, b"CWE") {
        if let Some(cwe) = number_after_hyphen(rest).and_then(|(number, _)| number.parse().ok()).and_then(cwe) {
            add(&mut found, cwe);
        }
    }
    found
}

/// The CWE id of this number; `None` where it is no weakness (0, -1).
pub fn cwe(number: i64) -> Option<Box<str>> {
    (1..1_000_000).contains(&number).then(|| format!("CWE-{number}").into())
}

/// What follows each place at which a text has this word, in any case, that does not continue another one.
fn after<'a>(text: &'a str, word: &'static [u8]) -> impl Iterator<Item = &'a str> {
    let bytes = text.as_bytes();
    (0..bytes.len().saturating_sub(word.len())).filter_map(move |at| {
        let here = bytes[at..at + word.len()].eq_ignore_ascii_case(word);
        // Only ASCII was matched, so both ends are character boundaries.
        (here && (at == 0 || !bytes[at - 1].is_ascii_alphanumeric())).then(|| &text[at + word.len()..])
    })
}

/// The digits after a hyphen (of any kind) or colon with spaces around it, and what follows them.
fn number_after_hyphen(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(' ').strip_prefix(['-', '\u{2010}', '\u{2011}', '\u{2013}', ':'])?.trim_start_matches(' ');
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(ids: &[&str]) -> Vec<Box<str>> {
        ids.iter().map(|id| Box::from(*id)).collect()
    }

    #[test]
    fn cves_are_found_in_any_case_with_spaces_and_several_in_a_text() {
        for (text, expected) in [
            (
                "CVE-2024-2529 (cve-2023-52428, CVE-2024-2529); CVE-20-1 CVE-2024-12 é CVE-2021-44228é CVE-2024-",
                &["CVE-2024-2529", "CVE-2023-52428", "CVE-2021-44228"][..],
            ),
            (" cve - 2024 - 12345 ", &["CVE-2024-12345"]),
            ("CVE\u{2011}2024\u{2011}1234567", &["CVE-2024-1234567"]),
            ("MCVE-2024-1234", &[]),
            ("", &[]),
        ] {
            assert_eq!(cves(text), boxed(expected), "{text}");
        }
    }

    #[test]
    fn cwes_are_numbers_above_zero() {
        for (text, expected) in [
            ("CWE-79: XSS, cwe-116 CWE-79", &["CWE-79", "CWE-116"][..]),
            ("CWE-0 CWE-00 CWE--1 NVD-CWE-noinfo NVD-CWE-Other", &[]),
            ("CWE:89", &["CWE-89"]),
            ("CWE-0079", &["CWE-79"]),
        ] {
            assert_eq!(cwes(text), boxed(expected), "{text}");
        }
        assert_eq!((cwe(0), cwe(-1), cwe(79).as_deref()), (None, None, Some("CWE-79")));
    }

    #[test]
    fn ids_are_sorted_by_what_they_are_and_words_for_none_are_dropped() {
        let ids = Ids::of([
            "GHSA-aaaa-bbbb-cccc",
            "cve-2024-2529",
            "CWE-0",
            "NVD-CWE-noinfo",
            "cwe-79",
            "CWE--1",
            "GHSA-aaaa-bbbb-cccc",
            " ",
            "SNYK-JS-X-1",
        ]);
        assert_eq!(
            ids,
            Ids { cve: boxed(&["CVE-2024-2529"]), cwe: boxed(&["CWE-79"]), other: boxed(&["GHSA-aaaa-bbbb-cccc", "SNYK-JS-X-1"]) }
        );
    }
}

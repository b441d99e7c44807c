//! Foreign text: cut to a sane length, without the characters that databases and terminals choke on.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

const LONGEST: usize = 64 << 10;

/// Text for the store: trimmed, without NUL, at most 64 KiB with a mark where it was cut. `None` when nothing is left.
pub fn keep(text: &str) -> Option<Box<str>> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if text.len() <= LONGEST && !text.contains('\0') {
        return Some(text.into());
    }
    let mut kept: String = text.chars().filter(|c| *c != '\0').collect();
    if kept.len() > LONGEST {
        kept.truncate(kept.floor_char_boundary(LONGEST));
        kept.push_str("… [cut]");
    }
    Some(kept.into())
}

/// Like [`keep`], on one line: for titles and names.
pub fn line(text: &str) -> Box<str> {
    if text.contains(|c: char| c.is_control()) || text.len() > 1000 {
        let mut line = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect::<String>();
        line.truncate(line.trim_end().len());
        return line.trim_start().into();
    }
    text.trim().into()
}

/// Each of these as one line, in order, without repeats and what is empty: for tags and other lists of short texts.
pub fn distinct<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Vec<Box<str>> {
    let mut known = std::collections::HashSet::new();
    texts.into_iter().map(|text| line(text.as_ref())).filter(|text| !text.is_empty() && known.insert(text.clone())).collect()
}

/// What there is of these parts, as paragraphs.
pub fn paragraphs<S: AsRef<str>>(parts: impl IntoIterator<Item = Option<S>>) -> Option<Box<str>> {
    let parts: Vec<S> = parts.into_iter().flatten().filter(|part| !part.as_ref().trim().is_empty()).collect();
    keep(&parts.iter().map(|part| part.as_ref().trim_matches('\n')).collect::<Vec<_>>().join("\n\n"))
}

/// Elements that a tree may be made of where it is walked on the stack of whoever asks.
const FEW: usize = 100;
/// Elements above which a text is no longer taken for something that a person laid out.
const MANY: usize = 5000;
/// Enough to walk a tree of so many elements that are all inside of each other. What is not touched takes no memory.
const STACK: usize = 64 << 20;

/// HTML as Markdown; text that is no HTML comes back as it is.
pub fn from_html(html: &str) -> Option<Box<str>> {
    if !html.contains(['<', '&']) {
        return keep(html);
    }
    // The converter calls itself for each element in an element, and a stack that overflows ends the process.
    let elements = html.as_bytes().windows(2).filter(|two| two[0] == b'<' && two[1].is_ascii_alphabetic()).count();
    let markdown = match elements {
        0..FEW => Some(convert(html)),
        FEW..MANY => std::thread::scope(|scope| {
            let walk = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || convert(html));
            walk.ok()?.join().ok()
        }),
        _ => None,
    };
    keep(&markdown.unwrap_or_else(|| without_tags(html)))
}

fn convert(html: &str) -> String {
    let converter = htmd::HtmlToMarkdown::builder().skip_tags(vec!["script", "style", "iframe", "img", "svg", "object"]).build();
    // The converter works on a tree in memory and has no I/O to fail.
    converter.convert(html).unwrap_or_default()
}

/// What stands between the tags.
fn without_tags(html: &str) -> String {
    let mut pieces = html.split('<');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('>').map_or("", |(_, after)| after))
}

/// Absolute http(s) links in an HTML or Markdown text, in order, without repeats.
pub fn links(text: &str) -> Vec<Box<str>> {
    let mut links: Vec<Box<str>> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("http") {
        rest = &rest[at..];
        let end = rest.find(|c: char| c.is_whitespace() || "\"'<>()[]`{}|\\".contains(c)).unwrap_or(rest.len());
        let link = rest[..end].trim_end_matches(['.', ',', ';']).replace("&amp;", "&");
        if (link.starts_with("https://") || link.starts_with("http://"))
            && !links.iter().any(|l| **l == *link)
            && url::Url::parse(&link).is_ok()
        {
            links.push(link.into());
        }
        rest = &rest[end.max(4)..];
    }
    links
}

/// Every `CWE-n` in a text, in order, without repeats.
pub fn cwes(text: &str) -> Vec<Box<str>> {
    let mut found: Vec<Box<str>> = Vec::new();
    for part in text.split("CWE-").skip(1) {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        let cwe: Box<str> = format!("CWE-{digits}").into();
        if !digits.is_empty() && !found.contains(&cwe) {
            found.push(cwe);
        }
    }
    found
}

/// Every CVE id in a text, in capitals, in order, without repeats.
pub fn cves(text: &str) -> Vec<Box<str>> {
    let mut found: Vec<Box<str>> = Vec::new();
    let bytes = text.as_bytes();
    for at in (0..bytes.len().saturating_sub(8)).filter(|at| bytes[*at..at + 4].eq_ignore_ascii_case(b"CVE-")) {
        let rest = &bytes[at + 4..];
        let digits = |from: usize| rest.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
        let number = digits(5);
        if digits(0) == 4 && rest[4] == b'-' && number >= 4 {
            // Only ASCII was matched, so both ends are character boundaries.
            let cve: Box<str> = text[at..at + 9 + number].to_ascii_uppercase().into();
            if !found.contains(&cve) {
                found.push(cve);
            }
        }
    }
    found
}

/// A vendor's point in time: RFC 3339 with any number of fraction digits, or `YYYY-MM-DD hh:mm:ss[.f]` taken as UTC.
pub fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| Some(text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp()))
}

/// A package URL, when it is one.
pub fn purl(text: &str) -> Option<Box<str>> {
    text.parse::<packageurl::PackageUrl<'_>>().ok()?;
    keep(text)
}

/// The package URL of a package by its full name, which holds the namespace in some ecosystems (`@babel/core`, `org.acme:app`).
pub fn package_named(kind: &str, name: &str, version: Option<&str>) -> Option<Box<str>> {
    let split = match kind {
        "maven" => name.rsplit_once(':'),
        "npm" | "golang" | "composer" | "swift" => name.rsplit_once('/'),
        _ => None,
    };
    let (namespace, name) = split.map_or((None, name), |(namespace, name)| (Some(namespace), name));
    package(kind, namespace, name, version)
}

/// The package URL of a package, when its parts make one.
pub fn package(kind: &str, namespace: Option<&str>, name: &str, version: Option<&str>) -> Option<Box<str>> {
    let mut purl = packageurl::PackageUrl::new(kind, name).ok()?;
    if let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) {
        purl.with_namespace(namespace).ok()?;
    }
    if let Some(version) = version.filter(|version| !version.is_empty()) {
        purl.with_version(version).ok()?;
    }
    Some(purl.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_becomes_markdown_without_scripts() {
        let html = "<p>Hello <b>there</b></p><script>alert(1)</script><ul><li>one</li></ul>";
        let text = from_html(html).expect("text");
        assert!(text.contains("Hello **there**") && text.contains("one"), "{text}");
        assert!(!text.contains("alert") && !text.contains('<'), "{text}");
        assert_eq!(from_html("plain text").as_deref(), Some("plain text"));
        assert_eq!(from_html("  "), None);
    }

    #[test]
    fn links_and_cwes_come_once_in_order() {
        let html = r#"<a href="https://cwe.mitre.org/data/definitions/79.html">CWE-79: XSS</a> https://x.example/a?b=1&amp;c=2. CWE-79 CWE-116 http"#;
        assert_eq!(links(html), ["https://cwe.mitre.org/data/definitions/79.html".into(), Box::from("https://x.example/a?b=1&c=2")]);
        assert_eq!(cwes(html), [Box::from("CWE-79"), "CWE-116".into()]);
    }

    #[test]
    fn package_urls_are_made_of_their_parts() {
        for (kind, namespace, name, version, expected) in [
            ("npm", Some("@babel"), "core", Some("7.0.0"), Some("pkg:npm/%40babel/core@7.0.0")),
            ("maven", Some("org.acme"), "app", None, Some("pkg:maven/org.acme/app")),
            ("pypi", None, "pillow", Some(""), Some("pkg:pypi/pillow")),
            ("no kind", None, "x", None, None),
        ] {
            assert_eq!(package(kind, namespace, name, version).as_deref(), expected, "{kind} {name}");
        }
    }

    #[test]
    fn cves_are_found_in_any_case_and_nothing_else_is() {
        let text = "CVE-2024-2529 (cve-2023-52428, CVE-2024-2529); CVE-20-1 CVE-2024-12 é CVE-2021-44228é CVE-2024-";
        assert_eq!(cves(text), [Box::from("CVE-2024-2529"), "CVE-2023-52428".into(), "CVE-2021-44228".into()]);
    }

    #[test]
    fn times_come_in_several_forms() {
        let basic = time("2026-04-08T01:55:09+0200");
        assert_eq!(basic.map(|t| t.as_second()), Some(1_775_606_109));
        for text in ["2026-04-07T23:55:09.748Z", "2026-04-08T01:55:09.748+02:00", "2026-04-07 23:55:09.748"] {
            assert_eq!(time(text).map(|t| t.as_millisecond()), Some(1_775_606_109_748), "{text}");
        }
        assert_eq!(time("yesterday"), None);
    }

    #[test]
    fn long_text_is_cut_with_a_mark() {
        let kept = keep(&"é".repeat(40_000)).expect("text");
        assert!(kept.len() < LONGEST + 16 && kept.ends_with("… [cut]"));
        assert_eq!(keep("a\0b").as_deref(), Some("ab"));
    }
}

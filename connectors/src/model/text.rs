//! Foreign text: cut to a sane length, without the characters that databases and terminals choke on.

use std::{borrow::Cow, fmt::Write};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

const LONGEST: usize = 64 << 10;

/// Text for the store: trimmed, without NUL, its lines ended by `\n`, at most 64 KiB with a mark where it was cut. `None` when
/// nothing is left.
pub fn clean(text: &str) -> Option<Box<str>> {
    let text = &*with_line_feeds(text.trim());
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

/// The same text with `\n` at the end of each line, where it has `\r\n` or `\r`.
fn with_line_feeds(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}

/// Like [`keep`], on one line: for titles and names.
pub fn single_line(text: &str) -> Box<str> {
    let text = &*with_line_feeds(text);
    if text.contains(|c: char| c.is_control()) || text.len() > 1000 {
        let mut line = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect::<String>();
        line.truncate(line.trim_end().len());
        return line.trim_start().into();
    }
    text.trim().into()
}

/// Plain text of a short HTML text without tags, such as a title: its entities (`&lt;`, `&#39;`) read once. Only for fields that are
/// HTML by the vendor's word: elsewhere `&lt;` means what it says.
pub fn plain(html: &str) -> Cow<'_, str> {
    let Some(first) = html.find('&') else { return html.into() };
    let (mut text, mut rest) = (html[..first].to_owned(), &html[first..]);
    while let Some(at) = rest.find('&') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let (character, length) = entity(rest).unwrap_or(('&', 1));
        text.push(character);
        rest = &rest[length..];
    }
    text.push_str(rest);
    text.into()
}

/// The characters that are written as entities in practice, by name.
const ENTITIES: &[(&str, char)] = &[
    ("lt", '<'),
    ("gt", '>'),
    ("amp", '&'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("sol", '/'),
    ("bsol", '\\'),
    ("plus", '+'),
    ("equals", '='),
    ("lowbar", '_'),
    ("period", '.'),
    ("comma", ','),
    ("colon", ':'),
    ("semi", ';'),
    ("commat", '@'),
    ("num", '#'),
    ("percnt", '%'),
    ("dollar", '$'),
    ("excl", '!'),
    ("quest", '?'),
    ("ast", '*'),
    ("hyphen", '-'),
    ("grave", '`'),
    ("lpar", '('),
    ("rpar", ')'),
    ("lsqb", '['),
    ("rsqb", ']'),
    ("lcub", '{'),
    ("rcub", '}'),
    ("verbar", '|'),
    ("tilde", '~'),
    ("hat", '^'),
    ("ndash", '–'),
    ("mdash", '—'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("hellip", '…'),
    ("bull", '•'),
    ("copy", '©'),
    ("reg", '®'),
    ("trade", '™'),
];

/// The entity that a text begins with, by name or by number: its character, and how many bytes it takes.
pub(crate) fn entity(text: &str) -> Option<(char, usize)> {
    let body = text.strip_prefix('&')?;
    let end = body.bytes().take(10).position(|byte| byte == b';')?;
    let character = match body[..end].strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
        None => ENTITIES.iter().find(|(name, _)| *name == &body[..end])?.1,
    };
    Some((character, end + 2))
}

/// Whether a character is not seen, or changes how others are seen: control characters, marks of direction, and what has no
/// width. With them a text steers a terminal, or reads otherwise than it is.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Text that shows all that is in it: each hidden character, but those in `plain`, as JSON escapes it (`\u001b`). So JSON stays the
/// same JSON.
pub fn visible<'a>(text: &'a str, plain: &[char]) -> Cow<'a, str> {
    let shown = |c: char| !is_hidden(c) || plain.contains(&c);
    if text.chars().all(shown) {
        return Cow::Borrowed(text);
    }
    let mut clear = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if shown(c) {
            clear.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(clear, "\\u{unit:04x}");
        }
    }
    Cow::Owned(clear)
}

/// Each of these as one line, in order, without repeats and what is empty: for tags and other lists of short texts.
pub fn distinct<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Vec<Box<str>> {
    let mut known = std::collections::HashSet::new();
    texts.into_iter().map(|text| single_line(text.as_ref())).filter(|text| !text.is_empty() && known.insert(text.clone())).collect()
}

/// What there is of these parts, as paragraphs.
pub fn paragraphs<S: AsRef<str>>(parts: impl IntoIterator<Item = Option<S>>) -> Option<Box<str>> {
    let parts: Vec<S> = parts.into_iter().flatten().filter(|part| !part.as_ref().trim().is_empty()).collect();
    clean(&parts.iter().map(|part| part.as_ref().trim_matches('\n')).collect::<Vec<_>>().join("\n\n"))
}

/// Elements that a tree may be made of where it is walked on the stack of whoever asks.
const MAX_ELEMENTS_ON_STACK: usize = 100;
/// Elements above which a text is no longer taken for something that a person laid out.
const MAX_ELEMENTS: usize = 5000;
/// Enough to walk a tree of so many elements that are all inside of each other. What is not touched takes no memory.
const STACK_BYTES: usize = 64 << 20;

/// HTML as Markdown; text that is no HTML comes back as it is.
pub fn from_html(html: &str) -> Option<Box<str>> {
    if !html.contains(['<', '&']) {
        return clean(html);
    }
    // The converter calls itself for each element in an element, and a stack that overflows ends the process.
    let elements = html.as_bytes().windows(2).filter(|two| two[0] == b'<' && two[1].is_ascii_alphabetic()).count();
    let markdown = match elements {
        0..MAX_ELEMENTS_ON_STACK => Some(convert(html)),
        MAX_ELEMENTS_ON_STACK..MAX_ELEMENTS => std::thread::scope(|scope| {
            let walk = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || convert(html));
            walk.ok()?.join().ok()
        }),
        _ => None,
    };
    clean(&markdown.unwrap_or_else(|| without_tags(html)))
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

/// Absolute http(s) links in an HTML or Markdown text, in order, without repeats. What an attribute holds (`href="…"`) is one link;
/// elsewhere brackets that a link opens belong to it, and others end it.
pub fn links(text: &str) -> Vec<Box<str>> {
    let mut links: Vec<Box<str>> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("http") {
        let quote = rest[..at].chars().next_back().filter(|before| matches!(before, '"' | '\''));
        rest = &rest[at..];
        let quoted = quote.and_then(|quote| rest.find(quote)).and_then(|end| Some((link(&rest[..end])?, end)));
        let bare = || {
            let end = end_of_link(rest);
            (link(rest[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', '*', '_'])), end)
        };
        let (found, end) = quoted.map_or_else(bare, |(found, end)| (Some(found), end));
        if let Some(found) = found.filter(|found| !links.contains(found)) {
            links.push(found);
        }
        rest = &rest[end.max(4)..];
    }
    links
}

/// Where a link that begins a text ends.
fn end_of_link(text: &str) -> usize {
    let mut open = Vec::new();
    for (at, character) in text.char_indices() {
        match character {
            '(' => open.push(')'),
            '[' => open.push(']'),
            ')' | ']' if open.pop() != Some(character) => return at,
            c if c.is_whitespace() || "\"'<>`{}|\\".contains(c) => return at,
            _ => {}
        }
    }
    text.len()
}

/// The link that a whole field is: absolute, http(s), taken as it stands, with HTML's `&amp;` read.
pub fn link(field: &str) -> Option<Box<str>> {
    let field = field.trim().replace("&amp;", "&");
    let absolute =
        ["https://", "http://"].iter().any(|scheme| field.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let whole = !field.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"".contains(c));
    (absolute && whole && url::Url::parse(&field).is_ok()).then(|| field.into())
}

/// The links of fields that each hold one, or prose with some: in order, without repeats.
pub fn links_of<S: AsRef<str>>(fields: impl IntoIterator<Item = S>) -> Vec<Box<str>> {
    let mut all: Vec<Box<str>> = Vec::new();
    for field in fields {
        let found = link(field.as_ref()).map_or_else(|| links(field.as_ref()), |whole| vec![whole]);
        all.extend(found.into_iter().filter(|found| !all.contains(found)).collect::<Vec<_>>());
    }
    all
}

/// A vendor's point in time: RFC 3339 with any number of fraction digits, or `YYYY-MM-DD hh:mm:ss[.f]` taken as UTC. What
/// stands for "never" (year 1, 1900, the epoch) is no time.
pub fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let time = text.parse().ok().or_else(|| Some(text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp()));
    time.filter(is_plausible)
}

/// A vendor's point in time in milliseconds since 1970, as [`time`].
pub fn time_of_millis(milliseconds: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(milliseconds).ok().filter(is_plausible)
}

/// No security tool is older than this: 1990-01-01.
const OLDEST_SECOND: i64 = 631_152_000;

fn is_plausible(time: &Timestamp) -> bool {
    time.as_second() >= OLDEST_SECOND
}

/// A package URL, when it is one.
pub fn purl(text: &str) -> Option<Box<str>> {
    text.parse::<packageurl::PackageUrl<'_>>().ok()?;
    clean(text)
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
mod hidden {
    use super::*;

    #[test]
    fn what_is_hidden_is_shown_as_json_escapes_it() {
        for (text, shown) in [
            ("plain, naïve, 漢字, ❤\u{fe0f}, שלום", "plain, naïve, 漢字, ❤\u{fe0f}, שלום"),
            ("a\u{1b}[2Jb\u{7f}\u{9b}1m", "a\\u001b[2Jb\\u007f\\u009b1m"),
            ("user\u{202e}gpj.exe\u{2066}", "user\\u202egpj.exe\\u2066"),
            ("pay\u{200b}pal\u{feff}\u{ad}\u{200d}", "pay\\u200bpal\\ufeff\\u00ad\\u200d"),
            ("\u{e0041}", "\\udb40\\udc41"),
            ("line\nline\r\n\ttab\0", "line\nline\\u000d\n\ttab\\u0000"),
        ] {
            assert_eq!(visible(text, &['\n', '\t']), shown);
        }
        assert_eq!(visible("a\n\t", &[]), "a\\u000a\\u0009");
        let value = serde_json::json!({ "a\u{202e}": "b\u{9b}\u{200b}\n\u{1b}\u{e0041}" });
        let text = value.to_string();
        let shown = visible(&text, &[]);
        assert!(!shown.contains(is_hidden), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("the same JSON"), value);
    }
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
    fn links_come_once_in_order() {
        let html = r#"<a href="https://cwe.mitre.org/data/definitions/79.html">CWE-79: XSS</a> https://x.example/a?b=1&amp;c=2. CWE-79 CWE-116 http"#;
        assert_eq!(links(html), ["https://cwe.mitre.org/data/definitions/79.html".into(), Box::from("https://x.example/a?b=1&c=2")]);
    }

    #[test]
    fn a_field_that_is_one_link_is_taken_whole_and_prose_keeps_balanced_brackets() {
        let whole = "https://x.example/a(b)[c]{d}|e?f=(g";
        assert_eq!(links_of([whole, "no link", " HTTPS://y.example/ "]), [Box::from(whole), "HTTPS://y.example/".into()]);
        let prose = "see (https://en.wikipedia.org/wiki/Cross_(disambiguation)), [a](https://x.example/b) or https://x.example/c[1].";
        let found = ["https://en.wikipedia.org/wiki/Cross_(disambiguation)", "https://x.example/b", "https://x.example/c[1]"];
        assert_eq!(links_of([prose]), found.map(Box::from));
        let html = r#"<a href="https://x.example/a|b{c})?d=1&amp;e=(f|http://w.example">here</a> <a href='https://y.example/(z'>there</a> "https://z.example/ x""#;
        let found = ["https://x.example/a|b{c})?d=1&e=(f|http://w.example", "https://y.example/(z", "https://z.example/"];
        assert_eq!(links(html), found.map(Box::from));
        assert_eq!(link("javascript:alert(1)"), None);
        assert_eq!(link("https://x.example/<script>"), None);
    }

    #[test]
    fn lines_end_in_one_way_whatever_the_vendor_writes() {
        assert_eq!(clean("a\r\nb\rc\n\r\n").as_deref(), Some("a\nb\nc"));
        assert_eq!(&*single_line("a\r\nb"), "a b");
        assert_eq!(from_html("<p>a</p>\r\n<p>b</p>").as_deref(), Some("a\n\nb"));
    }

    #[test]
    fn entities_of_a_text_that_is_html_are_read_once() {
        for (html, text) in [
            ("Apache &lt; 2.4.62", "Apache < 2.4.62"),
            ("a &amp;lt; b &#39;c&#x27; &quot;d&quot;", "a &lt; b 'c' \"d\""),
            ("AT&T &unknown; &#xd800; &#x110000; & &;", "AT&T &unknown; &#xd800; &#x110000; & &;"),
            ("snake_case List<String>", "snake_case List<String>"),
            ("é&é;", "é&é;"),
        ] {
            assert_eq!(plain(html), text);
        }
    }

    #[test]
    fn what_stands_for_never_is_no_time() {
        for text in ["0001-01-01T00:00:00Z", "1900-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01 00:00:00", ""] {
            assert_eq!(time(text), None, "{text}");
        }
        assert_eq!(time_of_millis(0), None);
        assert_eq!(time_of_millis(1_775_606_109_748).map(|time| time.as_millisecond()), Some(1_775_606_109_748));
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
        let kept = clean(&"é".repeat(40_000)).expect("text");
        assert!(kept.len() < LONGEST + 16 && kept.ends_with("… [cut]"));
        assert_eq!(clean("a\0b").as_deref(), Some("ab"));
    }
}

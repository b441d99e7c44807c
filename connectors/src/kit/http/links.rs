//! The `Link` header (RFC 8288): where a list goes on.

use reqwest::header::{HeaderMap, LINK};

/// The first target with the relation `next`, of whichever header. A comma may stand in a target and in a quoted parameter.
pub(super) fn next(headers: &HeaderMap) -> Option<String> {
    let texts = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(links).find(|(_, parameters)| is_next(parameters)).map(|(target, _)| target.to_owned())
}

/// Each target in the text of a header, with its parameters.
fn links(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut links = Vec::new();
    let mut rest = text;
    while let Some((target, after)) = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
        let end = unquoted(after, ',').unwrap_or(after.len());
        let (mut parameters, mut told) = (Vec::new(), after[..end].trim_start().strip_prefix(';').unwrap_or_default());
        while let Some(end) = unquoted(told, ';') {
            parameters.push(&told[..end]);
            told = &told[end + 1..];
        }
        parameters.push(told);
        links.push((target.trim(), parameters));
        rest = after.get(end + 1..).unwrap_or_default();
    }
    links
}

/// Where a character stands first outside quotes.
fn unquoted(text: &str, wanted: char) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.char_indices()
        .find(|(_, character)| {
            let found = *character == wanted && !quoted;
            match character {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ => {}
            }
            found
        })
        .map(|(at, _)| at)
}

/// Whether the first `rel` among the parameters holds the word `next`: further ones are to be ignored.
fn is_next(parameters: &[&str]) -> bool {
    let named = parameters.iter().filter_map(|parameter| parameter.split_once('='));
    let mut relations = named.filter(|(name, _)| name.trim().eq_ignore_ascii_case("rel")).map(|(_, value)| value.trim().trim_matches('"'));
    relations.next().is_some_and(|words| words.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("next")))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn next_of(texts: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(LINK, HeaderValue::from_str(text).expect("a header"));
        }
        next(&headers)
    }

    #[test]
    fn the_next_page_is_found_in_whichever_header_and_form_it_comes() {
        // Okta sends a header for each link.
        let own = "<https://acme.okta.com/api/v1/users?limit=200>; rel=\"self\"";
        let after = "<https://acme.okta.com/api/v1/users?after=00u1,x&limit=200>; rel=\"next\"";
        for (texts, found) in [
            (vec![own, after], Some("https://acme.okta.com/api/v1/users?after=00u1,x&limit=200")),
            (vec![after, own], Some("https://acme.okta.com/api/v1/users?after=00u1,x&limit=200")),
            (vec![own], None),
            (vec![], None),
            (vec!["<https://x/a>; rel=\"prev\", <https://x/b>; rel=\"next\""], Some("https://x/b")),
            (vec!["<https://x/a?q=1,2>;rel=prev,<https://x/b?q=3,4>;rel=next"], Some("https://x/b?q=3,4")),
            (vec!["</b>; title=\"a, <c>; rel=next\"; rel=\"last next\""], Some("/b")),
            (vec!["<a>; title=\"say \\\"hi\\\", <b>\"; REL=NEXT"], Some("a")),
            (vec!["<a>; rel=first; rel=next"], None),
            (vec!["<a>; rel=nextpage, <b>; x=next"], None),
            (vec!["<a; rel=next", "b>; rel=next", "", ",,;", "<>"], None),
            (vec!["<a>; rel=\"next"], Some("a")),
        ] {
            assert_eq!(next_of(&texts).as_deref(), found, "{texts:?}");
        }
    }

    #[test]
    fn any_text_of_a_header_is_read_without_harm() {
        let parts = ["<", ">", ";", ",", "\"", "\\", "rel=next", "a", " ", "="];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let text: String = (0..random.usize(..14)).map(|_| parts[random.usize(..parts.len())]).collect();
            next_of(&[&text]).inspect(|target| assert!(!target.contains(['<', '>']) || text.contains(target.as_str()), "{text}"));
        }
    }
}

//! O5: what comes in is bounded: heads, bodies after decompression, depth. Bombs are in a process of their own
//! (`tests/bombs.rs`), where memory can be measured.

use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    routing::{get, post},
};
use serde_json::{Value, value::RawValue};
use tributary_connectors::{
    Error, ErrorKind, Item,
    kit::{Auth, Decoded, Secret, items},
    model::{Category, Finding, text},
};

use super::{cx, http, serve};

/// Headers of this many bytes in all, in lines that each are short.
fn headers(bytes: usize) -> HeaderMap {
    let lines = (0..bytes / 1024).map(|number| {
        let name = HeaderName::from_bytes(format!("x-{number:03}").as_bytes()).unwrap();
        (name, HeaderValue::from_str(&"x".repeat(1024 - 9)).unwrap())
    });
    lines.collect()
}

async fn ask(router: Router) -> Result<(), Error> {
    let url = serve(router).await;
    http(&url, Auth::Bearer(Secret::new("canary"))).get("/", &[]).send::<Vec<Value>>(&cx()).await.map(drop)
}

#[tokio::test]
async fn o5_headers_above_64_kib_are_refused() {
    ask(Router::new().route("/", get(|| async { (headers(60 << 10), "[]") }))).await.expect("not too large");
    let error = ask(Router::new().route("/", get(|| async { (headers(66 << 10), "[]") }))).await.expect_err("too large");
    assert!(matches!(error.kind, ErrorKind::TooLarge { limit: 65536, .. }), "{error}");
    assert!(error.doing.contains("headers") && error.attempts == 1, "{error:?}");
    // One line alone, and so many that the HTTP library gives up by itself.
    let one = || async { ([(header::SERVER, "x".repeat(70 << 10))], "[]") };
    assert!(matches!(ask(Router::new().route("/", get(one))).await.unwrap_err().kind, ErrorKind::TooLarge { .. }));
    let error = ask(Router::new().route("/", get(|| async { (headers(1 << 20), "[]") }))).await.expect_err("far too large");
    assert!(matches!(error.kind, ErrorKind::Network(_) | ErrorKind::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn o5_a_token_endpoint_is_bounded_too() {
    for answer in [(headers(66 << 10), "{}".to_owned()), (HeaderMap::new(), format!("{{\"access_token\":\"{}\"}}", "x".repeat(2 << 20)))] {
        let url = serve(Router::new().route("/token", post(move || std::future::ready(answer.clone())))).await;
        let token = url::Url::parse(&format!("{url}/token")).unwrap();
        let http = http(&url, Auth::client_credentials(token, "id", Secret::new("canary")));
        let error = http.get("/", &[]).send::<Value>(&cx()).await.expect_err("too large");
        assert!(matches!(error.kind, ErrorKind::TooLarge { .. }), "{error}");
    }
}

#[tokio::test]
async fn o5_json_deeper_than_128_is_an_error_and_no_stack_overflow() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    ask(Router::new().route("/", get(move || async move { nested(127) }))).await.expect("deep, but not too deep");
    for depth in [129, 100_000] {
        let error = ask(Router::new().route("/", get(move || async move { nested(depth) }))).await.expect_err("too deep");
        assert!(matches!(&error.kind, ErrorKind::UnexpectedBody { reason, .. } if reason.contains("recursion limit")), "{error}");
    }
    let members = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let error = ask(Router::new().route("/", get(move || async move { format!("[{}]", members(100_000)) }))).await.expect_err("too deep");
    assert!(matches!(&error.kind, ErrorKind::UnexpectedBody { .. }), "{error}");
}

/// Items are taken out of a page as they stand: each is read, cut and kept on its own. What is too deep in one is left out.
#[test]
fn o5_an_item_that_is_too_deep_is_read_without_its_depth_and_no_stack_overflows() {
    #[derive(serde::Deserialize)]
    struct Wire {
        id: String,
        #[serde(default)]
        tags: Value,
    }
    #[derive(serde::Deserialize)]
    struct Key {
        id: String,
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let page = format!(r#"[{{"id":"read","tags":[1]}},{{"id":"too deep","tags":{deep}}},{{"id":"not looked at","other":{deep}}}]"#);
    let page: Vec<Box<RawValue>> = serde_json::from_str(&page).unwrap();
    for cut in [&[][..], &["password"]] {
        let map = |wire: Wire| {
            assert!(wire.tags.is_null() || wire.tags.is_array());
            Ok(Item::Finding(Box::new(Finding::new(wire.id, "rule", Category::Sca))))
        };
        let Decoded { items: read, rejects, mended } = items(page.clone(), cut, map, |key: Key| Some(key.id));
        assert_eq!((read.len(), rejects.len(), mended.len()), (3, 0, 1), "cut: {cut:?}");
        assert!(mended[0].reason.contains("recursion limit") && mended[0].path.starts_with("tags[0][0]"), "{mended:?}");
        assert!(mended[0].path.len() < 300 && mended[0].key.as_deref() == Some("too deep"), "{mended:?}");
    }
}

#[test]
fn o5_html_that_is_too_deep_overflows_no_stack() {
    for element in ["<div>", "<b>", "<ul><li>", "<table><tr><td>", "<blockquote>"] {
        for depth in [90, 2_400, 100_000] {
            let html = format!("{}text", element.repeat(depth));
            assert!(text::from_html(&html).is_some_and(|text| text.contains("text")), "{depth} × {element}");
        }
    }
}

/// The body is compressed in a way that was not asked for: it is not unpacked, and so no JSON.
#[tokio::test]
async fn o5_only_gzip_is_asked_for_and_unpacked() {
    let asked = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let note = asked.clone();
    let answer = move |headers: HeaderMap| {
        note.lock().unwrap().push_str(headers[header::ACCEPT_ENCODING].to_str().unwrap());
        // An empty list, as zstd packs it.
        std::future::ready(([(header::CONTENT_ENCODING, "zstd")], b"\x28\xb5\x2f\xfd\x20\x02\x11\x00\x00[]".to_vec()))
    };
    let error = ask(Router::new().route("/", get(answer))).await.expect_err("not unpacked");
    assert!(matches!(error.kind, ErrorKind::UnexpectedBody { .. }), "{error}");
    assert_eq!(*asked.lock().unwrap(), "gzip".repeat(2));
}

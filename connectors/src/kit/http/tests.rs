//! The promises of the client: waits, redirects, links, addresses, TLS, caps.

use std::{net::SocketAddr, sync::Mutex};

use axum::{Router, routing::get};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    retry::{ATTEMPTS, Delays},
    *,
};
use crate::kit::{RunStats, Secret};

static META: Meta = Meta { id: "x", expiry_header: Some("x-expires"), ..Meta::DEFAULT };

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

#[test]
fn f1_retry_after_is_read_in_both_forms_against_the_vendors_clock() {
    assert_eq!(retry_after(&headers(&[("retry-after", "7")])), Some(Duration::from_secs(7)));
    let both = headers(&[("date", "Tue, 24 Nov 2026 10:00:00 GMT"), ("retry-after", "Tue, 24 Nov 2026 10:02:00 GMT")]);
    assert_eq!(retry_after(&both), Some(Duration::from_secs(120)));
    let past = headers(&[("date", "Tue, 24 Nov 2026 10:00:00 GMT"), ("retry-after", "Tue, 24 Nov 2026 09:00:00 GMT")]);
    assert_eq!(retry_after(&past), Some(Duration::ZERO));
    for until in ["1795514405", "1795514405000", "1795514405.0"] {
        let told = headers(&[("date", "Tue, 24 Nov 2026 10:00:00 GMT"), ("retry-after", until)]);
        assert_eq!(retry_after(&told), Some(Duration::from_secs(5)), "{until}");
    }
    assert_eq!(retry_after(&headers(&[("retry-after", "soon")])), None);
    assert_eq!(retry_after(&headers(&[("retry-after", "1e300")])), None);
    assert_eq!(retry_after(&headers(&[("x-ratelimit-reset", "42")])), Some(Duration::from_secs(42)));
    // Qualys tells seconds; CrowdStrike a moment, of which it is not said in what unit.
    assert_eq!(retry_after(&headers(&[("x-ratelimit-towait-sec", "181"), ("x-ratelimit-reset", "9")])), Some(Duration::from_secs(181)));
    for moment in ["1795514405", "1795514405000"] {
        let told = headers(&[("date", "Tue, 24 Nov 2026 10:00:00 GMT"), ("x-ratelimit-retryafter", moment)]);
        assert_eq!(retry_after(&told), Some(Duration::from_secs(5)), "{moment}");
    }
    let epoch = headers(&[("date", "Tue, 24 Nov 2026 10:00:00 GMT"), ("x-rate-limit-reset", "1795514405")]);
    assert_eq!(retry_after(&epoch), Some(Duration::from_secs(5)));
    assert_eq!(retry_after(&headers(&[("retry-after", "7"), ("x-ratelimit-reset", "42")])), Some(Duration::from_secs(7)));
}

#[test]
fn f2_a_vendor_that_only_says_wait_is_given_half_an_hour_in_few_requests() {
    let mut delays = Delays::new();
    let all: Duration = (1..ATTEMPTS).map(|_| delays.throttled()).sum();
    assert!(all > Duration::from_secs(1600) && all < Duration::from_secs(1900), "{all:?}");
}

/// A resolver that answers the first question with the first list, and so on, the last one for ever; and what it was asked.
fn resolver(answers: &[&[&str]]) -> (Resolver, Arc<Mutex<Vec<String>>>) {
    let parse = |text: &&str| SocketAddr::new(text.parse().expect("an address"), 0);
    let answers: Vec<Vec<SocketAddr>> = answers.iter().map(|list| list.iter().map(parse).collect()).collect();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&asked);
    let resolver = Resolver(Box::new(move |name| {
        let mut asked = note.lock().expect("a lock");
        let answer = answers[asked.len().min(answers.len() - 1)].clone();
        asked.push(name.as_str().to_owned());
        Box::pin(std::future::ready(Ok(answer)))
    }));
    (resolver, asked)
}

/// A server that closes each connection, so that each request makes its own; its port, and how often it answered.
async fn serve() -> (u16, Arc<AtomicU32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (port, answered) = (listener.local_addr().expect("an address").port(), Arc::new(AtomicU32::new(0)));
    let count = Arc::clone(&answered);
    let answer = get(move || {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(([("connection", "close"), ("x-expires", "2027-01-31T00:00:00+0000")], r#"{"access_token":"minted"}"#))
    });
    let router = Router::new().route("/", answer.clone()).route("/token", answer.post(|| async { r#"{"access_token":"minted"}"# }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (port, answered)
}

fn reach(location: &str, options: HttpOptions, auth: Auth, resolver: Resolver) -> Result<Http> {
    let location = Location::parse(location, options.allow_http)?;
    Endpoint { location, options, limiters: Arc::default() }.http_by(&META, auth, "", resolver)
}

fn plain() -> HttpOptions {
    HttpOptions { allow_http: true, ..HttpOptions::default() }
}

async fn ask(http: &Http) -> Result<()> {
    http.get("/", &[]).send::<Value>(&Context::new(Arc::new(RunStats::without_waits()))).await.map(drop)
}

fn assert_never_contacted(error: &Error) {
    assert!(
        matches!(&error.kind, ErrorKind::Network(why) if why.contains("the name resolves to a link-local or metadata address")),
        "{error}"
    );
}

#[tokio::test]
async fn o3_a_name_that_is_rebound_to_a_metadata_address_is_refused_when_it_is_connected_to() {
    for bad in ["169.254.169.254", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254", "100.100.100.200", "0.0.0.0"] {
        let (port, answered) = serve().await;
        let (resolver, asked) = resolver(&[&["127.0.0.1"], &[bad]]);
        let http = reach(&format!("http://tool.example:{port}"), plain(), Auth::None, resolver).expect("a client");
        ask(&http).await.expect("the first address is good");
        assert_never_contacted(&ask(&http).await.expect_err("rebound"));
        assert_eq!(answered.load(Ordering::SeqCst), 1, "{bad}");
        let asked = asked.lock().expect("a lock");
        assert!(asked.len() > 1 && asked.iter().all(|name| name == "tool.example"), "{asked:?}");
    }
}

#[tokio::test]
async fn o3_a_bad_address_among_good_ones_spoils_them_all() {
    let (port, answered) = serve().await;
    for answers in [&["127.0.0.1", "169.254.169.254"], &["::ffff:169.254.169.254", "127.0.0.1"]] {
        let (resolver, _) = resolver(&[answers]);
        let http = reach(&format!("http://tool.example:{port}"), plain(), Auth::None, resolver).expect("a client");
        assert_never_contacted(&ask(&http).await.expect_err("refused"));
    }
    assert_eq!(answered.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn o3_a_token_endpoint_is_resolved_as_carefully() {
    let (port, answered) = serve().await;
    let token = Url::parse(&format!("http://iam.example:{port}/token")).expect("an URL");
    let (resolver, _) = resolver(&[&["169.254.169.254"]]);
    let auth = Auth::client_credentials(token, "id", Secret::new("canary"));
    let http = reach(&format!("http://127.0.0.1:{port}"), plain(), auth, resolver).expect("a client");
    let error = ask(&http).await.expect_err("refused");
    assert_never_contacted(&error);
    assert!(error.doing.contains("access token"), "{error}");
    assert_eq!(answered.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn o3_a_proxy_is_no_way_to_a_metadata_address() {
    let (port, answered) = serve().await;
    let options = |proxy: &str| HttpOptions { proxy: Some(proxy.to_owned()), ..plain() };
    for proxy in ["http://169.254.169.254:80", "http://user:x@metadata.google.internal", "https://[::ffff:a9fe:a9fe]:8080"] {
        let (resolver, _) = resolver(&[&["127.0.0.1"]]);
        let error = reach("http://tool.example", options(proxy), Auth::None, resolver).expect_err(proxy);
        assert!(matches!(&error.kind, ErrorKind::Settings(why) if why.contains("`http.proxy`") && !why.contains("user")), "{error}");
    }
    for (location, proxy) in [("http://tool.example", "http://proxy.example"), ("https://tool.example", "http://proxy.example")] {
        let (resolver, asked) = resolver(&[&["169.254.169.254"]]);
        let http = reach(location, options(&format!("{proxy}:{port}")), Auth::None, resolver).expect("a client");
        assert_never_contacted(&ask(&http).await.expect_err("refused"));
        assert!(asked.lock().expect("a lock").iter().all(|name| name == "proxy.example"));
    }
    assert_eq!(answered.load(Ordering::SeqCst), 0);
    // And a location is what it is, proxy or not.
    let (resolver, _) = resolver(&[&["127.0.0.1"]]);
    assert!(reach("https://169.254.169.254", options("http://proxy.example"), Auth::None, resolver).is_err());
}

#[tokio::test]
async fn what_the_vendor_says_of_the_credentials_end_is_noted() {
    let (port, _) = serve().await;
    let activity = Arc::new(RunStats::without_waits());
    let cx = Context::new(Arc::clone(&activity));
    let http = reach(&format!("http://127.0.0.1:{port}"), plain(), Auth::Bearer(Secret::new("canary")), Resolver::system());
    let http = http.expect("a client");
    http.get("/", &[]).anonymous().send::<Value>(&cx).await.expect("an answer");
    assert_eq!(activity.credential_expires(), None, "no credential was shown");
    http.get("/", &[]).send::<Value>(&cx).await.expect("an answer");
    assert_eq!(activity.credential_expires(), "2027-01-31T00:00:00Z".parse().ok());
    cx.credential_expires(Timestamp::MAX);
    assert_eq!(activity.credential_expires(), "2027-01-31T00:00:00Z".parse().ok(), "the first end counts");
    for (text, time) in [
        ("2027-01-31T01:00:00+0100", Some("2027-01-31T00:00:00Z")),
        ("2027-01-31T00:00:00Z", Some("2027-01-31T00:00:00Z")),
        ("2027-01-31T00:00:00.5+00:00", Some("2027-01-31T00:00:00.5Z")),
        ("2027-01-31", Some("2027-01-31T00:00:00Z")),
        ("soon", None),
        ("", None),
    ] {
        assert_eq!(time_in(&headers(&[("x-expires", text)]), "x-expires"), time.and_then(|time| time.parse().ok()), "{text}");
    }
}

#[tokio::test]
async fn k1_a_vendor_that_echoes_what_it_was_sent_tells_nobody() {
    let secret = "s3cr3t/5up3r+C4nary";
    let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("user:{secret}"));
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let echo = format!(r#"{secret} {basic} {hex} s3cr3t%2F5up3r%2BC4nary"#);
    let answers: Vec<(u16, HeaderMap, String)> = vec![
        (401, HeaderMap::new(), echo.clone()),
        (403, HeaderMap::new(), echo.clone()),
        (418, HeaderMap::new(), echo.clone()),
        (500, HeaderMap::new(), echo.clone()),
        // Where serde quotes the value.
        (200, HeaderMap::new(), serde_json::json!(echo).to_string()),
        (200, headers(&[("content-type", "s3cr3t/5up3r+C4nary")]), echo.clone()),
        (200, headers(&[("content-type", "s3cr3t/5up3r+C4nary")]), format!("<{echo}")),
        (302, headers(&[("location", "https://s3cr3t%2F5up3r%2BC4nary.evil.example/s3cr3t/5up3r+C4nary")]), String::new()),
        (302, headers(&[("location", "https://7333637233742F35757033722B43346E617279.evil.example")]), String::new()),
    ];
    for (status, headers, body) in answers {
        let (code, head, text) = (StatusCode::from_u16(status).expect("a status"), headers.clone(), body.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let location = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(move || std::future::ready((code, head.clone(), text.clone())));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let auth = Auth::Basic(Secret::new("user"), Secret::new(secret));
        let http = reach(&location, plain(), auth, Resolver::system()).expect("a client");
        let cx = Context::new(Arc::new(RunStats::without_waits()));
        let error = http.get("/", &[]).send::<Vec<u8>>(&cx).await.expect_err("no list of numbers");
        let told = format!("{error} {error:?} {:?}", error.hint()).to_lowercase();
        for form in [secret, &basic[6..20], &hex, "s3cr3t%2f5up3r%2bc4nary"] {
            assert!(!told.contains(&form.to_lowercase()), "{status} {body}: {form} in {told}");
        }
    }
}

/// A server that gives these answers one after the other, the last one for ever; and how often it was asked.
async fn script(answers: Vec<(u16, Vec<u8>)>) -> (Http, Arc<AtomicU32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let location = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let router = Router::new().fallback(move || {
        let number = count.fetch_add(1, Ordering::SeqCst) as usize;
        let (status, body) = answers[number.min(answers.len() - 1)].clone();
        std::future::ready((StatusCode::from_u16(status).expect("a status"), body))
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (reach(&location, plain(), Auth::None, Resolver::system()).expect("a client"), asked)
}

#[tokio::test]
async fn a_silent_host_is_left_alone_after_twelve_attempts_and_four_last_tries() {
    let (http, asked) = script(vec![(503, Vec::new())]).await;
    let cx = Context::new(Arc::new(RunStats::without_waits()));
    let mut told = Vec::new();
    for _ in 0..240 {
        told.push(http.get("/", &[]).send::<Value>(&cx).await.expect_err("down"));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 16);
    assert!(matches!((&told[0].kind, told[0].attempts), (ErrorKind::Vendor { status: 503, .. }, 6)), "{}", told[0]);
    assert!(matches!(&told[239].kind, ErrorKind::Network(why) if why.contains("16 attempts") && why.contains("503")), "{}", told[239]);
    // Another operation begins anew.
    let cx = Context::new(Arc::new(RunStats::without_waits()));
    http.get("/", &[]).send::<Value>(&cx).await.expect_err("still down");
    assert_eq!(asked.load(Ordering::SeqCst), 22);
}

/// A tool whose version can be read while all its lists fail is asked for that after each of them: no list is answered by it.
#[tokio::test]
async fn an_answer_to_what_is_asked_without_the_credential_ends_no_silence() {
    let (http, asked) =
        script((0..2000).map(|number| if number % 7 < 6 { (500, Vec::new()) } else { (200, b"{}".to_vec()) }).collect()).await;
    let cx = Context::new(Arc::new(RunStats::without_waits()));
    for _ in 0..240 {
        http.get("/list", &[]).send::<Value>(&cx).await.expect_err("it fails");
        let _ = http.get("/version", &[]).anonymous().send::<Value>(&cx).await;
    }
    assert!(asked.load(Ordering::SeqCst) <= 20, "{asked:?}");
}

#[tokio::test]
async fn any_answer_ends_the_silence() {
    let down = || (502, Vec::new());
    let mut answers: Vec<_> = (0..13).map(|_| down()).collect();
    answers.extend([(404, Vec::new()), down(), (200, b"[1]".to_vec())]);
    let (http, asked) = script(answers).await;
    let cx = Context::new(Arc::new(RunStats::without_waits()));
    for _ in 0..3 {
        http.get("/", &[]).send::<Value>(&cx).await.expect_err("twice six attempts, and the first of the last tries");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 13);
    let error = http.get("/", &[]).send::<Value>(&cx).await.expect_err("an answer");
    assert!(matches!(error.kind, ErrorKind::Refused { status: 404, .. }), "{error}");
    http.get("/", &[]).send::<Value>(&cx).await.expect("tried again as usual");
    assert_eq!(asked.load(Ordering::SeqCst), 16);
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_is_asked_for_once_more() {
    let page = b"\r\n <html>log in</html>".to_vec();
    for (body, elsewhere) in [(page, true), (b"{\"a\":1}".to_vec(), false), (b"[1,".to_vec(), false), (Vec::new(), false)] {
        let (http, asked) = script(vec![(200, body.clone())]).await;
        let cx = Context::new(Arc::new(RunStats::without_waits()));
        let error = http.get("/", &[]).send::<Vec<u8>>(&cx).await.expect_err("no list");
        assert_eq!((error.attempts, asked.load(Ordering::SeqCst)), (2, 2), "{error}");
        assert_eq!(
            (matches!(error.kind, ErrorKind::NotAnApi(_)), matches!(error.kind, ErrorKind::UnexpectedBody { .. })),
            (elsewhere, !elsewhere),
            "{error}"
        );
        let (http, asked) = script(vec![(200, body), (200, b"[1]".to_vec())]).await;
        assert_eq!(http.get("/", &[]).send::<Vec<u8>>(&cx).await.expect("a list").body, [1]);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn odd_bytes_are_read_and_named_in_a_warning() {
    let (http, asked) = script(vec![(200, b"\xef\xbb\xbf[\"caf\xe9\"]".to_vec())]).await;
    let activity = Arc::new(RunStats::without_waits());
    let cx = Context::new(Arc::clone(&activity));
    let answer = http.get("/api/issues", &[]).send::<Vec<String>>(&cx).await.expect("a list");
    assert_eq!((&*answer.body[0], asked.load(Ordering::SeqCst)), ("caf\u{fffd}", 1));
    let warnings = activity.warnings();
    assert_eq!(
        warnings,
        [
            "the answer to GET /api/issues begins with a byte order mark",
            "the answer to GET /api/issues holds bytes that are not UTF-8, each read as U+FFFD"
        ]
    );
}

#[tokio::test]
async fn a_list_of_more_than_65536_values_is_too_large() {
    let (http, asked) = script(vec![(200, format!("{{\"rows\":[{}0]}}", "0,".repeat(1 << 16)).into_bytes())]).await;
    let error = http.get("/", &[]).send::<Value>(&Context::default()).await.expect_err("too large");
    assert_eq!(error.kind.to_string(), "the answer has more than 65536 items in one list");
    assert!(error.hint().is_some_and(|hint| hint.contains("read less")), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn k1_a_warning_and_a_plain_text_hold_no_credential() {
    let (http, _) = script(vec![(200, b"version s3cr3t/C4nary".to_vec())]).await;
    let location = http.location().url().to_string();
    let http = reach(&location, plain(), Auth::Bearer(Secret::new("s3cr3t/C4nary")), Resolver::system()).expect("a client");
    let activity = Arc::new(RunStats::without_waits());
    let cx = Context::new(Arc::clone(&activity));
    assert_eq!(http.get("/", &[]).text(&cx).await.expect("a text").body, "version …");
    cx.warn("unknown state `s3cr3t%2FC4nary`");
    cx.warn("unknown state `s3cr3t%2FC4nary`");
    assert_eq!(activity.warnings(), ["unknown state `…`"]);
}

/// A vendor with words of its own: it says in a 200 that an account has ended, and in a 409 that it is busy.
static JUDGED: Meta = Meta {
    id: "x",
    judge: Some(|status, _, body| match status.as_u16() {
        200 if body.starts_with(b"{\"code\":2001") => Some(ErrorKind::Unauthorized(Excerpt::new(&String::from_utf8_lossy(body)))),
        409 => Some(ErrorKind::Throttled(Some(Duration::from_millis(1)))),
        _ => None,
    }),
    cures: &[(Sign::Unauthorized, "renew the account"), (Sign::Forbidden, "ask the owner"), (Sign::NotFound, "look elsewhere")],
    ..Meta::DEFAULT
};

#[tokio::test]
async fn a_vendors_own_meaning_of_an_answer_goes_first_and_its_advice_is_given_where_there_is_none() {
    use axum::{http::StatusCode, routing::any};
    let busy = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let answers = Arc::clone(&busy);
    let router = axum::Router::new()
        .route("/ended", any(async || "{\"code\":2001,\"of\":\"canary\"}"))
        .route("/denied", any(async || StatusCode::FORBIDDEN))
        .route(
            "/busy",
            any(
                async move || {
                    if answers.fetch_add(1, Ordering::SeqCst) < 2 { (StatusCode::CONFLICT, "{}") } else { (StatusCode::OK, "{}") }
                },
            ),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let location = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let location = Location::parse(&location, false).expect("a location");
    let link = Endpoint { location, options: plain(), limiters: Arc::default() };
    let http = link.http(&JUDGED, Auth::Bearer(Secret::new("canary"))).expect("a client");
    let cx = Context::new(Arc::new(RunStats::without_waits()));
    http.get("/busy", &[]).send::<Value>(&cx).await.expect("the third answer");
    assert_eq!(busy.load(Ordering::SeqCst), 3);
    for (request, kind, hint) in [
        (http.get("/ended", &[]), "the credential was refused ({\"code\":2001,\"of\":\"…\"})", "renew the account"),
        (http.get("/denied", &[]), "a permission is missing: status 403, no body", "ask the owner"),
        (http.get("/denied", &[]).needs("give it View"), "a permission is missing: status 403, no body", "give it View"),
        (http.get("/nothing", &[]).needs("give it View"), "the request was refused with status 404: no body", "look elsewhere"),
    ] {
        let error = request.send::<Value>(&cx).await.expect_err(hint);
        assert_eq!((&*error.kind.to_string(), error.hint()), (kind, Some(hint)));
    }
}

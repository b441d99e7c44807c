use std::{
    collections::BTreeMap,
    io::Write,
    sync::{
        Arc, Mutex as StdMutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::*;
use crate::{
    Meta, Result, RunStats,
    kit::{Auth, Endpoint, Http, HttpOptions, Limiters, Location},
};

static META: Meta = Meta { id: "x", ..Meta::DEFAULT };

/// A tool that accepts the newest token only, and notes what the token endpoint is asked.
#[derive(Default)]
struct Tool {
    granted: AtomicUsize,
    /// The first token that is accepted: a tool that forgets its sessions.
    oldest: AtomicUsize,
    life: f64,
    forms: StdMutex<Vec<BTreeMap<String, String>>>,
}

async fn serve(router: Router) -> Location {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    Location::parse(&["http://", &address.to_string()].concat(), false).expect("a location")
}

async fn start(tool: &Arc<Tool>, auth: impl FnOnce(Url) -> Auth) -> Http {
    let (granting, asked) = (Arc::clone(tool), Arc::clone(tool));
    let token = post(move |form: String| async move {
        let number = granting.granted.fetch_add(1, Ordering::SeqCst) + 1;
        let form = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        granting.forms.lock().expect("a lock").push(form);
        tokio::time::sleep(Duration::from_millis(30)).await;
        json!({ "access_token": number.to_string(), "expires_in": granting.life, "refresh_token": "another" }).to_string()
    });
    let api = get(move |headers: HeaderMap| async move {
        let number = headers["authorization"].to_str().ok().and_then(|text| text.strip_prefix("Bearer ")?.parse::<usize>().ok());
        tokio::time::sleep(Duration::from_millis(10)).await;
        match number {
            Some(number) if number > asked.oldest.load(Ordering::SeqCst) => (StatusCode::OK, "[]"),
            _ => (StatusCode::UNAUTHORIZED, "{}"),
        }
    });
    let location = serve(Router::new().route("/token", token).route("/api", api)).await;
    let auth = auth(location.join("/token", &[]));
    let link = Endpoint { location, options: HttpOptions::default(), limiters: Arc::new(Limiters::default()) };
    link.http(&META, auth).expect("a client")
}

fn client(url: Url) -> Auth {
    Auth::client_credentials(url, "id", Secret::new("hush"))
}

async fn sixteen(http: &Http) {
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let http = http.clone();
            tokio::spawn(async move { http.get("/api", &[]).send::<Value>(&Context::default()).await.map(drop) })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic").expect("an answer");
    }
}

#[tokio::test]
async fn sixteen_calls_at_once_make_one_token_request() {
    let tool = Arc::new(Tool { life: 3600.0, ..Tool::default() });
    let http = start(&tool, client).await;
    sixteen(&http).await;
    assert_eq!(tool.granted.load(Ordering::SeqCst), 1);
    // The tool forgets the token: all sixteen are refused, one fetches another.
    tool.oldest.store(1, Ordering::SeqCst);
    sixteen(&http).await;
    assert_eq!(tool.granted.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_token_that_lives_shorter_than_the_sync_is_renewed_before_its_end() {
    let tool = Arc::new(Tool { life: 0.5, ..Tool::default() });
    let http = start(&tool, client).await;
    let cx = Context::default();
    for number in 1..=3 {
        http.get("/api", &[]).send::<Value>(&cx).await.expect("an answer");
        http.get("/api", &[]).send::<Value>(&cx).await.expect("an answer");
        assert_eq!(tool.granted.load(Ordering::SeqCst), number);
        tokio::time::sleep(Duration::from_millis(420)).await;
    }
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_no_more() {
    let tool = Arc::new(Tool { life: 3600.0, oldest: AtomicUsize::new(usize::MAX), ..Tool::default() });
    let http = start(&tool, client).await;
    let error = http.get("/api", &[]).send::<Value>(&Context::default()).await.expect_err("refused");
    assert!(matches!(error.kind, ErrorKind::Unauthorized(_)), "{error:?}");
    assert!(tool.granted.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn each_grant_is_sent_as_a_form_and_the_refresh_token_is_kept() {
    let tool = Arc::new(Tool { life: 0.0, ..Tool::default() });
    let http = start(&tool, |url| Auth::refresh_token(url, "app", Secret::new("a+b%/="))).await;
    for _ in 0..2 {
        http.get("/api", &[]).send::<Value>(&Context::default()).await.expect("an answer");
    }
    let form = [("client_id", "app"), ("grant_type", "refresh_token"), ("refresh_token", "a+b%/=")];
    let form: BTreeMap<_, _> = form.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(*tool.forms.lock().expect("a lock"), [form.clone(), form]);

    let tool = Arc::new(Tool::default());
    start(&tool, client).await.get("/api", &[]).send::<Value>(&Context::default()).await.expect("an answer");
    let form = [("client_id", "id"), ("client_secret", "hush"), ("grant_type", "client_credentials")];
    assert_eq!(*tool.forms.lock().expect("a lock"), [form.map(|(name, value)| (name.to_owned(), value.to_owned())).into()]);
}

#[test]
fn a_token_lives_as_long_as_the_answer_says_or_else_as_it_says_itself() {
    let now = Timestamp::from_second(1_770_000_000).expect("a time");
    let jwt = |claims: &str| Secret::new(&["e30", &URL_SAFE_NO_PAD.encode(claims), "sig"].join("."));
    for (claims, life) in [
        (r#"{"exp":1770001800,"iat":1770000000}"#, Some(1800)),
        // By the vendor's clock, which is an hour ahead.
        (r#"{"exp":1770005400,"iat":1770003600}"#, Some(1800)),
        (r#"{"exp":"1770000060"}"#, Some(60)),
        (r#"{"exp":1769999999}"#, None),
        (r#"{"exp":-9223372036854775808,"iat":9223372036854775807}"#, None),
        ("{}", None),
        ("[]", None),
    ] {
        assert_eq!(life_of(&jwt(claims), now), life.map(Duration::from_secs), "{claims}");
    }
    for odd in ["opaque", "a.b.c", "", "..", "a.%.c"] {
        assert_eq!(life_of(&Secret::new(odd), now), None, "{odd}");
    }
    let told = Granted::new(jwt(r#"{"exp":1770001800,"iat":1770000000}"#), Some(600.0), None);
    assert_eq!(told.life, Some(Duration::from_secs(600)));
    assert_eq!(Granted::new(Secret::new("opaque"), Some(-1.0), None).life, None);
}

/// Aikido takes the client as Basic, ProcessUnity five members, two of them secret.
#[tokio::test]
async fn a_form_has_members_of_the_vendors_own_and_the_client_may_go_before_it() {
    let seen = Arc::new(StdMutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let router = Router::new().fallback(move |headers: HeaderMap, form: String| {
        let basic = headers.get("authorization").map(|value| value.to_str().expect("text").to_owned());
        notes.lock().expect("a lock").push((basic, form));
        std::future::ready(r#"{"access_token":"t","tokenTTL":1200}"#)
    });
    let url = serve(router).await.join("/token", &[]);
    let client = ("client_secret", Secret::new("h:s"));
    let plain = vec![("grant_type", "client_credentials".into()), ("client_id", "id".into())];
    let basic = Grant::Form { url: url.clone(), plain, secret: vec![client], basic: true };
    let plain = vec![("grant_type", "password".into()), ("username", "u".into())];
    let secret = vec![("password", Secret::new("p&")), ("servicepassword", Secret::new("q"))];
    for grant in [basic, Grant::Form { url, plain, secret, basic: false }] {
        Tokens::new(grant).get(&Context::default(), &reqwest::Client::new()).await.expect("a token");
    }
    let expected = [
        (Some("Basic aWQ6aDpz".to_owned()), "grant_type=client_credentials".to_owned()),
        (None, "grant_type=password&username=u&password=p%26&servicepassword=q".to_owned()),
    ];
    assert_eq!(*seen.lock().expect("a lock"), expected);
}

#[derive(Debug)]
struct Vendor(Option<&'static str>);

impl Login for Vendor {
    fn user(&self) -> &str {
        "somebody"
    }
    fn secrets(&self) -> Vec<Secret> {
        vec![Secret::new("s3cr3t")]
    }
    fn granted<'a>(&'a self, _: &'a reqwest::Client) -> Pin<Box<dyn Future<Output = Result<Granted>> + Send + 'a>> {
        let refused = || Error::new(FETCHING, ErrorKind::Unauthorized(Excerpt::new("no user has the key s3cr3t")));
        let granted = self.0.map(|token| Granted::new(Secret::new(token), Some(600.0), Some(Secret::new("refresh"))));
        Box::pin(std::future::ready(granted.ok_or_else(refused)))
    }
}

#[tokio::test]
async fn a_vendors_own_log_in_grants_tokens_and_its_secrets_are_not_told() {
    let tokens = Tokens::new(Grant::Login(Arc::new(Vendor(Some("t0ken")))));
    let token = tokens.get(&Context::default(), &reqwest::Client::new()).await.expect("a token");
    let minted: Vec<_> = tokens.minted().iter().map(|token| token.expose().to_owned()).collect();
    assert_eq!((token.expose(), minted), ("t0ken", vec!["t0ken".to_owned(), "refresh".to_owned()]));
    let error = Tokens::new(Grant::Login(Arc::new(Vendor(None)))).get(&Context::default(), &reqwest::Client::new()).await;
    assert_eq!(error.expect_err("refused").kind.to_string(), "the credential was refused (no user has the key …)");
    for empty in ["", " "] {
        let error = Tokens::new(Grant::Login(Arc::new(Vendor(Some(empty))))).get(&Context::default(), &reqwest::Client::new()).await;
        assert!(matches!(error.expect_err("no token").kind, ErrorKind::UnexpectedBody { .. }));
    }
}

/// What a token endpoint that answers so grants, with the warnings.
async fn granted(body: Vec<u8>) -> (Result<Secret>, Vec<String>) {
    let location = serve(Router::new().fallback(move || std::future::ready(body))).await;
    let activity = Arc::new(RunStats::default());
    let cx = Context::new(Arc::clone(&activity));
    let Auth::OAuth(tokens) = client(location.join("/token", &[])) else { panic!("no token") };
    (tokens.get(&cx, &reqwest::Client::new()).await, activity.warnings())
}

#[tokio::test]
async fn a_token_comes_in_any_encoding_and_what_is_odd_about_it_is_told_without_it() {
    let json = r#"{"access_token":"t0ken","expires_in":300,"scope":"é"}"#;
    let marked = format!("\u{feff}{json}");
    let utf16 = |big: bool| -> Vec<u8> {
        marked.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(json.as_bytes()).expect("into memory");
    for (body, told) in [
        (json.as_bytes().to_vec(), None),
        (marked.clone().into_bytes(), Some("the answer with the access token begins with a byte order mark")),
        (utf16(true), Some("the answer with the access token is UTF-16 instead of UTF-8")),
        (utf16(false), Some("the answer with the access token is UTF-16 instead of UTF-8")),
        (
            b"{\"access_token\":\"t0ken\",\"scope\":\"caf\xe9\"}".to_vec(),
            Some("the answer with the access token holds bytes that are not UTF-8, each read as U+FFFD"),
        ),
        (packer.finish().expect("into memory"), Some("the answer with the access token is compressed with gzip, which no header says")),
    ] {
        let (token, warnings) = granted(body).await;
        assert_eq!(token.expect("a token").expose(), "t0ken", "{told:?}");
        assert_eq!(warnings, told.iter().map(|told| (*told).to_owned()).collect::<Vec<_>>());
    }
    // A token that lost a character is none: it would be refused, and its owner blamed.
    let (token, _) = granted(b"{\"access_token\":\"t0k\xe9n\"}".to_vec()).await;
    assert!(matches!(token.expect_err("no token").kind, ErrorKind::UnexpectedBody { .. }));
}

#[tokio::test]
async fn what_the_token_endpoint_says_is_told_without_the_secret() {
    async fn ask(status: u16, body: &str) -> Error {
        let (status, body) = (StatusCode::from_u16(status).expect("a status"), body.to_owned());
        let location = serve(Router::new().fallback(move || std::future::ready((status, body)))).await;
        let auth = Auth::refresh_token(location.join("/token", &[]), "app", Secret::new("s3cr3t"));
        let Auth::OAuth(tokens) = auth else { panic!("no token") };
        let result: Result<Secret> = tokens.get(&Context::default(), &reqwest::Client::new()).await;
        result.expect_err("no token")
    }
    let error = ask(400, r#"{"error":"invalid_grant","error_description":"Invalid refresh token s3cr3t"}"#).await;
    assert_eq!(&*error.doing, FETCHING);
    assert_eq!(
        error.kind.to_string(),
        "the credential was refused (status 400 from the token endpoint, invalid_grant: Invalid refresh token …)"
    );
    assert!(matches!(ask(401, r#"{"error":"invalid_client"}"#).await.kind, ErrorKind::Unauthorized(_)));
    let realm = ask(404, r#"{"error":"Realm does not exist"}"#).await.kind;
    assert_eq!(realm.to_string(), "the request was refused with status 404: Realm does not exist");
    assert!(matches!(ask(429, "").await.kind, ErrorKind::Throttled(None)));
    assert!(matches!(ask(503, "").await.kind, ErrorKind::Vendor { status: 503, .. }));
    assert!(matches!(ask(200, "<html>").await.kind, ErrorKind::NotAnApi(_)));
    for body in ["{}", r#"{"access_token":""}"#, r#"{"access_token":["s3cr3t"]}"#, ""] {
        let error = ask(200, body).await;
        assert!(matches!(error.kind, ErrorKind::UnexpectedBody { .. }) && !error.kind.to_string().contains("s3cr3t"), "{body}");
    }
}

//! OAuth 2 access tokens: fetched when needed, by one request however many wait for it, and kept for most of their life.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use reqwest::{StatusCode, header::HeaderMap};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};
use url::Url;

use crate::{
    Error, ErrorKind, Excerpt, Result,
    kit::{
        Context, Scalar, Secret,
        auth::fingerprint,
        http::{self, FETCHING},
        redact::redact,
    },
};

/// Of its life, how much a token is used: a request under way must not outlive it.
const USED: f64 = 0.8;
/// Life of a token whose answer does not tell.
const DEFAULT_TOKEN_LIFE: Duration = Duration::from_secs(300);
/// Largest answer of a token endpoint.
const LARGEST: usize = 1 << 20;
/// How many of the last tokens are cut out of what is shown: an answer may name one that was replaced meanwhile.
const REMEMBERED: usize = 8;

/// What is shown for an access token.
#[derive(Clone, Debug)]
pub enum Grant {
    /// A form of RFC 6749: client credentials, a password, a refresh token that stays.
    Form {
        /// The token endpoint.
        url: Url,
        /// Members that are no secret (`grant_type`, `client_id`, `scope`).
        plain: Vec<(&'static str, Box<str>)>,
        /// Members that are secret (`client_secret`).
        secret: Vec<(&'static str, Secret)>,
        /// Whether `client_id` and `client_secret` are sent as `Authorization: Basic` and not in the form.
        basic: bool,
    },
    /// A vendor's own way to a token.
    Login(Arc<dyn Login>),
}

/// A vendor's own way to an access token.
pub trait Login: fmt::Debug + Send + Sync {
    /// Who logs in, as far as that is no secret.
    fn user(&self) -> &str;

    /// The secrets that are sent.
    fn secrets(&self) -> Vec<Secret>;

    /// Logs in.
    fn granted<'a>(&'a self, client: &'a reqwest::Client) -> Pin<Box<dyn Future<Output = Result<Granted>> + Send + 'a>>;
}

/// An access token as it was granted.
#[derive(Debug)]
pub struct Granted {
    /// The access token.
    pub token: Secret,
    /// How long it lives; `None` where nothing tells.
    pub life: Option<Duration>,
    /// A refresh token that came with it. It is not used, and yet nothing to be shown.
    pub rotated: Option<Secret>,
}

impl Granted {
    /// A token with the life that the answer states, in seconds; else the one that the token states of itself (`exp` of a JWT).
    pub fn new(token: Secret, seconds: Option<f64>, rotated: Option<Secret>) -> Self {
        let life = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).or_else(|| life_of(&token, Timestamp::now()));
        Granted { token, life, rotated }
    }
}

/// How long a JWT lives by its own word.
fn life_of(token: &Secret, now: Timestamp) -> Option<Duration> {
    let claims = URL_SAFE_NO_PAD.decode(token.expose().split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let Claims { exp, iat } = serde_json::from_slice(&claims).ok()?;
    // Both by the vendor's clock, where it tells both.
    let from = iat.whole().unwrap_or(now.as_second());
    u64::try_from(exp.whole()?.checked_sub(from)?).ok().map(Duration::from_secs)
}

#[derive(Deserialize)]
struct Claims {
    exp: Scalar,
    #[serde(default)]
    iat: Scalar,
}

impl Grant {
    /// What tells one credential from another: who shows it, and its first secret.
    pub(crate) fn identity(&self) -> String {
        let (user, secrets) = match self {
            Grant::Form { plain, .. } => (plain.iter().map(|(_, value)| &**value).collect::<Vec<_>>().join("\n"), self.secrets()),
            Grant::Login(login) => (login.user().to_owned(), login.secrets()),
        };
        fingerprint(&user, secrets.first().unwrap_or(&Secret::new("")))
    }

    /// The secrets that are shown.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        match self {
            Grant::Form { plain, secret, basic, .. } => {
                let mut all: Vec<Secret> = secret.iter().map(|(_, secret)| secret.clone()).collect();
                let id = plain.iter().find(|(name, _)| *name == "client_id").map_or("", |(_, id)| id);
                // What stands in the header is as good as the secret in it, and an answer may show it in any form.
                let shown = secret.iter().find(|(name, _)| *basic && *name == "client_secret");
                all.extend(shown.map(|(_, secret)| Secret::new(&STANDARD.encode(format!("{id}:{}", secret.expose())))));
                all
            }
            Grant::Login(login) => login.secrets(),
        }
    }
}

/// Where a browser is sent after a consent that a person gave there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct RedirectUrls {
    /// After it was given.
    #[serde(default)]
    pub success: Option<String>,
    /// After it was refused.
    #[serde(default)]
    pub error: Option<String>,
}

/// Access tokens of one grant.
#[derive(Debug)]
pub struct Tokens {
    pub(crate) grant: Grant,
    kept: Mutex<Kept>,
    minted: StdMutex<Vec<Secret>>,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<Token>,
    /// When a token was last forgotten because the vendor refused it.
    forgotten: Option<Instant>,
}

#[derive(Debug)]
struct Token {
    secret: Secret,
    fetched: Instant,
    until: Instant,
}

impl Tokens {
    pub(crate) fn new(grant: Grant) -> Self {
        Tokens { grant, kept: Mutex::default(), minted: StdMutex::default() }
    }

    /// A token that lives.
    pub(crate) async fn get(&self, cx: &Context, client: &reqwest::Client) -> Result<Secret> {
        // The lock is held over the request on purpose: whoever waits for it finds the fresh token.
        let mut kept = self.kept.lock().await;
        if let Some(token) = &kept.token
            && Instant::now() < token.until
        {
            return Ok(token.secret.clone());
        }
        kept.token = None;
        let asked = Instant::now();
        let granted = match &self.grant {
            Grant::Form { url, plain, secret, basic } => self.fetch(cx, request(client.post(url.clone()), plain, secret, *basic)).await?,
            Grant::Login(login) => login.granted(client).await.map_err(|error| error.rewritten(|text| self.without_secrets(text)))?,
        };
        match granted.token.expose() {
            token if token.trim().is_empty() => return Err(unusable("the token is empty")),
            token if token.contains(char::REPLACEMENT_CHARACTER) => return Err(unusable("the token holds bytes that are not UTF-8")),
            _ => self.remember(&granted.token),
        }
        granted.rotated.iter().for_each(|token| self.remember(token));
        let until = asked + granted.life.unwrap_or(DEFAULT_TOKEN_LIFE).min(Duration::from_secs(7 * 86_400)).mul_f64(USED);
        kept.token = Some(Token { secret: granted.token.clone(), fetched: Instant::now(), until });
        Ok(granted.token)
    }

    /// A request that was begun at `sent` was refused: true when it is worth sending once more, with another token. However
    /// many requests are refused with one token, it is forgotten once, and never the fresh one that followed it.
    pub(crate) async fn refused(&self, sent: Instant) -> bool {
        let mut kept = self.kept.lock().await;
        match &kept.token {
            Some(token) if token.fetched <= sent => {
                *kept = Kept { token: None, forgotten: Some(Instant::now()) };
                true
            }
            Some(_) => true,
            None => kept.forgotten.is_some_and(|at| at >= sent),
        }
    }

    /// The newest tokens, for cutting them out of what is shown.
    pub(crate) fn minted(&self) -> Vec<Secret> {
        self.minted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, token: &Secret) {
        let mut minted = self.minted.lock().unwrap_or_else(PoisonError::into_inner);
        if minted.len() == REMEMBERED {
            minted.remove(0);
        }
        minted.push(token.clone());
    }

    fn without_secrets(&self, text: &str) -> String {
        self.grant.secrets().iter().fold(text.to_owned(), |text, secret| redact(&text, secret))
    }

    async fn fetch(&self, cx: &Context, request: reqwest::RequestBuilder) -> Result<Granted> {
        let answer = request.send().await.map_err(|error| http::network(FETCHING, error))?;
        let (status, headers, body) = http::receive(FETCHING, answer, LARGEST).await?;
        tracing::debug!(status = status.as_u16(), "access token");
        let http::Text { text, odd } = http::read(body, LARGEST).map_err(|kind| Error::new(FETCHING, kind))?;
        if !status.is_success() {
            return Err(Error::new(FETCHING, self.refusal(status, &headers, &text)));
        }
        for what in odd {
            cx.warn(format!("the answer with the access token {what}"));
        }
        match serde_json::from_str::<Answer>(&text) {
            Ok(Answer { access_token, refresh_token, expires_in, token_ttl }) => {
                let life = expires_in.number().or(token_ttl.number());
                Ok(Granted::new(access_token, life, refresh_token.text().map(Secret::new)))
            }
            Err(_) if http::is_page(text.as_bytes()) => {
                Err(Error::new(FETCHING, ErrorKind::NotAnApi("a web page came instead of an access token".into())))
            }
            // The body is never shown: a token may be in it.
            Err(_) => Err(unusable("no token in the answer")),
        }
    }

    /// The endpoint's own words for a refusal: 400 and 401 are about the credential, anything else is what it is elsewhere.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap, text: &str) -> ErrorKind {
        let told = match serde_json::from_str::<Refusal>(text) {
            Ok(Refusal { error: Some(error), error_description: Some(description) }) => [error, ": ".into(), description].concat(),
            Ok(Refusal { error: Some(told), .. } | Refusal { error_description: Some(told), .. }) => told,
            _ => text[..text.floor_char_boundary(16 << 10)].to_owned(),
        };
        let told = Excerpt::new(&self.without_secrets(&told));
        match status.as_u16() {
            status @ (400 | 401) => ErrorKind::Unauthorized(Excerpt::new(&format!("status {status} from the token endpoint, {told}"))),
            _ => http::refusal(status, headers, told),
        }
    }
}

/// A request with the members of a form, or with the client before it.
fn request(
    request: reqwest::RequestBuilder,
    plain: &[(&'static str, Box<str>)],
    secret: &[(&'static str, Secret)],
    basic: bool,
) -> reqwest::RequestBuilder {
    let all = plain.iter().map(|(name, value)| (*name, &**value)).chain(secret.iter().map(|(name, value)| (*name, value.expose())));
    let (client, form): (Vec<_>, Vec<_>) = all.partition(|(name, _)| basic && matches!(*name, "client_id" | "client_secret"));
    let member = |wanted: &str| client.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| *value);
    let request = request.header("accept", "application/json").form(&form);
    if basic { request.basic_auth(member("client_id"), Some(member("client_secret"))) } else { request }
}

/// An answer without a token that could be used.
fn unusable(reason: &str) -> Error {
    Error::new(FETCHING, ErrorKind::UnexpectedBody { path: "access_token".into(), reason: reason.into() })
}

/// What a token endpoint answers.
#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
    #[serde(default)]
    refresh_token: Scalar,
    #[serde(default)]
    expires_in: Scalar,
    #[serde(default, rename = "tokenTTL")]
    token_ttl: Scalar,
}

#[derive(Deserialize)]
struct Refusal {
    error: Option<String>,
    error_description: Option<String>,
}

#[cfg(test)]
mod tests {
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
}

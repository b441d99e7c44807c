//! OAuth 2 access tokens: fetched when needed, by one request however many wait for it, and kept for most of their life.

use std::{
    sync::{Mutex as StdMutex, PoisonError},
    time::Duration,
};

use reqwest::{StatusCode, header::HeaderMap};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};
use url::Url;

use crate::{
    Error, ErrorKind, Excerpt, Result,
    kit::{Context, Scalar, Secret, http, redact::redact},
};

/// What is being done when an error says so: tells a connector that the token was refused, not the API's answer.
pub(crate) const FETCHING: &str = "fetching an access token";
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
    /// Client credentials (RFC 6749 section 4.4), as form fields.
    ClientCredentials {
        /// The id of the client (`client_id`).
        id: Box<str>,
        /// The secret of the client (`client_secret`).
        secret: Secret,
    },
    /// A refresh token that is given once and stays (RFC 6749 section 6); one that comes with an answer is not used.
    RefreshToken {
        /// The client that it was given to.
        id: Box<str>,
        /// The refresh token.
        token: Secret,
    },
}

impl Grant {
    /// Client and secret.
    pub(crate) fn parts(&self) -> (&str, &Secret) {
        match self {
            Grant::ClientCredentials { id, secret } => (id, secret),
            Grant::RefreshToken { id, token } => (id, token),
        }
    }

    fn form(&self) -> [(&'static str, &str); 3] {
        match self {
            Grant::ClientCredentials { id, secret } => {
                [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret.expose())]
            }
            Grant::RefreshToken { id, token } => [("grant_type", "refresh_token"), ("client_id", id), ("refresh_token", token.expose())],
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
    url: Url,
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
    pub(crate) fn new(url: Url, grant: Grant) -> Self {
        Tokens { url, grant, kept: Mutex::default(), minted: StdMutex::default() }
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
        let granted = self.fetch(cx, client).await?;
        self.remember(&granted.access_token);
        // Not used, and yet nothing to be shown.
        granted.refresh_token.text().inspect(|token| self.remember(&Secret::new(token)));
        let told = granted.expires_in.number().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let until = asked + told.unwrap_or(DEFAULT_TOKEN_LIFE).min(Duration::from_secs(7 * 86_400)).mul_f64(USED);
        kept.token = Some(Token { secret: granted.access_token.clone(), fetched: Instant::now(), until });
        Ok(granted.access_token)
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

    async fn fetch(&self, cx: &Context, client: &reqwest::Client) -> Result<Granted> {
        let request = client.post(self.url.clone()).header("accept", "application/json").form(&self.grant.form());
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
        // The body is never shown: a token may be in it.
        let shape = |reason: &str| Error::new(FETCHING, ErrorKind::UnexpectedBody { path: "access_token".into(), reason: reason.into() });
        match serde_json::from_str::<Granted>(&text) {
            Ok(granted) if granted.access_token.expose().trim().is_empty() => Err(shape("the token is empty")),
            Ok(granted) if granted.access_token.expose().contains(char::REPLACEMENT_CHARACTER) => {
                Err(shape("the token holds bytes that are not UTF-8"))
            }
            Ok(granted) => Ok(granted),
            Err(_) if http::is_page(text.as_bytes()) => {
                Err(Error::new(FETCHING, ErrorKind::NotAnApi("a web page came instead of an access token".into())))
            }
            Err(_) => Err(shape("no token in the answer")),
        }
    }

    /// The endpoint's own words for a refusal: 400 and 401 are about the credential, anything else is what it is elsewhere.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap, text: &str) -> ErrorKind {
        let told = match serde_json::from_str::<Refusal>(text) {
            Ok(Refusal { error: Some(error), error_description: Some(description) }) => [error, ": ".into(), description].concat(),
            Ok(Refusal { error: Some(told), .. } | Refusal { error_description: Some(told), .. }) => told,
            _ => text[..text.floor_char_boundary(16 << 10)].to_owned(),
        };
        let told = Excerpt::new(&redact(&told, self.grant.parts().1));
        match status.as_u16() {
            status @ (400 | 401) => ErrorKind::Unauthorized(Excerpt::new(&format!("status {status} from the token endpoint, {told}"))),
            _ => http::refusal(status, headers, told),
        }
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: Secret,
    #[serde(default)]
    refresh_token: Scalar,
    #[serde(default)]
    expires_in: Scalar,
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

    /// What a token endpoint that answers so grants, with the warnings.
    async fn granted(body: Vec<u8>) -> (Result<Secret>, Vec<String>) {
        let location = serve(Router::new().fallback(move || std::future::ready(body))).await;
        let activity = Arc::new(RunStats::default());
        let cx = Context::new(Arc::clone(&activity));
        let tokens = Tokens::new(location.join("/token", &[]), Grant::ClientCredentials { id: "app".into(), secret: Secret::new("hush") });
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
            let tokens = Tokens::new(location.join("/token", &[]), Grant::RefreshToken { id: "app".into(), token: Secret::new("s3cr3t") });
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

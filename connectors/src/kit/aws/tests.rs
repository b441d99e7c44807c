//! The promises of the kit, kept for AWS too.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tracing::field::{Field, Visit};

use super::*;
use crate::kit::{HttpOptions, Limiters, RunStats};

static META: Meta = Meta { id: "aws_security_hub", body_limit: 4000, ..Meta::DEFAULT };
const CANARIES: [&str; 4] = ["canary-secret/1+", "canary-token/2+", "canary-role-secret/3+", "canary-role-token/4+"];
const ROLE: &str = "arn:aws:iam::123456789012:role/tributary";

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") });
    url
}

async fn aws(router: Router, role: bool) -> Aws {
    let location = Location::parse(&serve(router).await, false).expect("a location");
    let keys = Keys {
        access_key: Secret::new("AKIAEXAMPLE"),
        secret_key: Secret::new(CANARIES[0]),
        session_token: Some(Secret::new(CANARIES[1])),
        role_arn: role.then(|| ROLE.to_owned()),
        external_id: Some("outside".to_owned()),
    };
    let link = Endpoint { location, options: HttpOptions::default(), limiters: Arc::new(Limiters::default()) };
    Aws::open("securityhub", &META, link, keys, Some("us-east-1")).expect("a client")
}

async fn describe(aws: &Aws) -> Result<serde_json::Value> {
    let client = aws_sdk_securityhub::Client::new(aws.config());
    let cx = Context::new(Arc::new(RunStats::without_waits()));
    aws.send(&cx, "reading GET /accounts", |tap| client.describe_hub().customize().interceptor(tap).send()).await
}

fn answers(answer: impl Fn(&Request) -> Response + Clone + Send + Sync + 'static) -> Router {
    Router::new().route("/accounts", get(move |request: Request| std::future::ready(answer(&request))))
}

fn error(status: u16, code: &'static str, message: &str) -> Response {
    let body = serde_json::json!({ "Message": message }).to_string();
    (axum::http::StatusCode::from_u16(status).expect("a status"), [("x-amzn-errortype", code)], body).into_response()
}

fn granted() -> &'static str {
    "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
     <AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>canary-role-secret/3+</SecretAccessKey>\
     <SessionToken>canary-role-token/4+</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
     </Credentials></AssumeRoleResult></AssumeRoleResponse>"
}

#[tokio::test]
async fn o1_a_redirect_that_answers_a_signed_request_is_not_followed() {
    let met = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&met);
    let sink = serve(Router::new().fallback(move || {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready("{}")
    }));
    let sink = sink.await;
    for status in [301, 302, 307, 308] {
        let target = format!("{sink}/accounts");
        let aws = aws(
            answers(move |_| {
                let status = axum::http::StatusCode::from_u16(status).expect("a status");
                (status, [("location", target.clone())]).into_response()
            }),
            false,
        );
        let error = describe(&aws.await).await.expect_err("a redirect");
        assert!(matches!(&error.kind, ErrorKind::Redirect(host) if sink.starts_with(&**host)), "{error}");
    }
    assert_eq!(met.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn o5_a_body_above_the_cap_is_not_read() {
    let body = format!("{{\"HubArn\":\"{}\"}}", "x".repeat(5000));
    let error = describe(&aws(answers(move |_| body.clone().into_response()), false).await).await.expect_err("too much");
    assert!(matches!(error.kind, ErrorKind::TooLarge { limit: 4000, .. }), "{error}");
    assert_eq!(&*error.doing, "reading GET /accounts");
}

#[tokio::test]
async fn an_answer_that_is_no_json_object_is_never_taken_for_an_empty_one() {
    for (body, elsewhere) in [("", false), ("{\"HubArn\":", false), ("<html>log in</html>", true)] {
        let error = describe(&aws(answers(move |_| body.into_response()), false).await).await.expect_err("no answer");
        assert_eq!(
            (matches!(error.kind, ErrorKind::NotAnApi(_)), matches!(error.kind, ErrorKind::UnexpectedBody { .. })),
            (elsewhere, !elsewhere),
            "{body}"
        );
        assert_eq!(error.attempts, 2, "asked for once more");
    }
}

#[tokio::test]
async fn errors_are_told_by_the_name_that_aws_gives_them() {
    use crate::Recovery;
    for (status, code, expected) in [
        (400, "ThrottlingException", "throttled"),
        (429, "LimitExceededException", "throttled"),
        (429, "", "throttled"),
        (401, "InvalidAccessException", "forbidden"),
        (403, "AccessDeniedException:http://internal.amazon.com/coral/", "forbidden"),
        (403, "UnrecognizedClientException", "unauthorized"),
        (403, "InvalidSignatureException", "unauthorized"),
        (403, "ExpiredTokenException", "unauthorized"),
        (400, "InvalidInputException", "refused"),
        (404, "ResourceNotFoundException", "refused"),
        (500, "InternalException", "vendor"),
        (503, "", "vendor"),
    ] {
        let failed = describe(&aws(answers(move |_| error(status, code, "it says")), false).await).await.expect_err("an error");
        let class = match &failed.kind {
            ErrorKind::Throttled(_) => "throttled",
            ErrorKind::Forbidden(told) if told.to_string().contains("it says") => "forbidden",
            ErrorKind::Unauthorized(told) if told.to_string().contains("it says") => "unauthorized",
            ErrorKind::Refused { .. } => "refused",
            ErrorKind::Vendor { .. } => "vendor",
            _ => "other",
        };
        assert_eq!(class, expected, "{status} {code}: {failed}");
        let again = matches!(failed.kind.recovery(), Recovery::Retry | Recovery::Wait(_));
        assert_eq!(failed.attempts, if again { 6 } else { 1 }, "{status} {code}");
    }
}

#[tokio::test]
async fn errors_in_xml_are_told_by_their_name_too() {
    let body = "<?xml version=\"1.0\"?>\n<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                <Message>no &lt;access&gt;</Message></Error></ErrorResponse>";
    let failed = describe(&aws(answers(move |_| (axum::http::StatusCode::BAD_REQUEST, body).into_response()), false).await).await;
    let failed = failed.expect_err("an error");
    assert_eq!(failed.kind.to_string(), "a permission is missing: AccessDenied: no <access>");
}

#[tokio::test]
async fn f13_a_refused_signature_with_a_wrong_clock_says_how_far_it_is_off() {
    for (minutes, hint) in [(15, "the local clock is 15 min off (behind AWS's)"), (-20, "the local clock is 20 min off (ahead of AWS's)")] {
        let aws = aws(
            answers(move |_| {
                let theirs = Timestamp::now() + jiff::SignedDuration::from_secs(minutes * 60 + i64::signum(minutes) * 20);
                let mut answer = error(403, "InvalidSignatureException", "Signature expired");
                let date = theirs.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
                answer.headers_mut().insert("date", date.parse().expect("a header"));
                answer
            }),
            false,
        );
        let error = describe(&aws.await).await.expect_err("refused");
        assert!(error.hint().is_some_and(|told| told.starts_with(hint)), "{:?}", error.hint());
    }
    let aws = aws(answers(|_| error(403, "InvalidSignatureException", "does not match")), false).await;
    let error = describe(&aws).await.expect_err("refused");
    assert_eq!(error.hint(), Some("`secret_key` does not belong to `access_key`"));
}

#[tokio::test]
async fn f13_a_wrong_date_in_an_answer_does_not_move_what_is_signed() {
    let today = Timestamp::now().strftime("%Y%m%d").to_string();
    let router = answers(move |request| {
        let signed = request.headers()["x-amz-date"].to_str().expect("a date");
        assert!(signed >= today.as_str() && Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string().as_str() >= signed, "{signed}");
        ([("date", "Tue, 24 Nov 2099 10:00:00 GMT")], "{\"HubArn\":\"a\"}").into_response()
    });
    let aws = aws(router, false).await;
    for _ in 0..3 {
        describe(&aws).await.expect("an answer");
    }
}

#[tokio::test]
async fn a_role_is_assumed_once_and_its_credentials_sign() {
    let assumed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&assumed);
    let token = |request: &Request| request.headers().get("x-amz-security-token").and_then(|token| token.to_str().ok()).map(str::to_owned);
    let router = answers(move |request| {
        let by_role = token(request).as_deref() == Some(CANARIES[3]);
        if by_role { "{\"HubArn\":\"a\"}".into_response() } else { error(403, "AccessDeniedException", "not the role") }
    })
    .route(
        "/",
        post(move |form: String| {
            count.fetch_add(1, Ordering::SeqCst);
            let form: HashMap<String, String> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
            assert_eq!((form["Action"].as_str(), form["RoleArn"].as_str(), form["ExternalId"].as_str()), ("AssumeRole", ROLE, "outside"));
            std::future::ready(([("content-type", "text/xml")], granted()))
        }),
    );
    let aws = aws(router, true).await;
    for _ in 0..3 {
        assert_eq!(describe(&aws).await.expect("an answer")["HubArn"], "a");
    }
    assert_eq!(assumed.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_is_told_as_what_it_is() {
    let denied = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                  <Message>User is not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>";
    let router = Router::new().route("/", post(move || std::future::ready((axum::http::StatusCode::FORBIDDEN, denied))));
    let error = describe(&aws(router, true).await).await.expect_err("refused");
    assert!(matches!(error.kind, ErrorKind::Forbidden(_)), "{error}");
    assert!(error.doing.contains("STS") && error.hint().is_some_and(|hint| hint.contains("trust policy")));
    assert_eq!(error.attempts, 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_as_network() {
    let location = Location::parse("http://127.0.0.1:1", false).expect("a location");
    let (access_key, secret_key) = (Secret::new("AKIAEXAMPLE"), Secret::new("s"));
    let keys = Keys { access_key, secret_key, session_token: None, role_arn: None, external_id: None };
    let link = Endpoint { location, options: HttpOptions::default(), limiters: Arc::new(Limiters::default()) };
    let aws = Aws::open("securityhub", &META, link, keys, Some("us-east-1")).expect("a client");
    let error = describe(&aws).await.expect_err("no server");
    assert!(matches!(&error.kind, ErrorKind::Network(text) if text.contains("onnect")), "{error}");
}

/// Everything that is logged, at every level.
#[derive(Clone, Default)]
struct Everything(Arc<Mutex<String>>);

impl Visit for Everything {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.lock().expect("a lock").push_str(&format!("{field}={value:?}\n"));
    }
}

impl tracing::Subscriber for Everything {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn k1_no_secret_is_logged_or_told_even_when_aws_echoes_it() {
    let everything = Everything::default();
    let _guard = tracing::subscriber::set_default(everything.clone());
    let echo = CANARIES.join(" ");
    let bad = echo.clone();
    let turn = AtomicUsize::new(0);
    let turn = Arc::new(turn);
    let router = answers(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => format!("{{\"HubArn\":\"{echo}\"}}").into_response(),
        1 => error(403, "InvalidSignatureException", &format!("The canonical string should have been x-amz-security-token:{echo}")),
        2 => error(403, "AccessDeniedException", &echo),
        _ => format!("no JSON: {bad}").into_response(),
    })
    .route("/", post(|| std::future::ready(([("content-type", "text/xml")], granted()))));
    let aws = aws(router, true).await;
    describe(&aws).await.expect("an answer");
    let mut told = format!("{aws:?}");
    for _ in 0..3 {
        let error = describe(&aws).await.expect_err("an error");
        told.push_str(&format!("{error} {error:?} {:?}", error.hint()));
    }
    told.push_str(&everything.0.lock().expect("a lock"));
    assert!(told.contains("took_ms"), "nothing was logged");
    for canary in CANARIES {
        let encoded: String = url::form_urlencoded::byte_serialize(canary.as_bytes()).collect();
        let base = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, canary);
        for form in [canary, &encoded, &base] {
            assert!(!told.contains(form), "{form} in {told}");
        }
    }
}

/// The token service is the one that answers in XML. What a document may do to its reader, it must not.
#[tokio::test]
async fn o5_xml_with_a_document_type_or_entities_is_no_answer() {
    let folder = std::env::temp_dir();
    for prologue in [
        format!("<!DOCTYPE x [<!ENTITY e SYSTEM \"file://{}/secret\">]>", folder.display()),
        "<!DOCTYPE x [<!ENTITY e \"expanded\">]>".to_owned(),
        "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY e \"&b;&b;&b;&b;&b;&b;&b;&b;\">]>"
            .to_owned(),
        "<!DOCTYPE x SYSTEM \"http://127.0.0.1:1/x.dtd\">".to_owned(),
        String::new(),
    ] {
        let answer = format!("<?xml version=\"1.0\"?>{prologue}{}", granted().replace("canary-role-token/4+", "&e;"));
        let met = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&met);
        let router = answers(move |request| {
            note.lock().expect("a lock").push(request.headers()["x-amz-security-token"].to_str().map(str::to_owned));
            "{}".into_response()
        });
        let router = router.route("/", post(move || std::future::ready(([("content-type", "text/xml")], answer.clone()))));
        let told = describe(&aws(router, true).await).await;
        assert!(told.is_err() && met.lock().expect("a lock").is_empty(), "{prologue}: {told:?}, signed with {met:?}");
    }
}

#[tokio::test]
async fn o5_xml_without_end_or_bottom_is_no_answer() {
    let deep = format!("<AssumeRoleResponse>{}", "<a>".repeat(100_000));
    for answer in [deep, "<AssumeRoleResponse".to_owned(), format!("<{}", "a".repeat(3000))] {
        // The cap of these tests is small; depth is what is looked at.
        static DEEP: Meta = Meta { id: "aws_security_hub", ..Meta::DEFAULT };
        let router = Router::new().route("/", post(move || std::future::ready(([("content-type", "text/xml")], answer.clone()))));
        let location = Location::parse(&serve(router).await, false).expect("a location");
        let (access_key, secret_key) = (Secret::new("AKIAEXAMPLE"), Secret::new(CANARIES[0]));
        let keys = Keys { access_key, secret_key, session_token: None, role_arn: Some(ROLE.to_owned()), external_id: None };
        let link = Endpoint { location, options: HttpOptions::default(), limiters: Arc::new(Limiters::default()) };
        let aws = Aws::open("securityhub", &DEEP, link, keys, Some("us-east-1")).expect("a client");
        describe(&aws).await.expect_err("no credentials");
    }
}

#[test]
fn the_region_comes_from_the_host_or_the_field() {
    let open = |location: &str, region: Option<&str>| {
        let location = Location::parse(location, false).expect("a location");
        endpoint("securityhub", &location, region).map(|(location, region)| (location.to_string(), region.to_string())).ok()
    };
    let us = "https://securityhub.us-east-1.amazonaws.com";
    for (location, region, expected) in [
        (us, None, Some((us, "us-east-1"))),
        (
            "https://securityhub-fips.us-gov-west-1.amazonaws.com",
            None,
            Some(("https://securityhub-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1")),
        ),
        ("https://securityhub.eu-west-1.api.aws", None, Some(("https://securityhub.eu-west-1.api.aws", "eu-west-1"))),
        ("securityhub.cn-north-1.amazonaws.com.cn", None, Some(("https://securityhub.cn-north-1.amazonaws.com.cn", "cn-north-1"))),
        ("us-east-1", None, Some((us, "us-east-1"))),
        ("us-east-1", Some("us-east-1"), Some((us, "us-east-1"))),
        ("cn-north-1", None, Some(("https://securityhub.cn-north-1.amazonaws.com.cn", "cn-north-1"))),
        ("http://127.0.0.1:8080", Some("eu-central-1"), Some(("http://127.0.0.1:8080", "eu-central-1"))),
        ("https://vpce-1.securityhub.us-east-1.vpce.amazonaws.com", None, None),
        ("https://securityhub.us-east-1.amazonaws.com.evil.example", None, None),
        ("http://localhost:1", None, None),
        (us, Some("eu-west-1"), None),
        ("http://127.0.0.1:8080", Some("US East (Ohio)"), None),
    ] {
        let found = open(location, region);
        assert_eq!(found.as_ref().map(|(location, region)| (&**location, &**region)), expected, "{location} {region:?}");
    }
}

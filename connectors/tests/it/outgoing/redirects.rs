//! O1: no redirect is followed, whatever proves who asks.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tributary_connectors::{
    Error, ErrorKind, Registration,
    kit::{Auth, HttpOptions},
};
use tributary_simulator::{Size, VENDORS};

use super::{Sink, auths, cx, http, link, serve};

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// Answers every request with the redirect of the moment; `/token` with an access token, unless it redirects too.
#[derive(Clone, Default)]
struct Tool {
    redirect: Arc<Mutex<(u16, String)>>,
    token_redirects: bool,
    requests: Arc<AtomicUsize>,
}

impl Tool {
    async fn start(&self) -> String {
        let tool = self.clone();
        serve(Router::new().fallback(move |request: Request| std::future::ready(tool.answer(&request)))).await
    }

    fn answer(&self, request: &Request) -> Response {
        if request.uri().path() == "/token" && !self.token_redirects {
            return r#"{"access_token":"minted","expires_in":3600}"#.into_response();
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        let (status, target) = self.redirect.lock().unwrap().clone();
        (StatusCode::from_u16(status).unwrap(), [(header::LOCATION, target)]).into_response()
    }

    fn set(&self, status: u16, target: &str) {
        *self.redirect.lock().unwrap() = (status, target.to_owned());
    }
}

/// Where a redirect may want to lead, and what its error has to name.
fn targets(tool: &str, sink: u16) -> Vec<(String, String)> {
    let own = tool.trim_start_matches("http://");
    let other = format!("http://localhost:{sink}");
    let port = format!("http://127.0.0.1:{sink}");
    vec![
        (format!("{other}/api?token=x"), other.clone()),
        (format!("{port}/api"), port.clone()),
        (format!("https://127.0.0.1:{sink}/api"), format!("https://127.0.0.1:{sink}")),
        (format!("http://{own}@localhost:{sink}/api"), other.clone()),
        (format!("http://{own}:x@127.0.0.1:{sink}/"), port),
        (format!("//localhost:{sink}/api"), format!("https://localhost:{sink}")),
        (format!("\\\\localhost:{sink}\\api"), format!("https://localhost:{sink}")),
        (format!("http:/\\localhost:{sink}/api"), other.clone()),
        (format!("http://[::ffff:127.0.0.1]:{sink}/"), format!("http://[::ffff:7f00:1]:{sink}")),
        ("file:///etc/passwd".to_owned(), "`file:`".to_owned()),
        (format!("{tool}/elsewhere"), tool.to_owned()),
        ("/elsewhere".to_owned(), "another page of itself".to_owned()),
        ("/login?next=/api".to_owned(), "its own log-in page".to_owned()),
        (format!("{other}/auth/realms/x/openid-connect?token=x"), "the log-in page of http://localhost".to_owned()),
        ("/404.html".to_owned(), "its own error page".to_owned()),
        ("../elsewhere".to_owned(), "another page of itself".to_owned()),
    ]
}

fn assert_refused(error: &Error, named: &str, case: &str) {
    assert!(matches!(&error.kind, ErrorKind::Redirect(target) if target.contains(named)), "{case}: {error}");
    assert!(!error.to_string().contains("token=x"), "{error}");
    let hint = error.hint().unwrap_or_default();
    let page = ["log-in page", "error page"].iter().any(|page| named.contains(page));
    assert!(hint.contains("`location`") && hint.contains("that the tool redirects to") != page, "{error}: {hint}");
    assert_eq!(error.attempts, 1, "{case}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_no_redirect_is_followed_with_any_kind_of_credential() {
    let sink = Sink::start().await;
    let tool = Tool::default();
    let url = tool.start().await;
    let mut sent = 0;
    for auth in [auths(&url), vec![Auth::None]].concat() {
        let http = http(&url, auth.clone());
        for status in STATUSES {
            for (target, named) in targets(&url, sink.port) {
                tool.set(status, &target);
                let case = format!("{auth:?} {status} {target}");
                let error = http.get("/api", &[]).send::<Value>(&cx()).await.expect_err(&case);
                assert_refused(&error, &named, &case);
                let error = http.post("/api", &[], &"body").send::<Value>(&cx()).await.expect_err(&case);
                assert_refused(&error, &named, &case);
                sent += 2;
            }
        }
    }
    assert_eq!(sink.reached(), 0, "a redirect was followed");
    assert_eq!(tool.requests.load(Ordering::SeqCst), sent, "one request each, nothing of the tool itself was followed either");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_no_redirect_of_a_token_endpoint_is_followed() {
    let sink = Sink::start().await;
    let tool = Tool { token_redirects: true, ..Tool::default() };
    let url = tool.start().await;
    let mut sent = 0;
    for auth in auths(&url).into_iter().filter(|auth| matches!(auth, Auth::OAuth(_))) {
        let http = http(&url, auth);
        for status in STATUSES {
            for (target, named) in targets(&url, sink.port) {
                tool.set(status, &target);
                let error = http.get("/api", &[]).send::<Value>(&cx()).await.expect_err(&target);
                assert_refused(&error, &named, &target);
                assert!(error.doing.contains("access token"), "{error}");
                sent += 1;
            }
        }
    }
    assert_eq!(sink.reached(), 0, "a redirect was followed");
    assert_eq!(tool.requests.load(Ordering::SeqCst), sent);
}

/// Each connector as it is configured, AWS's SDK included, at a tool that redirects whatever it is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_no_connector_follows_a_redirect() {
    let sink = Sink::start().await;
    let tool = Tool { token_redirects: true, ..Tool::default() };
    let url = tool.start().await;
    for (id, make) in VENDORS {
        let Some(entry) = Registration::find(id) else { continue };
        let fields = make(Size { records: 2, findings: 10, seed: 1 }).fields(&url);
        let settings: Value = fields.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
        let source = entry.open(settings, link(&url, HttpOptions::default())).unwrap();
        for status in STATUSES {
            for (target, named) in targets(&url, sink.port) {
                tool.set(status, &target);
                let error = source.check(&cx()).await.expect_err(id);
                assert!(matches!(&error.kind, ErrorKind::Redirect(to) if to.contains(&*named)), "{id} {target}: {error}");
            }
        }
    }
    assert_eq!(sink.reached(), 0, "a redirect was followed");
}

#[cfg(feature = "aws")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_no_redirect_of_aws_or_its_token_service_is_followed() {
    let sink = Sink::start().await;
    let tool = Tool::default();
    let url = tool.start().await;
    let plain = serde_json::json!({ "access_key": "AKIAEXAMPLE", "secret_key": "canary", "region": "us-east-1" });
    let mut role = plain.clone();
    role["role_arn"] = "arn:aws:iam::123456789012:role/tributary".into();
    for settings in [plain, role] {
        let source = Registration::find("aws_security_hub").unwrap().open(settings, link(&url, HttpOptions::default())).unwrap();
        for status in STATUSES {
            for (target, named) in targets(&url, sink.port) {
                tool.set(status, &target);
                assert_refused(&source.check(&cx()).await.expect_err(&target), &named, &target);
            }
        }
    }
    assert_eq!(sink.reached(), 0, "a redirect was followed");
}

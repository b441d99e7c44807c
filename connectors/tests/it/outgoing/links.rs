//! O2: a link that the vendor gives leads below the location, or no request is built.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tributary_connectors::{
    ErrorKind, Registration,
    kit::{Auth, HttpOptions, Secret},
};
use tributary_simulator::{Change, Fault, Faults, Oracle, Size, VENDORS, Vendor, start};

use super::{Sink, cx, http, serve};

/// Links that lead elsewhere, for a tool at `http://127.0.0.1:PORT/base`.
fn hostile(tool: &str, sink: u16) -> Vec<String> {
    let port = tool.rsplit(':').next().unwrap();
    let own = format!("127.0.0.1:{port}");
    vec![
        format!("http://127.0.0.1:{sink}/base/next"),
        format!("http://localhost:{sink}/base/next"),
        // The same machine under another name is another origin.
        format!("http://localhost:{port}/base/next"),
        format!("https://{own}/base/next"),
        "http://127.0.0.1/base/next".to_owned(),
        format!("http://{own}.evil.example/base/next"),
        format!("http://127.0.0.1.evil.example:{port}/base/next"),
        format!("http://{own}@localhost:{sink}/base/next"),
        format!("http://x:y@{own}/base/next"),
        format!("http://x@{own}/base/next"),
        format!("//localhost:{sink}/base/next"),
        format!("\\\\localhost:{sink}\\base\\next"),
        format!("/\\localhost:{sink}/base/next"),
        format!("///localhost:{sink}/base/next"),
        format!("\t//localhost:{sink}/base/next"),
        format!("/\n/localhost:{sink}/base/next"),
        format!("ht\ntp://localhost:{sink}/base/next"),
        "file:///etc/passwd".to_owned(),
        "ftp://127.0.0.1/base/next".to_owned(),
        "javascript:alert(1)".to_owned(),
        "data:application/json,{}".to_owned(),
        "http://169.254.169.254/base/latest".to_owned(),
        "http://".to_owned(),
        "http://[".to_owned(),
        "/other/next".to_owned(),
        "/based/next".to_owned(),
        "/base/../other".to_owned(),
        "/base/%2e%2e/other".to_owned(),
        "/base/.%2E/%2e./other".to_owned(),
        "/base/x/../../other".to_owned(),
        "/base\\..\\other".to_owned(),
        "../other".to_owned(),
        "..".to_owned(),
        format!("http://{own}/base/../other"),
    ]
}

#[tokio::test]
async fn o2_a_link_that_leads_elsewhere_is_refused_before_a_request_is_built() {
    let sink = Sink::start().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&asked);
    let url = serve(Router::new().fallback(move |request: Request| {
        note.lock().unwrap().push(request.uri().to_string());
        std::future::ready("{}")
    }))
    .await;
    let http = http(&format!("{url}/base"), Auth::header("x-api-key", Secret::new("canary")));
    for link in hostile(&url, sink.port) {
        let error = http.follow("/next", &link).expect_err(&link);
        assert!(matches!(&error.kind, ErrorKind::UnexpectedBody { path, .. } if &**path == "next"), "{link}: {error}");
    }
    let error = http.follow("/next", "https://api.snyk.io.evil.example/rest?secret=1").expect_err("another host");
    assert!(error.to_string().contains("https://api.snyk.io.evil.example") && !error.to_string().contains("secret"), "{error}");
    // A sibling of the vendor's is asked at the location, and nothing else is.
    for link in hostile(&url, sink.port) {
        http.follow_among("/next", &link, &["graph.example"]).expect_err(&link);
    }
    for link in [
        "http://graph.example/base/next",
        "https://graph.example:8443/base/next",
        "https://user@graph.example/base/next",
        "https://graph.example.evil.example/base/next",
        "https://graph.example//evil.example/base/next",
        "https://graph.example/elsewhere",
        "//graph.example/base/next",
    ] {
        http.follow_among("/next", link, &["graph.example"]).expect_err(link);
    }
    assert_eq!((sink.reached(), asked.lock().unwrap().len()), (0, 0));
    let sibling = http.follow_among("/next", "https://graph.example/base/next?page=1", &["graph.example"]);
    sibling.unwrap().send::<Value>(&cx()).await.unwrap();
    assert_eq!(std::mem::take(&mut *asked.lock().unwrap()), ["/base/next?page=1"]);
    for link in ["/base/next?page=2", &format!("{url}/base/next?page=2"), "/base/x/../next?page=2"] {
        http.follow("/next", link).unwrap().send::<Value>(&cx()).await.unwrap();
    }
    assert_eq!(*asked.lock().unwrap(), ["/base/next?page=2"; 3]);
}

/// A tool whose every list goes on at the same link.
struct Luring(Arc<dyn Vendor>, Arc<Mutex<String>>);

impl Vendor for Luring {
    fn id(&self) -> &'static str {
        self.0.id()
    }
    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        let next = Arc::clone(&self.1);
        let lure = move |request: Request, inner: Next| {
            let link = next.lock().unwrap().clone();
            async move {
                let (parts, body) = inner.run(request).await.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let Ok(mut document) = serde_json::from_slice::<Value>(&body) else { return Response::from_parts(parts, body.into()) };
                if document["data"].is_array() {
                    document["links"] = serde_json::json!({ "next": link });
                }
                (parts.status, axum::Json(document)).into_response()
            }
        };
        Arc::clone(&self.0).router(faults).layer(axum::middleware::from_fn(lure))
    }
    fn refuse(&self, fault: &Fault) -> Response {
        self.0.refuse(fault)
    }
    fn fields(&self, url: &str) -> Vec<(&'static str, String)> {
        self.0.fields(url)
    }
    fn step(&self, change: &Change) {
        self.0.step(change);
    }
    fn oracle(&self) -> Oracle {
        self.0.oracle()
    }
}

/// The one connector whose vendor gives links: Snyk's `links.next`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o2_snyk_follows_no_link_that_leads_elsewhere() {
    let sink = Sink::start().await;
    let next = Arc::new(Mutex::new(String::new()));
    let (_, make) = VENDORS.iter().find(|(id, _)| *id == "snyk").unwrap();
    let tool = start(Luring(make(Size { records: 2, findings: 10, seed: 1 }), Arc::clone(&next)), 0).await.unwrap();
    let settings: Value = tool.vendor.fields(&tool.url).into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    // The API lies below `/rest`, and `/base` is no part of it: what is wrong there is right here.
    let elsewhere = hostile(&tool.url, sink.port).into_iter().filter(|link| !link.starts_with(['/', '.']) && !link.contains("/../"));
    for link in elsewhere.chain(["https://api.snyk.io.evil.example/rest/orgs?x=1".to_owned()]) {
        next.lock().unwrap().clone_from(&link);
        let source = Registration::find("snyk").unwrap().open(settings.clone(), super::link(&tool.url, HttpOptions::default())).unwrap();
        let error = source.check(&cx()).await.expect_err(&link);
        assert!(matches!(&error.kind, ErrorKind::UnexpectedBody { path, .. } if &**path == "next"), "{link}: {error}");
    }
    assert_eq!(sink.reached(), 0, "a link was followed");
    let outside = |target: &str| !target.starts_with("/rest/");
    assert!(tool.log().iter().all(|request| !outside(&request.target)), "{:?}", tool.log());
}

//! O5: an answer that unpacks to ten gibibytes, or whose values would take as much, ends as too large, and takes next to no
//! memory. A process of its own, so that its memory is the test's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body, http::header, response::IntoResponse};
use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use serde_json::Value;
use tributary_connectors::{
    Context, Error, ErrorKind, Meta, Registration, RunStats,
    kit::{Auth, Endpoint, HttpOptions, Limiters, Location, Secret},
};

const MIB: usize = 1 << 20;
/// Mebibytes of a bomb.
const SIZE: usize = 10 << 10;
/// With the limit that real connectors have.
static META: Meta = Meta { id: "x", ..Meta::DEFAULT };

/// A mebibyte of blanks, compressed so that it can be repeated.
fn part() -> Bytes {
    let mut packed = Vec::with_capacity(64 << 10);
    Compress::new(Compression::best(), false).compress_vec(&[b' '; MIB], &mut packed, FlushCompress::Full).unwrap();
    packed.into()
}

/// Ten gibibytes of blanks in ten mebibytes, or fewer.
fn bomb(part: Bytes, encoding: &'static str) -> axum::response::Response {
    let head = Bytes::from_static(if encoding == "gzip" { &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255] } else { &[] });
    let pieces = std::iter::once(head).chain(std::iter::repeat_n(part, SIZE)).map(Ok::<_, Infallible>);
    (
        [(header::CONTENT_ENCODING, encoding), (header::CONTENT_TYPE, "application/json")],
        Body::from_stream(futures_util::stream::iter(pieces)),
    )
        .into_response()
}

/// A value of `/proc/self/status`, in KiB.
fn memory(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn link(url: &str) -> Endpoint {
    Endpoint { location: Location::parse(url, false).unwrap(), options: HttpOptions::default(), limiters: Arc::new(Limiters::default()) }
}

/// Thirty-two mebibytes of `[0,0,…]`, each value of which becomes some hundred bytes, and the same in one finding.
async fn many_values() {
    let zeros = format!("[0{}]", ",0".repeat(16 << 20));
    for body in [format!("{{\"data\":[{{\"tags\":{zeros}}}]}}"), zeros] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let body = Bytes::from(body);
        let router = Router::new().fallback(move || std::future::ready(body.clone()));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let http = link(&url).http(&META, Auth::Bearer(Secret::new("canary"))).unwrap();
        let before = memory("VmRSS");
        let cx = Context::new(Arc::new(RunStats::without_waits()));
        let error = http.get("/", &[]).send::<Value>(&cx).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::TooLarge { limit: 65536, .. }) && error.attempts == 1, "{error}");
        let grown = memory("VmHWM").saturating_sub(before) / 1024;
        assert!(grown <= 96, "{grown} MiB");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o5_bombs_end_as_too_large_within_96_mib() {
    unpacked_bombs().await;
    // In turn, as the memory is that of the process.
    many_values().await;
}

async fn unpacked_bombs() {
    let part = part();
    assert!(part.len() < 2048, "{} bytes", part.len());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(move || std::future::ready(bomb(part.clone(), "gzip")));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let cx = || Context::new(Arc::new(RunStats::without_waits()));
    let token = url::Url::parse(&format!("{url}/token")).unwrap();
    let plain = link(&url).http(&META, Auth::Bearer(Secret::new("canary"))).unwrap();
    let oauth = link(&url).http(&META, Auth::client_credentials(token, "id", Secret::new("canary"))).unwrap();
    let before = memory("VmRSS");
    let mut errors: Vec<Error> = Vec::new();
    for http in [plain, oauth] {
        errors.push(http.get("/", &[]).send::<Value>(&cx()).await.unwrap_err());
    }
    if let Some(aws) = Registration::find("aws_security_hub") {
        let settings = serde_json::json!({ "access_key": "AKIAEXAMPLE", "secret_key": "canary", "region": "us-east-1" });
        errors.push(aws.open(settings, link(&url)).unwrap().check(&cx()).await.unwrap_err());
    }
    for error in &errors {
        assert!(matches!(error.kind, ErrorKind::TooLarge { .. }), "{error}");
        assert_eq!(error.attempts, 1, "{error}");
    }
    let grown = (memory("VmHWM") - before) / 1024;
    assert!(grown <= 96, "{grown} MiB");
}

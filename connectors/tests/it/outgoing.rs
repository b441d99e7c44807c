//! What leaves this program, and what it takes in: credentials follow no redirect and no foreign link, no TLS is accepted that
//! is not good, and no answer is larger or deeper than it may be. O1 to O5 of the security model (docs/security.md); what
//! needs a resolver of the test's own is in the kit.

mod answers;
mod links;
mod redirects;
mod tls;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::Router;
use tributary_connectors::{
    Context, Meta, RunStats,
    kit::{Auth, Endpoint, Grant, Http, HttpOptions, Limiters, Location, Secret},
};

static META: Meta = Meta { id: "x", body_limit: 1 << 20, ..Meta::DEFAULT };

/// Serves a router on loopback for as long as the test runs; `http://127.0.0.1:PORT`.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// Somewhere that nothing may ever reach: counts connections, and answers none.
struct Sink {
    port: u16,
    reached: Arc<AtomicUsize>,
}

impl Sink {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, reached) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&reached);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Sink { port, reached }
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }
}

fn link(url: &str, options: HttpOptions) -> Endpoint {
    Endpoint { location: Location::parse(url, false).unwrap(), options, limiters: Arc::new(Limiters::default()) }
}

fn http(url: &str, auth: Auth) -> Http {
    link(url, HttpOptions::default()).http(&META, auth).unwrap()
}

fn cx() -> Context {
    Context::new(Arc::new(RunStats::without_waits()))
}

/// Every way to prove who asks, with a secret of its own each; OAuth asks at `url/token`.
fn auths(url: &str) -> Vec<Auth> {
    let secret = |name: &str| Secret::new(&format!("canary-{name}-5up3r"));
    let token = url::Url::parse(&format!("{url}/token")).unwrap();
    vec![
        Auth::Bearer(secret("bearer")),
        Auth::Basic(Secret::new("user"), secret("basic")),
        Auth::Basic(secret("basic-token"), Secret::new("")),
        Auth::Scheme("Token", secret("scheme")),
        Auth::header("x-api-key", secret("header")),
        Auth::header("private-token", secret("private")),
        Auth::Header("x-apikeys", Secret::new("accessKey=canary-one;secretKey=canary-two"), vec![secret("one"), secret("two")]),
        Auth::client_credentials(token.clone(), "client", secret("client")),
        Auth::refresh_token(token.clone(), "app", secret("refresh")),
        Auth::granted(Grant::Form {
            url: token,
            plain: vec![("grant_type", "client_credentials".into()), ("client_id", "client".into())],
            secret: vec![("client_secret", secret("basic-client"))],
            basic: true,
        }),
    ]
}

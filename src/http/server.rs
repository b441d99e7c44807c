//! Connections to the daemon: few, short, and never so many that the store or a sync cannot open what they need.
//!
//! Whoever can reach the probes can open connections and say nothing, so each has its time, and the oldest makes way for a new
//! one: a probe that asks at once is answered, however many others are held open.

use std::{collections::VecDeque, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may last: one request and its answer.
const LONGEST: Duration = Duration::from_secs(30);
/// Largest head of a request, in bytes.
const HEADERS: usize = 16 << 10;
/// Connections to one address at once, where the system lets this process open enough files.
const MAX_CONNECTIONS: usize = 64;
/// What is left of the files that a process may open, when each connection of two addresses has a socket and reads the
/// database with three files: half of them, for the store and the syncs.
const SHARE: usize = 16;

/// Serves until `stop`.
pub(super) async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let most = (crate::process::open_files() / SHARE).clamp(4, MAX_CONNECTIONS);
    let mut open: VecDeque<JoinHandle<()>> = VecDeque::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_of_peer(&error) => continue,
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        while open.len() >= most {
            if let Some(oldest) = open.pop_front() {
                oldest.abort();
                // Its socket is closed by then, and not at some later moment: there may be no file left for the next one.
                let _ = oldest.await;
            }
        }
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_header_size(HEADERS)
            // One request a connection: none is held open for the next one.
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes.clone()));
        let answered = async move {
            // What goes wrong here is the peer's affair.
            let _ = timeout(LONGEST, connection).await;
        };
        open.push_back(tokio::spawn(answered));
    }
}

/// Whether it is the peer that went away.
fn is_of_peer(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}

//! Which server answers, and whether it is up.

use crate::prelude::*;

/// What is known of the server.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// Major and minor.
    version: Option<(u32, u32)>,
    /// Address of the web interface.
    pub(super) frontend: Option<Box<str>>,
}

impl Server {
    /// Asks for the version and, where the user does not name it, whether the web interface is at the same address.
    pub(super) async fn probe_server(http: &Http, frontend: Option<&str>, cx: &Context) -> Result<Server> {
        let version = optional(http.get("/api/version", &[]).anonymous().send::<Version>(cx).await)?;
        let version = version.and_then(|answer| number(&answer.body.version));
        let frontend = match frontend {
            Some(frontend) => Some(frontend.into()),
            None => optional(http.get("/static/config.json", &[]).anonymous().send::<Frontend>(cx).await)?
                .map(|_| http.location().url().as_str().trim_end_matches('/').into()),
        };
        Ok(Server { version, frontend })
    }

    pub(super) fn is_v4(&self) -> bool {
        self.version.is_some_and(|(major, _)| major == 4)
    }

    /// Whether the web interface has a page for each finding.
    pub(super) fn links_findings(&self) -> bool {
        self.version >= Some((4, 12))
    }
}

/// Nothing where the server does not know the call.
fn optional<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match error.kind {
            ErrorKind::Refused { .. }
            | ErrorKind::NotAnApi(_)
            | ErrorKind::UnexpectedBody { .. }
            | ErrorKind::Unauthorized(_)
            | ErrorKind::Forbidden(_) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Major and minor of `4.14.3` or `5.1.0-SNAPSHOT`.
fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Why the server is not up yet. Version 4 tells at `/health/ready`; version 5 does so at another port, and a proxy or servlet
/// container that does not reach the API yet says so to every call.
pub(super) async fn not_ready(http: &Http, cx: &Context) -> Option<Box<str>> {
    if let Ok(answer) = http.get("/health/ready", &[]).anonymous().accept_status(503).send::<Health>(cx).await
        && answer.body.status.eq_ignore_ascii_case("down")
    {
        let down = answer.body.checks.iter().filter(|check| check.status.eq_ignore_ascii_case("down"));
        let down = down.map(|check| check.name.as_str()).collect::<Vec<_>>().join(", ");
        return Some(
            format!("Dependency-Track starts, or waits for what it needs ({}): it is asked again later", text::single_line(&down)).into(),
        );
    }
    let version = http.get("/api/version", &[]).anonymous().send::<Version>(cx).await;
    match version.err()?.kind {
        ErrorKind::Vendor { status: status @ 502..=504, .. } => Some(
            format!("GET /api/version is answered with {status}: Dependency-Track starts, or the proxy in front does not reach it").into(),
        ),
        _ => None,
    }
}

#[derive(Deserialize)]
pub(super) struct Version {
    #[serde(default)]
    pub(super) application: String,
    pub(super) version: String,
}

#[derive(Deserialize)]
pub(super) struct Frontend {
    #[serde(rename = "API_BASE_URL")]
    pub(super) api_base_url: String,
}

#[derive(Deserialize)]
struct Health {
    status: String,
    #[serde(default)]
    checks: Vec<Checkpoint>,
}

#[derive(Deserialize)]
struct Checkpoint {
    #[serde(default)]
    name: String,
    #[serde(default)]
    status: String,
}

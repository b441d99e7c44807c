//! Which server answers, how it wants to be asked, and what helps when it refuses.

use std::sync::atomic::Ordering;

use reqwest::header::HeaderMap;

use super::{PAGE, SonarQube, WINDOW};
use crate::{kit::Request, prelude::*};

/// What is known of the server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) cloud: bool,
    version: Option<(u32, u32)>,
    pub(super) shown: String,
    pub(super) mqr: bool,
    pub(super) basic: bool,
    pub(super) organization: Option<String>,
}

impl Server {
    /// Whether it is a Server of this version or a later one. Cloud's parameters are those of old versions.
    pub(super) fn since(&self, major: u32, minor: u32) -> bool {
        !self.cloud && self.version >= Some((major, minor))
    }

    /// Whether it may list the issues of a project from its database, where no search engine counts to 10,000 only.
    pub(super) fn lists_issues(&self) -> bool {
        self.since(10, 2)
    }

    /// Whether there may be more rows than a search shows: Cloud, and who else may, does not count further than that.
    pub(super) fn cuts(total: u64) -> bool {
        total >= WINDOW
    }
}

pub(super) const USER_TOKEN: &str = "make a token of type User: My Account > Security > Generate Token, as the account that syncs";
pub(super) const ANALYSIS_TOKEN: &str = "an analysis token lists issues, but may neither open a project nor list hotspots";
const BROWSE: &str = "give the token's account the permission Browse on the project (Project Settings > Permissions)";
const ORGANIZATION: &str = "set `organization` to the key in the address https://sonarcloud.io/organizations/KEY";

impl SonarQube {
    pub(super) fn get(&self, server: &Server, route: &'static str) -> Request<'_> {
        if server.basic { &self.basic } else { &self.bearer }.get(route, &[])
    }

    pub(super) async fn server(&self, cx: &Context) -> Result<&Server> {
        self.server.get_or_try_init(|| self.probe_server(cx)).await
    }

    /// What decides how the server is spoken to.
    async fn probe_server(&self, cx: &Context) -> Result<Server> {
        let mut cloud = self.is_at_cloud();
        let mut server = Server { cloud, version: None, shown: "SonarQube Cloud".into(), mqr: true, basic: false, organization: None };
        if !cloud {
            let text = self.bearer.get("/api/server/version", &[]).anonymous().text(cx).await.map_err(|error| match error.kind {
                ErrorKind::NotAnApi(_) | ErrorKind::Refused { .. } => {
                    error.with_hint("`location` has to be the address at which SonarQube opens, with its context path if it has one")
                }
                _ => error,
            })?;
            // Until it is up it knows neither tokens nor most calls.
            if let Some(why) = self.starting(cx).await {
                return Err(Error::new("reading GET /api/system/status", ErrorKind::Pending(why)));
            }
            server.version = version(&text.body);
            server.shown = format!("SonarQube {}", text::single_line(&text.body));
            // Cloud behind another name: it says 8.0 for ever, and it alone has organizations.
            cloud = self.settings.organization.is_some() && server.version == Some((8, 0));
            server.cloud = cloud;
        }
        if cloud {
            let organization = match &self.settings.organization {
                Some(organization) => organization.clone(),
                None => self.only_organization(cx).await?,
            };
            server.shown = format!("SonarQube Cloud, organization {}", text::single_line(&organization));
            return Ok(Server { organization: Some(organization), ..server });
        }
        if self.settings.organization.is_some() {
            cx.warn("`organization` means something to SonarQube Cloud only: this server's is not sent");
        }
        server.basic = match server.version {
            Some((major, _)) => major < 10,
            None => {
                cx.warn(format!("the server's version `{}` could not be read: it is spoken to as an old one", server.shown));
                match self.bearer.get("/api/authentication/validate", &[]).send::<Valid>(cx).await {
                    Ok(answer) => !answer.body.valid,
                    Err(error) if matches!(error.kind, ErrorKind::Unauthorized(_)) => true,
                    Err(error) => return Err(self.with_hint(error)),
                }
            }
        };
        server.mqr = server.since(10, 8)
            && match self.get(&server, "/api/v2/clean-code-policy/mode").send::<Mode>(cx).await.map(|answer| answer.body.mode) {
                Ok(mode) if mode == "STANDARD_EXPERIENCE" => false,
                Ok(mode) => {
                    if mode != "MQR" {
                        cx.warn(format!("unknown mode `{}`: read as MQR", text::single_line(&mode)));
                    }
                    true
                }
                Err(error) if matches!(error.kind, ErrorKind::Refused { status: 404, .. }) => false,
                Err(error) => return Err(self.with_hint(error)),
            };
        Ok(server)
    }

    fn is_at_cloud(&self) -> bool {
        let host = self.bearer.location().host();
        ["sonarcloud.io", "sonarqube.us"].iter().any(|known| host.strip_suffix(known).is_some_and(is_subdomain))
    }

    /// Why the server is not up, by its own word: every server of one's own tells, to everybody.
    pub(super) async fn starting(&self, cx: &Context) -> Option<Box<str>> {
        if self.is_at_cloud() {
            return None;
        }
        let why = match self.bearer.get("/api/system/status", &[]).anonymous().send::<Status>(cx).await {
            Ok(answer) => match answer.body.status.as_str() {
                "UP" => return None,
                "STARTING" => "SonarQube starts".to_owned(),
                "RESTARTING" => "SonarQube restarts".to_owned(),
                "DB_MIGRATION_NEEDED" => {
                    format!(
                        "SonarQube was updated and its database has to be migrated: open {} and start it",
                        self.bearer.location().join("/setup", &[])
                    )
                }
                "DB_MIGRATION_RUNNING" => "SonarQube migrates its database".to_owned(),
                "DOWN" => "SonarQube says that it is down: its log tells why".to_owned(),
                other => format!("SonarQube says that its status is `{}`", text::single_line(other)),
            },
            // What every server knows, this one does not know yet.
            Err(error) if is_unknown_url(&error) => "SonarQube starts and knows no call yet".to_owned(),
            Err(_) => return None,
        };
        Some(why.into())
    }

    /// The organization of an account that has one only.
    async fn only_organization(&self, cx: &Context) -> Result<String> {
        let request = self.bearer.get("/api/organizations/search", &[]).query("member", Some(true)).query("ps", Some(PAGE));
        let answer = request.send::<Organizations>(cx).await.map_err(|error| match error.kind {
            ErrorKind::Refused { .. } => error.with_hint(ORGANIZATION),
            _ => self.with_hint(error),
        })?;
        let mut keys: Vec<String> = answer.body.organizations.into_iter().map(|organization| organization.key).collect();
        match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => Ok(key),
            (last, _) => {
                keys.extend(last);
                let found = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
                let why = format!("SonarQube Cloud needs `organization`; this account is a member of: {}", text::single_line(&found));
                Err(Error::new("choosing the organization", ErrorKind::Settings(why.into())).with_hint(ORGANIZATION))
            }
        }
    }

    /// Which sort of token it is, when it is one that analyses are sent with.
    pub(super) fn analysis_token(&self) -> Option<&'static str> {
        match self.settings.secret.expose().split('_').next() {
            Some("sqp") => Some("project analysis token"),
            Some("sqa") => Some("global analysis token"),
            _ => None,
        }
    }

    pub(super) fn with_hint(&self, error: Error) -> Error {
        match &error.kind {
            ErrorKind::Unauthorized(body) if self.is_of_a_start(&body.to_string()) => Error::new(
                error.doing,
                ErrorKind::Pending("SonarQube is at the end of its start and knows no token yet; if it stays so, make a new token".into()),
            ),
            ErrorKind::Forbidden(_) | ErrorKind::Unauthorized(_) if self.analysis_token().is_some() => {
                error.with_hint(format!("{ANALYSIS_TOKEN}; {USER_TOKEN}"))
            }
            ErrorKind::Forbidden(_) => error.with_hint(BROWSE),
            ErrorKind::Unauthorized(_) => error.with_hint(format!("the token is wrong, expired or revoked; {USER_TOKEN}")),
            _ => error,
        }
    }

    /// Whether a refusal is one of the seconds at the end of a start. Wrong tokens are refused without a body; this one says that
    /// nobody has logged in, to good tokens too.
    fn is_of_a_start(&self, body: &str) -> bool {
        if body.contains("User is not authenticated") {
            self.refused_by_start.store(true, Ordering::Relaxed);
            return true;
        }
        // Refused twice, a credential is not sent again in the same run.
        body.contains("was not sent again") && self.refused_by_start.load(Ordering::Relaxed)
    }

    pub(super) fn list_hinted(&self, server: &Server, error: Error) -> Error {
        match &error.kind {
            ErrorKind::Refused { status: 400 | 404, .. } if server.cloud => error.with_hint(ORGANIZATION),
            _ => self.with_hint(error),
        }
    }
}

/// When the token ends, as the server says with every answer, and a warning when that is soon.
pub(super) fn expiry(headers: &HeaderMap, cx: &Context) -> Option<(String, Option<String>)> {
    let at = headers.get("sonarqube-authentication-token-expiration")?.to_str().ok()?;
    let date = text::time(at).or_else(|| text::time(&format!("{at}T00:00:00Z")));
    let soon = date.is_some_and(|date| date.as_second() - cx.now().as_second() < 14 * 86_400);
    let fact = format!("the token expires on {}", text::single_line(at));
    Some((fact.clone(), soon.then(|| format!("{fact}: make a new one"))))
}

/// Whether the server does not know the call. While it starts it knows none.
pub(super) fn is_unknown_url(error: &Error) -> bool {
    matches!(&error.kind, ErrorKind::Refused { status: 404, body } if body.to_string().contains("Unknown url"))
}

/// What stands before a domain that it is part of: nothing, or more labels.
fn is_subdomain(before: &str) -> bool {
    before.is_empty() || before.ends_with('.')
}

/// Major and minor of `10.7.0.96327`, `25.5.0.107428` (Community Build) or `2025.1.0.102418`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[derive(Deserialize)]
pub(super) struct Valid {
    pub(super) valid: bool,
}

#[derive(Deserialize)]
struct Status {
    status: String,
}

#[derive(Deserialize)]
struct Mode {
    mode: String,
}

#[derive(Deserialize)]
struct Organizations {
    organizations: Vec<Organization>,
}

#[derive(Deserialize)]
struct Organization {
    key: String,
}

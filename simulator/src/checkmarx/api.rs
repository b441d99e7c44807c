//! The API's lists: their parameters, and what fits them.

use std::borrow::Cow;

use axum::{
    extract::{Query, State},
    http::{Uri, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Refused, STATUSES, Server, refused,
    world::{Finding, Project, Scan},
};
use crate::Fault;

/// One request to the API: where it goes, and with what.
struct Asked {
    server: Server,
    pairs: Vec<(String, String)>,
}

pub(super) async fn api(State(server): State<Server>, uri: Uri, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    let asked = Asked { server, pairs };
    let path: Vec<&str> = uri.path().trim_start_matches("/api/").split('/').collect();
    let answered = match path[..] {
        ["projects"] => asked.projects(),
        ["projects", "last-scan"] => asked.last_scans(),
        ["projects", "branches"] => asked.branches(),
        ["projects", id] => asked.project(id),
        ["applications"] => asked.applications(),
        ["scans"] => asked.scans(),
        ["scans", id] => asked.scan(id),
        ["results"] => asked.results(),
        _ => Err(refused(404, "Not Found")),
    };
    match answered {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// The rows that a page asks for.
struct Window {
    from: usize,
    limit: usize,
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

fn wrong(name: &str) -> Refused {
    refused(400, &format!("Invalid value of parameter {name}"))
}

impl Asked {
    fn one(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Values with commas between them, or of the same parameter again; `None` when nothing is asked for.
    fn list(&self, name: &str) -> Option<Vec<&str>> {
        let values: Vec<&str> =
            self.pairs.iter().filter(|(key, _)| key == name).flat_map(|(_, value)| value.split(',')).filter(|v| !v.is_empty()).collect();
        (!values.is_empty()).then_some(values)
    }

    /// A list of which every value is one of these.
    fn words(&self, name: &str, allowed: &[&str]) -> Result<Option<Vec<&str>>, Refused> {
        let values = self.list(name);
        if values.iter().flatten().all(|value| allowed.contains(value)) { Ok(values) } else { Err(wrong(name)) }
    }

    fn time(&self, name: &str) -> Result<Option<i64>, Refused> {
        let parse = |value: &str| value.parse::<Timestamp>().map_err(|_| wrong(name));
        Ok(self.one(name).map(parse).transpose()?.map(Timestamp::as_second))
    }

    /// The order asked for, each with whether it falls; a bare `+` is a blank by now, and refused.
    fn sort(&self, allowed: &[&str]) -> Result<Vec<(&str, bool)>, Refused> {
        let order = |value| match str::split_at_checked(value, 1) {
            Some((sign @ ("+" | "-"), name)) if allowed.contains(&name) => Ok((name, sign == "-")),
            _ => Err(wrong("sort")),
        };
        self.list("sort").unwrap_or_default().into_iter().map(order).collect()
    }

    fn window(&self) -> Result<Window, Refused> {
        let number = |name: &str, default: usize| match self.one(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| wrong(name)),
        };
        let window = Window { from: number("offset", 0)?, limit: number("limit", 20)? };
        if (1..=10_000).contains(&window.limit) { Ok(window) } else { Err(wrong("limit")) }
    }

    fn needs(&self, role: &str) -> Result<(), Refused> {
        if self.server.tool.roles.contains(&role) { Ok(()) } else { Err(refused(403, &format!("Forbidden: {role} is missing"))) }
    }

    /// The part of these rows that the window shows, with the faults that only a list knows; nothing at all without a role.
    fn page<T: Clone>(&self, fault: Option<&Fault>, rows: &[T], window: &Window) -> Vec<T> {
        let from = match fault {
            Some(Fault::NoRole) => return Vec::new(),
            Some(Fault::DuplicatePage) => window.from.saturating_sub(window.limit),
            Some(Fault::RepeatedCursor) => 0,
            Some(Fault::ShiftedPage) if window.from > 0 => window.from + 1,
            _ => window.from,
        };
        rows.iter().skip(from).take(window.limit).cloned().collect()
    }

    /// A list under its name, with its totals: of everything, and of what the filters let pass.
    fn listed(&self, name: &str, all: usize, rows: &[String]) -> Result<String, Refused> {
        let window = self.window()?;
        let fault = self.server.faults.take(&format!("GET /api/{name}"));
        let page = self.page(fault.as_ref(), rows, &window);
        let (all, filtered) = if fault == Some(Fault::NoRole) { (0, 0) } else { (all, rows.len()) };
        let rows = if page.is_empty() { "null".to_owned() } else { format!("[{}]", page.join(",")) };
        Ok(format!(r#"{{"totalCount":{all},"filteredTotalCount":{filtered},"{name}":{rows}}}"#))
    }

    fn projects(&self) -> Result<String, Refused> {
        self.needs("view-projects")?;
        let world = self.server.tool.world();
        let (ids, names, urls, origins) = (self.list("ids"), self.list("names"), self.list("repo-url"), self.list("origins"));
        let (part, groups) = (self.one("name").unwrap_or_default(), self.list("groups"));
        let (keys, values) = (self.list("tags-keys"), self.list("tags-values"));
        let of = |project: &Project, member: &str, wanted: &Option<Vec<&str>>| {
            wanted.as_ref().is_none_or(|wanted| wanted.contains(&project.body[member].as_str().unwrap_or_default()))
        };
        let chosen = world.projects.iter().filter(|project| {
            let tags = project.body["tags"].as_object();
            of(project, "id", &ids)
                && of(project, "name", &names)
                && of(project, "repoUrl", &urls)
                && of(project, "origin", &origins)
                && project.name.contains(part)
                && groups.is_none()
                && keys.iter().flatten().all(|key| tags.is_some_and(|tags| tags.contains_key(*key)))
                && values.iter().flatten().all(|value| tags.is_some_and(|tags| tags.values().any(|known| known == value)))
        });
        let rows: Vec<String> = chosen.map(|project| project.body.to_string()).collect();
        self.listed("projects", world.projects.len(), &rows)
    }

    fn project(&self, id: &str) -> Result<String, Refused> {
        self.needs("view-projects")?;
        let world = self.server.tool.world();
        let found = world.projects.iter().find(|project| project.id == id);
        found.map(|project| project.body.to_string()).ok_or_else(|| refused(404, "Project not found"))
    }

    fn branches(&self) -> Result<String, Refused> {
        self.needs("view-projects")?;
        let window = self.window()?;
        let world = self.server.tool.world();
        let wanted = self.one("project-id").ok_or_else(|| wrong("project-id"))?;
        let project = world.projects.iter().find(|project| project.id == wanted).ok_or_else(|| refused(404, "Project not found"))?;
        let mut branches: Vec<&str> = project.scans.iter().map(|scan| scan.branch).collect();
        branches.sort_unstable();
        branches.dedup();
        let fault = self.server.faults.take("GET /api/projects/branches");
        Ok(json!(self.page(fault.as_ref(), &branches, &window)).to_string())
    }

    fn applications(&self) -> Result<String, Refused> {
        self.needs("view-applications")?;
        let world = self.server.tool.world();
        let rows: Vec<String> = world.applications.iter().map(|application| application.body.clone()).collect();
        self.listed("applications", rows.len(), &rows)
    }

    /// The newest scan of each project that fits, `null` where none does.
    fn last_scans(&self) -> Result<String, Refused> {
        self.needs("view-scans")?;
        let window = self.window()?;
        let world = self.server.tool.world();
        let (ids, application) = (self.list("project-ids"), self.one("application-id"));
        if ids.is_some() && application.is_some() {
            return Err(refused(400, "project-ids and application-id exclude each other"));
        }
        let status = self.one("scan-status");
        if status.is_some_and(|status| !STATUSES.contains(&status)) {
            return Err(wrong("scan-status"));
        }
        let (branch, of_main) = (self.one("branch"), self.one("use-main-branch") == Some("true"));
        let members = application.map(|id| world.applications.iter().find(|application| application.id == id));
        let chosen: Vec<&Project> = world
            .projects
            .iter()
            .filter(|project| ids.as_ref().is_none_or(|ids| ids.contains(&project.id.as_str())))
            .filter(|project| members.is_none_or(|application| application.is_some_and(|app| app.projects.contains(&project.id))))
            .collect();
        let fault = self.server.faults.take("GET /api/projects/last-scan");
        let entries: Vec<String> = self
            .page(fault.as_ref(), &chosen, &window)
            .into_iter()
            .map(|project| {
                let fits = |scan: &&Scan| {
                    status.is_none_or(|status| scan.status == status)
                        && branch.is_none_or(|branch| scan.branch == branch)
                        && (!of_main || scan.branch == project.main_branch)
                };
                let newest = project.scans.iter().filter(fits).max_by_key(|scan| scan.created);
                let body = newest.map_or(Value::Null, |scan| {
                    let of = |name: &str| scan.body[name].clone();
                    json!({ "id": scan.id, "status": scan.status, "branch": scan.branch, "createdAt": of("createdAt"),
                        "updatedAt": of("updatedAt"), "engines": of("engines"), "sourceType": of("sourceType"), "initiator": of("initiator") })
                });
                format!(r#""{}":{body}"#, project.id)
            })
            .collect();
        Ok(format!("{{{}}}", entries.join(",")))
    }

    fn scans(&self) -> Result<String, Refused> {
        self.needs("view-scans")?;
        let world = self.server.tool.world();
        let statuses = self.words("statuses", &STATUSES)?;
        let (project, projects) = (self.one("project-id"), self.list("project-ids"));
        if project.is_some_and(|id| !is_uuid(id)) {
            return Err(wrong("project-id"));
        }
        let (branch, branches) = (self.one("branch"), self.list("branches"));
        let (after, before) = (self.time("from-date")?, self.time("to-date")?);
        let order = self.sort(&["created_at", "status", "branch", "initiator", "user_agent", "name"])?;
        let all = world.projects.iter().map(|project| project.scans.len()).sum();
        let mut rows: Vec<&Scan> = world
            .projects
            .iter()
            .filter(|known| project.is_none_or(|id| known.id == id) && projects.as_ref().is_none_or(|ids| ids.contains(&known.id.as_str())))
            .flat_map(|known| &known.scans)
            .filter(|scan| {
                statuses.as_ref().is_none_or(|statuses| statuses.contains(&scan.status))
                    && branch.is_none_or(|branch| scan.branch == branch)
                    && branches.as_ref().is_none_or(|branches| branches.contains(&scan.branch))
                    && after.is_none_or(|time| scan.created >= time)
                    && before.is_none_or(|time| scan.created <= time)
            })
            .collect();
        rows.sort_by_key(|scan| if order.first() == Some(&("created_at", false)) { scan.created } else { -scan.created });
        let rows: Vec<String> = rows.into_iter().map(|scan| scan.body.to_string()).collect();
        self.listed("scans", all, &rows)
    }

    fn scan(&self, id: &str) -> Result<String, Refused> {
        self.needs("view-scans")?;
        let world = self.server.tool.world();
        let found = world.projects.iter().flat_map(|project| &project.scans).find(|scan| scan.id == id);
        found.map(|scan| scan.body.to_string()).ok_or_else(|| refused(404, "Scan not found"))
    }

    fn results(&self) -> Result<String, Refused> {
        const SORTS: [&str; 9] =
            ["severity", "status", "state", "type", "created", "first-found-at", "found-at", "firstFoundAt", "foundAt"];
        self.needs("view-results").map_err(web)?;
        let mut window = self.window().map_err(web)?;
        let id = self.one("scan-id").filter(|id| is_uuid(id)).ok_or_else(|| web(wrong("scan-id")))?;
        let severities = self.words("severity", &["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"]).map_err(web)?;
        let statuses = self.words("status", &["NEW", "RECURRENT", "FIXED"]).map_err(web)?;
        // Tenants have states of their own, so that any word will do.
        let states = self.list("state");
        self.words("exclude-result-types", &["DEV_AND_TEST", "NONE"]).map_err(web)?;
        let order = self.sort(&SORTS).map_err(web)?;
        let world = self.server.tool.world();
        let (project, scan) = world
            .projects
            .iter()
            .find_map(|project| Some((project, project.scans.iter().find(|scan| scan.id == id)?)))
            .ok_or_else(|| web(refused(404, "Scan not found")))?;
        let says = |finding: &Finding, member: &str, wanted: &Option<Vec<&str>>| {
            wanted.as_ref().is_none_or(|words| {
                let text = scan.text(finding);
                words.iter().any(|word| text.contains(&format!(r#""{member}":"{word}""#)))
            })
        };
        let mut rows: Vec<&Finding> = project
            .results(scan)
            .filter(|finding| {
                severities.as_ref().is_none_or(|words| words.iter().any(|word| word.eq_ignore_ascii_case(finding.severity)))
                    && says(finding, "status", &statuses)
                    && says(finding, "state", &states)
            })
            .collect();
        if let Some((name, falls)) = order.first() {
            rows.sort_by_key(|finding| if *falls { usize::MAX - finding.rank(name) } else { finding.rank(name) });
        }
        if !self.server.tool.in_items {
            window.from = window.from.saturating_mul(window.limit);
        }
        let fault = self.server.faults.take("GET /api/results findings");
        let page = self.page(fault.as_ref(), &rows, &window);
        let texts = texts(scan, &page, fault.as_ref());
        let total = match rows.len() {
            _ if fault == Some(Fault::NoRole) => 0,
            count if self.server.tool.total_too_large => count + 1,
            count if project.miscounts => count.saturating_sub(1),
            count => count,
        };
        let results = if texts.is_empty() { "null".to_owned() } else { format!("[{}]", texts.join(",")) };
        Ok(format!(r#"{{"results":{results},"totalCount":{total}}}"#))
    }
}

/// The other form of errors, that of `/api/results`.
fn web(refused: Refused) -> Refused {
    let Refused(status, body) = refused;
    Refused(status, json!({ "code": body["code"], "message": body["message"], "data": null }))
}

/// The rows of a page as the scan shows them, with the faults of single rows.
fn texts<'a>(scan: &Scan, page: &[&'a Finding], fault: Option<&Fault>) -> Vec<Cow<'a, str>> {
    let mut texts: Vec<_> = page.iter().map(|finding| scan.text(finding)).collect();
    match fault {
        Some(Fault::BadItem) if !texts.is_empty() => texts[0] = "[1,2]".into(),
        Some(Fault::UnknownEnum) => {
            if let Some(at) = page.iter().position(|finding| finding.ever_open && finding.state == "open") {
                texts[at] = page[at].with_odd_words().into();
            }
        }
        _ => {}
    }
    texts
}

impl Finding {
    /// Its place in an order; of most orders it does not matter.
    fn rank(&self, order: &str) -> usize {
        match order {
            "severity" => ["info", "low", "medium", "high", "critical"].iter().position(|level| *level == self.severity).unwrap_or(0),
            "type" => self.kind.len(),
            _ => 0,
        }
    }
}

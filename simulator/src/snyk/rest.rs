//! The endpoints of the REST API.

use axum::{
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    SEVERITIES, Server,
    asked::Asked,
    issue::Issue,
    refusal::{Refused, answer, refused, wrong},
    world::{Org, Project, World},
};

pub(super) async fn rest(
    State(server): State<Server>,
    uri: Uri,
    headers: HeaderMap,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost");
    let asked = Asked { server: &server, path: uri.path(), host, pairs };
    let path: Vec<&str> = uri.path().trim_start_matches("/rest/").split('/').collect();
    let (released, answered) = match path[..] {
        ["self"] => ("2024-04-22", asked.myself()),
        ["orgs"] => ("2024-02-28", asked.orgs(None)),
        ["groups"] => ("2023-01-30~beta", asked.groups()),
        ["groups", group, "orgs"] => ("2024-02-28", asked.orgs(Some(group))),
        ["groups", group, "issues"] => ("2024-01-23", asked.issues(Place::Group(group))),
        ["orgs", org, "issues"] => ("2024-01-23", asked.issues(Place::Org(org))),
        ["orgs", org, "issues", issue] => ("2024-01-23", asked.issue(org, issue)),
        ["orgs", org, "projects"] => ("2024-05-31", asked.projects(org, None)),
        ["orgs", org, "projects", project] => ("2024-05-31", asked.projects(org, Some(project))),
        ["orgs", org, "targets"] => ("2024-02-21", asked.targets(org)),
        _ => return refused(404, "Not Found").into_response(),
    };
    // A version that is wrong is told before anything else.
    let mut response = match asked.version(released).and(answered) {
        Ok(body) => answer(200, body),
        Err(refused) => refused.into_response(),
    };
    let headers = response.headers_mut();
    if let Ok(Some(Ok(version))) = asked.one("version").map(|version| version.map(HeaderValue::from_str)) {
        headers.insert("snyk-version-requested", version);
    }
    headers.insert("snyk-version-served", HeaderValue::from_static(released));
    headers.insert("snyk-version-lifecycle-stage", HeaderValue::from_static(if released.contains('~') { "beta" } else { "ga" }));
    response
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Org(&'a str),
    Group(&'a str),
}

impl Asked<'_> {
    fn single(&self, value: &Value) -> String {
        json!({ "jsonapi": { "version": "1.0" }, "links": { "self": self.path }, "data": value }).to_string()
    }

    fn myself(&self) -> Result<String, Refused> {
        self.only("")?;
        if !self.server.tool.has_self {
            return Err(refused(403, "Permission denied for this resource"));
        }
        let world = self.server.tool.world();
        let attributes = json!({ "name": "tributary-reader", "default_org_context": world.orgs[0].id });
        Ok(self.single(&json!({ "id": "6b9f2c34-0000-4000-8000-00000000a11c", "type": "service_account", "attributes": attributes })))
    }

    fn groups(&self) -> Result<String, Refused> {
        self.only("limit starting_after ending_before")?;
        self.allowed(&["group.read"])?;
        let group = json!({ "id": self.server.tool.world().group, "type": "group", "attributes": { "name": "Acme" } });
        self.values("GET /rest/groups", self.window(10)?, &[group])
    }

    fn orgs(&self, group: Option<&str>) -> Result<String, Refused> {
        let world = self.server.tool.world();
        if let Some(group) = group {
            self.only("limit starting_after ending_before name slug")?;
            self.group(&world, group, "group.org.list")?;
        } else {
            self.only("limit starting_after ending_before group_id is_personal slug name expand")?;
            self.allowed(&["org.read"])?;
        }
        let window = self.window(10)?;
        let group = group.or(self.one("group_id")?);
        let (personal, slug, name) = (self.flag("is_personal")?, self.one("slug")?, self.one("name")?.map(str::to_lowercase));
        let orgs = world.orgs.iter().filter(|org| {
            group.is_none_or(|group| org.in_group && group == world.group)
                && personal.is_none_or(|personal| personal != org.in_group)
                && slug.is_none_or(|slug| slug == org.slug)
                && name.as_ref().is_none_or(|name| org.name.to_lowercase().contains(name))
        });
        let values: Vec<Value> = orgs.map(|org| org.body(&world.group)).collect();
        self.values("GET /rest/orgs", window, &values)
    }

    fn group(&self, world: &World, group: &str, permission: &str) -> Result<(), Refused> {
        if !is_uuid(group) {
            return Err(wrong("group_id", "must match format uuid"));
        }
        self.allowed(&["group.read", permission])?;
        if group == world.group { Ok(()) } else { Err(refused(404, "Group not found")) }
    }

    /// The organization, if this credential may do that there.
    fn org<'w>(&self, world: &'w World, id: &str, permissions: &[&str]) -> Result<(usize, &'w Org), Refused> {
        if !is_uuid(id) {
            return Err(wrong("org_id", "must match format uuid"));
        }
        let found = world.orgs.iter().enumerate().find(|(_, org)| org.id == id).ok_or_else(|| refused(404, "Org not found"))?;
        if found.1.closed {
            return Err(refused(403, "Permission denied for this resource"));
        }
        self.allowed(permissions)?;
        Ok(found)
    }

    fn projects(&self, org: &str, project: Option<&str>) -> Result<String, Refused> {
        const FILTERS: &str = "limit starting_after ending_before target_id target_reference target_file target_runtime meta_count ids names \
            names_start_with origins types expand meta.latest_issue_counts meta.latest_dependency_total cli_monitored_before \
            cli_monitored_after importing_user_public_id tags business_criticality environment lifecycle";
        self.only(if project.is_some() { "expand meta.latest_issue_counts meta.latest_dependency_total" } else { FILTERS })?;
        let world = self.server.tool.world();
        let (number, _) = self.org(&world, org, &["org.read", "org.project.read"])?;
        let (expand, counts) = (self.choice("expand", &["target"])?.is_some(), self.flag("meta.latest_issue_counts")? == Some(true));
        let own = world.projects.iter().filter(|project| project.org == number);
        if let Some(id) = project {
            let found = own.clone().find(|project| project.id == id).ok_or_else(|| refused(404, "Project not found"))?;
            return Ok(self.single(&found.body(&world, expand, counts)));
        }
        let window = self.window(10)?;
        let mut wanted: Vec<(&str, Vec<&str>)> = Vec::new();
        for name in ["target_id", "target_reference", "target_file", "ids", "names", "names_start_with", "origins", "types"] {
            wanted.extend(self.list(name)?.map(|values| (name, values)));
        }
        let mut labels: Vec<(&str, Vec<&str>)> = Vec::new();
        for name in ["tags", "business_criticality", "environment", "lifecycle"] {
            labels.extend(self.list(name)?.map(|values| (name, values)));
        }
        let chosen = own.filter(|project| {
            wanted.iter().all(|(name, values)| values.iter().any(|value| project.is(name, value)))
                && labels.iter().all(|(name, values)| values.iter().all(|value| project.has_label(name, value)))
        });
        if self.choice("meta_count", &["only"])?.is_some() {
            return Ok(json!({ "jsonapi": { "version": "1.0" }, "links": {}, "data": [], "meta": { "count": chosen.count() } }).to_string());
        }
        let values: Vec<Value> = chosen.map(|project| project.body(&world, expand, counts)).collect();
        self.values(&format!("GET {}", self.path), window, &values)
    }

    fn targets(&self, org: &str) -> Result<String, Refused> {
        self.only("limit starting_after ending_before count is_private exclude_empty url source_types display_name created_gte")?;
        let world = self.server.tool.world();
        let (number, _) = self.org(&world, org, &["org.read", "org.project.read"])?;
        let window = self.window(1)?;
        let (name, url, sources) = (self.one("display_name")?, self.one("url")?, self.list("source_types")?);
        let own = world.targets.iter().enumerate().filter(|(_, target)| {
            target.org == number
                && name.is_none_or(|name| target.name.starts_with(name))
                && url.is_none_or(|url| url == target.url)
                && sources.as_ref().is_none_or(|sources| sources.contains(&target.origin))
        });
        let is_empty = |at: usize| !world.projects.iter().any(|project| project.target == at);
        let keep_empty = self.flag("exclude_empty")? == Some(false);
        let values: Vec<Value> =
            own.filter(|(at, _)| keep_empty || !is_empty(*at)).map(|(_, target)| target.body(&world.orgs[number].id)).collect();
        self.values(&format!("GET {}", self.path), window, &values)
    }

    fn issues(&self, place: Place<'_>) -> Result<String, Refused> {
        self.only(
            "limit starting_after ending_before scan_item.id scan_item.type type updated_before updated_after created_before \
             created_after effective_severity_level status ignored",
        )?;
        let world = self.server.tool.world();
        let own: &[usize] = match place {
            Place::Org(org) => &self.org(&world, org, &["org.read", "org.project.read", "org.project.snapshot.read"])?.1.issues,
            Place::Group(group) => {
                self.group(&world, group, "group.issues.read")?;
                &world.all
            }
        };
        let window = self.window(10)?;
        let rows = self.rows(&world, own)?;
        let kind = self.choice("type", &["package_vulnerability", "license", "cloud", "code", "custom", "config"])?;
        let severities = self.list("effective_severity_level")?;
        if severities.iter().flatten().any(|level| !SEVERITIES.contains(level)) {
            return Err(wrong("effective_severity_level", "must be one of the allowed values"));
        }
        let statuses = self.list("status")?;
        if statuses.iter().flatten().any(|status| !["open", "resolved"].contains(status)) {
            return Err(wrong("status", "must be one of the allowed values"));
        }
        let ignored = self.flag("ignored")?;
        let (updated, created) =
            ((self.time("updated_after")?, self.time("updated_before")?), (self.time("created_after")?, self.time("created_before")?));
        let within = |time: i64, (after, before): (Option<i64>, Option<i64>)| {
            after.is_none_or(|after| time > after) && before.is_none_or(|before| time < before)
        };
        let keep = |row: usize| {
            let issue = &world.issues[row];
            issue.listed
                && kind.is_none_or(|kind| kind == issue.kind)
                && severities.as_ref().is_none_or(|levels| levels.contains(&issue.severity))
                && statuses.as_ref().is_none_or(|statuses| statuses.contains(&if issue.resolved { "resolved" } else { "open" }))
                && ignored.is_none_or(|ignored| ignored == issue.ignored.is_some())
                && within(issue.updated, updated)
                && within(issue.created, created)
        };
        let odd = |page: &[usize]| {
            let fits = |issue: &Issue| issue.state() == "open" && issue.kind != "license";
            let at = page.iter().position(|row| fits(&world.issues[*row]))?;
            Some((at, world.issues[page[at]].with_odd_words()))
        };
        self.page(&format!("GET {} findings", self.path), window, rows, keep, |row| world.issues[row].body.as_str().into(), odd)
    }

    /// The rows of what was scanned, where that is asked for, else those of the place.
    fn rows<'a>(&self, world: &'a World, own: &'a [usize]) -> Result<&'a [usize], Refused> {
        let item = self.one("scan_item.id")?;
        if item.is_some_and(|id| !is_uuid(id)) {
            return Err(wrong("scan_item.id", "must match format uuid"));
        }
        let is_environment = self.choice("scan_item.type", &["project", "environment"])? == Some("environment");
        let project = item.and_then(|id| world.projects.iter().position(|project| project.id == id));
        Ok(match (item, project) {
            _ if is_environment => &[],
            (None, _) => own,
            // A project of another organization has nothing here.
            (Some(_), Some(project)) if world.projects[project].issues.first().is_none_or(|row| own.binary_search(row).is_ok()) => {
                &world.projects[project].issues
            }
            (Some(_), _) => &[],
        })
    }

    fn issue(&self, org: &str, id: &str) -> Result<String, Refused> {
        self.only("")?;
        let world = self.server.tool.world();
        let (_, org) = self.org(&world, org, &["org.read", "org.project.read", "org.project.snapshot.read"])?;
        let found = org.issues.iter().map(|row| &world.issues[*row]).find(|issue| issue.listed && issue.id == id);
        let issue = found.ok_or_else(|| refused(404, "Issue not found"))?;
        Ok(format!(r#"{{"jsonapi":{{"version":"1.0"}},"links":{{"self":"{}"}},"data":{}}}"#, self.path, issue.body))
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

impl Project {
    /// Whether a filter of this name and value lets it pass.
    fn is(&self, name: &str, value: &str) -> bool {
        match name {
            "ids" => self.id == value,
            "names" => self.name == value,
            "names_start_with" => self.name.starts_with(value),
            "origins" => self.attributes["origin"] == value,
            "types" => self.attributes["type"] == value,
            "target_id" => self.target_id == value,
            other => self.attributes[other] == value,
        }
    }

    fn has_label(&self, name: &str, value: &str) -> bool {
        let labels = self.attributes[name].as_array();
        labels.into_iter().flatten().any(|label| match label["key"].as_str() {
            Some(key) => value.split_once(':') == Some((key, label["value"].as_str().unwrap_or_default())),
            None => label == value,
        })
    }
}

//! The lists of projects, one project, and its branches.

use axum::{
    Json,
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    Answer, ORGANIZATION, PROJECT, Params, Refused, Server,
    data::{Project, World, date},
    page::Page,
    search::known,
};
use crate::Fault;

/// A page of projects. Every row counts, and those that may not be shown are left out.
fn components(server: &Server, route: &str, page: Page, rows: &[Option<Value>]) -> Response {
    let fault = server.faults.take(route);
    let total = if fault == Some(Fault::NoRole) { 0 } else { rows.len() };
    let shown: Vec<&Value> = page.of(rows, fault.as_ref()).iter().flatten().collect();
    Json(json!({ "paging": page.paging(total), "components": shown, "facets": [] })).into_response()
}

fn summary(server: &Server, project: &Project) -> Value {
    let mut body = json!({ "key": project.key, "name": project.name, "qualifier": "TRK", "visibility": "private" });
    if server.tool.edition.cloud {
        body["organization"] = json!(ORGANIZATION);
    }
    body
}

pub(super) async fn search_projects(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let edition = server.tool.edition;
    server.tool.organization(&params)?;
    let page = Page::read(&params, 100, 500)?.in_window()?;
    let filter = params.get("filter").map(|text| text.replace(' ', "").to_lowercase());
    let (projects, applications) = match filter.as_deref() {
        None | Some("") => (true, true),
        Some("qualifier=trk" | "qualifierin(trk)") => (true, false),
        Some("qualifier=app" | "qualifierin(app)") => (false, true),
        Some(other) => return Err(Refused::bad(format!("Invalid criterion '{other}'"))),
    };
    let fields: Vec<&str> = params.get("f").map(|text| text.split(',').collect()).unwrap_or_default();
    let mut rows = Vec::new();
    // Applications of the commercial editions are listed beside the projects.
    if applications && !edition.cloud && !edition.community {
        let shown = json!({ "key": "all-shops", "name": "All shops", "qualifier": "APP", "isFavorite": false, "tags": [], "visibility": "private" });
        rows.push((server.tool.token != PROJECT).then_some(shown));
    }
    let world = server.tool.world();
    for project in world.projects.iter().filter(|_| projects) {
        let mut body = summary(&server, project);
        body["isFavorite"] = json!(false);
        body["tags"] = json!(["team-a"]);
        if !edition.old && !edition.cloud {
            body["isAiCodeAssured"] = json!(false);
        }
        if let Some(analysis) = project.analysis.filter(|_| fields.contains(&"analysisDate") && !edition.cloud) {
            body["analysisDate"] = json!(date(analysis));
        }
        rows.push(server.tool.lists(project).then_some(body));
    }
    Ok(components(&server, "GET /api/components/search_projects", page, &rows))
}

pub(super) async fn projects_search(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    server.tool.organization(&params)?;
    if !server.tool.edition.cloud && !server.tool.is_admin {
        return Err(Refused::forbidden());
    }
    let page = Page::read(&params, 100, 500)?;
    let world = server.tool.world();
    // The administrator is shown every project, and Cloud shows those that may be browsed.
    let shown = world.projects.iter().filter(|project| !server.tool.edition.cloud || server.tool.sees(project));
    let rows: Vec<Option<Value>> = shown
        .map(|project| {
            let mut body = summary(&server, project);
            if let Some(analysis) = project.analysis {
                body["lastAnalysisDate"] = json!(date(analysis));
                body["revision"] = json!("cfb82f55c6ef32e61828c4cb3db2da12795fd767");
            }
            Some(body)
        })
        .collect();
    Ok(components(&server, "GET /api/projects/search", page, &rows))
}

pub(super) async fn components_search(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    server.tool.organization(&params)?;
    match params.get("qualifiers") {
        None if !server.tool.edition.cloud => return Err(Refused::bad("The 'qualifiers' parameter is missing")),
        None => {}
        Some(word) => _ = known("qualifiers", word, &["APP", "SVW", "TRK", "VW"])?,
    }
    let page = Page::read(&params, 100, 500)?.in_window()?;
    let world = server.tool.world();
    let shown =
        world.projects.iter().filter(|project| server.tool.sees(project) && params.get("qualifiers").is_none_or(|word| word == "TRK"));
    let rows: Vec<Option<Value>> = shown.map(|project| Some(summary(&server, project))).collect();
    Ok(components(&server, "GET /api/components/search", page, &rows))
}

/// The project of that key that may be browsed, or the tool's refusal.
pub(super) fn browse<'a>(server: &Server, world: &'a World, key: &str, route: &str, missing: &str) -> Result<&'a Project, Refused> {
    let Some(project) = world.projects.iter().find(|project| project.key == key) else {
        return Err(Refused::not_found(format!("{missing} '{key}' not found")));
    };
    if !server.tool.opens(project) || server.lost_role(route) { Err(Refused::forbidden()) } else { Ok(project) }
}

pub(super) fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str, Refused> {
    let value = params.get(name).map(String::as_str).filter(|text| !text.is_empty());
    value.ok_or_else(|| Refused::bad(format!("The '{name}' parameter is missing")))
}

/// The number of the branch or pull request that is asked for. Where there is one branch only, none is found by its name.
pub(super) fn branch(server: &Server, params: &Params, project: &Project) -> Option<u8> {
    let Some(name) = params.get("branch").or_else(|| params.get("pullRequest")) else { return Some(0) };
    if server.tool.edition.community {
        return None;
    }
    project.branches.iter().position(|(known, _)| known == name).and_then(|number| u8::try_from(number).ok())
}

pub(super) async fn component(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let key = required(&params, "component")?;
    let world = server.tool.world();
    let project = browse(&server, &world, key, "GET /api/components/show", "Component key")?;
    if branch(&server, &params, project).is_none() {
        let name = params.get("branch").map(String::as_str).unwrap_or_default();
        return Err(Refused::not_found(format!("Component '{key}' on branch '{name}' not found")));
    }
    let mut body = summary(&server, project);
    if let Some(analysis) = project.analysis {
        body["analysisDate"] = json!(date(analysis));
        body["version"] = json!("1.4-SNAPSHOT");
    }
    Ok(Json(json!({ "component": body, "ancestors": [] })).into_response())
}

/// The files of a project.
pub(super) async fn files(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let key = required(&params, "component")?;
    for word in params.get("qualifiers").iter().flat_map(|text| text.split(',')) {
        known("qualifiers", word, &["BRC", "DIR", "FIL", "TRK", "UTS"])?;
    }
    let page = Page::read(&params, 100, 500)?;
    let world = server.tool.world();
    let project = browse(&server, &world, key, "GET /api/components/tree", "Component key")?;
    if branch(&server, &params, project).is_none() {
        return Err(Refused::not_found(format!("Component '{key}' on branch not found")));
    }
    let rows: Vec<Option<Value>> = project.files[1..].iter().map(|file| serde_json::from_str(&file.component).ok()).collect();
    let shown: Vec<&Value> = page.of(&rows, None).iter().flatten().collect();
    let base = summary(&server, project);
    Ok(Json(json!({ "paging": page.paging(rows.len()), "baseComponent": base, "components": shown })).into_response())
}

/// The analyses of a project that wait or are worked off: none, as this tool works them off at once.
pub(super) async fn tasks(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let key = required(&params, "component")?;
    let world = server.tool.world();
    browse(&server, &world, key, "GET /api/ce/component", "Component key")?;
    Ok(Json(json!({ "queue": [], "current": { "type": "REPORT", "status": "SUCCESS", "componentKey": key } })).into_response())
}

pub(super) async fn branches(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let key = required(&params, "project")?;
    let world = server.tool.world();
    let project = browse(&server, &world, key, "GET /api/project_branches/list", "Project")?;
    let branches = project.branches.iter().enumerate().filter(|(_, (_, pull))| !pull).map(|(number, (name, _))| {
        let mut body = json!({ "name": name, "isMain": number == 0, "type": if server.tool.edition.cloud { "LONG" } else { "BRANCH" },
            "status": { "qualityGateStatus": "OK" }, "excludedFromPurge": number == 0 });
        if let Some(analysis) = project.analysis {
            body["analysisDate"] = json!(date(analysis));
        }
        body
    });
    Ok(Json(json!({ "branches": branches.collect::<Vec<_>>() })).into_response())
}

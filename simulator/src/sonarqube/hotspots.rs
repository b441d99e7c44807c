//! Security hotspots: the list of a project, and one of them with its rule.

use axum::{
    Json,
    extract::{Query, State},
    response::IntoResponse,
};
use serde_json::{Value, json};

use super::{
    Answer, Params, Refused, Server,
    data::{self, Project},
    page::{Page, join, named, odd, raw},
    projects::{branch, browse, required},
    search::known,
};
use crate::Fault;

pub(super) async fn hotspots(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let edition = server.tool.edition;
    let page = Page::read(&params, 100, usize::MAX)?;
    let page = Page { size: page.size.min(500), ..page }.in_window()?;
    let name = if edition.old || edition.cloud { "projectKey" } else { "project" };
    let key = params.get(name).or_else(|| params.get("projectKey"));
    let keys: Option<Vec<&str>> = params.get("hotspots").map(|text| text.split(',').collect());
    let status = params.get("status").map(|word| known("status", word, &["TO_REVIEW", "REVIEWED"])).transpose()?;
    let words: &[&str] = if edition.cloud { &["FIXED", "SAFE"] } else { &["FIXED", "SAFE", "ACKNOWLEDGED"] };
    let resolution = params.get("resolution").map(|word| known("resolution", word, words)).transpose()?;
    if let Some(word) = resolution.filter(|_| status != Some("REVIEWED")) {
        let message = format!("Value '{word}' of parameter 'resolution' can only be provided if value of parameter 'status' is 'REVIEWED'");
        return Err(Refused::bad(message));
    }
    let route = "GET /api/hotspots/search";
    let world = server.tool.world();
    let mut projects: Vec<(&Project, u8)> = Vec::new();
    match (key, &keys) {
        (None, None) => {
            return Err(Refused::bad(format!("A value must be provided for either parameter '{name}' or parameter 'hotspots'")));
        }
        (Some(_), Some(_)) => return Err(Refused::bad(format!("Parameters '{name}' and 'hotspots' are mutually exclusive"))),
        (None, Some(_)) if status.is_some() => return Err(Refused::bad("Parameter 'status' can't be used with parameter 'hotspots'")),
        (None, Some(_)) => projects.extend(world.projects.iter().filter(|project| server.tool.sees(project)).map(|project| (project, 0))),
        (Some(key), None) => {
            let project = browse(&server, &world, key, route, "Project")?;
            // Cloud does not know the parameter.
            let number = if edition.cloud { Some(0) } else { branch(&server, &params, project) };
            let number = number.ok_or_else(|| Refused::not_found(format!("Project '{key}' not found")))?;
            projects.push((project, number));
        }
    }
    let mut rows = Vec::new();
    for (project, branch) in projects {
        let fits = |spot: &&data::Spot| {
            spot.listed
                && spot.branch == branch
                && keys.as_ref().is_none_or(|keys| keys.contains(&spot.key.as_str()))
                && status.is_none_or(|status| (status == "REVIEWED") != spot.resolution.is_empty())
                && resolution.is_none_or(|resolution| spot.resolution == resolution)
        };
        rows.extend(project.spots.iter().filter(fits).map(|spot| (project, spot)));
    }
    let (fault, odd) = odd(&server, route, page, page.of(&rows, None).iter().map(|(_, spot)| spot.is_open()));
    let shown = page.of(&rows, fault.as_ref());
    let total = if edition.cloud { rows.len().min(10_000) } else { rows.len() };
    Ok(raw(format!(
        r#"{{"paging":{},"hotspots":[{}],"components":[{}]}}"#,
        page.paging(if fault == Some(Fault::NoRole) { 0 } else { total }),
        join(shown.iter().map(|(_, spot)| spot.body.as_str()), fault.as_ref(), odd),
        named(shown.iter().map(|(project, spot)| (*project, spot.file))),
    )))
}

pub(super) async fn hotspot(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let key = required(&params, "hotspot")?;
    let world = server.tool.world();
    let mut all = world.projects.iter().flat_map(|project| project.spots.iter().map(move |spot| (project, spot)));
    let Some((project, spot)) = all.find(|(_, spot)| spot.key == key && spot.listed) else {
        return Err(Refused::not_found(format!("Hotspot '{key}' does not exist")));
    };
    if !server.tool.opens(project) || server.lost_role("GET /api/hotspots/show") {
        return Err(Refused::forbidden());
    }
    let mut body: Value = serde_json::from_str(&spot.body).expect("our own JSON");
    let component: Value = serde_json::from_str(&project.files[spot.file as usize].component).expect("our own JSON");
    body["component"] = component;
    body["project"] = serde_json::from_str(&project.files[0].component).expect("our own JSON");
    body["rule"] = world.rules[usize::from(spot.rule)].of_hotspot();
    for list in ["changelog", "comment", "users"] {
        body[list] = json!([]);
    }
    body["canChangeStatus"] = json!(false);
    for field in ["securityCategory", "vulnerabilityProbability", "ruleKey"] {
        body.as_object_mut().expect("an object").remove(field);
    }
    Ok(Json(body).into_response())
}

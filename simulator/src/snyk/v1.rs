//! What the V1 API adds: ignores, and the aggregated issues of a project.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::Server;
use crate::Fault;

/// A refusal in the form of the V1 API.
pub(super) fn refused_v1(status: u16, message: &str) -> Response {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({ "code": status, "message": message, "error": message });
    (code, [("x-error-reference", "8d5c9f1e-simulated")], Json(body)).into_response()
}

pub(super) async fn v1(State(server): State<Server>, uri: Uri, headers: HeaderMap, request: Request) -> Response {
    let is_post = request.method() == "POST";
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap_or_default();
    let path: Vec<&str> = uri.path().trim_start_matches("/v1/").split('/').collect();
    let ["org", org, "project", project, list] = path[..] else { return refused_v1(404, "Not found") };
    let world = server.tool.world();
    let Some(number) = world.orgs.iter().position(|known| known.id == org) else { return refused_v1(404, "Org not found") };
    let permissions = &server.tool.permissions;
    let needed = if list == "ignores" { "org.project.ignore.read" } else { "org.project.snapshot.read" };
    if world.orgs[number].closed || !permissions.contains(&"org.read") || !permissions.contains(&needed) {
        return refused_v1(403, "Forbidden");
    }
    let Some(project) = world.projects.iter().find(|known| known.org == number && known.id == project) else {
        return refused_v1(404, "Project not found");
    };
    let no_role = server.faults.take(&format!("{} {}", if is_post { "POST" } else { "GET" }, uri.path())) == Some(Fault::NoRole);
    let text = match (is_post, list) {
        (false, "ignores") if no_role => "{}".to_owned(),
        (false, "ignores") => world.ignores(project).to_string(),
        (true, "aggregated-issues") if server.tool.in_brownout => return refused_v1(410, "Gone"),
        (true, "aggregated-issues") => {
            let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
            let options = if body.is_empty() { Ok(json!({})) } else { serde_json::from_slice::<Value>(&body) };
            let Ok(options) = options.and_then(|options| if is_json { Ok(options) } else { serde_json::from_str("") }) else {
                return refused_v1(400, "The body is no JSON");
            };
            if no_role { r#"{"issues":[]}"#.to_owned() } else { world.aggregated(project, &options) }
        }
        _ => return refused_v1(404, "Not found"),
    };
    ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], text).into_response()
}

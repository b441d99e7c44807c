//! Issues, from the search engine and from the database, and the rules that find them.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{Query, State},
    response::IntoResponse,
};
use serde_json::{Value, json};

use super::{
    Answer, Params, Refused, Server,
    data::{self, Project, World},
    page::{Page, join, named, odd, raw},
    projects::{branch, browse, required},
    search::{Filter, known},
};
use crate::Fault;

/// What a filter finds, remembered for the next page of the same query.
fn find(world: &mut World, filter: &Filter, params: &Params) -> Result<Arc<Vec<(u32, u32)>>, Refused> {
    let paging = ["p", "ps", "facets", "additionalFields"];
    let mut query: Vec<String> =
        params.iter().filter(|(name, _)| !paging.contains(&name.as_str())).map(|(name, value)| format!("{name}={value}")).collect();
    query.sort_unstable();
    let query = query.join("&");
    if let Some(rows) = world.found.get(&query) {
        return Ok(Arc::clone(rows));
    }
    let rows = Arc::new(filter.rows(world, params)?);
    if world.found.len() >= 16 {
        world.found.clear();
    }
    world.found.insert(query, Arc::clone(&rows));
    Ok(rows)
}

pub(super) async fn issues(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let edition = server.tool.edition;
    let page = Page::read(&params, if edition.cloud { 50 } else { 100 }, 500)?.in_window()?;
    let mut world = server.tool.world();
    let filter = Filter::read(&params, edition, &world, |project| server.tool.sees(project))?;
    let rows = find(&mut world, &filter, &params)?;
    let mut facets = filter.facets(&world, &params, edition)?;
    let open = page.of(&rows, None).iter().map(|row| world.row(*row).1.is_open());
    let (fault, odd) = odd(&server, "GET /api/issues/search", page, open);
    let mut total = if edition.cloud { rows.len().min(10_000) } else { rows.len() };
    if fault == Some(Fault::NoRole) {
        (total, facets) = (0, Vec::new());
    }
    let shown: Vec<(&Project, &data::Row)> = page.of(&rows, fault.as_ref()).iter().map(|row| world.row(*row)).collect();
    let more: Vec<&str> = params.get("additionalFields").map(|text| text.split(',').collect()).unwrap_or_default();
    for word in &more {
        known(
            "additionalFields",
            word,
            &["_all", "actions", "comments", "languages", "rules", "ruleDescriptionContextKey", "transitions", "users"],
        )?;
    }
    let rules = if more.contains(&"rules") || more.contains(&"_all") {
        let numbers: BTreeSet<u16> = shown.iter().map(|(_, row)| row.rule).collect();
        let rules: Vec<Value> = numbers.iter().map(|number| world.rules[usize::from(*number)].brief()).collect();
        format!(r#","rules":{}"#, json!(rules))
    } else {
        String::new()
    };
    Ok(raw(format!(
        r#"{{"total":{total},"p":{},"ps":{},"paging":{},"effortTotal":{},"issues":[{}],"components":[{}]{rules},"facets":{}}}"#,
        page.number,
        page.size,
        page.paging(total),
        15 * total,
        join(shown.iter().map(|(_, row)| row.body.as_str()), fault.as_ref(), odd),
        named(shown.iter().map(|(project, row)| (*project, row.file))),
        json!(facets),
    )))
}

/// Reads the database: no window, and a total that says nothing.
pub(super) async fn issues_list(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    let page = Page::read(&params, 100, 500)?;
    let key = params.get("project").or_else(|| params.get("component"));
    let key = key.ok_or_else(|| Refused::bad("Either 'project' or 'component' parameter must be provided"))?;
    let route = "GET /api/issues/list";
    let mut world = server.tool.world();
    let project = browse(&server, &world, key, route, "Project")?;
    // Only these parameters are known here.
    let known = ["types", "resolved"].into_iter().filter_map(|name| params.get_key_value(name));
    let mut known: Params = known.map(|(name, value)| (name.clone(), value.clone())).collect();
    known.insert("components".to_owned(), project.key.clone());
    match branch(&server, &params, project) {
        None => {
            return Err(Refused::not_found(format!(
                "Component '{key}' on branch '{}' not found",
                params.get("branch").map_or("", String::as_str)
            )));
        }
        Some(number) if number > 0 => _ = known.insert("branch".to_owned(), project.branches[usize::from(number)].0.to_owned()),
        Some(_) => {}
    }
    let filter = Filter::read(&known, server.tool.edition, &world, |project| server.tool.sees(project))?;
    let rows = find(&mut world, &filter, &known)?;
    let (fault, odd) = odd(&server, route, page, page.of(&rows, None).iter().map(|row| world.row(*row).1.is_open()));
    let shown: Vec<(&Project, &data::Row)> = page.of(&rows, fault.as_ref()).iter().map(|row| world.row(*row)).collect();
    Ok(raw(format!(
        r#"{{"paging":{},"issues":[{}],"components":[{}]}}"#,
        page.paging(page.size),
        join(shown.iter().map(|(_, row)| row.body.as_str()), fault.as_ref(), odd),
        named(shown.iter().map(|(project, row)| (*project, row.file))),
    )))
}

pub(super) async fn rule(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    server.tool.organization(&params)?;
    let key = required(&params, "key")?;
    let mut world = server.tool.world();
    world.rules_shown += 1;
    let in_turn = world.rules_shown.is_multiple_of(2);
    let rule = world.rules.iter().find(|rule| rule.key == key);
    let rule = rule.ok_or_else(|| Refused::not_found(format!("Rule not found: {key}")))?;
    let mut shown = rule.show(server.tool.edition);
    if let Some(sections) = shown["descriptionSections"].as_array_mut().filter(|_| in_turn) {
        sections.reverse();
    }
    Ok(Json(json!({ "rule": shown, "actives": [] })).into_response())
}

pub(super) async fn rules(State(server): State<Server>, Query(params): Query<Params>) -> Answer {
    server.tool.organization(&params)?;
    let page = Page::read(&params, 100, 500)?.in_window()?;
    let asks = |name: &str| params.get(name).map(|text| text.split(',').collect::<Vec<_>>());
    let (repositories, languages) = (asks("repositories"), asks("languages"));
    let world = server.tool.world();
    let fits = |rule: &&data::Rule| {
        params.get("rule_key").is_none_or(|key| *key == rule.key)
            && languages.as_ref().is_none_or(|languages| languages.contains(&rule.language))
            && repositories.as_ref().is_none_or(|known| rule.key.split(':').next().is_some_and(|name| known.contains(&name)))
    };
    let rows: Vec<Value> = world.rules.iter().filter(fits).map(|rule| rule.show(server.tool.edition)).collect();
    let (total, shown) = (rows.len(), page.of(&rows, None));
    let body = json!({ "total": total, "p": page.number, "ps": page.size, "rules": shown, "paging": page.paging(total) });
    Ok(Json(body).into_response())
}

//! Every GraphQL document against its vendor's schema, by a real validator: fields, arguments, types of variables.

use std::sync::Arc;

use apollo_compiler::{ExecutableDocument, Schema, schema::ExtendedType, validation::Valid};
use serde_json::{Value, json};
use tributary_connectors::kit::graphql::{Fields, fit};
use tributary_simulator::{Size, burp::Burp, start_any};

const BURP_SCHEMA: &str = include_str!("../../src/burp/schema.graphql");
const BURP: &str = include_str!("../../src/burp/queries.graphql");

fn schema(text: &str) -> Valid<Schema> {
    Schema::parse_and_validate(text, "schema.graphql").unwrap_or_else(|errors| panic!("{errors}"))
}

/// The names of a file's operations, and its optional fields with their types.
fn outline(document: &str) -> (Vec<&str>, Vec<(&str, &str)>) {
    let word = |text: &'static str| text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
    let document: &'static str = document.to_owned().leak();
    let operations = document.lines().filter_map(|line| line.strip_prefix("query ")).map(word).collect();
    let optional = document.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once("#?"));
    (operations, optional.map(|(line, kind)| (kind.trim(), word(line.trim_start()))).collect())
}

#[test]
fn burp_documents_are_valid_whichever_optional_fields_a_server_has() {
    let schema = schema(BURP_SCHEMA);
    let (operations, optional) = outline(BURP);
    assert_eq!((operations.len(), optional.len()), (5, 17));
    let without = |missing: &(&str, &str)| optional.iter().copied().filter(|field| field != missing).collect::<Vec<_>>();
    let servers =
        [Vec::new(), optional.clone()].into_iter().chain(optional.iter().map(without)).chain(optional.iter().map(|one| vec![*one]));
    for known in servers {
        for operation in &operations {
            let document = fit(BURP, operation, &Fields::known(&known));
            if let Err(errors) = ExecutableDocument::parse_and_validate(&schema, &document, "query.graphql") {
                panic!("{operation} for a server that knows {known:?}:\n{errors}");
            }
        }
    }
    let all = fit(BURP, "Issues", &Fields::known(&optional));
    assert!(all.contains("fingerprint") && !all.contains('#') && !fit(BURP, "Issues", &Fields::default()).contains("fingerprint"));
    assert!(!BURP.contains("evidence") && !BURP.contains("segments"), "evidence may hold secrets of the scanned site");
}

/// Proof that the validator sees what the compile-time check does not.
#[test]
fn a_wrong_argument_or_type_is_refused() {
    let schema = schema(BURP_SCHEMA);
    let issues = fit(BURP, "Issues", &Fields::default());
    assert!(ExecutableDocument::parse_and_validate(&schema, &issues, "query.graphql").is_ok());
    for (right, wrong) in [
        ("issues(start: $start,", "issues(offset: $start,"),
        ("$start: Int!", "$start: String!"),
        ("$scan: ID!", "$scan: ID"),
        ("issues(start: $start, count: $count)", "issues(start: $start)"),
        ("severity\n", "severeness\n"),
    ] {
        assert!(issues.contains(right), "{issues}");
        let changed = issues.replacen(right, wrong, 1);
        assert!(ExecutableDocument::parse_and_validate(&schema, &changed, "query.graphql").is_err(), "accepted: {wrong}");
    }
}

/// The simulator's schemas are written by hand and apart: what they have has to be what the vendor has.
#[tokio::test]
async fn the_simulated_schemas_hold_nothing_that_the_vendors_has_not() {
    let schema = schema(BURP_SCHEMA);
    let size = Size { records: 3, findings: 30, seed: 1 };
    for (tool, newer) in [(Burp::old(size), false), (Burp::new(size), true)] {
        let tool = start_any(Arc::new(tool), 0).await.unwrap();
        let key = &tool.vendor.fields(&tool.url)[0].1;
        let mut seen = 0;
        for (name, kind) in schema.types.iter().filter(|(name, _)| !name.starts_with("__")) {
            let ExtendedType::Object(object) = kind else { continue };
            let query = format!("query T {{ __type(name: \"{name}\") {{ fields {{ name args {{ name }} }} }} }}");
            let body = json!({ "query": query, "operationName": "T", "variables": {} });
            let request = reqwest::Client::new().post(format!("{}/graphql/v1", tool.url)).header("authorization", key).json(&body);
            let answer: Value = request.send().await.unwrap().json().await.unwrap();
            for field in answer["data"]["__type"]["fields"].as_array().into_iter().flatten() {
                let field_name = field["name"].as_str().unwrap();
                let real = object.fields.get(field_name).unwrap_or_else(|| panic!("the vendor's {name} has no {field_name}"));
                for argument in field["args"].as_array().unwrap() {
                    assert!(real.arguments.iter().any(|known| argument["name"] == known.name.as_str()), "{name}.{field_name}: {argument}");
                }
                seen += 1;
                assert!(
                    newer || !["fingerprint", "accepted_risk", "scope_v2", "cids_sites"].contains(&field_name),
                    "{field_name} is newer"
                );
            }
        }
        assert!(seen > 50, "{seen}");
    }
}

//! The bodies that other provisioning interfaces take, as configuration; and fields that are tables.

use serde_json::json;
use tributary_connectors::{CONNECTORS, Meta, PLANNED, Registration};

use super::*;
use crate::config::{Config, Connection, Errors, secret::Readers};

/// Each vendor's word with the connector's id and its body's members: what Leen's provisioning guide shows.
const LEEN: [(&str, &str, &str); 27] = [
    ("TENABLE", "tenable", r#"credentials = { client_key = "k", secret_key = "s" }"#),
    (
        "QUALYS",
        "qualys",
        r#"credentials = { username = "u", password = "p" }
           options = { init_load_timestamp = "2021-01-01T00:00:00+00:00" }"#,
    ),
    ("INSIGHTVM", "insightvm", r#"credentials = { base_url = "https://us.api.insight.rapid7.com", api_key = "k" }"#),
    ("MS_DEFENDER_VMS", "ms_defender_vms", REDIRECTS),
    ("SENTINELONE_VMS", "sentinelone_vms", r#"credentials = { base_url = "https://acme.sentinelone.net", api_token = "t" }"#),
    ("CROWDSTRIKE_SPOTLIGHT", "crowdstrike_spotlight", CLIENT),
    (
        "AWS_INSPECTOR2",
        "aws_inspector2",
        r#"credentials.aws = { type = "direct_access", aws_access_key_id = "AKIA", aws_secret_access_key = "s", aws_region_name = "us-east-1" }"#,
    ),
    ("AWS_INSPECTOR2", "aws_inspector2", ROLE),
    (
        "AWS_INSPECTOR2",
        "aws_inspector2",
        r#"credentials.aws = { type = "role_chaining", aws_role_arn = "arn:aws:iam::123456789012:role/r", external_id = "e", aws_region_name = "us-east-1" }"#,
    ),
    ("WIZ_VMS", "wiz_vms", WIZ),
    ("MS_DEFENDER_ENDPOINT", "ms_defender_endpoint", REDIRECTS),
    ("SENTINELONE", "sentinelone", r#"credentials = { base_url = "https://acme.sentinelone.net", api_token = "t" }"#),
    ("CROWDSTRIKE", "crowdstrike", CLIENT),
    ("SNYK", "snyk", REDIRECTS),
    ("SEMGREP", "semgrep", r#"credentials = { web_api_token = "t" }"#),
    ("AIKIDO", "aikido", CLIENT),
    ("WIZ_CODE", "wiz_code", WIZ),
    (
        "CHECKMARX",
        "checkmarx",
        r#"credentials = { base_url = "https://eu.ast.checkmarx.net", tenant_name = "acme", client_id = "i", client_secret = "s" }"#,
    ),
    (
        "MEND",
        "mend",
        r#"credentials = { user_email = "a@example.com", user_key = "k", org_uuid = "o", base_url = "https://api-saas.mend.io" }"#,
    ),
    ("OKTA", "okta", r#"credentials = { org_url = "https://acme.okta.com", api_token = "t" }"#),
    ("OKTA_IDP", "okta", r#"credentials = { org_url = "https://acme.okta.com", api_token = "t" }"#),
    ("MS_ENTRA", "ms_entra", r#"credentials = { client_id = "i", client_secret = "s", tenant_id = "t" }"#),
    ("MS_ENTRA", "ms_entra", REDIRECTS),
    ("BLACK_KITE", "black_kite", CLIENT),
    ("BIT_SIGHT", "bitsight", r#"credentials = { username = "t" }"#),
    ("SECURITY_SCORECARD", "security_scorecard", r#"credentials = { api_key = "k" }"#),
    (
        "PROCESSUNITY",
        "process_unity",
        r#"credentials = { base_url = "https://app.processunity.net/acme", username = "u", password = "p", third_party_import_template_id = "17", issues_import_template_id = 18 }
           options = { connection_id = "scorecard" }"#,
    ),
];
const CLIENT: &str = r#"credentials = { client_id = "i", client_secret = "s" }"#;
const WIZ: &str = r#"credentials = { base_url = "https://api.us17.app.wiz.io", client_id = "i", client_secret = "s" }"#;
const REDIRECTS: &str = r#"options.oauth2_redirect_urls = { success = "https://acme.example/ok", error = "https://acme.example/no" }"#;
const ROLE: &str = r#"credentials.aws = { type = "leen_role", aws_role_arn = "arn:aws:iam::123456789012:role/r", external_id = "e", aws_region_name = "us-east-1" }"#;
/// What DefectDojo's connectors ask for, by the names of the contract.
const DEFECT_DOJO: [(&str, &str); 9] = [
    ("aws_security_hub", r#"location = "https://securityhub.us-east-1.amazonaws.com", fields = { access_key = "AKIA", secret_key = "s" }"#),
    ("burp", r#"location = "https://burp.example:8443", secret = "s""#),
    ("checkmarx", r#"location = "https://eu.ast.checkmarx.net", secret = "s", fields = { tenant = "acme" }"#),
    ("dependency_track", r#"location = "https://dtrack.example", secret = "s""#),
    ("probely", r#"location = "https://api.eu.probely.com", secret = "s""#),
    ("semgrep", r#"location = "https://semgrep.dev/api/v1/", secret = "s""#),
    ("snyk", r#"location = "https://api.eu.snyk.io/rest", secret = "s""#),
    ("sonarqube", r#"location = "https://sonarcloud.io", secret = "s", fields = { organization = "acme" }"#),
    ("tenable", r#"location = "https://cloud.tenable.com", secret = "a;s""#),
];
/// Vendors with one cloud, or one where most customers are: a body without a location means that.
const OF_ONE_CLOUD: [&str; 4] = ["aikido", "semgrep", "snyk", "tenable"];

fn load(text: &str) -> Result<Config, Errors> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tributary.toml");
    std::fs::write(&file, text).expect("a file");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    Config::load(&[file])
}

/// The connection that a body is.
fn one(text: &str) -> Result<Connection, Vec<String>> {
    match load(text) {
        Ok(config) => Ok(std::sync::Arc::into_inner(config.connections.into_iter().next().expect("a connection")).expect("no other")),
        Err(Errors(problems)) => Err(problems.into_iter().map(|problem| format!("{}; {}", problem.what, problem.hint)).collect()),
    }
}

#[test]
fn every_body_of_the_provisioning_guides_loads_or_says_that_its_connector_is_not_built() {
    for (vendor, id, body) in LEEN {
        let loaded = one(&format!("[connections.seed]\nvendor = \"{vendor}\"\n{body}\n"));
        match (Registration::find(vendor), loaded) {
            (Some(entry), Ok(connection)) => assert_eq!((entry.meta.id, connection.entry.meta.id), (id, id)),
            (None, Err(problems)) => {
                assert_eq!(Registration::planned(vendor), Some(id), "{vendor}");
                assert!(
                    matches!(&problems[..], [one] if one.starts_with(&format!("the connector `{id}` is not built yet"))),
                    "{problems:?}"
                );
            }
            (entry, loaded) => panic!("{vendor}: {entry:?} {loaded:?}"),
        }
    }
    for (id, body) in DEFECT_DOJO {
        let Some(entry) = Registration::find(id) else { continue };
        let connection = one(&format!("[connections]\nseed = {{ connector = \"{id}\", {body} }}\n")).expect(id);
        assert_eq!(connection.entry.meta.id, entry.meta.id);
    }
}

#[test]
fn each_connector_of_the_contract_is_built_or_planned_and_none_is_both() {
    let built = CONNECTORS.iter().map(|entry| entry.meta.id).filter(|id| *id != "aws_security_hub");
    let mut all: Vec<&str> = built.chain(PLANNED.iter().map(|(id, _)| *id)).collect();
    all.sort_unstable();
    assert_eq!(all.len(), 27, "and aws_security_hub, which a build may lack");
    all.dedup();
    let contract = LEEN.iter().map(|(_, id, _)| *id).chain(DEFECT_DOJO.map(|(id, _)| id)).filter(|id| *id != "aws_security_hub");
    let mut contract: Vec<&str> = contract.collect();
    contract.sort_unstable();
    contract.dedup();
    assert_eq!(all, contract);
}

#[test]
fn a_body_without_a_location_means_the_one_cloud_or_is_told_the_line_to_add() {
    for entry in CONNECTORS {
        let id = entry.meta.id;
        let schema = entry.schema();
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let fields: Vec<String> = required.map(|field| format!("{field} = \"x\"")).collect();
        let loaded = one(&format!("[connections]\nseed = {{ connector = \"{id}\", fields = {{ {} }} }}\n", fields.join(", ")));
        match loaded {
            Ok(connection) => assert!(OF_ONE_CLOUD.contains(&id) && connection.location.to_string().starts_with("https://"), "{id}"),
            Err(problems) => {
                let [one] = &problems[..] else { panic!("{id}: {problems:?}") };
                assert!(!OF_ONE_CLOUD.contains(&id) && one.contains("lacks `location`; add `location = \"https://"), "{id}: {one}");
            }
        }
    }
}

static META: Meta =
    Meta { id: "acme", aliases: &[("aws", ""), ("aws_region_name", "location"), ("aws_access_key_id", "access_key")], ..Meta::DEFAULT };

/// What a connection of a connector with many kinds of fields says, and what is wrong with it.
fn read(text: &str) -> (Fields, Vec<String>) {
    let schema = json!({ "properties": {
        "type": { "type": "string" },
        "access_key": { "type": ["string", "null"], "format": "password" },
        "template": { "type": "integer" },
        "size": { "type": ["integer", "null"] },
        "ids": { "type": "array", "items": { "type": "integer" } },
        "names": { "type": "array", "items": { "type": "string" } },
        "note": { "type": ["string", "integer"] },
        "redirects": { "type": ["object", "null"], "properties": { "success": { "type": "string" }, "most": { "type": "integer" } } },
    } });
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let table = DeTable::parse(text).expect("TOML");
    let path = std::path::Path::new("tributary.toml");
    let mut reader = Reader { path, text, problems: &mut problems, warnings: &mut warnings, strict: false, readers: Readers::Few };
    let fields = reader.fields(&Known::new(&META, &schema), table.get_ref());
    (fields, problems.into_iter().map(|problem| format!("{}; {}", problem.what, problem.hint)).collect())
}

#[test]
fn members_of_a_table_with_an_empty_alias_are_fields_secret_ones_and_the_location_too() {
    let (fields, problems) =
        read("[credentials.aws]\ntype = \"x\"\naws_access_key_id = { env = \"KEY\" }\naws_region_name = \"eu-west-1\"\n");
    assert_eq!(problems, [""; 0]);
    assert_eq!(Value::Object(fields.plain), json!({ "type": "x" }));
    assert!(matches!(&fields.secrets[..], [(field, SecretRef::Env(name))] if field == "access_key" && name == "KEY"));
    assert_eq!(fields.location.expect("a location").0, "eu-west-1");
    for (text, told) in [
        (
            "credentials.aws = { regio = 1 }",
            "unknown field `regio` of acme; its fields: access_key, ids, names, note, redirects, size, template, type",
        ),
        (
            "credentials.aws = \"x\"",
            "unknown field `aws` of acme; its fields: access_key, ids, names, note, redirects, size, template, type",
        ),
        ("credentials.aws = { type = \"x\" }\nfields = { type = \"y\" }", "`type` is given twice; keep one of them"),
        (
            "credentials.aws = { aws = { type = \"x\" } }",
            "unknown field `aws` of acme; its fields: access_key, ids, names, note, redirects, size, template, type",
        ),
    ] {
        assert_eq!(read(text).1, [told], "{text}");
    }
}

#[test]
fn a_whole_number_may_be_text_where_the_field_takes_no_text() {
    let (fields, problems) = read("fields = { template = \" 17 \", size = \"-3\", ids = [1, \"2\"], names = [\"3\"], note = \"4\" }");
    assert_eq!(problems, [""; 0]);
    assert_eq!(Value::Object(fields.plain), json!({ "template": 17, "size": -3, "ids": [1, 2], "names": ["3"], "note": "4" }));
    for wrong in ["\"seventeen\"", "\"1.5\"", "\"99999999999999999999\"", "\"\""] {
        assert_eq!(read(&format!("fields.template = {wrong}")).1, ["`template` has the wrong type; write a whole number"], "{wrong}");
    }
}

#[test]
fn a_field_that_is_a_table_takes_its_own_members_and_others_take_none() {
    let (fields, problems) = read("[options.redirects]\nsuccess = \"https://a.example\"\nmost = \"5\"\n");
    assert_eq!(problems, [""; 0]);
    assert_eq!(Value::Object(fields.plain), json!({ "redirects": { "success": "https://a.example", "most": 5 } }));
    for (text, told) in [
        ("options.redirects = { sucess = \"x\" }", "unknown key `sucess` in `redirects`; did you mean `success`?"),
        ("options.redirects = { most = { env = \"X\" } }", "`redirects.most` has the wrong type; only secret fields take a reference"),
        ("options.type = { env = \"X\" }", "`type` has the wrong type; only secret fields take a reference"),
    ] {
        assert_eq!(read(text).1[0], told, "{text}");
    }
}

//! O6: a connector sends the read calls that its vendor documents, and nothing else.

use std::collections::BTreeSet;

use crate::common::TestApp;
use tributary_connectors::Context;
use tributary_simulator::{Change, Size, VENDORS, start_any};

/// By connector: what may be sent. `{}` stands for one path segment. Each POST is a question, a token, or an export.
const READS: &[(&str, &[&str])] = &[
    ("aws_security_hub", &["GET /accounts", "GET /findingAggregator/list", "GET /findingAggregator/get/{}/{}", "POST /findings", "POST /"]),
    ("burp", &["POST /graphql/v1"]),
    (
        "checkmarx",
        &[
            "POST /auth/realms/{}/protocol/openid-connect/token",
            "GET /api/projects",
            "GET /api/projects/{}",
            "GET /api/projects/branches",
            "GET /api/projects/last-scan",
            "GET /api/applications",
            "GET /api/scans",
            "GET /api/scans/{}",
            "GET /api/results",
        ],
    ),
    (
        "dependency_track",
        &[
            "GET /api/version",
            "GET /health/ready",
            "GET /static/config.json",
            "GET /api/v1/team/self",
            "GET /api/v1/project",
            "GET /api/v1/project/{}",
            "GET /api/v1/finding/project/{}",
        ],
    ),
    ("probely", &["GET /profile/", "GET /account/", "GET /targets/", "GET /targets/{}/", "GET /targets/{}/findings/", "GET /findings/"]),
    (
        "semgrep",
        &[
            "GET /api/v1/deployments",
            "GET /api/v1/deployments/{}/projects",
            "GET /api/v1/deployments/{}/findings",
            "GET /api/v1/deployments/{}/secrets",
        ],
    ),
    (
        "snyk",
        &[
            "GET /rest/self",
            "GET /rest/orgs",
            "GET /rest/groups/{}/orgs",
            "GET /rest/orgs/{}/projects",
            "GET /rest/orgs/{}/targets",
            "GET /rest/orgs/{}/issues",
            "GET /rest/orgs/{}/issues/{}",
            "POST /v1/org/{}/project/{}/aggregated-issues",
            "GET /v1/org/{}/project/{}/ignores",
            "POST /oauth2/token",
        ],
    ),
    (
        "sonarqube",
        &[
            "GET /api/server/version",
            "GET /api/system/status",
            "GET /api/authentication/validate",
            "GET /api/v2/clean-code-policy/mode",
            "GET /api/organizations/search",
            "GET /api/components/search_projects",
            "GET /api/components/search",
            "GET /api/components/show",
            "GET /api/components/tree",
            "GET /api/ce/component",
            "GET /api/projects/search",
            "GET /api/project_branches/list",
            "GET /api/issues/search",
            "GET /api/issues/list",
            "GET /api/hotspots/search",
            "GET /api/hotspots/show",
            "GET /api/rules/show",
        ],
    ),
    (
        "tenable",
        &[
            "GET /server/properties",
            "GET /session",
            "GET /scans",
            "GET /vulns/export/status",
            "POST /vulns/export",
            "GET /vulns/export/{}/status",
            "GET /vulns/export/{}/chunks/{}",
            "GET /assets/export/status",
            "POST /assets/v2/export",
            "GET /assets/export/{}/status",
            "GET /assets/export/{}/chunks/{}",
        ],
    ),
];

fn is(sent: &str, documented: &str) -> bool {
    let (sent, documented): (Vec<_>, Vec<_>) = (sent.split('/').collect(), documented.split('/').collect());
    sent.len() == documented.len()
        && sent.iter().zip(&documented).all(|(sent, wanted)| sent == wanted || (*wanted == "{}" && !sent.is_empty()))
}

#[tokio::test(flavor = "multi_thread")]
async fn o6_only_documented_read_calls_are_sent() {
    for (id, make) in VENDORS {
        let (_, reads) = READS.iter().find(|(of, _)| of == id).unwrap_or_else(|| panic!("{id} has no list of read calls"));
        let bench = TestApp::new(start_any(make(Size { records: 4, findings: 200, seed: 3 }), 0).await.unwrap());
        let (source, _) = bench.plan();
        source.check(&Context::default()).await.unwrap_or_else(|error| panic!("check of {id}: {error}"));
        for _ in 0..2 {
            bench.discover().await;
            bench.sync(false).await;
            bench.sync(true).await;
            bench.tool.vendor.step(&Change::ONE_PERCENT);
        }
        let sent = bench.tool.log().into_iter().map(|request| {
            let path = request.target.split('?').next().unwrap_or_default().to_owned();
            format!("{} {path}", request.method)
        });
        let undocumented: BTreeSet<String> = sent.filter(|sent| !reads.iter().any(|read| is(sent, read))).collect();
        assert!(undocumented.is_empty(), "{id} sends {undocumented:?}");
    }
}

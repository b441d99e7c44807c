//! What the deployment says of one finding: its rule or advisory, and what findings of its kind have besides.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::seed::Seed;

/// Branches of a finding; the first is the default one of every project.
pub(super) const BRANCHES: [&str; 3] = ["main", "develop", "refs/pull/148/merge"];

/// What kind of scan a finding comes from: each kind is a list of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sast,
    Sca,
    AiSast,
    Secrets,
}

fn one<'a>(words: &[&'a str], number: usize) -> &'a str {
    words[number % words.len()]
}

pub(super) fn rule(seed: &mut Seed, number: usize) -> Value {
    const CLASSES: &[(&str, &str)] = &[
        ("SQL Injection", "CWE-89: Improper Neutralization of Special Elements used in an SQL Command ('SQL Injection')"),
        ("Cross-Site-Scripting (XSS)", "CWE-79: Improper Neutralization of Input During Web Page Generation ('Cross-site Scripting')"),
        ("Mishandled Sensitive Information", "CWE-319: Cleartext Transmission of Sensitive Information"),
        ("Path Traversal", "CWE-22: Improper Limitation of a Pathname to a Restricted Directory ('Path Traversal')"),
    ];
    let (class, cwe) = CLASSES[number % CLASSES.len()];
    let name = format!("python.django.security.audit.rule-{number}.rule-{number}");
    let mut message = seed.prose(260);
    if number % 11 == 3 {
        message.push_str("\n\n<script>alert('rule')</script> & <b onmouseover=alert(1)>`ref`</b>\u{7}\u{1b}[2J");
    }
    json!({
        "name": name, "message": message, "confidence": one(&["low", "medium", "high"], number), "category": "security", "subcategories": ["vuln"],
        "vulnerability_classes": if number % 13 == 5 { json!([]) } else { json!([class]) }, "cwe_names": if number % 17 == 6 { json!([]) } else { json!([cwe]) },
        "owasp_names": ["A03:2021 - Injection"],
    })
}

/// A weakness of a package: the rule that finds it and what the finding says of it.
pub(super) fn advisory(seed: &mut Seed, number: usize) -> Value {
    const PACKAGES: &[(&str, &str)] = &[
        ("npm", "moment"),
        ("npm", "@angular/core"),
        ("pypi", "requests"),
        ("gomod", "golang.org/x/net"),
        ("cargo", "tokio"),
        ("maven", "org.apache.logging.log4j:log4j-core"),
        ("gem", "rails"),
        ("composer", "symfony/http-kernel"),
        ("nuget", "Newtonsoft.Json"),
        ("pub", "dio"),
        ("swiftpm", "github.com/vapor/vapor"),
        ("hex", "plug"),
        ("no_package_manager", "openssl"),
    ];
    let (ecosystem, package) = PACKAGES[number % PACKAGES.len()];
    let identifier = match number % 12 {
        3 => json!(format!("GHSA-{number:04}-abcd-efgh")),
        5 => json!(format!("MAL-2026-{}", 1000 + number)),
        7 => json!(format!("UNKNOWN-2026-{}", 1000 + number)),
        9 => Value::Null,
        _ => json!(format!("CVE-2026-{}", 20_000 + number)),
    };
    let reachability = [
        json!("reachable"),
        json!("unreachable"),
        json!("always reachable"),
        json!("conditionally reachable"),
        json!("no reachability analysis"),
        Value::Null,
    ];
    json!({
        "rule": {
            "name": format!("ssc-{}", seed.uuid()), "message": seed.prose(260), "confidence": "high", "category": "security", "subcategories": [],
            "vulnerability_classes": ["Denial-of-Service (DoS)"],
            "cwe_names": ["CWE-1333: Inefficient Regular Expression Complexity", "CWE-400: Uncontrolled Resource Consumption"],
            "owasp_names": ["A06:2021 - Vulnerable and Outdated Components"],
        },
        "identifier": identifier, "ecosystem": ecosystem, "package": package, "is_malicious": number % 12 == 5,
        "reachability": reachability[number % 6], "transitivity": one(&["direct", "transitive", "unknown"], number),
    })
}

pub(super) fn supply_chain(body: &mut Value, advisory: &Value, dice: usize, file: &str, line: usize, blob: &str) {
    let conditional = advisory["reachability"] == json!("conditionally reachable");
    body["vulnerability_identifier"] = advisory["identifier"].clone();
    body["reachability"] = advisory["reachability"].clone();
    body["reachable_condition"] = if conditional { json!("When the locale comes from the user.") } else { Value::Null };
    body["found_dependency"] = json!({
        "package": advisory["package"], "version": format!("2.{}.2", dice % 30), "ecosystem": advisory["ecosystem"],
        "transitivity": advisory["transitivity"],
        "lockfile_line_url": if dice % 9 == 2 { Value::Null } else { json!(format!("{blob}/package-lock.json#L{}", 100 + line)) },
    });
    body["fix_recommendations"] = if dice % 7 == 2 { json!([]) } else { json!([{ "package": advisory["package"], "version": "3.0.4" }]) };
    body["is_malicious"] = advisory["is_malicious"].clone();
    body["epss_score"] = json!({ "score": 0.0123, "percentile": 0.84 });
    // The place of use has one shape in recordings and the other in the specification, and often there is none.
    body["usage"] = match dice % 3 {
        0 => Value::Null,
        1 => {
            json!({ "location": { "path": file, "start_line": line, "start_col": 37, "end_line": line, "end_col": 62, "url": format!("{blob}/{file}#L{line}") }, "external_ticket": null })
        }
        _ => {
            json!({ "location": { "file_path": file, "line": line, "column": 37, "end_line": line, "end_column": 62 }, "external_ticket": null })
        }
    };
    if dice.is_multiple_of(4) {
        body.as_object_mut().expect("an object").remove("location");
    }
}

pub(super) fn code(body: &mut Value, seed: &mut Seed, kind: Kind, dice: usize) {
    body["sourcing_policy"] = json!({ "id": 120, "name": "Default Policy", "slug": "default-policy" });
    match dice % 4 {
        0 => {
            body["assistant"] = json!({
                "autofix": { "fix_code": "cookie.setHttpOnly(true);\nresponse.addCookie(cookie);", "explanation": "" },
                "guidance": { "summary": "Use the template engine.", "instructions": "1. Install it.\n2. Replace `<h2>` + name by a template." },
                "autotriage": { "verdict": "true_positive", "reason": "The value comes from the request." },
                "component": { "tag": "user data", "risk": "high" },
                "rule_explanation": { "summary": "Markup from a user.", "explanation": seed.prose(120) },
            });
        }
        1 => body["assistant"] = json!({}),
        _ => {}
    }
    if dice % 50 == 9 {
        body["click_to_fix_prs"] = json!([{ "url": "https://github.com/acme/x/pull/9", "created_at": "2026-05-01T00:00:00Z" }]);
    }
    if kind == Kind::AiSast {
        body["ai_impact"] = json!(seed.prose(160));
        body.as_object_mut().expect("an object").remove("categories");
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one object")]
pub(super) fn secret(seed: &mut Seed, id: u64, severity: &str, name: &str, url: &Value, path: &str, link: &str, since: i64) -> Value {
    let dice = seed.below(10_000);
    let state = one(&["CONFIRMED_VALID", "NO_VALIDATOR", "VALIDATION_ERROR", "CONFIRMED_INVALID"], seed.below(4));
    let (branch, link_of_branch) = if dice.is_multiple_of(4) { (BRANCHES[2], "pull/148") } else { (BRANCHES[0], "tree/main") };
    let mut body = json!({
        "id": id.to_string(), "ref": branch, "refUrl": format!("https://github.com/{name}/{link_of_branch}"),
        "type": seed.pick(&["OpenAI", "Heroku", "AWS", "Generic Secret", "<img src=x onerror=alert(1)>"]),
        "findingPath": path, "findingPathUrl": link, "mode": one(&["MODE_MONITOR", "MODE_COMMENT", "MODE_BLOCK", "MODE_DISABLED"], dice),
        "repository": {
            "name": name, "url": url, "scmType": "SCM_TYPE_GITHUB",
            "visibility": one(&["REPOSITORY_VISIBILITY_PRIVATE", "REPOSITORY_VISIBILITY_PUBLIC", "REPOSITORY_VISIBILITY_UNKNOWN"], dice),
        },
        "reviewComments": [{ "externalDiscussionId": "af0433345acfb74c8f9", "externalNoteId": "5678" }], "ruleHashId": "lBU41LA",
        "severity": format!("SEVERITY_{}", severity.to_uppercase()), "confidence": "CONFIDENCE_HIGH", "status": "FINDING_STATUS_OPEN",
        "validationState": format!("VALIDATION_STATE_{state}"), "createdAt": date(since, false), "updatedAt": date(since, false),
    });
    if dice % 6 == 1 {
        body["historicalInfo"] = json!({ "gitCommit": "6ad16b240d4b6ae5bd6e326dd71053c21344e311", "gitBlob": "e2b6d5ca", "gitCommitTimestamp": date(since, false) });
    }
    if dice % 8 == 3 {
        body["autotriage"] = json!({ "verdict": "VERDICT_TRUE_POSITIVE", "reason": "A key of the payment provider." });
    }
    body
}

pub(super) fn moment(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).expect("a time of this century")
}

/// Both forms of a time that the documentation shows.
pub(super) fn date(micros: i64, spaced: bool) -> String {
    moment(micros).strftime(if spaced { "%Y-%m-%d %H:%M:%S%.6f+00:00" } else { "%Y-%m-%dT%H:%M:%S%.6fZ" }).to_string()
}

//! One result of each type: what the vendor tells of it, and by what it is known.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{CANARY, base64};
use crate::seed::Seed;

/// What a type of result is made of.
pub(super) struct Told {
    pub(super) id: String,
    /// The vendor's similarity id.
    pub(super) similarity: String,
    /// The end of the finding's key, behind project and type.
    pub(super) key: String,
    pub(super) data: Value,
    /// The member `vulnerabilityDetails`.
    pub(super) details: Value,
}

/// What is drawn for every result, whatever its type.
struct Drawn {
    unique: usize,
    file: String,
    line: usize,
    package: String,
    version: String,
    /// Two packages next to each other share one.
    cve: String,
}

pub(super) fn result(seed: &mut Seed, unique: usize, kind: &str) -> Told {
    let drawn = Drawn {
        unique,
        file: format!("/src/{}/handler {}.java", seed.pick(&["web", "api", "jobs", "größe"]), unique % 40),
        line: 1 + unique % 900,
        package: format!("{}-{unique}", seed.pick(&["parser", "codec", "http", "xml", "yaml", "log", "crypto", "zip"])),
        version: seed.pick(&["1.4.5", "2.34-0.1ubuntu9.4", "9.5.0", "0.9.0-beta.2"]).to_owned(),
        cve: format!("CVE-2025-{}", 20_000 + unique / 2),
    };
    match kind {
        "sast" => sast(seed, drawn),
        "kics" => kics(&drawn),
        "sca" => sca(seed, drawn),
        "containers" => container(drawn),
        "sca-container" => package_of_container(drawn),
        "sscs-secret-detection" => secret(seed, &drawn),
        "sscs-scorecard" => scorecard(seed),
        _ => unknown(seed, &drawn),
    }
}

/// A data flow from where input comes in to where it does harm.
fn sast(seed: &mut Seed, drawn: Drawn) -> Told {
    let Drawn { unique, file, line, .. } = drawn;
    let result = hash(seed);
    // Where the hash is missing, the id has it; elsewhere it may be something else.
    let id = if unique % 13 == 6 { format!("{}", 1_000_000 + unique) } else { result.clone() };
    let has_hash = unique % 11 != 3;
    let named = if has_hash { result.clone() } else { id.clone() };
    let node = |name: &str, line: usize| {
        json!({ "id": result, "line": line, "column": 29, "length": 3, "name": name, "method": "main", "methodLine": 14, "nodeID": 1227 + line,
            "domType": "MethodInvokeExpr", "fileName": file, "fullName": format!("http.{name}"), "typeName": name, "definitions": "0" })
    };
    let (nodes, key) = if unique % 19 == 5 {
        (json!([]), named)
    } else {
        // The method begins at line 14; above it, lines count from the top of the file.
        let end = line + 7;
        let within = if end >= 14 { end - 14 } else { end };
        let nodes = json!([node("getParameter", line), node("append", line + 2), node("execute", end)]);
        (nodes, format!("{named}/{}", digest(&[&file, "main", &within.to_string()])))
    };
    let name = match unique % 5 {
        0 => "SQL_Injection",
        1 => "Reflected_XSS_All_Clients",
        2 => "SSL_Verification_Bypass",
        3 => "Path_Traversal",
        _ => "Deserialization_of_<Untrusted>_Data",
    };
    // Beyond what a signed number holds.
    let query: u64 = 14_517_067_005_933_136_034 + (unique % 5) as u64;
    let mut data = json!({ "queryId": query, "queryName": name, "group": "Java_High_Risk", "languageName": "Java", "nodes": nodes });
    if has_hash {
        data["resultHash"] = json!(result);
    }
    let cwe = [json!(89), json!(79), json!("599"), json!("CWE-22"), Value::Null][unique % 5].clone();
    #[expect(clippy::cast_possible_truncation, reason = "a signed number of 32 bits is what is wanted")]
    let similarity = seed.next() as i32;
    Told {
        id,
        similarity: similarity.to_string(),
        key,
        data,
        details: json!({ "cweId": cwe, "cvss": {}, "compliances": ["OWASP Top 10 2021", "SANS top 25"] }),
    }
}

/// A wrong setting in infrastructure as code.
fn kics(drawn: &Drawn) -> Told {
    let &Drawn { unique, line, .. } = drawn;
    // One action is used several times in a file: those results share a similarity id, and differ by their lines.
    let similarity = format!("{:064x}", 0xacc_1dea + unique / 6);
    let link = if unique.is_multiple_of(2) { "Unpinned Action [Taken from query_name]" } else { "https://docs.docker.example/rule" };
    let mut data = json!({
        "queryId": "555ab8f9-2001-455e-a077-f2d0f41e2fb9 [Taken from query_id]", "queryName": "Unpinned Action",
        "group": "Supply-Chain [Taken from category]", "queryUrl": link, "line": line, "platform": "CICD",
        "issueType": "IncorrectValue", "expectedValue": "The action is pinned.", "value": "The action is not pinned.",
    });
    let file = "/.github/workflows/build.yaml";
    data[if unique.is_multiple_of(2) { "fileName" } else { "filename" }] = json!(file);
    let demand = digest(&["The action is pinned.", "The action is not pinned."]);
    let key = format!("{similarity}/{}", digest(&[file, &line.to_string(), &demand]));
    Told { id: format!("{}", 700_000_000 + unique), similarity, key, data, details: json!({}) }
}

/// A vulnerable package of a project.
fn sca(seed: &mut Seed, drawn: Drawn) -> Told {
    let Drawn { unique, package, version, cve, .. } = drawn;
    let id = if unique % 9 == 2 { format!("Cxda{unique:06x}-4e52") } else { cve };
    let manager = seed.pick(&["Maven", "Npm", "Python", "Nuget", "Go", "Php", "Ruby"]);
    let name = if manager == "Maven" { format!("org.example:{package}") } else { package };
    let recommended = [json!("3.0.0"), json!(""), json!({ "version": "3.0.0" }), Value::Null][unique % 4].clone();
    let mut data = json!({
        "publishedAt": "2016-04-24T21:00:00+00:00", "recommendations": "", "recommendedVersion": recommended,
        "exploitableMethods": null, "packageData": [
            { "url": format!("https://advisories.example/{id}"), "type": "Advisory", "comment": "The vendor's own" },
            { "url": "https://git.example/commit/1", "type": "Commit", "comment": "" },
        ],
    });
    let key = if unique % 17 == 3 {
        (data["packageName"], data["packageVersion"]) = (json!(name), json!(version));
        format!("{name}/{version}/{id}")
    } else {
        data["packageIdentifier"] = json!(format!("{manager}-{name}-{version}"));
        format!("{manager}-{name}-{version}/{id}")
    };
    let cwe = [json!("CWE-401"), json!("NVD-CWE-Other"), json!(""), json!("CWE-78")][unique % 4].clone();
    let named = if id.starts_with("CVE") { id.clone() } else { "CWE-401".to_owned() };
    // As a number of 32 bits looks in one of 64.
    let score = if unique.is_multiple_of(6) { json!(0) } else { json!(f64::from(3.7_f32)) };
    let details = json!({ "cvssScore": score, "cveName": named, "cweId": cwe, "compliances": null, "cvss": {
        "version": 3, "attackVector": "NETWORK", "attackComplexity": "HIGH", "privilegesRequired": "NONE", "userInteraction": "NONE",
        "scope": "UNCHANGED", "confidentiality": "NONE", "integrity": "NONE", "availability": "LOW", "cvss3severity": "Low",
    } });
    Told { id: id.clone(), similarity: id, key, data, details }
}

/// A vulnerable package of an image.
fn container(drawn: Drawn) -> Told {
    let Drawn { unique, package, version, cve, .. } = drawn;
    let data = json!({
        "packageName": package, "packageVersion": version, "imageName": "registry.example/acme/shop", "imageTag": "1.27",
        "imageFilePath": "/Dockerfile", "imageOrigin": "UserInput",
    });
    let cvss = if unique.is_multiple_of(3) {
        Value::Null
    } else {
        json!({ "scope": "UNCHANGED", "score": "3.7", "severity": "LOW", "attack_vector": "NETWORK", "attack_complexity": "HIGH",
            "privileges_required": "NONE", "user_interaction": "NONE", "confidentiality_impact": "LOW", "integrity_impact": "NONE",
            "availability_impact": "NONE" })
    };
    let key = format!("registry.example/acme/shop:1.27/{package}/{version}/{cve}");
    Told {
        id: cve.clone(),
        similarity: cve.clone(),
        key,
        data,
        details: json!({ "cvssScore": 3.7, "cveName": cve, "cweId": "CWE-125", "cvss": cvss }),
    }
}

/// A vulnerable package of an image, as the older engine tells it.
fn package_of_container(drawn: Drawn) -> Told {
    let Drawn { package, version, cve, .. } = drawn;
    let key = format!("{package}/{version}/{cve}");
    let data = json!({
        "packageName": package, "packageVersion": version, "publishedAt": "2024-03-27T19:15:48+00:00",
        "metadata": { "enrichers": ["ResultIDEnrichResult", "StatusEnrichResult"] },
    });
    Told { id: cve.clone(), similarity: cve, key, data, details: json!({ "cvssScore": 0, "cveName": "", "cweId": "", "cvss": {} }) }
}

/// A secret in the source.
fn secret(seed: &mut Seed, drawn: &Drawn) -> Told {
    let &Drawn { unique, line, .. } = drawn;
    let id = hash(seed);
    let mut data = json!({
        "ruleName": "Generic-Api-Key", "line": line, "snippet": format!("api_key = \"{CANARY}-{unique}\""), "validity": "Unknown",
        "remediation": "Rotate the key and remove it from the history.", "remediationLink": "https://docs.example/secrets",
        "ruleDescription": "An API key in the source", "slsaStep": "Source", "commitUrl": "https://git.example/commit/2",
    });
    data[if unique.is_multiple_of(2) { "fileName" } else { "filename" }] = json!("/config/settings.env");
    Told { id: id.clone(), similarity: id.clone(), key: id, data, details: json!({}) }
}

/// A rule of the scorecard that the repository does not keep.
fn scorecard(seed: &mut Seed) -> Told {
    let id = hash(seed);
    let data = json!({ "ruleName": "Branch-Protection", "fileName": "", "line": 0, "remediation": "Protect the main branch.",
        "remediationLink": "https://docs.example/branches", "ruleDescription": "Whether the branch is protected", "slsaStep": "Source" });
    Told { id: id.clone(), similarity: id.clone(), key: id, data, details: json!({}) }
}

/// A type of result that no documentation lists.
fn unknown(seed: &mut Seed, drawn: &Drawn) -> Told {
    let &Drawn { unique, .. } = drawn;
    let id = seed.uuid();
    Told {
        id: id.clone(),
        similarity: id.clone(),
        key: id,
        data: json!({ "resource": format!("bucket-{unique}") }),
        details: json!({ "cweId": null }),
    }
}

/// What stands for a place at the end of a key: the first sixteen digits of the SHA-256 of these texts, each on its line.
fn digest(texts: &[&str]) -> String {
    Sha256::digest(texts.join("\n")).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn hash(seed: &mut Seed) -> String {
    let bytes: Vec<u8> = (0..3).flat_map(|_| seed.next().to_be_bytes()).take(20).collect();
    base64(&bytes, false)
}

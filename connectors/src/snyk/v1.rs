//! What only the older API V1 tells: fixed versions and descriptions, and why an issue is ignored. One call of each kind for a
//! project and pass. Snyk calls V1 "subject to deprecation": where it is switched off, findings go without.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::with_hint;
use crate::{
    kit::{Cache, Scalar, entry},
    prelude::*,
};

/// What V1 adds to an issue.
#[derive(Debug)]
pub(super) struct Fix {
    pub(super) fixed_in: Vec<String>,
    pub(super) description: Option<String>,
}

/// Why an issue is ignored.
#[derive(Debug)]
pub(super) struct Ignore {
    pub(super) kind: String,
    pub(super) reason: String,
}

/// By V1's id of the issue in lower case, which is the id of Snyk's own problem in REST.
pub(super) type Fixes = HashMap<String, Fix>;
/// By the issue's key.
pub(super) type Ignores = HashMap<String, Ignore>;

/// What V1 told in the pass under way.
#[derive(Debug)]
pub(super) struct V1 {
    fixes: Cache<Fixes>,
    ignores: Cache<Ignores>,
}

impl Default for V1 {
    fn default() -> Self {
        V1 {
            fixes: Cache::new(16 << 20, |fixes: &Fixes| {
                fixes.iter().map(|(id, fix)| 128 + id.len() + fix.description.as_ref().map_or(0, String::len)).sum()
            }),
            ignores: Cache::new(4 << 20, |ignores: &Ignores| {
                ignores.iter().map(|(key, ignore)| 128 + key.len() + ignore.reason.len()).sum()
            }),
        }
    }
}

impl V1 {
    pub(super) fn forget(&self, org: &str) {
        self.fixes.forget(org);
        self.ignores.forget(org);
    }

    pub(super) async fn fixes(&self, http: &Http, cx: &Context, org: &str, project: &str) -> Result<Arc<Fixes>> {
        if let Some(none) = self.fixes.get(org, "").await {
            return Ok(none);
        }
        match self.fixes.get_or_fetch(org, project, ask_fixes(http, cx, org, project)).await {
            Err(error) => Ok(self.fixes.put(org, without(cx, error, project)?, HashMap::new()).await),
            told => told,
        }
    }

    pub(super) async fn ignores(&self, http: &Http, cx: &Context, org: &str, project: &str) -> Result<Arc<Ignores>> {
        if let Some(none) = self.ignores.get(org, "").await {
            return Ok(none);
        }
        match self.ignores.get_or_fetch(org, project, ask_ignores(http, cx, org, project)).await {
            Err(error) => Ok(self.ignores.put(org, without(cx, error, project)?, HashMap::new()).await),
            told => told,
        }
    }
}

/// V1 may be switched off (410), closed to this token, or no longer know a project: findings then go without. Where that is
/// remembered: at the project, or at the empty key for the whole organization.
fn without<'a>(cx: &Context, error: Error, project: &'a str) -> Result<&'a str> {
    match &error.kind {
        ErrorKind::Refused { status: 404, .. } => Ok(project),
        ErrorKind::Refused { status: 410, .. } | ErrorKind::Forbidden(_) => {
            cx.warn(format!("findings go without what Snyk's API V1 tells of them: {error}"));
            Ok("")
        }
        _ => Err(error),
    }
}

pub(super) async fn ask_fixes(http: &Http, cx: &Context, org: &str, project: &str) -> Result<Fixes> {
    let body = serde_json::json!({ "includeDescription": true, "includeIntroducedThrough": false });
    let request = http.post("/v1/org/{}/project/{}/aggregated-issues", &[org, project], &body);
    let answer = request.send::<Aggregated>(cx).await.map_err(|error| with_hint(error, "org.project.snapshot.read"))?;
    let issues = answer.body.issues.iter().filter_map(|raw| entry::<AggregatedIssue>(raw));
    let fix = |issue: AggregatedIssue| {
        let (data, info) = (issue.issue_data.unwrap_or_default(), issue.fix_info.unwrap_or_default());
        let nearest = info.nearest_fixed_in_version.or(data.nearest_fixed_in_version);
        let mut fixed_in: Vec<String> = info.fixed_in.into_iter().flatten().filter_map(|version| version.0).collect();
        if fixed_in.is_empty() {
            fixed_in.extend(nearest.filter(|version| !version.is_empty()));
        }
        fixed_in.sort_by_cached_key(|version| version_order(version));
        (issue.id.to_ascii_lowercase(), Fix { fixed_in, description: data.description })
    };
    Ok(issues.map(fix).collect())
}

pub(super) async fn ask_ignores(http: &Http, cx: &Context, org: &str, project: &str) -> Result<Ignores> {
    let request = http.get("/v1/org/{}/project/{}/ignores", &[org, project]);
    let answer = request.send::<HashMap<String, Box<RawValue>>>(cx).await.map_err(|error| with_hint(error, "org.project.ignore.read"))?;
    let read = |(key, raw): (String, Box<RawValue>)| {
        let entries: Vec<BTreeMap<String, WireIgnore>> = serde_json::from_str(raw.get()).ok()?;
        let all: Vec<WireIgnore> = entries.into_iter().flat_map(BTreeMap::into_values).collect();
        // It counts as not vulnerable only where every path is.
        let kept = all.iter().position(|ignore| ignore.reason_type.as_deref() != Some("not-vulnerable")).unwrap_or(0);
        let WireIgnore { reason, reason_type } = all.into_iter().nth(kept)?;
        Some((key, Ignore { kind: reason_type.unwrap_or_default(), reason: reason.unwrap_or_default() }))
    };
    Ok(answer.body.into_iter().filter_map(read).collect())
}

/// What versions are compared by: their parts, each by its number and then by its text.
pub(super) fn version_order(version: &str) -> Vec<(u64, String)> {
    version.split(['.', '-', '+', '_', ':', '~']).map(|part| (part.parse().unwrap_or(0), part.to_owned())).collect()
}

#[derive(Deserialize)]
struct Aggregated {
    issues: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AggregatedIssue {
    id: String,
    issue_data: Option<IssueData>,
    fix_info: Option<FixInfo>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IssueData {
    description: Option<String>,
    nearest_fixed_in_version: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FixInfo {
    fixed_in: Option<Vec<Scalar>>,
    nearest_fixed_in_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireIgnore {
    reason: Option<String>,
    reason_type: Option<String>,
}

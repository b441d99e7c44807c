//! Items as JSON, by the names of their members.

use serde_json::{Value, json};
use tributary_connectors::{
    Item,
    model::{Finding, Record, Thing},
};

/// A finding as JSON, by the names of its members.
fn finding(f: &Finding) -> Value {
    let cvss = f.cvss.as_ref().map(|cvss| json!({ "version": cvss.version, "score": cvss.score, "vector": cvss.vector }));
    let time = |time: Option<jiff::Timestamp>| time.map(|time| time.to_string());
    json!({
        "key": f.key, "alternate_key": f.alternate_key, "lineage": f.lineage, "record": f.record, "record_sticky": f.record_sticky,
        "rule": f.rule, "branch": f.branch, "category": f.category.as_str(), "title": f.title, "description": f.description,
        "severity": f.severity.as_str(), "vendor_severity": f.vendor_severity, "state": f.state.as_str(), "vendor_state": f.vendor_state,
        "cve": f.cve, "cwe": f.cwe, "identifiers": f.identifiers, "cvss": cvss, "epss_score": f.epss_score, "exploited": f.exploited,
        "fix_available": f.fix_available, "component_name": f.component_name, "component_version": f.component_version,
        "component_purl": f.component_purl, "fixed_version": f.fixed_version, "file_path": f.file_path, "line_start": f.line_start,
        "line_end": f.line_end, "endpoint": f.endpoint, "asset_key": f.asset_key, "remediation": f.remediation,
        "reference_urls": f.reference_urls, "tags": f.tags, "url": f.url, "vendor_first_seen": time(f.vendor_first_seen),
        "vendor_last_seen": time(f.vendor_last_seen), "vendor_closed_at": time(f.vendor_closed_at), "raw": f.raw.as_ref().map(|raw| raw.get()),
    })
}

fn record(r: &Record) -> Value {
    json!({ "key": r.key, "name": r.name, "kind": r.kind, "url": r.url, "attributes": pairs(&r.attributes) })
}

fn pairs(list: &[(&'static str, Box<str>)]) -> Vec<String> {
    list.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn thing(thing: &Thing) -> Value {
    let time = |time: Option<jiff::Timestamp>| time.map(|time| time.to_string());
    match thing {
        Thing::Asset(a) => json!({
            "key": a.key, "record": a.record, "kind": a.kind, "name": a.name, "identifiers": pairs(&a.identifiers),
            "attributes": pairs(&a.attributes), "tags": a.tags, "gone": a.gone,
        }),
        Thing::Identity(i) => json!({
            "key": i.key, "kind": i.kind.as_str(), "name": i.name, "username": i.username, "email": i.email, "status": i.status.as_str(),
            "vendor_status": i.vendor_status, "manager": i.manager, "attributes": pairs(&i.attributes), "tags": i.tags, "gone": i.gone,
            "created": time(i.created), "password_changed": time(i.password_changed), "last_login": time(i.last_login),
        }),
        Thing::Membership(m) => json!({
            "key": m.key(), "kind": m.kind.as_str(), "container": m.container, "member": m.member, "label": m.label,
            "vendor_status": m.vendor_status, "gone": m.gone,
        }),
        Thing::Enrollment(e) => json!({
            "key": e.identity, "identity": e.identity, "enrolled": e.enrolled, "admin": e.admin, "methods": e.methods, "gone": e.gone,
        }),
        Thing::ThirdParty(t) => json!({
            "key": t.key, "record": t.record, "name": t.name, "domain": t.domain, "industry": t.industry, "country": t.country,
            "score": t.score.as_ref().map(|score| json!({ "value": score.value, "lowest": score.lowest, "highest": score.highest,
                "grade": score.grade, "at": time(score.at) })),
            "factors": t.factors.iter().map(|factor| json!({ "name": factor.name, "score": factor.score, "grade": factor.grade })).collect::<Vec<_>>(),
            "url": t.url, "attributes": pairs(&t.attributes), "tags": t.tags, "gone": t.gone,
        }),
    }
}

/// An item; of one that was passed over its key and the reason.
pub(super) fn item(item: &Item) -> Value {
    match item {
        Item::Finding(of) => finding(of),
        Item::Record(of) => record(of),
        Item::Thing(of) => thing(of),
        Item::Skipped { key, reason } => json!({ "key": key, "reason": reason }),
    }
}

//! What is kept of an item beside the finding: members are cut, or all but some are.

use serde_json::{Value, value::RawValue};

use crate::{Item, Mended, Reject, kit::mend};

/// The same JSON without the members of these names, at any depth.
pub fn drop_members(raw: &str, cut: &[&str]) -> String {
    fn walk(value: &mut Value, cut: &[&str]) {
        match value {
            Value::Object(members) => {
                members.retain(|name, _| !cut.contains(&name.as_str()));
                members.values_mut().for_each(|member| walk(member, cut));
            }
            Value::Array(elements) => elements.iter_mut().for_each(|element| walk(element, cut)),
            _ => {}
        }
    }
    if cut.is_empty() {
        return raw.to_owned();
    }
    let mut value = readable(raw);
    walk(&mut value, cut);
    value.to_string()
}

/// Leaves nothing in what is kept of a page's items but the members at these paths ([`crate::Meta::keep`]); no paths = no change.
pub(crate) fn keep_members(keep: &[&str], items: &mut [Item], rejects: &mut [Reject], mended: &mut [Mended]) {
    if keep.is_empty() {
        return;
    }
    for item in items {
        if let Item::Finding(finding) = item {
            finding.raw = finding.raw.take().and_then(|raw| RawValue::from_string(keep_members_of(raw.get(), keep)).ok());
        }
    }
    for reject in rejects {
        reject.raw = keep_members_of(&reject.raw, keep).into();
        reject.path = known_names(keep, &reject.path).into();
        reject.reason = without_values(&reject.reason).into();
    }
    for mended in mended {
        mended.path = known_names(keep, &mended.path).into();
        mended.reason = without_values(&mended.reason).into();
    }
}

/// A path up to the first name that stands in none of the kept paths: it may be the scanned thing's own word.
fn known_names(keep: &[&str], path: &str) -> String {
    let known = |step: &str| {
        let name = step.split('[').next().unwrap_or_default();
        name.is_empty() || keep.iter().any(|kept| kept.split('.').any(|kept| kept == name))
    };
    let steps: Vec<&str> = path.split('.').collect();
    match steps.iter().position(|step| !known(step)) {
        Some(at) => [&steps[..at], &["…"]].concat().join("."),
        None => path.to_owned(),
    }
}

/// The same JSON with only the members at these paths. Texts that stand at none of them, as in an item that is a list, become `…`.
pub(super) fn keep_members_of(raw: &str, keep: &[&str]) -> String {
    fn walk(value: &mut Value, path: &str, keep: &[&str]) {
        match value {
            Value::Object(members) => members.retain(|name, member| {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(member, &path, keep);
                keep.iter().any(|kept| kept.strip_prefix(&*path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
            }),
            Value::Array(elements) => elements.iter_mut().for_each(|element| walk(element, path, keep)),
            Value::String(text) if !keep.contains(&path) => "…".clone_into(text),
            _ => {}
        }
    }
    let mut value = readable(raw);
    walk(&mut value, "", keep);
    value.to_string()
}

/// JSON without the few values that no parser reads (a number beyond all numbers).
fn readable(raw: &str) -> Value {
    mend::read(raw).map_or(Value::Null, |read| read.wire)
}

/// A decoder's complaint up to the value that it quotes.
pub(crate) fn without_values(reason: &str) -> String {
    let harmless = reason.starts_with("missing field") || reason.starts_with("duplicate field");
    match reason.find(['"', '`']) {
        Some(at) if !harmless => format!("{}…", &reason[..at]),
        _ => reason.to_owned(),
    }
}

//! Bodies of answers as files: JSON with places such as `"{id}"`.

use serde_json::Value;

/// The JSON of a file beside this one, read once.
macro_rules! body {
    ($file:literal) => {{
        static BODY: std::sync::LazyLock<serde_json::Value> =
            std::sync::LazyLock::new(|| serde_json::from_str(include_str!($file)).expect("a file of ours"));
        &*BODY
    }};
}
pub(crate) use body;

/// A body with these members at its places. A text that is a place as a whole becomes the value itself, of whatever type; a
/// place inside a text becomes that part of it. Where `"{name?}"` is null, the member is left out with its name.
///
/// # Panics
/// When a place has no value.
pub(crate) fn fill(body: &Value, values: &Value) -> Value {
    filled(body, values).unwrap_or_default()
}

fn filled(body: &Value, values: &Value) -> Option<Value> {
    Some(match body {
        Value::Object(members) => members.iter().filter_map(|(name, value)| Some((name.clone(), filled(value, values)?))).collect(),
        Value::Array(items) => items.iter().filter_map(|item| filled(item, values)).collect(),
        Value::String(text) if text.contains('{') => return in_text(text, values),
        other => other.clone(),
    })
}

fn in_text(text: &str, values: &Value) -> Option<Value> {
    let value = |name: &str| values.get(name).unwrap_or_else(|| panic!("{{{name}}} has no value"));
    if let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).filter(|name| !name.contains('{')) {
        return match name.strip_suffix('?') {
            Some(name) => Some(value(name).clone()).filter(|value| !value.is_null()),
            None => Some(value(name).clone()),
        };
    }
    let mut parts = text.split('{');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').expect("a place ends");
        let value = value(name);
        whole.push_str(&value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned));
        whole.push_str(rest);
    }
    Some(whole.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_place_takes_a_value_a_part_of_a_text_or_nothing() {
        let body = json!({ "id": "{id}", "url": "https://{host}/{id}", "list": ["{none?}", "{id}"], "none": "{none}", "out": "{none?}" });
        let values = json!({ "id": 7, "host": "a.example", "none": null });
        assert_eq!(fill(&body, &values), json!({ "id": 7, "url": "https://a.example/7", "list": [7], "none": null }));
    }
}

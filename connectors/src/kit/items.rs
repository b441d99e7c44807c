//! Decoding a page item by item: a bad item becomes a [`Reject`], the page lives on.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, Unexpected, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::on_all_cores;
use crate::{Excerpt, Item, Mended, Reject};

/// What was made of a page's raw items.
#[derive(Debug, Default)]
pub struct Decoded {
    /// What could be read, in the vendor's order.
    pub items: Vec<Item>,
    /// What could not.
    pub rejects: Vec<Reject>,
    /// Members that were left out so that their items could be read.
    pub mended: Vec<Mended>,
}

impl Decoded {
    /// Adds what was made of a further list of the same page.
    pub fn append(&mut self, mut more: Decoded) {
        self.items.append(&mut more.items);
        self.rejects.append(&mut more.rejects);
        self.mended.append(&mut more.mended);
    }
}

/// Turns a page's raw findings into items, a long page on all cores.
///
/// `map` is the connector's pure function from its wire type to a finding (or a skipped item); `key` reads the key alone,
/// tolerantly, from an item that `W` does not fit. `cut` are the members never kept ([`crate::Meta::cut`]).
pub fn items<W, K>(
    raws: Vec<Box<RawValue>>,
    cut: &[&str],
    map: impl Fn(W) -> Result<Item, String> + Sync,
    key: impl Fn(K) -> Option<String> + Sync,
) -> Decoded
where
    W: DeserializeOwned,
    K: DeserializeOwned,
{
    let mut decoded = Decoded { items: Vec::with_capacity(raws.len()), ..Decoded::default() };
    for one in on_all_cores(raws, |raw| item(raw, cut, &map, &key)) {
        match one {
            Ok(item) => decoded.items.push(item),
            Err(reject) => decoded.rejects.push(*reject),
        }
    }
    decoded
}

fn item<W: DeserializeOwned, K: DeserializeOwned>(
    raw: Box<RawValue>,
    cut: &[&str],
    map: impl Fn(W) -> Result<Item, String>,
    key: impl Fn(K) -> Option<String>,
) -> Result<Item, Box<Reject>> {
    // Serde would read a struct from a list as well, and one whose members are all optional from nearly any.
    let is_object = raw.get().starts_with('{');
    let decoded = match serde_json::from_str::<W>(raw.get()) {
        _ if !is_object => Err((String::new(), "not an object".to_owned())),
        Ok(wire) => map(wire).map_err(|reason| (String::new(), reason)),
        Err(_) => Err(why::<W>(raw.get())),
    };
    match decoded {
        Ok(Item::Finding(mut finding)) => {
            finding.raw = if cut.is_empty() { Some(raw) } else { RawValue::from_string(strip(raw.get(), cut)).ok() };
            Ok(Item::Finding(finding))
        }
        Ok(item) => Ok(item),
        Err((path, reason)) => Err(Box::new(Reject {
            key: serde_json::from_str(raw.get()).ok().filter(|_| is_object).and_then(key).map(Into::into),
            path: path.into(),
            reason: Excerpt::new(&reason).to_string().into(),
            raw: strip(raw.get(), cut).into(),
        })),
    }
}

/// Path and reason of a decoding error: slower, so only asked for items that failed.
fn why<W: DeserializeOwned>(raw: &str) -> (String, String) {
    match serde_path_to_error::deserialize::<_, W>(&mut serde_json::Deserializer::from_str(raw)) {
        Ok(_) => (String::new(), "could not be read".to_owned()),
        Err(error) => (error.path().to_string(), error.into_inner().to_string()),
    }
}

/// The same JSON without the members of these names, at any depth.
pub fn strip(raw: &str, cut: &[&str]) -> String {
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
    let Ok(mut value) = serde_json::from_str::<Value>(raw) else { return "null".to_owned() };
    walk(&mut value, cut);
    value.to_string()
}

/// Leaves nothing in what is kept of a page's items but the members at these paths ([`crate::Meta::keep`]); no paths = no change.
pub(crate) fn retain(keep: &[&str], items: &mut [Item], rejects: &mut [Reject]) {
    if keep.is_empty() {
        return;
    }
    for item in items {
        if let Item::Finding(finding) = item {
            finding.raw = finding.raw.take().and_then(|raw| RawValue::from_string(only(raw.get(), keep)).ok());
        }
    }
    for reject in rejects {
        reject.raw = only(&reject.raw, keep).into();
        reject.reason = without_values(&reject.reason).into();
    }
}

/// The same JSON with only the members at these paths. Texts that stand at none of them, as in an item that is a list, become `…`.
fn only(raw: &str, keep: &[&str]) -> String {
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
    let Ok(mut value) = serde_json::from_str::<Value>(raw) else { return "null".to_owned() };
    walk(&mut value, "", keep);
    value.to_string()
}

/// A decoder's complaint up to the value that it quotes.
pub(crate) fn without_values(reason: &str) -> String {
    let harmless = reason.starts_with("missing field") || reason.starts_with("duplicate field");
    match reason.find(['"', '`']) {
        Some(at) if !harmless => format!("{}…", &reason[..at]),
        _ => reason.to_owned(),
    }
}

/// For `deserialize_with`: null counts as absent. Beside `default`, so that a missing member does too.
///
/// # Errors
/// When the member is there and cannot be read.
pub fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A scalar that vendors write now as text, now as a number: read as text, or as nothing when it is anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Loose(pub Option<String>);

impl Loose {
    /// The text, unless absent or empty.
    pub fn text(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }

    /// The finite number in it.
    pub fn number(&self) -> Option<f64> {
        self.text()?.trim().parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// The whole number in it, when it fits.
    pub fn whole(&self) -> Option<i64> {
        let text = self.text()?.trim();
        text.parse().ok().or_else(|| {
            let number: f64 = text.parse().ok()?;
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within 2^53")]
            (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
        })
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl<'de> Visitor<'de> for Scalar {
            type Value = Loose;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, number or null")
            }
            fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
                Ok(Loose(Some(text.to_owned())))
            }
            fn visit_string<E>(self, text: String) -> Result<Loose, E> {
                Ok(Loose(Some(text)))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Loose, E> {
                Ok(Loose(Some(number.to_string())))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Loose, E> {
                Ok(Loose(Some(number.to_string())))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Loose, E> {
                Ok(Loose(Some(number.to_string())))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Loose, E> {
                Ok(Loose(Some(value.to_string())))
            }
            fn visit_unit<E>(self) -> Result<Loose, E> {
                Ok(Loose(None))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, _: A) -> Result<Loose, A::Error> {
                Err(A::Error::invalid_type(Unexpected::Seq, &self))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Category, Finding};

    #[derive(Deserialize)]
    struct Wire {
        id: String,
        level: i32,
    }
    #[derive(Deserialize)]
    struct Key {
        id: Option<String>,
    }

    #[test]
    fn f12_a_bad_item_is_rejected_with_its_key_and_path_and_the_rest_goes_on() {
        let page = r#"[{"id":"a","level":1},{"id":"b","level":"x","password":"hush"},[1],{"id":"c","level":3}]"#;
        let Decoded { items, rejects, .. } = items(
            serde_json::from_str(page).expect("a list"),
            &["password"],
            |wire: Wire| match wire.level {
                3 => Err("three is not allowed".to_owned()),
                _ => Ok(Item::Finding(Box::new(Finding::new(wire.id, "r", Category::Sca)))),
            },
            |key: Key| key.id,
        );
        assert_eq!(items.len(), 1);
        let seen: Vec<_> = rejects.iter().map(|r| (r.key.as_deref(), &*r.path, &*r.raw)).collect();
        assert_eq!(
            seen,
            [(Some("b"), "level", r#"{"id":"b","level":"x"}"#), (None, "", "[1]"), (Some("c"), "", r#"{"id":"c","level":3}"#)]
        );
    }

    #[test]
    fn a_long_page_keeps_its_order_and_every_bad_item() {
        let level = |number: usize| if number % 100 == 7 { 3 } else { 1 };
        let page: Vec<String> = (0..1000).map(|number| format!(r#"{{"id":"{number}","level":{}}}"#, level(number))).collect();
        let Decoded { items, rejects, .. } = items(
            serde_json::from_str(&format!("[{}]", page.join(","))).expect("a list"),
            &[],
            |wire: Wire| match wire.level {
                3 => Err("three is not allowed".to_owned()),
                _ => Ok(Item::Finding(Box::new(Finding::new(wire.id, "r", Category::Sca)))),
            },
            |key: Key| key.id,
        );
        let keys = items.iter().map(|item| if let Item::Finding(finding) = item { &*finding.key } else { "" });
        let good = (0..1000).filter(|number| level(*number) == 1).map(|number| number.to_string());
        assert!(keys.eq(good));
        let bad: Vec<_> = rejects.iter().map(|reject| reject.key.as_deref().expect("a key")).collect();
        assert_eq!(bad, ["7", "107", "207", "307", "407", "507", "607", "707", "807", "907"]);
    }

    #[test]
    fn only_listed_members_are_kept_of_an_item_of_whatever_form() {
        let keep = ["id", "target.site.host", "labels.name"];
        for (raw, kept) in [
            (
                r#"{"id":7,"target":{"id":"t","site":{"host":"h","cookies":["hush"]},"name":"hush"},"labels":[{"name":"a","id":"hush"},"hush"]}"#,
                r#"{"id":7,"labels":[{"name":"a"},"…"],"target":{"site":{"host":"h"}}}"#,
            ),
            (r#"{"id":{"id":"hush"},"target":"hush","identity":"hush","":{"id":"hush"}}"#, r#"{"id":{},"target":"…"}"#),
            (r#"{"id":["a",["b"]]}"#, r#"{"id":["a",["b"]]}"#),
            (r#"["hush",{"id":1,"x":"hush"},[1,2]]"#, r#"["…",{"id":1},[1,2]]"#),
            (r#""hush""#, r#""…""#),
            (r#"{"id":1e400,"x":"hush"}"#, "null"),
        ] {
            assert_eq!(only(raw, &keep), kept, "{raw}");
        }
    }

    #[test]
    fn what_is_kept_holds_for_findings_and_rejects_and_for_their_reasons() {
        let page = r#"[{"id":"a","level":1,"cookie":"hush"},{"id":"b","level":"hush","cookie":"hush"},"hush",{"id":"c","cookie":"hush"}]"#;
        let Decoded { mut items, mut rejects, .. } = items(
            serde_json::from_str(page).expect("a list"),
            &[],
            |wire: Wire| Ok(Item::Finding(Box::new(Finding::new(wire.id, wire.level.to_string(), Category::Dast)))),
            |key: Key| key.id,
        );
        retain(&["id"], &mut items, &mut rejects);
        let raws: Vec<_> = items
            .iter()
            .map(|item| if let Item::Finding(finding) = item { finding.raw.as_ref().expect("raw").get() } else { "" })
            .collect();
        assert_eq!(raws, [r#"{"id":"a"}"#]);
        let kept: Vec<_> = rejects.iter().map(|reject| (&*reject.raw, &*reject.reason)).collect();
        let wrong = "invalid type: string …";
        assert_eq!(kept[..2], [(r#"{"id":"b"}"#, wrong), (r#""…""#, "not an object")]);
        assert!(kept[2].0 == r#"{"id":"c"}"# && kept[2].1.starts_with("missing field `level`"), "{kept:?}");
    }

    #[test]
    fn loose_scalars_read_text_and_numbers_alike() {
        for (json, text, whole) in [
            ("7", Some("7"), Some(7)),
            ("\"7\"", Some("7"), Some(7)),
            ("7.0", Some("7"), Some(7)),
            ("null", None, None),
            ("\"\"", None, None),
        ] {
            let loose: Loose = serde_json::from_str(json).expect("a scalar");
            assert_eq!((loose.text(), loose.whole()), (text, whole), "{json}");
        }
        assert!(serde_json::from_str::<Loose>("[1]").is_err());
    }
}

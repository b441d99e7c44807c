//! Decoding a page item by item: a bad item becomes a [`Reject`], the page lives on.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, Unexpected, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{mend, on_all_cores};
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
    for (one, mut mended) in on_all_cores(raws, |raw| item(raw, cut, &map, &key)) {
        match one {
            Ok(item) => decoded.items.push(item),
            Err(reject) => decoded.rejects.push(*reject),
        }
        decoded.mended.append(&mut mended);
    }
    decoded
}

/// An entry of a list that is needed for the items of another one (a project's branch, a repository's id), read as items are:
/// without the members that do not fit. `None` when it lacks what is required.
pub fn entry<W: DeserializeOwned>(raw: &RawValue) -> Option<W> {
    if !raw.get().starts_with('{') {
        return None;
    }
    mend::read(raw.get()).ok().map(|read| read.wire)
}

/// What is made of one item, and what was left out of it.
type One = (Result<Item, Box<Reject>>, Vec<Mended>);

fn item<W: DeserializeOwned, K: DeserializeOwned>(
    raw: Box<RawValue>,
    cut: &[&str],
    map: impl Fn(W) -> Result<Item, String>,
    key: impl Fn(K) -> Option<String>,
) -> One {
    let key_of = |text: &str| serde_json::from_str(text).ok().and_then(&key);
    // Serde would read a struct from a list as well, and one whose members are all optional from nearly any.
    if !raw.get().starts_with('{') {
        return (Err(reject(&raw, cut, None, (String::new(), "not an object".to_owned()))), Vec::new());
    }
    let (wire, told) = match mend::read::<W>(raw.get()) {
        Ok(mend::Read { wire, mended: None }) => (wire, Vec::new()),
        Ok(mend::Read { wire, mended: Some((text, told)) }) => {
            // A member that the key is made of is not left out: the item would become another one.
            let own = key_of(raw.get());
            if own.is_none() || own != key_of(&text) {
                let first = told.into_iter().next().unwrap_or_default();
                return (Err(reject(&raw, cut, own, first)), Vec::new());
            }
            (wire, told)
        }
        Err(wrong) => return (Err(reject(&raw, cut, key_of(raw.get()), wrong)), Vec::new()),
    };
    let own = if told.is_empty() { None } else { key_of(raw.get()) };
    match map(wire) {
        Ok(mut item) => {
            if let Item::Finding(finding) = &mut item {
                finding.raw = if cut.is_empty() { Some(raw) } else { RawValue::from_string(strip(raw.get(), cut)).ok() };
            }
            (Ok(item), told.into_iter().map(|(path, reason)| mended(own.as_deref(), &path, &reason)).collect())
        }
        Err(reason) => {
            let own = own.or_else(|| key_of(raw.get()));
            (Err(reject(&raw, cut, own, (String::new(), reason))), Vec::new())
        }
    }
}

fn reject(raw: &RawValue, cut: &[&str], key: Option<String>, (path, reason): (String, String)) -> Box<Reject> {
    Box::new(Reject {
        key: key.map(Into::into),
        path: path.into(),
        reason: Excerpt::new(&reason).to_string().into(),
        raw: strip(raw.get(), cut).into(),
    })
}

fn mended(key: Option<&str>, path: &str, reason: &str) -> Mended {
    Mended { key: key.map(Into::into), path: path.into(), reason: Excerpt::new(reason).to_string().into() }
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
    let mut value = readable(raw);
    walk(&mut value, cut);
    value.to_string()
}

/// Leaves nothing in what is kept of a page's items but the members at these paths ([`crate::Meta::keep`]); no paths = no change.
pub(crate) fn retain(keep: &[&str], items: &mut [Item], rejects: &mut [Reject], mended: &mut [Mended]) {
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

/// For `deserialize_with`: null counts as absent. Beside `default`, so that a missing member does too.
///
/// # Errors
/// When the member is there and cannot be read.
pub fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// For `deserialize_with`: a number of rows, which some servers write as text (`"120"`).
///
/// # Errors
/// When there is no such number: a list whose length cannot be read must not be taken for an empty one.
pub fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    count_if_any(deserializer)?.ok_or_else(|| D::Error::custom("no number of rows"))
}

/// Like [`count`], where the vendor may declare none: null and what is no such number are none. Beside `default`.
///
/// # Errors
/// When a list or an object stands there.
pub fn count_if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Loose::deserialize(deserializer)?.whole().and_then(|number| number.try_into().ok()))
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
            (r#"{"id":1e400,"x":"hush"}"#, r#"{"id":null}"#),
            (r#"{"id":"a\ud800b","x":"hush"}"#, "{\"id\":\"a\u{fffd}b\"}"),
        ] {
            assert_eq!(only(raw, &keep), kept, "{raw}");
        }
    }

    #[test]
    fn what_is_kept_holds_for_findings_and_rejects_and_for_their_reasons() {
        let page = r#"[{"id":"a","level":1,"cookie":"hush"},{"id":"b","level":"hush","cookie":"hush"},"hush",{"id":"c","cookie":"hush"}]"#;
        let Decoded { mut items, mut rejects, mut mended } = items(
            serde_json::from_str(page).expect("a list"),
            &[],
            |wire: Wire| Ok(Item::Finding(Box::new(Finding::new(wire.id, wire.level.to_string(), Category::Dast)))),
            |key: Key| key.id,
        );
        retain(&["id"], &mut items, &mut rejects, &mut mended);
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

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Rich {
        id: String,
        line: Option<u32>,
        #[serde(default)]
        names: Vec<String>,
        title: Option<String>,
        #[serde(default)]
        note: String,
        component: Option<Component>,
        score: Option<f64>,
        #[serde(default)]
        loose: Loose,
        #[serde(default)]
        any: Value,
        links: Option<Vec<Link>>,
    }
    #[derive(Debug, Deserialize)]
    struct Component {
        name: String,
    }
    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    enum Link {
        Text(String),
        Object { href: String },
    }

    fn rich(page: &str) -> (Vec<String>, Decoded) {
        let seen = std::sync::Mutex::new(Vec::new());
        let decoded = items(
            serde_json::from_str(page).expect("a list"),
            &[],
            |wire: Rich| {
                let links = wire.links.iter().flatten().map(|link| match link {
                    Link::Text(text) | Link::Object { href: text } => &**text,
                });
                let about = format!(
                    "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {:?}",
                    wire.line,
                    wire.names,
                    wire.title,
                    wire.note,
                    wire.component.as_ref().map(|component| &component.name),
                    wire.score,
                    wire.loose.text(),
                    wire.any,
                    links.collect::<Vec<_>>()
                );
                seen.lock().expect("a lock").push(about);
                Ok(Item::Finding(Box::new(Finding::new(wire.id, "r", Category::Sca))))
            },
            |key: Key| key.id,
        );
        (seen.into_inner().expect("a lock"), decoded)
    }

    #[test]
    fn f12_a_member_that_does_not_fit_is_left_out_and_told_and_its_item_is_read() {
        let nothing = r#"None [] None "" None None None null []"#;
        for (members, read, told) in [
            (r#""line":-1"#, nothing, "line: invalid value: integer `-1`, expected u32"),
            (r#""line":"3""#, nothing, "line: invalid type: string \"3\", expected u32"),
            (
                r#""line":3.0 , "title":"t""#,
                r#"None [] Some("t") "" None None None null []"#,
                "line: invalid type: floating point `3.0`, expected u32",
            ),
            (r#""names":"CWE-79: XSS""#, nothing, "names: invalid type: string \"CWE-79: XSS\", expected a sequence"),
            (r#""names":null"#, nothing, "names: invalid type: null, expected a sequence"),
            (
                r#""names":["a", null ,"b",7,"c"]"#,
                r#"None ["a", "b", "c"] None "" None None None null []"#,
                "names[1]: invalid type: null, expected a string|names[2]: invalid type: integer `7`, expected a string",
            ),
            (r#""names":[7]"#, nothing, "names[0]: invalid type: integer `7`, expected a string"),
            (
                r#""note":null,"title":[1]"#,
                nothing,
                "note: invalid type: null, expected a string|title: invalid type: sequence, expected a string",
            ),
            (
                r#""component":{"name":null}"#,
                nothing,
                "component.name: invalid type: null, expected a string; what it stands in is left out, too",
            ),
            (r#""component":{},"line":4"#, r#"Some(4) [] None "" None None None null []"#, "component: missing field `name`"),
            (
                r#""component":7,"line":4"#,
                r#"Some(4) [] None "" None None None null []"#,
                "component: invalid type: integer `7`, expected struct Component",
            ),
            (r#""score":1e400"#, nothing, "score: number out of range"),
            (r#""score":{"value":9.5}"#, nothing, "score: invalid type: map, expected f64"),
            (
                r#""title":"a\ud800b\ud83d\ude00\udc00""#,
                "None [] Some(\"a\u{fffd}b😀\u{fffd}\") \"\" None None None null []",
                "title: half of a surrogate pair, which is no character",
            ),
            (
                r#""any":{"x":["\udfff"],"y":1e999}"#,
                "None [] None \"\" None None None {\"x\":[\"\u{fffd}\"],\"y\":null} []",
                "any.x[0]: half of a surrogate pair, which is no character|any.y: number out of range",
            ),
            (r#""title":"a" , "title" : "b""#, r#"None [] Some("b") "" None None None null []"#, "title: duplicate field `title`"),
            (
                r#""loose":[[1],2]"#,
                nothing,
                "loose[0]: invalid type: sequence, expected a text, number or null; what it stands in is left out, too",
            ),
            (r#""loose":{"a":1}"#, nothing, "loose: invalid type: map, expected a text, number or null"),
            (
                r#""links":["x",{"href":"y"},{"no":1},"z"]"#,
                r#"None [] None "" None None None null ["x", "y", "z"]"#,
                "links[2]: data did not match any variant of untagged enum Link",
            ),
            (
                r#""links":["x",[7]]"#,
                r#"None [] None "" None None None null ["x"]"#,
                "links[1]: data did not match any variant of untagged enum Link",
            ),
        ] {
            for item in [format!(r#"{{"id":"a",{members}}}"#), format!("{{\n {members},\r\n\t\"id\" : \"a\"\n}}")] {
                let (seen, decoded) = rich(&format!("[{item}]"));
                let mended = decoded.mended.iter().map(|one| {
                    assert_eq!(one.key.as_deref(), Some("a"));
                    format!("{}: {}", one.path, one.reason)
                });
                assert_eq!(mended.collect::<Vec<_>>().join("|"), told, "{item}");
                assert_eq!((seen, decoded.rejects), (vec![read.to_owned()], Vec::new()), "{item}");
                let [Item::Finding(finding)] = &decoded.items[..] else { panic!("{item}") };
                assert_eq!(finding.raw.as_ref().expect("raw").get(), item, "the vendor's own is kept");
            }
        }
    }

    #[test]
    fn f12_the_key_and_what_is_required_are_not_left_out_nor_more_than_eight_members() {
        for (item, key, path) in [
            (r#"{"id":7,"line":-1}"#, None, "id"),
            (r#"{"line":-1}"#, None, "."),
            (r#"{"id":"a","id":"b"}"#, None, "id"),
            (r#"{"id":"a","names":[1,2,3,4,5,6,7,8,9]}"#, Some("a"), "names[0]"),
            (r#"{"id":"a","line":{}"#, None, ""),
        ] {
            let Ok(_) = serde_json::from_str::<Value>(item) else { continue };
            let (_, decoded) = rich(&format!("[{item}]"));
            let [reject] = &decoded.rejects[..] else { panic!("{item}: {decoded:?}") };
            assert_eq!((reject.key.as_deref(), &*reject.path, &*reject.raw), (key, path, item), "{item}");
            assert!(decoded.items.is_empty() && decoded.mended.is_empty());
        }
        let (_, decoded) = rich(r#"[{"id":"a","names":[1,2,3,4,5,6,7,8]}]"#);
        assert_eq!((decoded.items.len(), decoded.mended.len()), (1, 8));
    }

    #[test]
    fn what_is_told_of_a_mended_member_holds_no_value_where_few_members_are_kept() {
        let page = r#"[{"id":"a","line":"word","component":{"name":["word"]},"any":{"hush":"\ud800"}}]"#;
        let (_, Decoded { mut items, mut rejects, mut mended }) = rich(page);
        retain(&["id", "line", "component.name"], &mut items, &mut rejects, &mut mended);
        let told: Vec<_> = mended.iter().map(|one| format!("{}: {}", one.path, one.reason)).collect();
        assert_eq!(told[0], "line: invalid type: string …");
        assert!(told.len() == 3 && told[2].starts_with("…: ") && !format!("{mended:?}{items:?}").contains("hush"), "{told:?}");
    }

    #[test]
    fn totals_are_read_from_numbers_and_texts_and_missing_ones_are_no_zero() {
        #[derive(Deserialize)]
        struct Envelope {
            #[serde(deserialize_with = "count")]
            total: u64,
            #[serde(default, deserialize_with = "count_if_any")]
            filtered: Option<u64>,
            #[serde(default, deserialize_with = "or_default")]
            components: Vec<String>,
        }
        for (json, expected) in [
            (r#"{"total":120}"#, Some((120, None))),
            (r#"{"total":"120","filtered":" 7 ","components":null}"#, Some((120, Some(7)))),
            (r#"{"total":120.0,"filtered":null,"components":[]}"#, Some((120, None))),
            (r#"{"total":"120","filtered":"many"}"#, Some((120, None))),
            (r#"{"total":null}"#, None),
            (r#"{"total":-1}"#, None),
            (r#"{"total":"many"}"#, None),
            ("{}", None),
        ] {
            let read = serde_json::from_str::<Envelope>(json).ok();
            assert!(read.iter().all(|envelope| envelope.components.is_empty()));
            assert_eq!(read.map(|envelope| (envelope.total, envelope.filtered)), expected, "{json}");
        }
    }

    #[test]
    fn an_entry_is_read_without_what_does_not_fit_and_only_with_what_is_required() {
        #[derive(Deserialize)]
        struct Project {
            id: String,
            branch: Option<String>,
            tags: Option<Vec<String>>,
        }
        let read = |text: &str| entry::<Project>(&RawValue::from_string(text.to_owned()).expect("JSON"));
        let project = read(r#"{"id":"p","branch":7,"tags":["a",null]}"#).expect("a project");
        assert_eq!((&*project.id, project.branch, project.tags), ("p", None, Some(vec!["a".to_owned()])));
        assert!(read(r#"{"branch":"main"}"#).is_none() && read(r#"["p","main",null]"#).is_none());
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

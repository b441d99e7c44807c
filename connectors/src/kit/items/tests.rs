//! A page with items that do not fit, and what is kept of them.

use serde::Deserialize;
use serde_json::Value;

use super::{kept::keep_members_of, *};
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
    assert_eq!(seen, [(Some("b"), "level", r#"{"id":"b","level":"x"}"#), (None, "", "[1]"), (Some("c"), "", r#"{"id":"c","level":3}"#)]);
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
        assert_eq!(keep_members_of(raw, &keep), kept, "{raw}");
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
    keep_members(&["id"], &mut items, &mut rejects, &mut mended);
    let raws: Vec<_> =
        items.iter().map(|item| if let Item::Finding(finding) = item { finding.raw.as_ref().expect("raw").get() } else { "" }).collect();
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
    loose: Scalar,
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
    keep_members(&["id", "line", "component.name"], &mut items, &mut rejects, &mut mended);
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
    for (json, text, whole) in
        [("7", Some("7"), Some(7)), ("\"7\"", Some("7"), Some(7)), ("7.0", Some("7"), Some(7)), ("null", None, None), ("\"\"", None, None)]
    {
        let loose: Scalar = serde_json::from_str(json).expect("a scalar");
        assert_eq!((loose.text(), loose.whole()), (text, whole), "{json}");
    }
    assert!(serde_json::from_str::<Scalar>("[1]").is_err());
}

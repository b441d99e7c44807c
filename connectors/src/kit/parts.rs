//! A page that is longer than most, read a part at a time.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::Decoded;
use crate::Parts;

/// Items in a part, about: as many as a page of most tools has.
const PART: usize = 500;

/// Makes of a page's raw items what `read` makes of them, a part at a time: all parts but the last go to `parts`, the last one
/// is returned. Raw items of one key, which `key` tells, stay in one part, so that `read` sees them together.
pub async fn in_parts(
    parts: Option<&dyn Parts>,
    raws: Vec<Box<RawValue>>,
    key: impl Fn(&RawValue) -> Option<String> + Send,
    read: impl Fn(Vec<Box<RawValue>>) -> Decoded + Send,
) -> Decoded {
    let Some(parts) = parts.filter(|_| raws.len() > PART) else { return read(raws) };
    let mut cut = cut(raws, key).into_iter().peekable();
    let mut last = Decoded::default();
    while let Some(part) = cut.next() {
        let made = read(part);
        if cut.peek().is_none() {
            last = made;
        } else {
            parts.take(made).await;
        }
    }
    last
}

/// The raw items in parts, in their order but for those whose key came before: they stand behind the first one of it.
fn cut(raws: Vec<Box<RawValue>>, key: impl Fn(&RawValue) -> Option<String>) -> Vec<Vec<Box<RawValue>>> {
    let mut first = HashMap::new();
    let mut ordered: Vec<(usize, Box<RawValue>)> =
        raws.into_iter().enumerate().map(|(place, raw)| (key(&raw).map_or(place, |key| *first.entry(key).or_insert(place)), raw)).collect();
    ordered.sort_by_key(|(first, _)| *first);
    let mut parts: Vec<Vec<Box<RawValue>>> = Vec::new();
    let mut before = None;
    for (first, raw) in ordered {
        match parts.last_mut() {
            Some(part) if part.len() < PART || before == Some(first) => part.push(raw),
            _ => parts.push(vec![raw]),
        }
        before = Some(first);
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::Pin, sync::Mutex};

    use serde::Deserialize;

    use super::*;
    use crate::{
        Item,
        kit::items,
        model::{Category, Finding},
    };

    #[derive(Deserialize)]
    struct Wire {
        id: String,
    }

    #[derive(Default)]
    struct Taken(Mutex<Vec<Vec<String>>>);

    impl Parts for Taken {
        fn take(&self, part: Decoded) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            self.0.lock().expect("a lock").push(keys(&part));
            Box::pin(std::future::ready(()))
        }
    }

    fn keys(part: &Decoded) -> Vec<String> {
        let keys = part.items.iter().map(|item| if let Item::Finding(finding) = item { finding.key.to_string() } else { String::new() });
        keys.chain(part.rejects.iter().map(|reject| reject.raw.to_string())).collect()
    }

    async fn parts_of(ids: &[String]) -> Vec<Vec<String>> {
        let raws = ids.iter().map(|raw| RawValue::from_string(raw.clone()).expect("JSON")).collect();
        let (taken, key) = (Taken::default(), |raw: &RawValue| serde_json::from_str::<Wire>(raw.get()).ok().map(|wire| wire.id));
        let finding = |wire: Wire| Ok(Item::Finding(Box::new(Finding::new(wire.id, "r", Category::Sca))));
        let last = in_parts(Some(&taken), raws, key, |raws| items(raws, &[], finding, |wire: Wire| Some(wire.id))).await;
        let mut parts = taken.0.into_inner().expect("a lock");
        parts.push(keys(&last));
        parts
    }

    fn id(id: usize) -> String {
        format!(r#"{{"id":"{id}"}}"#)
    }

    #[tokio::test]
    async fn a_long_page_comes_in_parts_and_nothing_is_lost_between_them() {
        for count in [0, 1, PART, PART + 1, 2 * PART, 3 * PART - 1] {
            let parts = parts_of(&(0..count).map(id).collect::<Vec<_>>()).await;
            assert_eq!(parts.len(), count.div_ceil(PART).max(1));
            assert!(parts.iter().all(|part| part.len() <= PART));
            assert!(parts.concat().into_iter().eq((0..count).map(|id| id.to_string())), "{count}");
        }
    }

    #[tokio::test]
    async fn what_has_one_key_stays_in_one_part() {
        // The last ones of the page are of the key that came first, and one has none that can be read.
        let page: Vec<String> = (0..2 * PART).map(id).chain([id(0), "[7]".to_owned(), id(0), id(PART - 1)]).collect();
        let parts = parts_of(&page).await;
        let with = |key: &str| parts.iter().map(|part| part.iter().filter(|one| *one == key).count()).collect::<Vec<_>>();
        assert_eq!((with("0"), with(&(PART - 1).to_string()), with("[7]")), (vec![3, 0, 0], vec![0, 2, 0], vec![0, 0, 1]));
        assert_eq!(parts.concat().len(), page.len());
        // Of one key alone there is one part, however many they are.
        assert_eq!(parts_of(&vec![id(0); 2 * PART]).await.len(), 1);
    }
}

//! Decoding a page item by item: a bad item becomes a [`Reject`], the page lives on.

mod kept;
mod scalar;
#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{mend, par_map};
use crate::{Excerpt, Item, Mended, Reject};

pub use kept::drop_members;
pub(crate) use kept::{keep_members, without_values};
pub use scalar::{Scalar, count, count_if_any, or_default};

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
    for (one, mut mended) in par_map(raws, |raw| item(raw, cut, &map, &key)) {
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
                finding.raw = if cut.is_empty() { Some(raw) } else { RawValue::from_string(drop_members(raw.get(), cut)).ok() };
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
        raw: drop_members(raw.get(), cut).into(),
    })
}

fn mended(key: Option<&str>, path: &str, reason: &str) -> Mended {
    Mended { key: key.map(Into::into), path: path.into(), reason: Excerpt::new(reason).to_string().into() }
}

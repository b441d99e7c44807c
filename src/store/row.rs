//! A finding made ready for the store: everything that can be computed before the writer is asked.

use rusqlite::types::{ToSqlOutput, ValueRef};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tributary_connectors::model::Finding;
use uuid::Uuid;

use super::finding_columns::{self, Lists};

/// The namespace of all ids, fixed for ever.
const NAMESPACE: Uuid = Uuid::from_u128(0x8b0e_6a52_73f1_4c1b_9d63_2a4f_0f6d_9e11);

/// A finding with its id and digests.
#[derive(Debug)]
pub struct PreparedFinding {
    pub(crate) finding: Finding,
    pub(crate) id: Id,
    pub(crate) alternate: Option<Id>,
    /// Over every column but the volatile ones: when it stands still, nothing has changed.
    pub(crate) digest: i64,
    /// Over what may move without being a change: `vendor_last_seen`, `url`, lineage, the raw item.
    pub(crate) volatile_digest: i64,
    pub(crate) lists: Lists,
    pub(crate) text_hash: String,
    pub(crate) fingerprint: Option<String>,
    /// What stands for the finding's lineage.
    pub(crate) lineage: Option<i64>,
    /// Where its item lies in the blocks of its page, when that was compressed ahead.
    pub(crate) raw: Option<Place<usize>>,
}

/// Where an item lies: the number of its block among those of its page, or in the store, and its bytes in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place<Block> {
    pub(crate) block: Block,
    pub(crate) at: i64,
    pub(crate) length: i64,
}

/// A finding's id and the eight bytes that stand for it in seen marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) text: String,
    pub(crate) hash: i64,
}

impl Id {
    /// The id of an item: a UUIDv5 of connection, kind and the vendor's key.
    pub(crate) fn of(connection: &str, kind: &str, key: &str) -> Self {
        let id = Uuid::new_v5(&NAMESPACE, format!("{connection}\n{kind}\n{key}").as_bytes());
        Id { text: id.to_string(), hash: first_bytes(&id) }
    }

    /// The eight bytes of an id in its text form; 0 for what is none.
    pub(crate) fn hash_of(text: &str) -> i64 {
        Uuid::parse_str(text).as_ref().map_or(0, first_bytes)
    }
}

fn first_bytes(id: &Uuid) -> i64 {
    i64::from_be_bytes(id.as_bytes()[..8].try_into().expect("a UUID has 16 bytes"))
}

/// The eight bytes that stand for an item in seen marks.
pub fn hash_of(connection: &str, kind: &str, key: &str) -> i64 {
    Id::of(connection, kind, key).hash
}

/// Computes ids and digests.
pub fn prepare(connection: &str, finding: Finding) -> PreparedFinding {
    let id = Id::of(connection, "finding", &finding.key);
    let alternate = finding.alternate_key.as_deref().map(|key| Id::of(connection, "finding", key));
    let lists = Lists {
        cve: list(&finding.cve),
        cwe: list(&finding.cwe),
        identifiers: list(&finding.identifiers),
        reference_urls: list(&finding.reference_urls),
        tags: list(&finding.tags),
    };
    let mut texts = Hasher::default();
    texts.text(finding.description.as_deref()).text(finding.remediation.as_deref()).text(Some(&lists.reference_urls));
    let text_hash = texts.hex();
    let mut volatile = Hasher::default();
    volatile.text(finding.raw.as_deref().map(RawValue::get)).text(finding.lineage.as_deref());
    finding_columns::volatile(&finding, &lists).iter().for_each(|value| volatile.value(value));
    PreparedFinding {
        id,
        alternate,
        digest: digest(&finding, &lists, &text_hash),
        volatile_digest: volatile.number(),
        fingerprint: fingerprint(&finding),
        lineage: finding.lineage.as_deref().map(lineage),
        lists,
        text_hash,
        raw: None,
        finding,
    }
}

/// What stands for a text that is kept once.
pub(crate) fn hash_of_text(text: &str) -> String {
    let mut hasher = Hasher::default();
    hasher.text(Some(text));
    hasher.hex()
}

/// Over the record, the columns whose move is a change, and what is kept in tables of its own.
fn digest(finding: &Finding, lists: &Lists, text_hash: &str) -> i64 {
    let mut hasher = Hasher { gathered: Vec::with_capacity(1024), ..Hasher::default() };
    // Which record a sticky finding stays with is the store's business.
    hasher.text((!finding.record_sticky).then_some(&*finding.record)).text(Some(&lists.cve)).text(Some(text_hash));
    finding_columns::changing(finding, lists).iter().for_each(|value| hasher.value(value));
    hasher.number()
}

fn lineage(text: &str) -> i64 {
    let mut hasher = Hasher::default();
    hasher.text(Some(text));
    hasher.number()
}

/// What a finding is about, without any tool's ids: `None` when too little is known.
fn fingerprint(finding: &Finding) -> Option<String> {
    let weakness = finding.cve.first().or(finding.cwe.first())?;
    let mut hasher = Hasher::default();
    hasher.text(Some(finding.category.as_str())).text(Some(weakness));
    match (&finding.component_name, &finding.file_path, &finding.endpoint) {
        (Some(name), _, _) => hasher.text(Some("component")).text(Some(&name.to_lowercase())).text(finding.component_version.as_deref()),
        (None, Some(path), _) => hasher.text(Some("file")).text(Some(path)),
        (None, None, Some(endpoint)) => hasher.text(Some("endpoint")).text(Some(endpoint)),
        (None, None, None) => return None,
    };
    Some(hasher.hex())
}

fn list(words: &[Box<str>]) -> String {
    if words.is_empty() { "[]".to_owned() } else { serde_json::to_string(words).expect("text is JSON") }
}

/// SHA-256 over parts that cannot run into each other. Small parts are gathered first: each call costs more than their bytes.
#[derive(Default)]
struct Hasher {
    hash: Sha256,
    gathered: Vec<u8>,
}

impl Hasher {
    const LARGE: usize = 256;

    fn text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            None => self.gathered.push(0),
            Some(text) => self.part(text.as_bytes()),
        }
        self
    }

    fn part(&mut self, text: &[u8]) {
        self.gathered.push(1);
        self.gathered.extend_from_slice(&(text.len() as u64).to_le_bytes());
        if text.len() < Self::LARGE {
            self.gathered.extend_from_slice(text);
        } else {
            self.hash.update(&self.gathered);
            self.gathered.clear();
            self.hash.update(text);
        }
    }

    /// A column's value, told apart by its kind.
    fn value(&mut self, value: &finding_columns::Value<'_>) {
        let value = match value {
            ToSqlOutput::Borrowed(value) => *value,
            ToSqlOutput::Owned(value) => ValueRef::from(value),
            _ => ValueRef::Null,
        };
        let (kind, number) = match value {
            ValueRef::Null => {
                self.text(None);
                return;
            }
            ValueRef::Text(text) | ValueRef::Blob(text) => return self.part(text),
            ValueRef::Integer(number) => (2, number.to_le_bytes()),
            ValueRef::Real(number) => (3, number.to_le_bytes()),
        };
        self.gathered.push(kind);
        self.gathered.extend_from_slice(&number);
    }

    fn bytes(mut self) -> [u8; 32] {
        self.hash.update(&self.gathered);
        self.hash.finalize().into()
    }

    fn number(self) -> i64 {
        i64::from_be_bytes(self.bytes()[..8].try_into().expect("a digest has 32 bytes"))
    }

    fn hex(self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = String::with_capacity(32);
        for byte in &self.bytes()[..16] {
            hex.push(char::from(DIGITS[usize::from(byte >> 4)]));
            hex.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        hex
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_connectors::model::Category;

    fn finding() -> Finding {
        Finding { title: "t".into(), ..Finding::new("k", "r", Category::Sca) }
    }

    #[test]
    fn ids_are_fixed_for_ever() {
        assert_eq!(Id::of("dt", "finding", "a:b:c").text, Id::of("dt", "finding", "a:b:c").text);
        assert_ne!(Id::of("dt", "finding", "k").text, Id::of("dt2", "finding", "k").text);
    }

    #[test]
    fn volatile_columns_move_the_volatile_digest_only() {
        let base = prepare("c", finding());
        for moved in [Finding { url: Some("https://x.example".into()), ..finding() }, Finding { lineage: Some("l".into()), ..finding() }] {
            let moved = prepare("c", moved);
            assert_eq!(base.digest, moved.digest);
            assert_ne!(base.volatile_digest, moved.volatile_digest);
        }
        let changed = prepare("c", Finding { title: "u".into(), ..finding() });
        assert_ne!(base.digest, changed.digest);
    }

    #[test]
    fn the_record_counts_unless_a_finding_stays_with_its_own() {
        let of = |record: &str, record_sticky| prepare("c", Finding { record: record.into(), record_sticky, ..finding() }).digest;
        assert_ne!(of("r", false), of("s", false));
        assert_eq!(of("r", true), of("s", true));
    }
}

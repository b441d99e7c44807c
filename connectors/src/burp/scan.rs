//! Scans: which one is true of a site, and whether its silence about an issue counts.

use std::collections::BTreeSet;

use serde::{Deserializer, de::Error as _};

use super::{
    CloseMissing, Cursor,
    site::{Node, scalar},
};
use crate::{
    kit::{Texts, count_if_any},
    prelude::*,
};

/// A succeeded scan.
#[derive(Debug, Serialize, Deserialize)]
pub struct Scan {
    #[serde(deserialize_with = "id")]
    pub(super) id: String,
    #[serde(default, skip_serializing, deserialize_with = "scalar")]
    status: Option<String>,
    #[serde(default, skip_serializing, deserialize_with = "scalar")]
    site_id: Option<String>,
    #[serde(default, skip_serializing)]
    scan_target: Option<Node>,
    #[serde(default, deserialize_with = "scalar")]
    pub(super) end_time: Option<String>,
    issue_counts: Option<Counts>,
    scan_configurations: Option<Vec<Node>>,
    scope_v2: Option<Reach>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Counts {
    #[serde(default, deserialize_with = "count_if_any")]
    total: Option<u64>,
}

/// A scan's id, which may be written as a number.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    scalar(deserializer)?.ok_or_else(|| D::Error::custom("a scan without an id"))
}

/// URLs in whatever form of a list; none where there is no list.
fn urls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeSet<String>>, D::Error> {
    Ok(Option::<Texts>::deserialize(deserializer)?.map(|texts| texts.0.into_iter().collect()))
}

impl Scan {
    pub(super) fn total(&self) -> Option<u64> {
        self.issue_counts.as_ref()?.total
    }

    pub(super) fn declared(&self) -> i64 {
        self.total().and_then(|total| i64::try_from(total).ok()).unwrap_or(0)
    }

    /// Whether it is what was asked for: a scan of this target that succeeded.
    pub(super) fn is_of(&self, target: &str) -> bool {
        let own = self.scan_target.as_ref().and_then(|own| own.id.as_deref()).or(self.site_id.as_deref());
        own.is_none_or(|own| own == target) && self.status.as_deref().is_none_or(|status| status.eq_ignore_ascii_case("succeeded"))
    }

    /// Where a page ends, and whether more follow: after a full one, and after a shorter one that ends before what is declared.
    pub(super) fn after(&self, start: i64, read: usize, asked: i64) -> (i64, bool) {
        let read = i64::try_from(read).unwrap_or(i64::MAX);
        (start + read, read >= asked || (read > 0 && start + read < self.declared()))
    }

    /// The end of a scan's list. The mark is the last scan whose silence about an issue counted, to compare the next one with.
    pub(super) fn end(&self, cx: &Context, scope: &Scope, mark: Option<&str>, close_missing: CloseMissing) -> Next<Cursor> {
        let before = mark.and_then(|mark| serde_json::from_str::<Scan>(mark).ok());
        let comparable = before.is_none_or(|before| self.looked_as_far_as(&before));
        if close_missing == CloseMissing::SameConfiguration && !comparable {
            let names: Vec<_> = self.scan_configurations.iter().flatten().filter_map(|one| one.name.as_deref()).collect();
            cx.warn(format!(
                "{} was scanned with other configurations ({}) or a narrower scope than before: what that scan did not find stays open; \
                 if the site is scanned so from now on, sync it once with `close_missing = \"always\"`",
                scope.title,
                text::single_line(&names.join(", "))
            ));
        }
        let proves = match close_missing {
            CloseMissing::SameConfiguration => comparable,
            CloseMissing::Always => true,
            CloseMissing::Never => false,
        };
        if proves && self.total().is_some() {
            let mark = serde_json::to_string(self).expect("a scan is plain data");
            return Next::Done(Coverage::Full, Some(mark.into()));
        }
        Next::Done(Coverage::Delta, mark.map(Into::into))
    }

    /// Whether this scan would have found what the other one found. An older server says nothing of either's extent.
    fn looked_as_far_as(&self, before: &Scan) -> bool {
        let ids = |scan: &Scan| Some(scan.scan_configurations.as_ref()?.iter().map(|one| one.id.clone()).collect::<BTreeSet<_>>());
        ids(before).is_none_or(|before| ids(self) == Some(before))
            && before.scope_v2.as_ref().is_none_or(|before| self.scope_v2.as_ref().is_some_and(|own| own.covers(before)))
    }
}

/// Where a scan looks.
#[derive(Debug, Serialize, Deserialize)]
struct Reach {
    #[serde(default, deserialize_with = "urls")]
    start_urls: Option<BTreeSet<String>>,
    #[serde(default, deserialize_with = "urls")]
    in_scope_url_prefixes: Option<BTreeSet<String>>,
    #[serde(default, deserialize_with = "urls")]
    out_of_scope_url_prefixes: Option<BTreeSet<String>>,
}

impl Reach {
    fn covers(&self, before: &Reach) -> bool {
        let within = |small: &Option<BTreeSet<String>>, large: &Option<BTreeSet<String>>| {
            small.iter().flatten().all(|url| large.iter().flatten().any(|other| other == url))
        };
        let (inside, inside_before) = (&self.in_scope_url_prefixes, &before.in_scope_url_prefixes);
        // Without a prefix the start URLs decide: such a scope is neither wider nor narrower than one with prefixes.
        let limited = |prefixes: &Option<BTreeSet<String>>| prefixes.iter().flatten().next().is_some();
        within(&before.start_urls, &self.start_urls)
            && limited(inside) == limited(inside_before)
            && within(inside_before, inside)
            && within(&self.out_of_scope_url_prefixes, &before.out_of_scope_url_prefixes)
    }
}

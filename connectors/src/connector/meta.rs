//! What a connector says of itself: data, no logic.

use std::time::Duration;

use reqwest::{StatusCode, header::HeaderMap};

use crate::{ErrorKind, kit::Rate};

/// What a connector says of itself.
#[derive(Debug)]
pub struct Meta {
    /// Id in lower snake case, as in `connector = "…"`.
    pub id: &'static str,
    /// The tool's own name.
    pub title: &'static str,
    /// The vendor's page about its API.
    pub docs: &'static str,
    /// What a product record is at this vendor.
    pub record: &'static str,
    /// Location used when the user gives none; empty when the user has to give it.
    pub location: &'static str,
    /// What the location means, with an example.
    pub location_help: &'static str,
    /// Least permissions the credential needs.
    pub permissions: &'static [&'static str],
    /// Further names of the connector, as `vendor = "…"` in the bodies of Leen's API, besides the id in capitals.
    pub vendors: &'static [&'static str],
    /// (other name, field): names accepted for a field besides its own. Of a table that is given no field (`("aws", "")`) the
    /// members count as fields.
    pub aliases: &'static [(&'static str, &'static str)],
    /// Whether syncs after the first ask only for what changed.
    pub incremental: bool,
    /// How many requests the vendor allows one credential; none = the customer's own server. Connectors of one vendor that share
    /// a credential state the same ones.
    pub rates: &'static [Rate],
    /// The vendor's own meaning of an answer, asked for before the usual reading of its status, of a good one too; `None` = the
    /// usual.
    pub judge: Option<Judge>,
    /// Advice for failures that have none of their own, where the vendor's differs from the usual.
    pub cures: &'static [(Sign, &'static str)],
    /// How many scopes are read at once.
    pub concurrency: usize,
    /// How far a delta steps back behind the last pass.
    pub overlap: Duration,
    /// How long a cursor stays good while nothing is read: a walk that stopped longer ago starts anew. An hour for positions in
    /// a list that moves; as long as the vendor keeps it for an export job.
    pub cursor_life: Duration,
    /// Largest body in bytes, after decompression.
    pub body_limit: usize,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// The header in which the vendor says until when the credential is accepted, in small letters.
    pub expiry_header: Option<&'static str>,
    /// Members that may hold secrets of the scanned thing: cut from whatever is kept of a vendor's item.
    pub cut: &'static [&'static str],
    /// The only members that may be kept of a vendor's item, as paths (`target.site.host`; lists add nothing to a path). Empty
    /// = all but `cut`. For vendors whose items are full of the scanned thing's secrets: it holds for what is stored beside a
    /// finding and for what is quarantined, even an item that is none, and the bodies of answers are not quoted in errors.
    pub keep: &'static [&'static str],
}

impl Meta {
    /// The defaults from which a vendor's constant departs.
    pub const DEFAULT: Meta = Meta {
        id: "",
        title: "",
        docs: "",
        record: "",
        location: "",
        location_help: "",
        permissions: &[],
        vendors: &[],
        aliases: &[],
        incremental: false,
        rates: &[],
        judge: None,
        cures: &[],
        concurrency: 4,
        overlap: Duration::from_secs(300),
        cursor_life: Duration::from_secs(3600),
        body_limit: 64 << 20,
        timeout: Duration::from_secs(120),
        expiry_header: None,
        cut: &[],
        keep: &[],
    };
}

/// What an answer of this status, with these headers and this body, means to a vendor; `None` = the usual.
pub type Judge = fn(StatusCode, &HeaderMap, &[u8]) -> Option<ErrorKind>;

/// A failure that a vendor may have advice of its own for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The credential is refused.
    Unauthorized,
    /// A permission is missing.
    Forbidden,
    /// What was asked for is not there (404).
    NotFound,
    /// No API answers here: a web page, or a redirect.
    NotAnApi,
}

impl Sign {
    /// The sign that an error is.
    pub(crate) fn of(kind: &ErrorKind) -> Option<Self> {
        match kind {
            ErrorKind::Unauthorized(_) => Some(Sign::Unauthorized),
            ErrorKind::Forbidden(_) => Some(Sign::Forbidden),
            ErrorKind::Refused { status: 404, .. } => Some(Sign::NotFound),
            ErrorKind::NotAnApi(_) | ErrorKind::Redirect(_) => Some(Sign::NotAnApi),
            _ => None,
        }
    }
}

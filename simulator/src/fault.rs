//! The script of faults: what goes wrong, on which route, after how many good answers, how often.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::seed::Seed;

/// Something odd in an item: as the value of its text ([`crate::Vendor::text_member`]), or beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    /// `null` in the place of the text.
    Null,
    /// A number in the place of the text.
    Number,
    /// A number that no double holds.
    Huge,
    /// A list in the place of the text.
    List,
    /// NUL and other control characters.
    Control,
    /// Half a surrogate pair.
    Surrogate,
    /// A text of five mebibytes.
    Long,
    /// A member that nobody has heard of.
    Extra,
    /// The member twice.
    Twice,
    /// The member is missing.
    Missing,
}

impl Odd {
    /// The same JSON with the first `"member": value` made odd.
    pub(crate) fn apply(self, body: &str, member: &str) -> String {
        let name = format!("\"{member}\":");
        let Some(at) = body.find(&name) else { return body.to_owned() };
        let start = at + name.len();
        let mut values = serde_json::Deserializer::from_str(&body[start..]).into_iter::<serde_json::Value>();
        if !matches!(values.next(), Some(Ok(_))) {
            return body.to_owned();
        }
        let end = start + values.byte_offset();
        let value = &body[start..end];
        let instead = match self {
            Odd::Null => format!("{name}null"),
            Odd::Number => format!("{name}42"),
            Odd::Huge => format!("{name}1e400"),
            Odd::List => format!("{name}[[1]]"),
            Odd::Control => format!("{name}\"a\\u0000b\\u001b[2Jc\\u202ed\""),
            Odd::Surrogate => format!("{name}\"a\\ud800b\""),
            Odd::Long => format!("{name}\"{}\"", "long ".repeat(1 << 20)),
            Odd::Extra => format!("\"neverHeardOf\":{{\"a\":[1]}},{name}{value}"),
            Odd::Twice => format!("{name}{value},{name}{value}"),
            Odd::Missing => "\"neverHeardOf\":1".to_owned(),
        };
        format!("{}{instead}{}", &body[..at], &body[end..])
    }
}

/// One thing that goes wrong with an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The tool's real answer to a bad credential (401, or what the tool says instead).
    Unauthorized,
    /// The tool's real answer to a missing permission (403, or what the tool says instead).
    Forbidden,
    /// A bare status with an optional `Retry-After` header, sent as given (seconds or an HTTP date).
    Status(u16, Option<String>),
    /// A status with this JSON instead of the answer.
    Json(u16, &'static str),
    /// 429 with this header instead of `Retry-After`.
    Limited(&'static str, String),
    /// The right answer, cut in the middle of the body (valid length header for the cut body).
    Truncated,
    /// The connection breaks in the middle of the body.
    Broken,
    /// The body comes one byte a second.
    Drip,
    /// The body never ends.
    Endless,
    /// 200 with an error in JSON instead of the answer.
    ErrorBody,
    /// The right answer with the `Date` of a clock that is off by this many seconds.
    Clock(i64),
    /// The right answer, with something odd in its first finding.
    Odd(Odd),
    /// The right answer after this long.
    Slow(Duration),
    /// 200 with no body at all.
    Empty,
    /// 200 with an HTML log-in page.
    Html,
    /// The credential lost its role: 200 and well-formed, but the lists are empty. Decided by the vendor's handler.
    NoRole,
    /// The page before this one is answered once more. Decided by the vendor's handler.
    DuplicatePage,
    /// An item of an earlier page vanished, so this page starts one item later than it should. Decided by the handler.
    ShiftedPage,
    /// The cursor is refused as expired. Decided by the vendor's handler; vendors without cursors ignore it.
    ExpiredCursor,
    /// The list does not get on: the answer names the cursor it was asked with as the next one or, where pages and chunks have
    /// numbers, is the first one again. Decided by the vendor's handler.
    RepeatedCursor,
    /// One item of the page carries enum values nobody has seen before (severity and state). Decided by the handler.
    UnknownEnum,
    /// The tool ignores what narrows a list ([`crate::Vendor::filters`], or the handler's own filters) and answers all of it.
    NoFilters,
    /// The right answer, but the number of rows that it declares ([`crate::Vendor::totals`]) is this many percent of the true one.
    Declared(u64),
    /// The right answer, but it never declares more rows than this.
    Capped(u64),
    /// An export is never ready. Decided by the vendor's handler, as are the next two.
    ExportPending,
    /// An export fails.
    ExportFailed,
    /// A chunk of an export that is announced is not there.
    ChunkLost,
    /// One item of the page is broken beyond reading (a list where an object belongs), but the page is valid JSON.
    BadItem,
}

impl Fault {
    /// Whether the server's middleware carries it out without asking the vendor's handler.
    pub(crate) fn is_transport(&self) -> bool {
        use Fault::{
            Broken, Capped, Clock, Declared, Drip, Empty, Endless, ErrorBody, Forbidden, Html, Json, Limited, Odd, Slow, Status, Truncated,
            Unauthorized,
        };
        matches!(
            self,
            Unauthorized
                | Forbidden
                | Status(..)
                | Json(..)
                | Limited(..)
                | Truncated
                | Broken
                | Drip
                | Endless
                | ErrorBody
                | Clock(_)
                | Declared(_)
                | Capped(_)
                | Odd(_)
                | Slow(_)
                | Empty
                | Html
        )
    }
}

/// The same JSON with another number in each `"member":number`.
pub(crate) fn declare(body: &str, member: &str, change: impl Fn(u64) -> u64) -> String {
    let name = format!("\"{member}\":");
    let mut parts = body.split(&name);
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        changed.push_str(&name);
        changed.push_str(&part[..digits].parse().map_or_else(|_| part[..digits].to_owned(), |number| change(number).to_string()));
        changed.push_str(&part[digits..]);
    }
    changed
}

#[derive(Debug)]
struct Rule {
    route: String,
    skip: usize,
    times: usize,
    fault: Fault,
}

/// The faults a running simulator still has to show.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
    /// How many of a hundred requests fail by chance, and the chance.
    chance: Mutex<Option<(f64, Seed)>>,
    shown: AtomicUsize,
}

impl Faults {
    /// Shows `fault` on requests whose route contains `route` ("" = every request): the first `skip` of them are answered
    /// well, the next `times` get the fault (`usize::MAX` = for ever).
    ///
    /// The route is `METHOD /path` for REST, and `METHOD /path OperationName` where the vendor's handler knows more
    /// (GraphQL).
    pub fn add(&self, route: &str, skip: usize, times: usize, fault: Fault) {
        self.rules().push(Rule { route: route.to_owned(), skip, times, fault });
    }

    /// Lets `percent` of a hundred requests fail in one of the ways that pass: overload, a limit of a second, a cut body.
    pub fn by_chance(&self, percent: f64, seed: u64) {
        *self.chance() = Some((percent, Seed::of(&[seed])));
    }

    /// How often one of them was shown so far.
    pub fn shown(&self) -> usize {
        self.shown.load(Ordering::Relaxed)
    }

    /// Forgets all faults that are left.
    pub fn clear(&self) {
        self.rules().clear();
        *self.chance() = None;
    }

    /// For the server: a fault by chance.
    pub(crate) fn chanced(&self) -> Option<Fault> {
        let mut chance = self.chance();
        let (percent, seed) = chance.as_mut()?;
        if !seed.chance(*percent) {
            return None;
        }
        let ways =
            [Fault::Status(503, None), Fault::Status(500, None), Fault::Status(429, Some("1".to_owned())), Fault::Truncated, Fault::Broken];
        ways.get(seed.below(ways.len())).cloned()
    }

    /// For a vendor's handler: the next fault of a kind that only the handler can show. Counts the request.
    pub fn take(&self, route: &str) -> Option<Fault> {
        self.next(route, |fault| !fault.is_transport())
    }

    pub(crate) fn next(&self, route: &str, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut shown = None;
        let mut rules = self.rules();
        for rule in rules.iter_mut().filter(|rule| wanted(&rule.fault) && route.contains(&rule.route)) {
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if rule.times > 0 && shown.is_none() {
                rule.times -= 1;
                shown = Some(rule.fault.clone());
                self.shown.fetch_add(1, Ordering::Relaxed);
            }
        }
        rules.retain(|rule| rule.times > 0);
        shown
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chance(&self) -> MutexGuard<'_, Option<(f64, Seed)>> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

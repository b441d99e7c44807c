//! One request to the REST API, and the pages that answer it: parameters, permissions, cursors and links.

use std::{borrow::Cow, fmt::Write};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Links, Server,
    refusal::{Refused, refused, wrong},
};
use crate::Fault;

/// One request to the REST API: where it goes, and with what.
pub(super) struct Asked<'a> {
    pub(super) server: &'a Server,
    pub(super) path: &'a str,
    pub(super) host: &'a str,
    pub(super) pairs: Vec<(String, String)>,
}

impl Asked<'_> {
    /// A parameter that may come once.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Refused> {
        let mut values = self.pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(wrong(name, "must not be an array")),
            (value, None) => Ok(value),
        }
    }

    /// A list with commas.
    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<&str>>, Refused> {
        Ok(self.one(name)?.map(|value| value.split(',').collect()))
    }

    pub(super) fn choice(&self, name: &str, allowed: &[&str]) -> Result<Option<&str>, Refused> {
        let value = self.one(name)?;
        if value.is_some_and(|value| !allowed.contains(&value)) { Err(wrong(name, "must be one of the allowed values")) } else { Ok(value) }
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refused> {
        Ok(self.choice(name, &["true", "false"])?.map(|value| value == "true"))
    }

    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, Refused> {
        let parse = |value: &str| value.parse::<Timestamp>().map_err(|_| wrong(name, "must match format date-time"));
        Ok(self.one(name)?.map(parse).transpose()?.map(Timestamp::as_millisecond))
    }

    /// Refuses what the endpoint does not know, besides these and the words of every request.
    pub(super) fn only(&self, known: &str) -> Result<(), Refused> {
        let is_known = |name: &str| name == "version" || known.split(' ').any(|word| word == name);
        match self.pairs.iter().find(|(name, _)| !is_known(name)) {
            Some((name, _)) => Err(wrong(name, "is no parameter of this endpoint")),
            None => Ok(()),
        }
    }

    pub(super) fn version(&self, released: &str) -> Result<(), Refused> {
        let Some(version) = self.one("version")? else { return Err(wrong("version", "is required")) };
        let (date, stage) = version.split_once('~').unwrap_or((version, ""));
        let is_date = date.len() == 10 && date.parse::<jiff::civil::Date>().is_ok();
        if !is_date || !matches!(stage, "" | "beta" | "experimental" | "wip") {
            return Err(wrong("version", "is no version"));
        }
        let (first, needed) = released.split_once('~').unwrap_or((released, ""));
        if date < first || (!needed.is_empty() && stage.is_empty()) {
            return Err(refused(404, "The endpoint does not exist in this version"));
        }
        Ok(())
    }

    pub(super) fn allowed(&self, permissions: &[&str]) -> Result<(), Refused> {
        match permissions.iter().find(|name| !self.server.tool.permissions.contains(name)) {
            Some(name) => Err(refused(403, format!("Permission denied for this resource, {name} is missing"))),
            None => Ok(()),
        }
    }

    pub(super) fn window(&self, least: usize) -> Result<Window, Refused> {
        let limit = match self.one("limit")? {
            None => 10,
            Some(text) => match text.parse() {
                Ok(limit) if (least..=100).contains(&limit) && limit.is_multiple_of(least) => limit,
                _ => return Err(wrong("limit", "must be a multiple of 10, from 10 to 100")),
            },
        };
        let row = |name: &str, value: &str| row_of(value).ok_or_else(|| wrong(name, "is no valid cursor"));
        let after = self.one("starting_after")?.map(|value| row("starting_after", value)).transpose()?;
        let before = match self.one("ending_before")? {
            None => None,
            Some("end") => Some(usize::MAX),
            Some("") => Some(0),
            Some(value) => Some(row("ending_before", value)?),
        };
        if after.is_some() && before.is_some() {
            return Err(wrong("ending_before", "must not come with starting_after"));
        }
        Ok(Window { after, before, limit })
    }

    /// A link to the same list with another cursor.
    fn link(&self, limit: usize, cursor: Option<(&str, &str)>) -> Value {
        let limit = limit.to_string();
        let kept = self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut pairs: Vec<(&str, &str)> =
            kept.filter(|(name, _)| !matches!(*name, "limit" | "starting_after" | "ending_before")).collect();
        pairs.push(("limit", &limit));
        pairs.extend(cursor);
        pairs.sort_unstable();
        let path = match self.server.tool.links {
            Links::Bare => self.path.trim_start_matches("/rest").to_owned(),
            Links::Absolute => format!("http://{}{}", self.host, self.path),
            Links::Rest | Links::Object => self.path.to_owned(),
        };
        let mut link = path;
        for (number, (name, value)) in pairs.into_iter().enumerate() {
            link.push(if number == 0 { '?' } else { '&' });
            link.push_str(name);
            link.push('=');
            for byte in value.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    link.push(char::from(byte));
                } else {
                    let _ = write!(link, "%{byte:02X}");
                }
            }
        }
        if self.server.tool.links == Links::Object { json!({ "href": link }) } else { json!(link) }
    }

    /// A page of these rows, with the faults that only a list knows.
    pub(super) fn page<'t>(
        &self,
        route: &str,
        mut window: Window,
        rows: &[usize],
        keep: impl Fn(usize) -> bool,
        text: impl Fn(usize) -> Cow<'t, str>,
        odd: impl Fn(&[usize]) -> Option<(usize, String)>,
    ) -> Result<String, Refused> {
        // Faults of items wait for a page that has items.
        let route = if window.select(rows, &keep).is_empty() { route.trim_end_matches(" findings") } else { route };
        let fault = self.server.faults.take(route);
        let mut again = false;
        match (&fault, window.after) {
            (Some(Fault::NoRole), _) => return Ok(r#"{"jsonapi":{"version":"1.0"},"data":[]}"#.to_owned()),
            (Some(Fault::ExpiredCursor), Some(_)) => return Err(wrong("starting_after", "is no valid cursor")),
            (Some(Fault::DuplicatePage), Some(after)) => {
                (window.before, again) = (Some(after + 1), true);
            }
            _ => {}
        }
        let page = window.select(rows, keep);
        if page.is_empty() && window.after.is_none() {
            return Ok(r#"{"jsonapi":{"version":"1.0"},"data":[]}"#.to_owned());
        }
        let mut texts: Vec<Cow<'_, str>> = page.iter().map(|row| text(*row)).collect();
        match fault {
            Some(Fault::BadItem) if !texts.is_empty() => texts[0] = "[1,2]".into(),
            Some(Fault::UnknownEnum) => {
                if let Some((at, text)) = odd(&page) {
                    texts[at] = text.into();
                }
            }
            _ => {}
        }
        let limit = window.limit;
        let mut links = json!({
            "self": self.link(limit, self.pairs.iter().find(|(name, _)| name == "starting_after").map(|(n, v)| (n.as_str(), v.as_str()))),
            "first": self.link(limit, None),
            "last": self.link(limit, Some(("ending_before", "end"))),
            "prev": self.link(limit, Some(("ending_before", &window.after.and(page.first()).map_or_else(String::new, |row| cursor(*row, false))))),
        });
        // A full page names a next one, even if that will be empty.
        let goes_on = window.before.map_or(page.len() == limit, |before| before < usize::MAX);
        if let Some(last) = page.last().filter(|_| goes_on) {
            links["next"] = self.link(limit, Some(("starting_after", &cursor(*last, again))));
        }
        if fault == Some(Fault::RepeatedCursor) && links.get("next").is_some() {
            links["next"] = links["self"].clone();
        }
        Ok(format!(r#"{{"jsonapi":{{"version":"1.0"}},"links":{links},"data":[{}]}}"#, texts.join(",")))
    }

    /// A page of values that are made for this request.
    pub(super) fn values(&self, route: &str, window: Window, values: &[Value]) -> Result<String, Refused> {
        let rows: Vec<usize> = (0..values.len()).collect();
        self.page(route, window, &rows, |_| true, |row| values[row].to_string().into(), |_| None)
    }
}

/// The rows that a page asks for: those after a row, those before a row, or the last.
pub(super) struct Window {
    after: Option<usize>,
    before: Option<usize>,
    limit: usize,
}

impl Window {
    /// Of these rows, in ascending order, those on the page.
    fn select(&self, rows: &[usize], keep: impl Fn(usize) -> bool) -> Vec<usize> {
        if let Some(before) = self.before {
            let end = rows.partition_point(|row| *row < before);
            let mut page: Vec<usize> = rows[..end].iter().rev().copied().filter(|row| keep(*row)).take(self.limit).collect();
            page.reverse();
            page
        } else {
            let start = self.after.map_or(0, |after| rows.partition_point(|row| *row <= after));
            rows[start..].iter().copied().filter(|row| keep(*row)).take(self.limit).collect()
        }
    }
}

/// An opaque cursor. One row has two of them, so that a repeated page does not look like a loop.
fn cursor(row: usize, again: bool) -> String {
    format!("v1.{row:08x}{}==", u8::from(again))
}

fn row_of(cursor: &str) -> Option<usize> {
    let digits = cursor.strip_prefix("v1.")?.strip_suffix("==")?;
    let (row, _) = digits.split_at_checked(8).filter(|(_, again)| matches!(*again, "0" | "1"))?;
    usize::from_str_radix(row, 16).ok()
}

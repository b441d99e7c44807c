//! Pages: which rows are on one, and how their bodies are put together.

use std::collections::BTreeSet;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    Params, Refused, Server,
    data::{File, Project},
};
use crate::Fault;

/// The page that is asked for.
#[derive(Clone, Copy)]
pub(super) struct Page {
    pub(super) number: usize,
    pub(super) size: usize,
}

impl Page {
    /// `largest` is the size above which a page is refused.
    pub(super) fn read(params: &Params, default: usize, largest: usize) -> Result<Self, Refused> {
        let number = |name: &str, default: usize| match params.get(name) {
            None => Ok(default),
            Some(text) => text
                .parse::<usize>()
                .map_err(|_| Refused::bad(format!("The '{name}' parameter cannot be parsed as an integer value: {text}"))),
        };
        let (page, size) = (number("p", 1)?, number("ps", default)?);
        if size > largest {
            return Err(Refused::bad(format!("'ps' value ({size}) must be less than {largest}")));
        }
        if page < 1 {
            return Err(Refused::bad(format!("Page must be greater or equal to 1 (got {page})")));
        }
        Ok(Page { number: page, size: if size == 0 { largest } else { size } })
    }

    /// Refuses what lies beyond the 10,000 results that the search engine gives.
    pub(super) fn in_window(self) -> Result<Self, Refused> {
        let last = self.number.saturating_mul(self.size);
        if last > 10_000 {
            return Err(Refused::bad(format!("Can return only the first 10000 results. {last}th result asked.")));
        }
        Ok(self)
    }

    pub(super) fn of<'a, T>(self, rows: &'a [T], fault: Option<&Fault>) -> &'a [T] {
        let from = (self.number - 1).saturating_mul(self.size);
        let from = match fault {
            Some(Fault::DuplicatePage) => from.saturating_sub(self.size),
            Some(Fault::RepeatedCursor) => 0,
            Some(Fault::ShiftedPage) if from > 0 => from + 1,
            Some(Fault::NoRole) => rows.len(),
            _ => from,
        };
        let from = from.min(rows.len());
        &rows[from..from.saturating_add(self.size).min(rows.len())]
    }

    pub(super) fn paging(self, total: usize) -> Value {
        json!({ "pageIndex": self.number, "pageSize": self.size, "total": total })
    }
}

/// Which row of a page shows what only one item can show: the first open one. The route of a page without one, or of a page
/// that was asked for to count, is not named as a list of findings.
pub(super) fn odd(server: &Server, route: &str, page: Page, is_open: impl Iterator<Item = bool>) -> (Option<Fault>, Option<usize>) {
    let first = is_open.enumerate().find(|(_, open)| *open).map(|(number, _)| number).filter(|_| page.size > 1);
    let fault = server.faults.take(&if first.is_some() { format!("{route} findings") } else { route.to_owned() });
    let first = first.filter(|_| matches!(fault, Some(Fault::UnknownEnum | Fault::BadItem)));
    (fault, first)
}

/// Puts the bodies together, one of them made odd.
pub(super) fn join<'a>(bodies: impl Iterator<Item = &'a str>, fault: Option<&Fault>, odd: Option<usize>) -> String {
    let mut text = String::new();
    for (number, body) in bodies.enumerate() {
        if number > 0 {
            text.push(',');
        }
        match fault {
            Some(Fault::BadItem) if odd == Some(number) => text.push_str("[1,2]"),
            Some(Fault::UnknownEnum) if odd == Some(number) => {
                let mut body: Value = serde_json::from_str(body).expect("our own JSON");
                for (field, word) in [
                    ("status", "PONDERING"),
                    ("issueStatus", "PONDERING"),
                    ("severity", "APOCALYPTIC"),
                    ("vulnerabilityProbability", "CERTAIN"),
                ] {
                    if let Some(value) = body.get_mut(field) {
                        *value = json!(word);
                    }
                }
                for impact in body["impacts"].as_array_mut().into_iter().flatten() {
                    impact["severity"] = json!("APOCALYPTIC");
                }
                text.push_str(&body.to_string());
            }
            _ => text.push_str(body),
        }
    }
    text
}

/// The components that the items of a page name, each once.
pub(super) fn named<'a>(files: impl Iterator<Item = (&'a Project, u32)>) -> String {
    let mut seen = BTreeSet::new();
    let mut bodies: Vec<&str> = Vec::new();
    for (project, number) in files {
        for number in [0, number] {
            if seen.insert((project.key.as_str(), number)) {
                let file: &File = &project.files[number as usize];
                bodies.push(&file.component);
            }
        }
    }
    bodies.join(",")
}

pub(super) fn raw(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

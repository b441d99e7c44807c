//! What options may be given: words of a fixed list, and names of what there is. A mistyped one is an error that names the
//! nearest: a list that is empty for want of a letter would be taken for good news.

use std::ffi::OsStr;

use clap::{
    Arg, Command,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use tributary_connectors::{
    CONNECTORS,
    model::{Severity, State},
};

use super::error::NotFound;
use crate::{
    config::Config,
    store::{FindingFilter, Named, RECORD_STATES, Reader},
};

/// A word of a list, in any case, with `-` or `_`.
#[derive(Clone, Debug)]
struct OneOf(PossibleValuesParser);

impl TypedValueParser for OneOf {
    type Value = String;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        let plain = value.to_string_lossy().to_lowercase().replace('-', "_");
        // What is told is what was typed.
        self.0.parse_ref(command, argument, OsStr::new(&plain)).or_else(|_| self.0.parse_ref(command, argument, value))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}

fn one_of(words: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = String> {
    OneOf(PossibleValuesParser::new(words))
}

pub(super) fn severity() -> impl TypedValueParser<Value = String> {
    one_of(Severity::ALL.iter().map(|severity| severity.as_str()))
}

pub(super) fn finding_state() -> impl TypedValueParser<Value = String> {
    one_of(State::ALL.iter().map(|state| state.as_str()))
}

pub(super) fn record_state() -> impl TypedValueParser<Value = String> {
    one_of(RECORD_STATES.iter().copied())
}

/// The state of an asset, an identity or a company.
pub(super) fn thing_state() -> impl TypedValueParser<Value = String> {
    one_of(["present", "gone"])
}

pub(super) fn connector() -> impl TypedValueParser<Value = String> {
    one_of(CONNECTORS.iter().map(|entry| entry.meta.id))
}

/// A CVE id, in any case.
pub(super) fn cve(text: &str) -> Result<String, String> {
    let id = text.to_uppercase();
    let is_number = |part: &str, least: usize| part.len() >= least && part.bytes().all(|byte| byte.is_ascii_digit());
    let valid = id
        .strip_prefix("CVE-")
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(year, number)| year.len() == 4 && is_number(year, 4) && is_number(number, 4));
    if valid { Ok(id) } else { Err("a CVE id is written as CVE-2021-44228".to_owned()) }
}

/// Refuses the name of a connection that is neither configured nor stored.
pub(super) fn connection(config: &Config, reader: &Reader, name: Option<&str>) -> anyhow::Result<()> {
    let Some(name) = name else { return Ok(()) };
    if config.connections.iter().any(|connection| connection.name == name) || reader.has(Named::Connection, name)? {
        return Ok(());
    }
    let mut known = reader.names(Named::Connection)?;
    known.extend(config.connections.iter().map(|connection| connection.name.clone()));
    known.sort_unstable();
    known.dedup();
    Err(NotFound::new("connection", name).among(&known, "tributary connections list").into())
}

/// Refuses a filter that names what there is not.
pub(super) fn findings(config: &Config, reader: &Reader, filter: &FindingFilter) -> anyhow::Result<()> {
    connection(config, reader, filter.connection.as_deref())?;
    record(reader, filter.record.as_deref())?;
    product(reader, filter.product.as_deref())
}

/// Refuses the key of a record that is not stored.
pub(super) fn record(reader: &Reader, key: Option<&str>) -> anyhow::Result<()> {
    let Some(key) = key else { return Ok(()) };
    if reader.has(Named::Record, key)? {
        return Ok(());
    }
    Err(no_record(reader, key)?.into())
}

/// What is said of the key of a record that is not there.
pub(super) fn no_record(reader: &Reader, key: &str) -> anyhow::Result<NotFound> {
    Ok(NotFound::new("record", key).among(&reader.names(Named::Record)?, "tributary records list"))
}

/// Refuses the name of a product that is not stored.
pub(super) fn product(reader: &Reader, name: Option<&str>) -> anyhow::Result<()> {
    let Some(name) = name else { return Ok(()) };
    if reader.has(Named::Product, name)? {
        return Ok(());
    }
    Err(NotFound::new("product", name).among(&reader.names(Named::Product)?, "tributary products list").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cve_id_is_told_from_what_is_none() {
        assert_eq!(cve("cve-2021-44228"), Ok("CVE-2021-44228".to_owned()));
        for wrong in ["", "CVE", "CVE-21-44228", "CVE-2021-", "CVE-2021-123", "CVE-2021-12x4", "2021-44228", "GHSA-1234-1234-1234"] {
            assert!(cve(wrong).is_err(), "{wrong}");
        }
    }
}

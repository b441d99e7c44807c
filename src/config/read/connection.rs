//! One connection, with its secrets.

use std::{fs, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use tributary_connectors::{
    CONNECTORS, Meta, Registration,
    kit::{HttpOptions, Location, Secret},
};

use super::{Defaults, HTTP, KeyAndValue, Reader, fields::Known, nearest};
use crate::{
    config::{
        Connection, SecretRef,
        secret::{Readers, readers},
        settings::connection_keys,
    },
    error_code,
};

/// What is wrong with a secret, or a reference to one, that is empty.
fn names_nothing(value: &DeValue<'_>) -> Option<String> {
    let empty = |value: &DeValue<'_>| value.as_str().is_some_and(|text| text.trim().is_empty());
    match value {
        DeValue::Table(table) => table.iter().find_map(|(kind, value)| match value.get_ref() {
            DeValue::Array(words) if words.first().is_none_or(|program| empty(program.get_ref())) => {
                Some(format!("`{}` names no program", kind.get_ref()))
            }
            value if empty(value) => Some(format!("`{}` is empty", kind.get_ref())),
            _ => None,
        }),
        value if empty(value) => Some("the secret is empty".to_owned()),
        _ => None,
    }
}

/// The line that a connection lacks whose tool has no address of its own.
fn location_line(meta: &Meta) -> String {
    let example = meta.location_help.split([' ', ',', ';']).find(|word| word.starts_with("https://"));
    format!("add `location = \"{}\"`: {}", example.unwrap_or("https://…"), meta.location_help)
}

impl Reader<'_> {
    // long: every setting is read even after a wrong one, and all of them end in one literal
    pub(super) fn connection(&mut self, (name, value): KeyAndValue<'_>, defaults: &Defaults) -> Option<Connection> {
        let before = self.problems.len();
        let id = name.get_ref().to_string();
        let place = format!("[connections.{id}]");
        let valid = !id.is_empty()
            && id.len() <= 63
            && !id.starts_with(['-', '_'])
            && id.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_'));
        if !valid {
            self.wrong(
                error_code::INVALID_NAME,
                name.span(),
                format!("`{id}` is no name for a connection"),
                "use a-z, 0-9, - and _, at most 63, first a letter or digit",
            );
        }
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong(error_code::WRONG_TYPE, value.span(), format!("{place} has to be a table"), "write it as a section");
            return None;
        };
        // Whatever else is wrong, all of this is told.
        let all = self.defaults(table, defaults.clone());
        let credential_expires = self.moment(table, "credential_expires", &all.timezone);
        let http = self.http(table);
        let label = self.text(table, "label").map(|(label, _)| label);
        let enabled = self.flag(table, "enabled").unwrap_or(true);
        let connector = ["connector", "vendor"].iter().find_map(|name| table.get(*name)).and_then(|value| value.get_ref().as_str());
        let entry = connector.and_then(Registration::find);
        self.known_or(table, &connection_keys(), &place, |key| {
            let is_field = entry.is_some_and(|entry| Known::of(entry).has(key));
            is_field.then(|| format!("put it below [connections.{id}.fields]"))
        });
        let named = self.text(table, "connector").or_else(|| self.text(table, "vendor"));
        let Some((connector, span)) = named else {
            self.wrong(error_code::UNKNOWN_CONNECTOR, name.span(), format!("{place} names no connector"), "add `connector = \"…\"`");
            return None;
        };
        let entry = self.entry(&connector, span)?;
        let known = Known::of(entry);
        let fields = self.fields(&known, table);
        let location = fields.location.clone().or_else(|| self.text(table, "location"));
        for (field, about) in known.required() {
            if !fields.gives(field) && !self.problems[before..].iter().any(|p| p.what.contains(&format!("`{field}`"))) {
                self.wrong(error_code::MISSING_FIELD, name.span(), format!("{place} lacks `{field}`"), about);
            }
        }
        let (address, span) = location.unwrap_or_else(|| (entry.meta.location.to_owned(), name.span()));
        if address.is_empty() {
            self.wrong(error_code::MISSING_FIELD, span, format!("{place} lacks `location`"), &location_line(entry.meta));
            return None;
        }
        let location = match Location::parse(&address, http.allow_http) {
            Ok(location) => location,
            Err(error) => {
                self.wrong(error_code::INVALID_LOCATION, span, error.kind.to_string(), entry.meta.location_help);
                return None;
            }
        };
        if self.problems.len() > before {
            return None;
        }
        Some(Connection {
            name: id,
            label,
            entry,
            location,
            enabled,
            discover: all.discover,
            sync: all.sync,
            timezone: all.timezone,
            auto_map: all.auto_map,
            minimum_severity: all.minimum_severity,
            import_closed: all.import_closed,
            full_sync_every: all.full_sync_every,
            close_missing_after: all.close_missing_after,
            http,
            credential_expires,
            fields: fields.plain,
            secrets: fields.secrets,
        })
    }

    /// The connector of this name.
    fn entry(&mut self, connector: &str, span: Range<usize>) -> Option<&'static Registration> {
        let entry = Registration::find(connector);
        if entry.is_none() {
            let ids: Vec<&str> = CONNECTORS.iter().map(|entry| entry.meta.id).collect();
            let known = || format!("known: {}", ids.join(", "));
            let (what, hint) = match Registration::planned(connector) {
                Some(id) => (format!("the connector `{id}` is not built yet"), format!("take the connection out until it is; {}", known())),
                None => {
                    let near = nearest(connector, &ids).map(|near| format!("did you mean `{near}`?"));
                    (format!("unknown connector `{connector}`"), near.unwrap_or_else(known))
                }
            };
            self.wrong(error_code::UNKNOWN_CONNECTOR, span, what, &hint);
        }
        entry
    }

    /// The way to the tool.
    fn http(&mut self, table: &DeTable<'_>) -> HttpOptions {
        let mut http = HttpOptions::default();
        if let Some(table) = self.table(table, "http") {
            self.known(table, HTTP, "http");
            http.ca_file = self.words(table, "ca_file").map(|path| self.beside(&path));
            http.proxy = self.words(table, "proxy");
            http.timeout = self.time(table, "timeout");
            http.allow_http = self.flag(table, "allow_http").unwrap_or(false);
        }
        http
    }

    /// Where a secret is. One that names nothing can never work.
    // long: one arm for each form in which a secret can be named, with its own messages
    pub(super) fn secret(&mut self, field: &str, value: &Spanned<DeValue<'_>>) -> Option<SecretRef> {
        if let Some(what) = names_nothing(value.get_ref()) {
            self.wrong(error_code::INVALID_SECRET, value.span(), format!("`{field}`: {what}"), "name where the secret is, or give it");
            return None;
        }
        match value.get_ref() {
            DeValue::String(literal) => {
                if self.strict {
                    self.wrong(
                        error_code::INVALID_SECRET,
                        value.span(),
                        format!("`{field}` is a literal secret, and strict_secrets is on"),
                        "use { env = … }, { file = … }, { credential = … } or { command = […] }",
                    );
                    return None;
                }
                let (line, _) = self.position(value.span().start);
                let shown = self.path.display();
                if self.readers == Readers::All {
                    let hint =
                        format!("run `chmod o-r {shown}`, or use {{ env = … }}, {{ file = … }}, {{ credential = … }}, {{ command = […] }}");
                    let what = format!("`{field}` is a literal secret in a file that everybody can read");
                    self.wrong(error_code::READABLE_SECRET, value.span(), what, &hint);
                    return None;
                }
                let everybody = if self.readers == Readers::AllInMemory { ", which everybody on this machine can read" } else { "" };
                self.warnings.push(format!(
                    "{shown}:{line}: `{field}` is a literal secret; a reference such as {{ file = \"…\" }} keeps it out of this file{everybody}"
                ));
                Some(SecretRef::Literal(Secret::new(literal)))
            }
            DeValue::Table(table) if table.len() == 1 => {
                let (kind, value) = table.iter().next().expect("one entry");
                match (kind.get_ref().as_ref(), value.get_ref()) {
                    ("env", DeValue::String(name)) => Some(SecretRef::Env(name.to_string())),
                    ("file", DeValue::String(path)) => {
                        let path = self.beside(path);
                        if fs::File::open(&path).and_then(|file| readers(&file)).is_ok_and(|who| who == Readers::AllInMemory) {
                            let warning =
                                format!("`{field}`: everybody on this machine can read {}: run `chmod o-r` on it", path.display());
                            self.warnings.push(warning);
                        }
                        Some(SecretRef::File(path))
                    }
                    ("credential", DeValue::String(name)) if !name.contains('/') => Some(SecretRef::Credential(name.to_string())),
                    ("command", DeValue::Array(words)) if words.iter().all(|word| word.get_ref().is_str()) => {
                        Some(SecretRef::Command(words.iter().filter_map(|word| word.get_ref().as_str()).map(str::to_owned).collect()))
                    }
                    _ => {
                        self.wrong(
                            error_code::INVALID_SECRET,
                            kind.span(),
                            format!("`{field}` is no secret reference"),
                            "one of env, file, credential (text) or command (list of text)",
                        );
                        None
                    }
                }
            }
            _ => {
                self.wrong(
                    error_code::INVALID_SECRET,
                    value.span(),
                    format!("`{field}` is no secret reference"),
                    "a table with one of env, file, credential, command",
                );
                None
            }
        }
    }
}

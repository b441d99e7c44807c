//! The fields of a connection: what its connector's schema and aliases accept, in whichever of its tables it stands.

use std::ops::Range;

use serde_json::{Map, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use tributary_connectors::{Meta, Registration};

use super::{KeyAndValue, Reader, nearest};
use crate::{config::SecretRef, error_code};

/// What a connection says of its connector's fields.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) plain: Map<String, Value>,
    pub(super) secrets: Vec<(String, SecretRef)>,
    /// The tool's address, where it stands among the fields.
    pub(super) location: Option<(String, Range<usize>)>,
}

impl Fields {
    fn has(&self, field: &str) -> bool {
        self.plain.contains_key(field) || self.secrets.iter().any(|(known, _)| known == field)
    }

    /// Whether a field has a value that is not an empty text.
    pub(super) fn gives(&self, field: &str) -> bool {
        self.has(field) && self.plain.get(field).is_none_or(|value| value.as_str() != Some(""))
    }
}

/// The fields that a connector takes.
pub(super) struct Known {
    id: &'static str,
    aliases: &'static [(&'static str, &'static str)],
    /// The schema of each field.
    properties: Map<String, Value>,
    required: Vec<String>,
}

impl Known {
    pub(super) fn of(entry: &Registration) -> Self {
        Known::new(entry.meta, entry.schema().as_value())
    }

    fn new(meta: &'static Meta, schema: &Value) -> Self {
        let required = schema["required"].as_array().into_iter().flatten();
        Known {
            id: meta.id,
            aliases: meta.aliases,
            properties: schema["properties"].as_object().cloned().unwrap_or_default(),
            required: required.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.properties.contains_key(self.field(name))
    }

    /// Each required field with what it is.
    pub(super) fn required(&self) -> impl Iterator<Item = (&str, &str)> {
        self.required.iter().map(|field| (field.as_str(), self.properties[field]["description"].as_str().unwrap_or_default()))
    }

    /// The field that a key names: itself, or what it is another name of. Empty for a table whose members are fields.
    fn field<'a>(&self, key: &'a str) -> &'a str {
        self.aliases.iter().find(|(alias, _)| *alias == key).map_or(key, |(_, field)| *field)
    }
}

/// Whether a value of this JSON type fits the schema.
fn takes(schema: &Value, kind: &str) -> bool {
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|known| known == kind),
        known => known == kind,
    }
}

impl Reader<'_> {
    /// Reads `fields`, `credentials` and `options`, which are one table by three names, and `secret` beside them. A table within
    /// them whose alias is the empty name is opened: its members are fields.
    pub(super) fn fields(&mut self, known: &Known, connection: &DeTable<'_>) -> Fields {
        let given: Vec<_> = ["fields", "credentials", "options"].iter().filter_map(|name| self.table(connection, name)).collect();
        let given = given.into_iter().flat_map(|table| table.iter());
        let given = given.flat_map(|(key, value)| match value.get_ref() {
            DeValue::Table(members) if known.field(key.get_ref()).is_empty() => members.iter().collect(),
            _ => vec![(key, value)],
        });
        let beside = connection.iter().filter(|(key, _)| key.get_ref() == "secret");
        let mut fields = Fields::default();
        for (key, value) in given.chain(beside) {
            self.field(known, (key, value), &mut fields);
        }
        fields
    }

    fn field(&mut self, known: &Known, (key, value): KeyAndValue<'_>, fields: &mut Fields) {
        let field = known.field(key.get_ref());
        if field == "location" {
            match value.get_ref() {
                DeValue::String(text) => fields.location = Some((text.to_string(), value.span())),
                _ => self.wrong(error_code::WRONG_TYPE, value.span(), format!("`{}` has to be text", key.get_ref()), "put it in quotes"),
            }
            return;
        }
        let Some(schema) = known.properties.get(field) else {
            let names: Vec<&str> = known.properties.keys().map(String::as_str).collect();
            let hint = nearest(field, &names)
                .map_or_else(|| format!("its fields: {}", names.join(", ")), |near| format!("did you mean `{near}`?"));
            self.wrong(error_code::UNKNOWN_KEY, key.span(), format!("unknown field `{}` of {}", key.get_ref(), known.id), &hint);
            return;
        };
        if fields.has(field) {
            self.wrong(error_code::INVALID_NAME, key.span(), format!("`{field}` is given twice"), "keep one of them");
        } else if schema.get("format").is_some_and(|format| format == "password") {
            fields.secrets.extend(self.secret(field, value).map(|reference| (field.to_owned(), reference)));
        } else if let Some(value) = self.plain(field, value, schema) {
            fields.plain.insert(field.to_owned(), value);
        }
    }

    /// The value of a field that is no secret. A whole number may be written as text, as forms and other tools give it.
    fn plain(&mut self, field: &str, value: &Spanned<DeValue<'_>>, schema: &Value) -> Option<Value> {
        let plain = match value.get_ref() {
            DeValue::String(text) if takes(schema, "integer") && !takes(schema, "string") => {
                text.trim().parse::<i64>().ok().map(Value::from)
            }
            DeValue::String(text) => Some(text.to_string().into()),
            DeValue::Boolean(flag) => Some((*flag).into()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::from),
            DeValue::Array(list) => {
                return list.iter().map(|value| self.plain(field, value, &schema["items"])).collect::<Option<Vec<_>>>().map(Value::from);
            }
            DeValue::Table(table) if takes(schema, "object") => {
                let members = schema["properties"].as_object();
                let known: Vec<&str> = members.into_iter().flat_map(Map::keys).map(String::as_str).collect();
                self.known(table, &known, &format!("`{field}`"));
                let member = |(key, value): KeyAndValue<'_>| {
                    let name = key.get_ref().to_string();
                    let value = self.plain(&format!("{field}.{name}"), value, &schema["properties"][&name])?;
                    Some((name, value))
                };
                return table.iter().map(member).collect::<Option<Map<_, _>>>().map(Value::from);
            }
            _ => None,
        };
        if plain.is_none() {
            let hint = match value.get_ref() {
                DeValue::String(_) => "write a whole number",
                _ => "only secret fields take a reference",
            };
            self.wrong(error_code::WRONG_TYPE, value.span(), format!("`{field}` has the wrong type"), hint);
        }
        plain
    }
}

#[cfg(test)]
mod tests;

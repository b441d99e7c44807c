//! Every setting, said once: from these tables come the keys that a file may hold, the JSON Schema, what `config show` prints of a
//! connection, and what a reload compares.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tributary_connectors::{CONNECTORS, kit::HttpOptions, model::Severity};

use super::{Connection, Schedule};

/// What a value of a process setting has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorKind {
    Text,
    Flag,
    /// A whole number within these bounds.
    Number(i64, i64),
}

/// A setting of the process.
#[derive(Debug)]
pub(crate) struct ProcessSetting {
    pub(crate) key: &'static str,
    about: &'static str,
    pub(super) kind: ErrorKind,
    /// Whether a reload changes it; else only a restart does.
    pub(crate) live: bool,
}

/// Every section of process settings.
pub(crate) const SECTIONS: &[(&str, &[ProcessSetting])] = &[
    (
        "daemon",
        &[ProcessSetting { key: "concurrency", about: "How many operations work at once", kind: ErrorKind::Number(1, 1000), live: true }],
    ),
    (
        "store",
        &[
            ProcessSetting { key: "url", about: "`sqlite:///absolute/path` or `sqlite:relative/path`", kind: ErrorKind::Text, live: false },
            ProcessSetting { key: "keep_raw", about: "Keep the vendor's raw items", kind: ErrorKind::Flag, live: false },
            ProcessSetting {
                key: "keep_operations",
                about: "Operations older than this are pruned, as \"90d\"",
                kind: ErrorKind::Text,
                live: true,
            },
        ],
    ),
    (
        "server",
        &[
            ProcessSetting { key: "listen", about: "Loopback address and port, or \"off\"", kind: ErrorKind::Text, live: false },
            ProcessSetting {
                key: "probe_listen",
                about: "Address and port that only serves /livez, /readyz and /metrics, or \"off\"",
                kind: ErrorKind::Text,
                live: false,
            },
        ],
    ),
];

impl ProcessSetting {
    fn schema(&self) -> Value {
        match self.kind {
            ErrorKind::Text => json!({ "type": "string", "description": self.about }),
            ErrorKind::Flag => json!({ "type": "boolean", "description": self.about }),
            ErrorKind::Number(least, most) => {
                json!({ "type": "integer", "minimum": least, "maximum": most, "description": self.about })
            }
        }
    }
}

/// The JSON Schema of every section of process settings.
pub(super) fn section_schemas() -> Map<String, Value> {
    let section = |settings: &[ProcessSetting]| {
        let properties: Map<String, Value> = settings.iter().map(|setting| (setting.key.to_owned(), setting.schema())).collect();
        json!({ "type": "object", "properties": properties, "additionalProperties": false })
    };
    SECTIONS.iter().map(|(name, settings)| ((*name).to_owned(), section(settings))).collect()
}

/// A setting of a connection.
pub(crate) struct Setting {
    pub(crate) key: &'static str,
    /// Whether it may stand in `[defaults]`, too.
    pub(super) shared: bool,
    pub(super) schema: fn() -> Value,
    pub(super) show: Show,
    /// Whether it is the same in both.
    pub(crate) same: fn(&Connection, &Connection) -> bool,
}

/// How `config show` prints a setting.
pub(super) enum Show {
    /// Its value as TOML; `None` where it has none.
    Value(fn(&Connection) -> Option<String>),
    /// What it says is shown below the setting of this name.
    As(#[cfg_attr(not(test), expect(dead_code, reason = "for whoever reads, and for the test"))] &'static str),
}

/// Every setting of a connection.
pub(crate) const CONNECTION: &[Setting] = &[
    Setting {
        key: "connector",
        shared: false,
        schema: || json!({ "enum": CONNECTORS.iter().map(|entry| entry.meta.id).collect::<Vec<_>>() }),
        show: Show::Value(|one| Some(quoted(one.entry.meta.id))),
        same: |a, b| a.entry.meta.id == b.entry.meta.id,
    },
    Setting { key: "vendor", shared: false, schema: text, show: Show::As("connector"), same: |_, _| true },
    Setting {
        key: "location",
        shared: false,
        schema: text,
        show: Show::Value(|one| Some(quoted(&one.location.to_string()))),
        same: |a, b| a.location == b.location,
    },
    Setting {
        key: "label",
        shared: false,
        schema: text,
        show: Show::Value(|one| one.label.as_deref().map(quoted)),
        same: |a, b| a.label == b.label,
    },
    Setting {
        key: "enabled",
        shared: false,
        schema: flag,
        show: Show::Value(|one| Some(one.enabled.to_string())),
        same: |a, b| a.enabled == b.enabled,
    },
    Setting {
        key: "discover",
        shared: true,
        schema: schedule,
        show: Show::Value(|one| Some(shown_schedule(&one.discover))),
        same: |a, b| a.discover == b.discover,
    },
    Setting {
        key: "sync",
        shared: true,
        schema: schedule,
        show: Show::Value(|one| Some(shown_schedule(&one.sync))),
        same: |a, b| a.sync == b.sync,
    },
    Setting {
        key: "timezone",
        shared: true,
        schema: text,
        show: Show::Value(|one| Some(quoted(one.timezone.iana_name().unwrap_or("UTC")))),
        same: |a, b| a.timezone == b.timezone,
    },
    Setting {
        key: "auto_map",
        shared: true,
        schema: flag,
        show: Show::Value(|one| Some(one.auto_map.to_string())),
        same: |a, b| a.auto_map == b.auto_map,
    },
    Setting {
        key: "minimum_severity",
        shared: true,
        schema: || json!({ "enum": Severity::ALL.iter().map(|severity| severity.as_str()).collect::<Vec<_>>() }),
        show: Show::Value(|one| Some(quoted(one.minimum_severity.as_str()))),
        same: |a, b| a.minimum_severity == b.minimum_severity,
    },
    Setting {
        key: "import_closed",
        shared: true,
        schema: flag,
        show: Show::Value(|one| Some(one.import_closed.to_string())),
        same: |a, b| a.import_closed == b.import_closed,
    },
    Setting {
        key: "close_missing_after",
        shared: true,
        schema: || json!({ "type": "string", "description": "As \"30d\", or \"off\"" }),
        show: Show::Value(|one| Some(quoted(&one.close_missing_after.map_or_else(|| "off".to_owned(), shown_time)))),
        same: |a, b| a.close_missing_after == b.close_missing_after,
    },
    Setting {
        key: "full_sync_every",
        shared: true,
        schema: text,
        show: Show::Value(|one| Some(quoted(&shown_time(one.full_sync_every)))),
        same: |a, b| a.full_sync_every == b.full_sync_every,
    },
    Setting {
        key: "http",
        shared: false,
        schema: object,
        show: Show::Value(|one| Some(shown_http(&one.http))),
        same: |a, b| a.http == b.http,
    },
    Setting { key: "fields", shared: false, schema: object, show: Show::Value(shown_fields), same: |a, b| a.fields == b.fields },
    Setting { key: "secret", shared: false, schema: secret, show: Show::As("fields"), same: |a, b| a.secrets == b.secrets },
    Setting { key: "credentials", shared: false, schema: object, show: Show::As("fields"), same: |_, _| true },
    Setting { key: "options", shared: false, schema: object, show: Show::As("fields"), same: |_, _| true },
    Setting {
        key: "credential_expires",
        shared: false,
        schema: || json!({ "type": "string", "description": "When the credential expires: 2027-01-31, or with a time" }),
        show: Show::Value(|one| one.credential_expires.map(|at| at.to_string())),
        same: |a, b| a.credential_expires == b.credential_expires,
    },
];

/// The keys that may stand in `[defaults]`.
pub(super) fn shared_keys() -> Vec<&'static str> {
    CONNECTION.iter().filter(|setting| setting.shared).map(|setting| setting.key).collect()
}

/// The keys that may stand in a connection.
pub(super) fn connection_keys() -> Vec<&'static str> {
    CONNECTION.iter().map(|setting| setting.key).collect()
}

/// The JSON Schema of a connection, or with `shared` of `[defaults]`.
pub(super) fn connection_schema(settings: impl Fn(&Setting) -> bool) -> Value {
    let properties: Map<String, Value> =
        CONNECTION.iter().filter(|setting| settings(setting)).map(|setting| (setting.key.to_owned(), (setting.schema)())).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// A connection as TOML; secrets are shown as where they come from.
pub(super) fn shown(connection: &Connection) -> String {
    let lines = CONNECTION.iter().filter_map(|setting| match &setting.show {
        Show::Value(show) => show(connection).map(|value| format!("{} = {value}\n", setting.key)),
        Show::As(_) => None,
    });
    format!("[connections.{}]\n{}", connection.name, lines.collect::<String>())
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// As a file says it: `7d`, `6h`, `90m`, `45s`.
fn shown_time(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

fn shown_schedule(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Off => quoted("off"),
        Schedule::Every(time) => format!("{{ every = {} }}", quoted(&shown_time(*time))),
        Schedule::Cron(cron) => quoted(&cron.pattern.to_string()),
    }
}

fn shown_http(HttpOptions { ca_file, proxy, timeout, allow_http }: &HttpOptions) -> String {
    // A proxy may want a password.
    let proxy = proxy.as_deref().map(|proxy| match (proxy.split_once("://"), proxy.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://<hidden>@{host}"),
        (None, Some((_, host))) => format!("<hidden>@{host}"),
        _ => proxy.to_owned(),
    });
    let parts = [
        ca_file.as_ref().map(|path| format!("ca_file = {}", quoted(&path.display().to_string()))),
        proxy.map(|proxy| format!("proxy = {}", quoted(&proxy))),
        timeout.map(|time| format!("timeout = {}", quoted(&shown_time(time)))),
        Some(format!("allow_http = {allow_http}")),
    ];
    format!("{{ {} }}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn shown_fields(connection: &Connection) -> Option<String> {
    let as_toml = |value: &Value| toml::Value::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string());
    let plain = connection.fields.iter().map(|(field, value)| format!("{field} = {}", as_toml(value)));
    let secrets = connection.secrets.iter().map(|(field, reference)| format!("{field} = {}", quoted(&format!("<{reference}>"))));
    let fields: Vec<String> = plain.chain(secrets).collect();
    Some(if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn flag() -> Value {
    json!({ "type": "boolean" })
}

fn object() -> Value {
    json!({ "type": "object" })
}

fn schedule() -> Value {
    json!({ "oneOf": [
        { "type": "string", "description": "Cron rule of 5 fields, or 6 with seconds first, or \"off\"" },
        { "type": "object", "properties": { "every": { "type": "string", "description": "As \"90m\" or \"6h\"" } }, "required": ["every"], "additionalProperties": false },
    ] })
}

fn secret() -> Value {
    json!({ "oneOf": [
        { "type": "string", "description": "A literal secret (warned about)" },
        { "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false, "properties": {
            "env": { "type": "string" }, "file": { "type": "string" }, "credential": { "type": "string" },
            "command": { "type": "array", "items": { "type": "string" } },
        } },
    ] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// A configuration that says something of every setting.
    const FULL: &str = r#"
        [connections.full]
        connector = "sonarqube"
        location = "https://sonar.example"
        label = "Ours \"here\""
        enabled = false
        discover = { every = "90m" }
        sync = "5 4 * * *"
        timezone = "Europe/Berlin"
        auto_map = false
        minimum_severity = "high"
        import_closed = true
        full_sync_every = "14d"
        close_missing_after = "36h"
        http = { proxy = "http://user:canary@proxy.example:3128", timeout = "45s" }
        secret = { env = "SONAR_TOKEN" }
        credential_expires = "2027-01-31T12:00:00Z"
    "#;

    fn shown_again(text: &str) -> toml::Table {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tributary.toml");
        std::fs::write(&file, text).expect("a file");
        let shown = Config::load(&[file]).expect("a configuration").show();
        assert!(!shown.contains("canary"), "{shown}");
        shown.parse().unwrap_or_else(|error| panic!("{error}\n{shown}"))
    }

    #[test]
    fn what_is_shown_is_toml_and_names_every_key_of_the_schema() {
        let shown = shown_again(FULL);
        let schema = Config::schema();
        for (name, section) in schema["properties"].as_object().expect("properties") {
            let keys = match name.as_str() {
                "defaults" => continue,
                "connections" => &section["additionalProperties"]["properties"],
                _ => &section["properties"],
            };
            let here = match name.as_str() {
                "connections" => &shown["connections"]["full"],
                _ => &shown[name.as_str()],
            };
            for key in keys.as_object().into_iter().flat_map(Map::keys) {
                let setting = CONNECTION.iter().find(|setting| name == "connections" && setting.key == key);
                let key = match setting.map(|setting| &setting.show) {
                    Some(Show::As(other)) => other,
                    _ => key.as_str(),
                };
                assert!(here.get(key).is_some(), "{name}: {key} is not shown in\n{here}");
            }
        }
    }

    #[test]
    fn what_is_shown_is_what_was_said() {
        let shown = shown_again(FULL);
        let one = &shown["connections"]["full"];
        let expected: toml::Table = FULL.parse().expect("TOML");
        for (key, value) in expected["connections"]["full"].as_table().expect("a table") {
            match key.as_str() {
                "http" => {
                    assert_eq!(one["http"]["proxy"].as_str(), Some("http://<hidden>@proxy.example:3128"));
                    assert_eq!(one["http"]["timeout"].as_str(), Some("45s"));
                }
                // The tests may run where the variable is set, or not.
                "secret" => assert!(one["fields"]["secret"].as_str().is_some_and(|from| from.starts_with("<env:SONAR_TOKEN"))),
                "credential_expires" => assert_eq!(one[key].to_string(), "2027-01-31T12:00:00Z"),
                // The connector adds a slash to the address, or not.
                "location" => assert_eq!(one[key].as_str().map(|at| at.trim_end_matches('/')), value.as_str()),
                _ => assert_eq!(&one[key], value, "{key}"),
            }
        }
    }
}

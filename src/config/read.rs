//! From files to a [`Config`], or to every problem in them.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, civil, tz::TimeZone};
use serde_json::{Map, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use tributary_connectors::{
    Entry, SOURCES,
    kit::{HttpOptions, Location, Secret},
    model::Severity,
};

use super::{
    Config, Connection, Daemon, Errors, Problem, Schedule, SecretRef, ServerSettings,
    secret::{Readers, readers, variable},
};

const TOP: &[&str] = &["strict_secrets", "store", "server", "defaults", "connections"];
const STORE: &[&str] = &["url", "keep_raw", "keep_operations"];
const SERVER: &[&str] = &["listen", "probe_listen"];
const DEFAULTS: &[&str] = &["discover", "sync", "timezone", "auto_map", "minimum_severity", "import_closed", "full_sync_every"];
const CONNECTION: &[&str] =
    &["connector", "vendor", "location", "secret", "credential_expires", "label", "enabled", "http", "fields", "credentials", "options"];
const HTTP: &[&str] = &["ca_file", "proxy", "timeout", "allow_http"];

type Entry_<'a> = (&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>);

pub(super) fn load(paths: &[PathBuf]) -> Result<Config, Errors> {
    let files = find(paths)?;
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let mut texts = Vec::new();
    let mut seen_by = Vec::new();
    for path in files {
        match read(&path) {
            Ok((text, who)) => {
                texts.push((path, text));
                seen_by.push(who);
            }
            Err(error) => problems.push(no_place(
                "E0100",
                format!("{} cannot be read: {error}", path.display()),
                "check the path and its permissions",
            )),
        }
    }
    let mut connections: BTreeMap<String, (PathBuf, Option<Connection>)> = BTreeMap::new();
    let mut parsed = Vec::new();
    for ((path, text), readers) in texts.iter().zip(seen_by) {
        match DeTable::parse(text) {
            Ok(table) => parsed.push((path, text, readers, table)),
            Err(error) => {
                let reader = Reader { path, text, problems: &mut problems, warnings: &mut warnings, strict: false, readers };
                reader.problems.push(reader.problem(
                    "E0101",
                    error.span().unwrap_or(0..0),
                    error.message().to_owned(),
                    "this is not valid TOML".into(),
                ));
            }
        }
    }
    let daemon = daemon(&texts, &mut problems);
    let mut defaults = Defaults::default();
    for (path, text, readers, table) in &parsed {
        let mut reader =
            Reader { path, text, problems: &mut problems, warnings: &mut warnings, strict: daemon.strict_secrets, readers: *readers };
        reader.known(table.get_ref(), TOP, "the file");
        if let Some(store) = reader.table(table.get_ref(), "store") {
            reader.known(store, STORE, "[store]");
            for (name, wanted) in [("url", true), ("keep_operations", true), ("keep_raw", false)] {
                let _ = if wanted { reader.text(store, name).is_some() } else { reader.flag(store, name).is_some() };
            }
        }
        if let Some(server) = reader.table(table.get_ref(), "server") {
            reader.known(server, SERVER, "[server]");
            for name in SERVER {
                let _ = reader.text(server, name).is_some();
            }
        }
        if let Some(table) = reader.table(table.get_ref(), "defaults") {
            reader.known(table, DEFAULTS, "[defaults]");
            defaults = reader.defaults(table, defaults);
        }
    }
    for (path, text, readers, table) in &parsed {
        let mut reader =
            Reader { path, text, problems: &mut problems, warnings: &mut warnings, strict: daemon.strict_secrets, readers: *readers };
        let Some(table) = reader.table(table.get_ref(), "connections") else { continue };
        for (name, value) in table.iter() {
            if let Some((other, _)) = connections.get(name.get_ref().as_ref()) {
                let what = format!("the connection `{}` stands in {} too", name.get_ref(), other.display());
                reader.wrong("E0106", name.span(), what, "give it another name");
                continue;
            }
            let connection = reader.connection((name, value), &defaults);
            connections.insert(name.get_ref().to_string(), (path.to_path_buf(), connection));
        }
    }
    if !problems.is_empty() {
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        return Err(Errors(problems));
    }
    let files = texts.into_iter().map(|(path, _)| path).collect();
    let connections = connections.into_values().filter_map(|(_, connection)| connection.map(Arc::new)).collect();
    Ok(Config { daemon, connections, warnings, files })
}

/// A file and who else can read it.
fn read(path: &Path) -> io::Result<(String, Readers)> {
    let mut file = fs::File::open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text, readers(&file)?))
}

/// The files to read: those given, or the first of the usual places that is there.
fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Errors> {
    let usual = [PathBuf::from("tributary.toml"), PathBuf::from("/etc/tributary/tributary.toml")];
    let given: Vec<PathBuf> = match (paths.is_empty(), variable("TRIBUTARY_CONFIG")) {
        (false, _) => paths.to_vec(),
        (true, Some(path)) => vec![path.into()],
        (true, None) => usual.iter().find(|path| path.exists()).cloned().into_iter().collect(),
    };
    if given.is_empty() {
        let what =
            "no configuration: looked for --config, $TRIBUTARY_CONFIG, ./tributary.toml and /etc/tributary/tributary.toml".to_owned();
        return Err(Errors(vec![no_place(
            "E0100",
            what,
            "write a tributary.toml (config/tributary.toml is a commented example), or try `tributary demo`",
        )]));
    }
    let mut files = Vec::new();
    for path in given {
        let folder = if path.is_dir() {
            Some(path.clone())
        } else {
            files.push(path.clone());
            path.parent()
                .map(|parent| parent.join("conf.d"))
                .filter(|folder| path.file_name().is_some_and(|name| name == "tributary.toml") && folder.is_dir())
        };
        if let Some(Ok(entries)) = folder.map(fs::read_dir) {
            let mut more: Vec<PathBuf> = entries
                .filter_map(Result::ok)
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|e| e == "toml"))
                .collect();
            more.sort();
            files.append(&mut more);
        }
    }
    Ok(files)
}

/// Settings of the process: files in order, then the environment.
fn daemon(texts: &[(PathBuf, String)], problems: &mut Vec<Problem>) -> Daemon {
    let mut builder = config::Config::builder();
    for (_, text) in texts {
        // A file that is no TOML is told about elsewhere.
        if text.parse::<toml::Table>().is_ok() {
            builder = builder.add_source(config::File::from_str(text, config::FileFormat::Toml));
        }
    }
    let environment = config::Environment::with_prefix("TRIBUTARY").prefix_separator("__").separator("__").try_parsing(true);
    let mut daemon: Daemon = match builder.add_source(environment).build().and_then(config::Config::try_deserialize) {
        Ok(daemon) => daemon,
        Err(error) => {
            problems.push(no_place("E0103", format!("[store] or the environment: {error}"), "see config/tributary.toml for the form"));
            return Daemon::default();
        }
    };
    if !daemon.store.url.starts_with("sqlite:") {
        let what = format!("store.url is `{}`", daemon.store.url);
        problems.push(no_place("E0104", what, "use sqlite:///absolute/path/tributary.db; other databases are not supported yet"));
    } else if daemon.store.path().is_relative() && variable("TRIBUTARY__STORE__URL").is_none() {
        let folder = texts.first().and_then(|(path, _)| path.parent()).unwrap_or(Path::new("")).to_owned();
        daemon.store.url = format!("sqlite:{}", folder.join(daemon.store.path()).display());
    }
    if duration(&daemon.store.keep_operations).is_none() {
        problems.push(no_place(
            "E0105",
            format!("store.keep_operations is `{}`", daemon.store.keep_operations),
            "write a time such as 90d",
        ));
    }
    check_addresses(&daemon.server, problems);
    daemon
}

/// Without authentication nobody beyond this machine may ask: only the probes may be elsewhere.
fn check_addresses(server: &ServerSettings, problems: &mut Vec<Problem>) {
    for (name, value, anywhere) in [("listen", &server.listen, false), ("probe_listen", &server.probe_listen, true)] {
        if value == "off" {
            continue;
        }
        match value.parse::<SocketAddr>() {
            Err(_) => problems.push(no_place(
                "E0114",
                format!("server.{name} is `{value}`"),
                "write an address and a port, as 127.0.0.1:8420, or \"off\"",
            )),
            Ok(address) if !anywhere && !address.ip().is_loopback() => problems.push(no_place(
                "E0114",
                format!("server.{name} is `{value}`, which is reached from other machines, and there is no authentication"),
                "listen on 127.0.0.1; for scrapers and probes from outside set probe_listen, which only serves /livez, /readyz and /metrics",
            )),
            Ok(_) => {}
        }
    }
}

fn no_place(code: &'static str, what: String, hint: &str) -> Problem {
    Problem { code, place: None, line: String::new(), what, hint: hint.to_owned() }
}

#[derive(Clone)]
struct Defaults {
    discover: Schedule,
    sync: Schedule,
    timezone: TimeZone,
    auto_map: bool,
    minimum_severity: Severity,
    import_closed: bool,
    full_sync_every: Duration,
}

impl Default for Defaults {
    fn default() -> Self {
        let cron = |rule: &str| Schedule::Cron(Box::new(croner::Cron::from_str(rule).expect("a valid rule")));
        Defaults {
            discover: cron("15 3 * * *"),
            sync: cron("*/30 * * * *"),
            timezone: TimeZone::UTC,
            auto_map: true,
            minimum_severity: Severity::Info,
            import_closed: false,
            full_sync_every: Duration::from_secs(7 * 86_400),
        }
    }
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
    warnings: &'a mut Vec<String>,
    strict: bool,
    /// Who can read the file.
    readers: Readers,
}

impl Reader<'_> {
    fn problem(&self, code: &'static str, span: Range<usize>, what: String, hint: String) -> Problem {
        let (line, column) = self.position(span.start);
        let source = self.text.lines().nth(line - 1).unwrap_or_default();
        let length = self.text.get(span).map_or(1, |words| words.lines().next().unwrap_or_default().chars().count());
        // A line may hold a literal secret: what stands after the key of such a line is not shown.
        let shown = match source.split_once('=') {
            Some((key, _)) if may_hold_secret(source) => format!("{key}= …"),
            // In the middle of a text or list.
            None if !source.trim_start().starts_with('[') => "…".to_owned(),
            _ => source.to_owned(),
        };
        Problem { code, place: Some((self.path.to_owned(), line, column, length)), line: shown, what, hint }
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
    }

    fn wrong(&mut self, code: &'static str, span: Range<usize>, what: String, hint: &str) {
        let problem = self.problem(code, span, what, hint.to_owned());
        self.problems.push(problem);
    }

    /// Unknown keys are errors, with the nearest known one.
    fn known(&mut self, table: &DeTable<'_>, known: &[&str], place: &str) {
        for (key, _) in table.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            let hint = nearest(key.get_ref(), known)
                .map_or_else(|| format!("known here: {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
            self.wrong("E0102", key.span(), format!("unknown key `{}` in {place}", key.get_ref()), &hint);
        }
    }

    fn table<'t>(&mut self, table: &'t DeTable<'_>, name: &str) -> Option<&'t DeTable<'t>> {
        let value = table.get(name)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.wrong("E0103", value.span(), format!("`{name}` has to be a table"), "write it as [section] with keys below");
                None
            }
        }
    }

    fn text(&mut self, table: &DeTable<'_>, name: &str) -> Option<(String, Range<usize>)> {
        let value = table.get(name)?;
        match value.get_ref() {
            DeValue::String(text) => Some((text.to_string(), value.span())),
            _ => {
                self.wrong("E0103", value.span(), format!("`{name}` has to be text"), "put it in quotes");
                None
            }
        }
    }

    fn flag(&mut self, table: &DeTable<'_>, name: &str) -> Option<bool> {
        let value = table.get(name)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => {
                self.wrong("E0103", value.span(), format!("`{name}` has to be true or false"), "without quotes");
                None
            }
        }
    }

    fn defaults(&mut self, table: &DeTable<'_>, base: Defaults) -> Defaults {
        let mut all = base;
        if let Some(schedule) = self.schedule(table, "discover") {
            all.discover = schedule;
        }
        if let Some(schedule) = self.schedule(table, "sync") {
            all.sync = schedule;
        }
        if let Some((name, span)) = self.text(table, "timezone") {
            match TimeZone::get(&name) {
                Ok(zone) => all.timezone = zone,
                Err(_) => self.wrong("E0108", span, format!("unknown time zone `{name}`"), "use an IANA name such as Europe/Berlin"),
            }
        }
        all.auto_map = self.flag(table, "auto_map").unwrap_or(all.auto_map);
        all.import_closed = self.flag(table, "import_closed").unwrap_or(all.import_closed);
        if let Some((word, span)) = self.text(table, "minimum_severity") {
            match Severity::from_word(&word) {
                Some(severity) => all.minimum_severity = severity,
                None => self.wrong("E0109", span, format!("unknown severity `{word}`"), "one of info, low, medium, high, critical"),
            }
        }
        if let Some(time) = self.time(table, "full_sync_every") {
            all.full_sync_every = time;
        }
        all
    }

    fn time(&mut self, table: &DeTable<'_>, name: &str) -> Option<Duration> {
        let (text, span) = self.text(table, name)?;
        let time = duration(&text);
        if time.is_none() {
            self.wrong("E0105", span, format!("`{name}` is `{text}`"), "write a time such as 90m, 6h or 7d");
        }
        time
    }

    /// A date or a time, as TOML writes one or as text; without an offset in the connection's zone, a date at its beginning.
    fn moment(&mut self, table: &DeTable<'_>, name: &str, zone: &TimeZone) -> Option<Timestamp> {
        let value = table.get(name)?;
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            _ => String::new(),
        };
        let local = || Some(text.parse::<civil::DateTime>().ok()?.to_zoned(zone.clone()).ok()?.timestamp());
        let moment = text.parse().ok().or_else(local);
        if moment.is_none() {
            self.wrong("E0105", value.span(), format!("`{name}` is no date"), "write a date such as 2027-01-31, or 2027-01-31T12:00:00Z");
        }
        moment
    }

    fn schedule(&mut self, table: &DeTable<'_>, name: &str) -> Option<Schedule> {
        let value = table.get(name)?;
        match value.get_ref() {
            DeValue::String(rule) if rule == "off" => Some(Schedule::Off),
            DeValue::String(rule) if too_wide(rule).is_some() => {
                self.wrong(
                    "E0107",
                    value.span(),
                    format!("schedule \"{rule}\": {}", too_wide(rule).unwrap_or_default()),
                    "for a fixed interval write { every = \"90m\" }",
                );
                None
            }
            DeValue::String(rule) => {
                match croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Optional).build().parse(rule) {
                    Ok(cron) => Some(Schedule::Cron(Box::new(cron))),
                    Err(error) => {
                        self.wrong(
                            "E0107",
                            value.span(),
                            format!("schedule \"{rule}\": {error}"),
                            "for a fixed interval write { every = \"90m\" }",
                        );
                        None
                    }
                }
            }
            DeValue::Table(every) => {
                self.known(every, &["every"], name);
                self.time(every, "every").map(Schedule::Every)
            }
            _ => {
                self.wrong("E0107", value.span(), format!("`{name}` is no schedule"), "write a cron rule, { every = \"6h\" } or \"off\"");
                None
            }
        }
    }

    fn connection(&mut self, (name, value): Entry_<'_>, defaults: &Defaults) -> Option<Connection> {
        let before = self.problems.len();
        let id = name.get_ref().to_string();
        let place = format!("[connections.{id}]");
        let valid = !id.is_empty()
            && id.len() <= 63
            && !id.starts_with(['-', '_'])
            && id.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_'));
        if !valid {
            self.wrong(
                "E0106",
                name.span(),
                format!("`{id}` is no name for a connection"),
                "use a-z, 0-9, - and _, at most 63, first a letter or digit",
            );
        }
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong("E0103", value.span(), format!("{place} has to be a table"), "write it as a section");
            return None;
        };
        self.known(table, &[CONNECTION, DEFAULTS].concat(), &place);
        let named = self.text(table, "connector").or_else(|| self.text(table, "vendor"));
        let Some((connector, span)) = named else {
            self.wrong("E0110", name.span(), format!("{place} names no connector"), "add `connector = \"…\"`");
            return None;
        };
        let ids: Vec<&str> = SOURCES.iter().map(|entry| entry.meta.id).collect();
        let Some(entry) = Entry::find(&connector) else {
            let hint =
                nearest(&connector, &ids).map_or_else(|| format!("known: {}", ids.join(", ")), |near| format!("did you mean `{near}`?"));
            self.wrong("E0110", span, format!("unknown connector `{connector}`"), &hint);
            return None;
        };
        let all = self.defaults(table, defaults.clone());
        let credential_expires = self.moment(table, "credential_expires", &all.timezone);
        let mut http = HttpOptions::default();
        if let Some(table) = self.table(table, "http") {
            self.known(table, HTTP, "http");
            http.ca_file = self.text(table, "ca_file").map(|(path, _)| self.beside(&path));
            http.proxy = self.text(table, "proxy").map(|(url, _)| url);
            http.timeout = self.time(table, "timeout");
            http.allow_http = self.flag(table, "allow_http").unwrap_or(false);
        }
        let mut fields = Map::new();
        let mut secrets = Vec::new();
        let mut location = self.text(table, "location");
        let schema = entry.schema();
        let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        let given = ["fields", "credentials", "options"].iter().filter_map(|name| table.get(*name));
        let given = given.filter_map(|value| if let DeValue::Table(table) = value.get_ref() { Some(table) } else { None });
        for (key, value) in given.flat_map(|table| table.iter()).chain(table.iter().filter(|(key, _)| key.get_ref() == "secret")) {
            let field =
                entry.meta.aliases.iter().find(|(alias, _)| alias == key.get_ref()).map_or(key.get_ref().as_ref(), |(_, field)| field);
            if field == "location" {
                location = if let DeValue::String(text) = value.get_ref() { Some((text.to_string(), value.span())) } else { location };
                continue;
            }
            let Some(property) = properties.get(field) else {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                let hint = nearest(field, &known)
                    .map_or_else(|| format!("its fields: {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
                self.wrong("E0102", key.span(), format!("unknown field `{field}` of {}", entry.meta.id), &hint);
                continue;
            };
            if fields.contains_key(field) || secrets.iter().any(|(known, _)| known == field) {
                self.wrong("E0106", key.span(), format!("`{field}` is given twice"), "keep one of them");
            } else if property.get("format").is_some_and(|format| format == "password") {
                secrets.extend(self.secret(field, value).map(|reference| (field.to_owned(), reference)));
            } else if let Some(value) = self.plain(value) {
                fields.insert(field.to_owned(), value);
            } else {
                self.wrong("E0103", value.span(), format!("`{field}` has the wrong type"), "only secret fields take a reference");
            }
        }
        for field in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(field)
                && !secrets.iter().any(|(known, _)| known == field)
                && !self.problems[before..].iter().any(|p| p.what.contains(&format!("`{field}`")))
            {
                let about =
                    properties.get(field).and_then(|property| property.get("description")).and_then(Value::as_str).unwrap_or_default();
                self.wrong("E0111", name.span(), format!("{place} lacks `{field}`"), about);
            }
        }
        let (address, span) = location.unwrap_or_else(|| (entry.meta.location.to_owned(), name.span()));
        if address.is_empty() {
            self.wrong("E0111", span, format!("{place} lacks `location`"), entry.meta.location_help);
            return None;
        }
        let location = match Location::parse(&address, http.allow_http) {
            Ok(location) => location,
            Err(error) => {
                self.wrong("E0112", span, error.kind.to_string(), entry.meta.location_help);
                return None;
            }
        };
        if self.problems.len() > before {
            return None;
        }
        Some(Connection {
            name: id,
            label: self.text(table, "label").map(|(label, _)| label),
            entry,
            location,
            enabled: self.flag(table, "enabled").unwrap_or(true),
            discover: all.discover,
            sync: all.sync,
            timezone: all.timezone,
            auto_map: all.auto_map,
            minimum_severity: all.minimum_severity,
            import_closed: all.import_closed,
            full_sync_every: all.full_sync_every,
            http,
            credential_expires,
            fields,
            secrets,
        })
    }

    fn secret(&mut self, field: &str, value: &Spanned<DeValue<'_>>) -> Option<SecretRef> {
        match value.get_ref() {
            DeValue::String(literal) => {
                if self.strict {
                    self.wrong(
                        "E0113",
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
                    self.wrong("E0115", value.span(), what, &hint);
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
                    ("command", DeValue::Array(words)) => {
                        let words =
                            words.iter().map(|word| if let DeValue::String(word) = word.get_ref() { Some(word.to_string()) } else { None });
                        Some(SecretRef::Command(words.collect::<Option<_>>()?))
                    }
                    _ => {
                        self.wrong(
                            "E0113",
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
                    "E0113",
                    value.span(),
                    format!("`{field}` is no secret reference"),
                    "a table with one of env, file, credential, command",
                );
                None
            }
        }
    }

    fn plain(&self, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string().into()),
            DeValue::Boolean(flag) => Some((*flag).into()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::from),
            DeValue::Array(list) => list.iter().map(|value| self.plain(value)).collect::<Option<Vec<_>>>().map(Value::from),
            _ => None,
        }
    }

    /// A path as seen from the file that names it.
    fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// A step that is wider than its field: the parser takes it, and it would silently mean something else.
fn too_wide(rule: &str) -> Option<String> {
    let fields: Vec<&str> = rule.split_whitespace().collect();
    let minute = fields.len().checked_sub(5)?;
    let wide = |at: usize, word: &str, most: u32| {
        let step: u32 = fields.get(at)?.split('/').nth(1)?.parse().ok()?;
        (step > most).then(|| format!("{word} step {step} is over {most}"))
    };
    wide(minute, "minute", 59).or_else(|| wide(minute + 1, "hour", 23))
}

/// Whether a line, as far as its words tell, gives a secret a value: also in an inline table, also misspelt.
fn may_hold_secret(line: &str) -> bool {
    const WORDS: [&str; 5] = ["secret", "key", "token", "password", "credential"];
    // An address with a user name or password.
    if line.split_once("://").is_some_and(|(_, rest)| rest.contains('@')) {
        return true;
    }
    let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    words.any(|word| {
        let word = word.to_ascii_lowercase();
        WORDS.iter().any(|secret| word.contains(secret) || strsim::osa_distance(&word, secret) <= secret.len() / 3)
    })
}

fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|known| (strsim::jaro_winkler(word, known), *known))
        .filter(|(near, _)| *near > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// `90m`, `6h`, `7d`, `1h30m`: more than nothing.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    let time: SignedDuration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(time).ok().filter(|time| !time.is_zero())
}

//! From files to a [`Config`], or to every problem in them.

mod connection;
mod fields;
mod settings;
mod value;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use jiff::tz::TimeZone;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use tributary_connectors::model::Severity;

use super::{
    Config, Connection, Errors, Problem, Schedule,
    secret::{Readers, readers, variable},
    settings::shared_keys,
};
use crate::error_code;
use value::Reader;

pub(crate) use value::{duration, nearest};

const TOP: &[&str] = &["strict_secrets", "daemon", "store", "server", "defaults", "connections"];
const HTTP: &[&str] = &["ca_file", "proxy", "timeout", "allow_http"];

/// A file that is TOML: its path, its text, who can read it, and its tables.
type File<'a> = (&'a Path, &'a str, Readers, Spanned<DeTable<'a>>);
type KeyAndValue<'a> = (&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>);

// long: every step adds to the same problems and warnings, and none may hide those of the next
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
                error_code::CONFIGURATION_UNREADABLE,
                format!("{} cannot be read: {error}", path.display()),
                "check the path and its permissions",
            )),
        }
    }
    let mut connections: BTreeMap<String, (PathBuf, Option<Connection>)> = BTreeMap::new();
    let mut parsed: Vec<File<'_>> = Vec::new();
    for ((path, text), readers) in texts.iter().zip(seen_by) {
        match DeTable::parse(text) {
            Ok(table) => parsed.push((path.as_path(), text.as_str(), readers, table)),
            Err(error) => {
                let reader = Reader { path, text, problems: &mut problems, warnings: &mut warnings, strict: false, readers };
                reader.problems.push(reader.problem(
                    error_code::INVALID_TOML,
                    error.span().unwrap_or(0..0),
                    error.message().to_owned(),
                    "this is not valid TOML".into(),
                ));
            }
        }
    }
    let mut defaults = Defaults::default();
    for (path, text, readers, table) in &parsed {
        let mut reader = Reader { path, text, problems: &mut problems, warnings: &mut warnings, strict: false, readers: *readers };
        reader.known(table.get_ref(), TOP, "the file");
        reader.settings(table.get_ref());
        if let Some(table) = reader.table(table.get_ref(), "defaults") {
            reader.known(table, &shared_keys(), "[defaults]");
            defaults = reader.defaults(table, defaults);
        }
    }
    let daemon = settings::daemon(&parsed, &mut problems);
    for (path, text, readers, table) in &parsed {
        let mut reader =
            Reader { path, text, problems: &mut problems, warnings: &mut warnings, strict: daemon.strict_secrets, readers: *readers };
        let Some(table) = reader.table(table.get_ref(), "connections") else { continue };
        for (name, value) in table.iter() {
            if let Some((other, _)) = connections.get(name.get_ref().as_ref()) {
                let what = format!("the connection `{}` stands in {} too", name.get_ref(), other.display());
                reader.wrong(error_code::INVALID_NAME, name.span(), what, "give it another name");
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
            error_code::CONFIGURATION_UNREADABLE,
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
    close_missing_after: Option<Duration>,
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
            close_missing_after: None,
        }
    }
}

impl Reader<'_> {
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
                Err(_) => self.wrong(
                    error_code::UNKNOWN_TIME_ZONE,
                    span,
                    format!("unknown time zone `{name}`"),
                    "use an IANA name such as Europe/Berlin",
                ),
            }
        }
        all.auto_map = self.flag(table, "auto_map").unwrap_or(all.auto_map);
        all.import_closed = self.flag(table, "import_closed").unwrap_or(all.import_closed);
        if let Some((word, span)) = self.text(table, "minimum_severity") {
            match Severity::from_word(&word) {
                Some(severity) => all.minimum_severity = severity,
                None => self.wrong(
                    error_code::UNKNOWN_SEVERITY,
                    span,
                    format!("unknown severity `{word}`"),
                    "one of info, low, medium, high, critical",
                ),
            }
        }
        if let Some(time) = self.time(table, "full_sync_every") {
            all.full_sync_every = time;
        }
        if let Some(time) = self.time_or_off(table, "close_missing_after") {
            all.close_missing_after = time;
        }
        all
    }
}

//! Settings of the process: `strict_secrets`, `[daemon]`, `[store]` and `[server]`, of the files in order, then of the environment.

use std::{net::SocketAddr, path::Path};

use toml::{Table, Value, de::DeTable};

use super::{File, Reader, duration, no_place};
use crate::{
    config::{
        Daemon, Problem, ServerSettings,
        secret::variable,
        settings::{ErrorKind, ProcessSetting, SECTIONS},
    },
    error_code,
};

const STRICT: &str = "strict_secrets";

impl ErrorKind {
    fn fits(self, value: &Value) -> bool {
        match self {
            ErrorKind::Text => value.is_str(),
            ErrorKind::Flag => value.is_bool(),
            ErrorKind::Number(..) => value.is_integer(),
        }
    }
}

impl Reader<'_> {
    /// Tells what is unknown or of the wrong type among the settings of a file.
    pub(super) fn settings(&mut self, table: &DeTable<'_>) {
        self.flag(table, STRICT);
        for (section, keys) in SECTIONS {
            let Some(table) = self.table(table, section) else { continue };
            let known: Vec<&str> = keys.iter().map(|setting| setting.key).collect();
            self.known(table, &known, &format!("[{section}]"));
            for ProcessSetting { key, kind, .. } in *keys {
                match kind {
                    ErrorKind::Text => drop(self.text(table, key)),
                    ErrorKind::Flag => drop(self.flag(table, key)),
                    ErrorKind::Number(..) => self.number(table, key),
                }
            }
        }
    }
}

/// The settings of these files and of the environment.
pub(super) fn daemon(files: &[File<'_>], problems: &mut Vec<Problem>) -> Daemon {
    let mut builder = config::Config::builder();
    for (_, text, ..) in files {
        builder = builder.add_source(config::File::from_str(&usable(text), config::FileFormat::Toml));
    }
    let environment = config::Environment::with_prefix("TRIBUTARY").prefix_separator("__").separator("__");
    let environment = environment.ignore_empty(true).try_parsing(true);
    let mut daemon: Daemon = match builder.add_source(environment).build().and_then(config::Config::try_deserialize) {
        Ok(daemon) => daemon,
        Err(error) => {
            let what = format!("an environment variable TRIBUTARY__…: {error}");
            problems.push(no_place(error_code::WRONG_TYPE, what, "see config/tributary.toml for the form"));
            return Daemon::default();
        }
    };
    let mut wrong = |code, (section, key): (&'static str, &'static str), what: String, hint: &str| {
        problems.push(problem(files, code, section, key, what, hint));
    };
    if !daemon.store.url.starts_with("sqlite:") || daemon.store.path().as_os_str().is_empty() {
        let what = format!("store.url is `{}`", daemon.store.url);
        wrong(
            error_code::INVALID_STORE_URL,
            ("store", "url"),
            what,
            "use sqlite:///absolute/path/tributary.db; other databases are not supported yet",
        );
    } else if daemon.store.path().is_relative() && variable("TRIBUTARY__STORE__URL").is_none() {
        let folder = files.first().and_then(|(path, ..)| path.parent()).unwrap_or(Path::new("")).to_owned();
        daemon.store.url = format!("sqlite:{}", folder.join(daemon.store.path()).display());
    }
    if duration(&daemon.store.keep_operations).is_none() {
        let what = format!("store.keep_operations is `{}`", daemon.store.keep_operations);
        wrong(error_code::INVALID_TIME, ("store", "keep_operations"), what, "write a time such as 90d");
    }
    if !(1..=1000).contains(&daemon.runs.concurrency) {
        let what = format!("daemon.concurrency is {}", daemon.runs.concurrency);
        let hint = "write how many operations may work at once, from 1 to 1000; 16 is the default";
        wrong(error_code::INVALID_CONCURRENCY, ("daemon", "concurrency"), what, hint);
    }
    check_addresses(&daemon.server, wrong);
    daemon
}

/// The settings of a file without those of the wrong type, which are told with their place already.
fn usable(text: &str) -> String {
    let mut table: Table = text.parse().unwrap_or_default();
    table.retain(|name, value| match SECTIONS.iter().find(|(section, _)| *section == name) {
        Some((_, keys)) => value.as_table_mut().is_some_and(|table| {
            table.retain(|key, value| keys.iter().any(|setting| setting.key == key && setting.kind.fits(value)));
            true
        }),
        None => name == STRICT && ErrorKind::Flag.fits(value),
    });
    table.to_string()
}

/// A problem of a setting, where it was set last.
fn problem(files: &[File<'_>], code: &'static str, section: &str, key: &str, what: String, hint: &str) -> Problem {
    let name = format!("TRIBUTARY__{}__{}", section.to_uppercase(), key.to_uppercase());
    if variable(&name).is_some() {
        return no_place(code, format!("{what}, set by the environment variable {name}"), hint);
    }
    let set = files.iter().rev().find_map(|(path, text, readers, table)| {
        let value = table.get_ref().get(section)?.get_ref().as_table()?.get(key)?;
        Some((path, text, *readers, value.span()))
    });
    let Some((path, text, readers, span)) = set else { return no_place(code, what, hint) };
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let reader = Reader { path, text, problems: &mut problems, warnings: &mut warnings, strict: false, readers };
    reader.problem(code, span, what, hint.to_owned())
}

/// Without authentication nobody beyond this machine may ask: only the probes may be elsewhere.
fn check_addresses(server: &ServerSettings, mut wrong: impl FnMut(&'static str, (&'static str, &'static str), String, &str)) {
    for (name, value, anywhere) in [("listen", &server.listen, false), ("probe_listen", &server.probe_listen, true)] {
        if value == "off" {
            continue;
        }
        match value.parse::<SocketAddr>() {
            Err(_) => {
                let what = format!("server.{name} is `{value}`");
                wrong(error_code::INVALID_ADDRESS, ("server", name), what, "write an address and a port, as 127.0.0.1:8420, or \"off\"");
            }
            Ok(address) if !anywhere && !address.ip().is_loopback() => wrong(
                error_code::INVALID_ADDRESS,
                ("server", name),
                format!("server.{name} is `{value}`, which is reached from other machines, and there is no authentication"),
                "listen on 127.0.0.1; for scrapers and probes from outside set probe_listen, which only serves /livez, /readyz and /metrics",
            ),
            Ok(_) => {}
        }
    }
}

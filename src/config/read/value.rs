//! Values of a file, each with its type checked and its place known.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, civil, tz::TimeZone};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    config::{Problem, Schedule, secret::Readers},
    error_code,
};

/// One file while it is read, and where its problems go.
pub(super) struct Reader<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    pub(super) problems: &'a mut Vec<Problem>,
    pub(super) warnings: &'a mut Vec<String>,
    pub(super) strict: bool,
    /// Who can read the file.
    pub(super) readers: Readers,
}

impl Reader<'_> {
    pub(super) fn problem(&self, code: &'static str, span: Range<usize>, what: String, hint: String) -> Problem {
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

    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
    }

    pub(super) fn wrong(&mut self, code: &'static str, span: Range<usize>, what: String, hint: &str) {
        let problem = self.problem(code, span, what, hint.to_owned());
        self.problems.push(problem);
    }

    /// Unknown keys are errors, with the nearest known one.
    pub(super) fn known(&mut self, table: &DeTable<'_>, known: &[&str], place: &str) {
        self.known_or(table, known, place, |_| None);
    }

    /// The same, with a better hint for keys that belong elsewhere.
    pub(super) fn known_or(&mut self, table: &DeTable<'_>, known: &[&str], place: &str, elsewhere: impl Fn(&str) -> Option<String>) {
        for (key, _) in table.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            let near = || {
                nearest(key.get_ref(), known)
                    .map_or_else(|| format!("known here: {}", known.join(", ")), |near| format!("did you mean `{near}`?"))
            };
            let hint = elsewhere(key.get_ref()).unwrap_or_else(near);
            self.wrong(error_code::UNKNOWN_KEY, key.span(), format!("unknown key `{}` in {place}", key.get_ref()), &hint);
        }
    }

    pub(super) fn table<'t>(&mut self, table: &'t DeTable<'_>, name: &str) -> Option<&'t DeTable<'t>> {
        let value = table.get(name)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.wrong(
                    error_code::WRONG_TYPE,
                    value.span(),
                    format!("`{name}` has to be a table"),
                    "write it as [section] with keys below",
                );
                None
            }
        }
    }

    pub(super) fn text(&mut self, table: &DeTable<'_>, name: &str) -> Option<(String, Range<usize>)> {
        let value = table.get(name)?;
        match value.get_ref() {
            DeValue::String(text) => Some((text.to_string(), value.span())),
            _ => {
                self.wrong(error_code::WRONG_TYPE, value.span(), format!("`{name}` has to be text"), "put it in quotes");
                None
            }
        }
    }

    pub(super) fn flag(&mut self, table: &DeTable<'_>, name: &str) -> Option<bool> {
        let value = table.get(name)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => {
                self.wrong(error_code::WRONG_TYPE, value.span(), format!("`{name}` has to be true or false"), "without quotes");
                None
            }
        }
    }

    /// Tells when it is no number.
    pub(super) fn number(&mut self, table: &DeTable<'_>, name: &str) {
        if let Some(value) = table.get(name).filter(|value| !matches!(value.get_ref(), DeValue::Integer(_))) {
            self.wrong(error_code::WRONG_TYPE, value.span(), format!("`{name}` has to be a number"), "without quotes");
        }
    }

    /// Text that says something.
    pub(super) fn words(&mut self, table: &DeTable<'_>, name: &str) -> Option<String> {
        let (text, span) = self.text(table, name)?;
        if text.trim().is_empty() {
            self.wrong(error_code::WRONG_TYPE, span, format!("`{name}` is empty"), "give it a value, or leave it out");
            return None;
        }
        Some(text)
    }

    pub(super) fn time(&mut self, table: &DeTable<'_>, name: &str) -> Option<Duration> {
        self.time_as(table, name, "write a time such as 90m, 6h or 7d")
    }

    fn time_as(&mut self, table: &DeTable<'_>, name: &str, hint: &str) -> Option<Duration> {
        let (text, span) = self.text(table, name)?;
        let time = duration(&text);
        if time.is_none() {
            self.wrong(error_code::INVALID_TIME, span, format!("`{name}` is `{text}`"), hint);
        }
        time
    }

    /// The same, or `off`.
    pub(super) fn time_or_off(&mut self, table: &DeTable<'_>, name: &str) -> Option<Option<Duration>> {
        let off = matches!(table.get(name).map(Spanned::get_ref), Some(DeValue::String(text)) if text == "off");
        if off { Some(None) } else { self.time_as(table, name, "write a time such as 30d, or `off`").map(Some) }
    }

    /// A date or a time, as TOML writes one or as text; without an offset in the connection's zone, a date at its beginning.
    pub(super) fn moment(&mut self, table: &DeTable<'_>, name: &str, zone: &TimeZone) -> Option<Timestamp> {
        let value = table.get(name)?;
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            _ => String::new(),
        };
        let local = || Some(text.parse::<civil::DateTime>().ok()?.to_zoned(zone.clone()).ok()?.timestamp());
        let moment = text.parse().ok().or_else(local);
        if moment.is_none() {
            self.wrong(
                error_code::INVALID_TIME,
                value.span(),
                format!("`{name}` is no date"),
                "write a date such as 2027-01-31, or 2027-01-31T12:00:00Z",
            );
        }
        moment
    }

    pub(super) fn schedule(&mut self, table: &DeTable<'_>, name: &str) -> Option<Schedule> {
        let value = table.get(name)?;
        match value.get_ref() {
            DeValue::String(rule) if rule == "off" => Some(Schedule::Off),
            DeValue::String(rule) => match cron(rule) {
                Ok(cron) => Some(Schedule::Cron(Box::new(cron))),
                Err(why) => {
                    let what = format!("schedule \"{rule}\": {why}");
                    self.wrong(error_code::INVALID_SCHEDULE, value.span(), what, "for a fixed interval write { every = \"90m\" }");
                    None
                }
            },
            DeValue::Table(every) => {
                self.known(every, &["every"], name);
                self.time(every, "every").map(Schedule::Every)
            }
            _ => {
                self.wrong(
                    error_code::INVALID_SCHEDULE,
                    value.span(),
                    format!("`{name}` is no schedule"),
                    "write a cron rule, { every = \"6h\" } or \"off\"",
                );
                None
            }
        }
    }

    /// A path as seen from the file that names it.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// A cron rule of five fields, or of six with seconds before them.
fn cron(rule: &str) -> Result<croner::Cron, String> {
    use croner::parser::{CronParser, Seconds, Year};
    let fields = rule.split_whitespace().count();
    if !rule.starts_with('@') && !matches!(fields, 5 | 6) {
        return Err(format!("a cron rule has 5 fields, or 6 with seconds first; this one has {fields}"));
    }
    if let Some(why) = too_wide(rule) {
        return Err(why);
    }
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    parser.parse(rule).map_err(|error| error.to_string())
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

/// The known word that was probably meant.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
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

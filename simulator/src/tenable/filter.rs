//! What is asked of an export: its body, its filters, and the findings that fit them.

use axum::body::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Refused, bad,
    world::{Finding, SEVERITIES, State, World},
};

/// What is asked of an export: the whole body, and its filters.
pub(super) type Asked = (Map<String, Value>, Map<String, Value>);

pub(super) fn read(body: &Bytes) -> Result<Asked, Refused> {
    if body.is_empty() {
        return Ok((Map::new(), Map::new()));
    }
    let Ok(Value::Object(mut body)) = serde_json::from_slice(body) else { return Err(bad("The body is no JSON object.")) };
    let filters = match body.remove("filters") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(filters)) => filters,
        Some(_) => return Err(bad("filters must be an object")),
    };
    Ok((body, filters))
}

pub(super) fn flag(body: &Map<String, Value>, name: &str) -> Result<bool, Refused> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(bad(&format!("{name} must be a boolean"))),
    }
}

/// A time in whole seconds; 0 is as good as none. In microseconds.
pub(super) fn time(filters: &Map<String, Value>, name: &str) -> Result<Option<i64>, Refused> {
    match filters.get(name) {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(0) => Ok(None),
            Some(seconds) if (1..=9_999_999_999).contains(&seconds) => Ok(Some(seconds * 1_000_000)),
            _ => Err(bad(&format!("{name} must be a time in seconds since 1970"))),
        },
    }
}

pub(super) fn words(filters: &Map<String, Value>, name: &str, known: &[&str], any_case: bool) -> Result<Option<Vec<String>>, Refused> {
    let Some(value) = filters.get(name) else { return Ok(None) };
    let words = value.as_array().and_then(|words| words.iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>());
    let words = words.ok_or_else(|| bad(&format!("{name} must be a list of texts")))?;
    let words: Vec<String> = if any_case { words.iter().map(|word| word.to_uppercase()).collect() } else { words };
    match words.iter().find(|word| !known.is_empty() && !known.contains(&word.as_str())) {
        Some(word) => Err(bad(&format!("{word} is no {name}"))),
        None => Ok((!words.is_empty()).then_some(words)),
    }
}

/// What is wanted of the findings.
pub(super) struct Wanted {
    since: Option<i64>,
    first_found: Option<i64>,
    last_found: Option<i64>,
    last_fixed: Option<i64>,
    indexed: Option<i64>,
    /// Without any time, only the last 30 days.
    recent: i64,
    states: Vec<String>,
    severities: Option<Vec<String>>,
    modified: Option<Vec<String>>,
    sources: Option<Vec<String>>,
    families: Option<Vec<String>>,
    plugins: Option<Vec<u64>>,
    run: Option<String>,
}

impl Wanted {
    pub(super) fn read(filters: &Map<String, Value>) -> Result<Wanted, Refused> {
        const KNOWN: &[&str] = &[
            "since",
            "first_found",
            "first_seen",
            "last_found",
            "last_seen",
            "last_fixed",
            "indexed_at",
            "state",
            "severity",
            "severity_modification_type",
            "source",
            "plugin_family",
            "plugin_id",
            "scan_uuid",
        ];
        if let Some(name) = filters.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(bad(&format!("unknown or unsupported filter {name}")));
        }
        let since = time(filters, "since")?;
        let first_found = time(filters, "first_found")?.or(time(filters, "first_seen")?);
        let last_found = time(filters, "last_found")?.or(time(filters, "last_seen")?);
        let last_fixed = time(filters, "last_fixed")?;
        let indexed = time(filters, "indexed_at")?;
        let others = first_found.is_some() || last_found.is_some() || last_fixed.is_some();
        if since.is_some() && others {
            return Err(bad("since cannot be combined with first_found, last_found or last_fixed"));
        }
        let states = words(filters, "state", &["OPEN", "REOPENED", "FIXED"], true)?;
        if others && states.is_none() {
            return Err(bad("first_found, last_found and last_fixed need the state filter"));
        }
        let otherwise: &[&str] = if since.is_some() { &["OPEN", "REOPENED", "FIXED"] } else { &["OPEN", "REOPENED"] };
        let timed = since.is_some() || others || indexed.is_some();
        let plugins = filters.get("plugin_id").map(|ids| {
            ids.as_array().and_then(|ids| ids.iter().map(Value::as_u64).collect()).ok_or_else(|| bad("plugin_id must be a list of numbers"))
        });
        Ok(Wanted {
            since,
            first_found,
            last_found,
            last_fixed,
            indexed,
            recent: if timed { i64::MIN } else { Timestamp::now().as_microsecond() - 30 * 86_400_000_000 },
            states: states.unwrap_or_else(|| otherwise.iter().map(|state| (*state).to_owned()).collect()),
            severities: words(filters, "severity", &SEVERITIES, false)?,
            modified: words(filters, "severity_modification_type", &["NONE", "RECASTED", "ACCEPTED"], false)?,
            sources: words(filters, "source", &[], false)?,
            families: words(filters, "plugin_family", &[], false)?,
            plugins: plugins.transpose()?,
            run: filters.get("scan_uuid").and_then(Value::as_str).map(str::to_owned),
        })
    }

    /// What a tool looks for that ignores the filters.
    pub(super) fn everything(mut self) -> Wanted {
        (self.since, self.first_found, self.last_found, self.last_fixed, self.indexed, self.recent) =
            (None, None, None, None, None, i64::MIN);
        (self.severities, self.modified, self.sources, self.families, self.plugins, self.run) = (None, None, None, None, None, None);
        self.states = ["OPEN", "REOPENED", "FIXED"].map(str::to_owned).into();
        self
    }

    pub(super) fn fits(&self, finding: &Finding, world: &World) -> bool {
        let has = |words: &Option<Vec<String>>, word: &str| words.as_ref().is_none_or(|words| words.iter().any(|known| known == word));
        let plugin = &world.plugins[finding.plugin];
        // Open ones count by when they were found last, fixed ones by when they were fixed.
        let moved = if finding.state == State::Fixed { finding.last_fixed } else { finding.last_found };
        finding.listed
            && self.states.iter().any(|state| state == finding.state.word())
            && moved >= self.since.unwrap_or(self.recent)
            && self.first_found.is_none_or(|time| finding.first_found >= time)
            && self.last_found.is_none_or(|time| finding.last_found >= time)
            && self.last_fixed.is_none_or(|time| finding.last_fixed >= time)
            && self.indexed.is_none_or(|time| finding.indexed >= time)
            && has(&self.severities, SEVERITIES[finding.severity])
            && has(&self.modified, finding.modified.word())
            && has(&self.sources, finding.source())
            && has(&self.families, plugin.family)
            && self.plugins.as_ref().is_none_or(|ids| ids.contains(&plugin.id))
            && self
                .run
                .as_ref()
                .is_none_or(|run| finding.scan.and_then(|scan| world.scans[scan].runs.last()).is_some_and(|(last, _)| last == run))
    }

    /// The filters as a status shows them.
    pub(super) fn echo(&self) -> Value {
        let seconds = |time: Option<i64>| time.unwrap_or(0) / 1_000_000;
        let upper = |words: &Option<Vec<String>>| words.iter().flatten().map(|word| word.to_uppercase()).collect::<Vec<_>>();
        json!({
            "since": seconds(self.since), "first_found": seconds(self.first_found), "last_found": seconds(self.last_found), "last_fixed": seconds(self.last_fixed),
            "indexed_at": seconds(self.indexed), "state": self.states, "severity": upper(&self.severities), "tags": [],
        })
    }
}

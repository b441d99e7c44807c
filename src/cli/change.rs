//! What people decide: records, products, findings, held closes. Written straight to the store, also beside a running daemon.

use std::path::PathBuf;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::json;

use super::{
    error::{NotFound, Usage},
    exit::{self, Exit},
    message,
    output::{Format, Rows},
    run, words,
};
use crate::store::{Decision, FindingFilter, Named, RecordAction, RecordChange, RecordFilter, Triage};

/// Which findings; without any of these a command that changes something refuses to run.
#[derive(Debug, clap::Args)]
pub(super) struct Findings {
    /// Only of this connection.
    #[arg(long)]
    connection: Option<String>,
    /// Only of connections by this connector.
    #[arg(long, value_parser = words::connector())]
    connector: Option<String>,
    /// Only in this state.
    #[arg(long, value_parser = words::finding_state())]
    state: Option<String>,
    /// Only of this severity.
    #[arg(long, value_parser = words::severity())]
    severity: Option<String>,
    /// Only of the record with this key.
    #[arg(long)]
    record: Option<String>,
    /// Only of records that are mapped to this product.
    #[arg(long)]
    product: Option<String>,
    /// Only with this CVE.
    #[arg(long, value_parser = words::cve)]
    cve: Option<String>,
}

impl Findings {
    pub(super) fn filter(self, ids: Vec<String>) -> FindingFilter {
        let Findings { connection, connector, state, severity, record, product, cve } = self;
        FindingFilter { ids, connection, connector, state, severity, record, product, cve }
    }
}

/// Which records: keys, a filter, or all of them.
#[derive(Debug, clap::Args)]
pub(super) struct Records {
    /// Keys of records.
    keys: Vec<String>,
    /// Only of this connection.
    #[arg(long)]
    connection: Option<String>,
    /// Only in this state.
    #[arg(long, value_parser = words::record_state())]
    state: Option<String>,
    /// Only with this text in their name.
    #[arg(long)]
    name: Option<String>,
    /// Every record there is.
    #[arg(long)]
    all: bool,
}

/// A decision, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Verdict {
    /// It is not a problem.
    FalsePositive,
    /// Somebody takes the risk.
    RiskAccepted,
    /// It will stay.
    WontFix,
    /// Takes a decision back.
    None,
}

pub(super) async fn records(paths: &[PathBuf], which: Records, action: RecordAction, format: Format) -> anyhow::Result<Exit> {
    let Records { keys, connection, state, name, all } = which;
    if keys.is_empty() && connection.is_none() && state.is_none() && name.is_none() && !all {
        return Err(Usage("name records by their keys, by --connection, --state or --name, or say --all".into()).into());
    }
    let (config, store) = run::open_existing_store(paths)?;
    words::connection(&config, &store.reader()?, connection.as_deref())?;
    let action = match action {
        RecordAction::Restore { .. } => RecordAction::Restore {
            auto_map: config
                .connections
                .iter()
                .filter(|connection| connection.auto_map)
                .map(|connection| connection.name.clone())
                .collect(),
        },
        other => other,
    };
    let mut asked = keys.clone();
    asked.sort_unstable();
    asked.dedup();
    let changes = store.change_records(RecordFilter { connection, keys, state, name }, action).await?;
    let unmet: Vec<&String> = asked.iter().filter(|key| !changes.iter().any(|change| change.key == **key)).collect();
    for key in &unmet {
        exit::tell(&words::no_record(&store.reader()?, key)?.into());
    }
    for change in changes.iter().filter(|change| change.from == change.to && change.from != "good") {
        message::eprint_line(&format!("record {} of {} is {}: left as it is", change.key, change.connection, change.from));
    }
    let rows = changes.into_iter().map(|change| {
        let RecordChange { connection, key, name, from, to, product, closed } = change;
        vec![json!(connection), json!(key), json!(name), json!(from), json!(to), json!(product), json!(closed)]
    });
    Rows { columns: vec!["connection", "key", "name", "from", "to", "product", "closed"], rows: rows.collect() }
        .print(format, "records")?;
    Ok(if unmet.is_empty() { Exit::Ok } else { Exit::NotFound })
}

pub(super) async fn delete_product(paths: &[PathBuf], name: String) -> anyhow::Result<Exit> {
    let (_, store) = run::open_existing_store(paths)?;
    let Some(stale) = store.delete_product(name.clone()).await? else {
        let known = store.reader()?.names(Named::Product)?;
        return Err(NotFound::new("product", name).among(&known, "tributary products list").into());
    };
    message::eprint_line(&format!("product {name} is deleted; {stale} records are stale until they are mapped again"));
    Ok(Exit::Ok)
}

pub(super) async fn triage(
    paths: &[PathBuf],
    filter: FindingFilter,
    verdict: Verdict,
    until: Option<&str>,
    note: Option<String>,
) -> anyhow::Result<Exit> {
    if filter.is_empty() {
        return Err(Usage("name findings by their ids, or by a filter such as --cve".into()).into());
    }
    let decision = match verdict {
        Verdict::FalsePositive => Some(Decision::FalsePositive),
        Verdict::RiskAccepted => Some(Decision::RiskAccepted),
        Verdict::WontFix => Some(Decision::WontFix),
        Verdict::None => None,
    };
    if until.is_some() && decision != Some(Decision::RiskAccepted) {
        return Err(Usage("--until belongs to risk-accepted: nothing else runs out".into()).into());
    }
    let until = until.map(point_in_time).transpose()?;
    let (config, store) = run::open_existing_store(paths)?;
    words::findings(&config, &store.reader()?, &filter)?;
    let ids = filter.ids.clone();
    let done = store.triage(filter, Triage { decision, until, note }).await?;
    let unmet = store.reader()?.ids_without_finding(&ids)?;
    for id in &unmet {
        exit::tell(&NotFound::new("finding", id).fix(message::list("findings")).into());
    }
    if done.found == 0 && unmet.is_empty() {
        message::eprint_line("No findings match.");
        return Ok(Exit::NotFound);
    }
    message::eprint_line(&format!("{} findings, {} of them changed", done.found, done.changed));
    Ok(if unmet.is_empty() { Exit::Ok } else { Exit::NotFound })
}

/// A date (its end, in UTC) or a point in time, in the future.
fn point_in_time(text: &str) -> anyhow::Result<Timestamp> {
    let read = text.parse().ok().or_else(|| {
        let day: Date = text.parse().ok()?;
        Some(day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    match read {
        Some(at) if at > crate::clock::now() => Ok(at),
        Some(_) => Err(Usage(format!("--until {text} has passed already")).into()),
        None => Err(Usage(format!("--until {text}: write a date as 2027-01-31 or a time as 2027-01-31T12:00:00Z")).into()),
    }
}

pub(super) async fn approve(paths: &[PathBuf], id: &str) -> anyhow::Result<Exit> {
    let (_, store) = run::open_existing_store(paths)?;
    let operation = id.parse().map_err(|_| NotFound::new("operation", id).fix(message::list("operations")))?;
    let Some(approved) = store.approve(operation).await? else {
        return Err(NotFound::new("operation that holds something", id).fix(message::list("operations")).into());
    };
    message::eprint_line(&format!(
        "{} findings are closed; {} had been seen again or closed meanwhile",
        approved.closed, approved.seen_again
    ));
    if approved.records > 0 {
        message::eprint_line(&format!("{} records are missing now; their findings stay as they are", approved.records));
    }
    Ok(Exit::Ok)
}

pub(super) async fn replay(paths: &[PathBuf], connection: Option<String>) -> anyhow::Result<Exit> {
    let (config, store) = run::open_existing_store(paths)?;
    words::connection(&config, &store.reader()?, connection.as_deref())?;
    let scopes = store.list_quarantined_again(connection).await?;
    message::eprint_line(&match scopes {
        0 => "Nothing is in quarantine there.".to_owned(),
        scopes => format!("{scopes} lists are read from their beginning by the next sync: what can be read by then leaves the quarantine"),
    });
    Ok(Exit::Ok)
}

pub(super) async fn reset(paths: &[PathBuf], connection: &str) -> anyhow::Result<Exit> {
    let (config, store) = run::open_existing_store(paths)?;
    run::select(&config, &[connection.to_owned()])?;
    let scopes = store.reset(connection.to_owned()).await?;
    message::eprint_line(&format!(
        "{scopes} lists of {connection} are read from their beginning by the next sync; findings stay as they are"
    ));
    Ok(Exit::Ok)
}

//! `tributary demo`: simulated tools on loopback, discovered and synced, with no account anywhere.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tributary_simulator::{Change, Running, Size, VENDORS, start_any};

use super::{
    exit::Exit,
    message,
    output::{self, Format, Rows},
    run,
};
use crate::{
    config::Config,
    daemon,
    operation::Work,
    store::{self, Trigger},
};

/// Options of the demo.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// Stop after the summary, instead of syncing on every minute.
    #[arg(long)]
    exit: bool,
    /// Keep the result in this database, and the simulated tools as they are for the next demo with it.
    #[arg(long, value_name = "FILE")]
    store: Option<String>,
    #[arg(long, value_name = "N", help = format!("Open findings in each simulated tool, {FINDINGS} unless the database has some already"))]
    findings: Option<usize>,
    /// Move the simulated tools one step on from the last demo with this database: 1 % fixed, changed, new and vanished.
    #[arg(long, requires = "store")]
    change: bool,
}

/// Open findings in each simulated tool.
const FINDINGS: usize = 2000;

/// What a later demo with the same store needs to find the same tools.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    findings: usize,
    steps: u32,
    /// By connector id.
    ports: BTreeMap<String, u16>,
}

impl Demo {
    pub(super) async fn run(self, format: Format) -> anyhow::Result<Exit> {
        let folder = std::env::temp_dir().join(format!("tributary-demo-{}", std::process::id()));
        let given = self.store.as_deref().map(|store| PathBuf::from(store.trim_start_matches("sqlite://").trim_start_matches("sqlite:")));
        let database = given.clone().unwrap_or_else(|| folder.join("demo.db"));
        let beside = database.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(missing) = beside.filter(|folder| given.is_some() && !folder.is_dir()) {
            let reason = format!("there is no folder {}: make it first", missing.display());
            return Err(store::Error::Open { path: database.clone(), reason }.into());
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("making the folder {}", folder.display()))?;
        let keep = database.with_extension("demo.json");
        let mut kept: Kept = std::fs::read(&keep).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        if kept.findings == 0 {
            kept.findings = self.findings.unwrap_or(FINDINGS);
        }
        if self.findings.is_some_and(|wanted| wanted != kept.findings) {
            message::eprint_line(&format!("--findings is left aside: the tools of {} have {} already", database.display(), kept.findings));
        }
        kept.steps += u32::from(self.change);
        let tools = start_tools(&mut kept).await?;
        if given.is_some() {
            std::fs::write(&keep, serde_json::to_vec(&kept)?).with_context(|| format!("writing {}", keep.display()))?;
        }
        let path = folder.join("tributary.toml");
        let mut text = format!(
            "[store]\nurl = \"sqlite:{}\"\n[server]\nlisten = \"127.0.0.1:0\"\n[defaults]\nsync = {{ every = \"1m\" }}\ndiscover = {{ every = \"10m\" }}\n",
            std::path::absolute(&database)?.display()
        );
        for tool in &tools {
            text.push_str(&format!(
                "\n[connections.{}]\nconnector = \"{}\"\nlocation = \"{}\"\n",
                tool.vendor.id().replace('_', "-"),
                tool.vendor.id(),
                tool.url
            ));
            text.push_str("[connections.");
            text.push_str(&tool.vendor.id().replace('_', "-"));
            text.push_str(".fields]\n");
            for (field, value) in tool.vendor.fields(&tool.url) {
                text.push_str(&format!("{field} = {}\n", serde_json::Value::String(value)));
            }
        }
        write_private(&path, &text).with_context(|| format!("writing {}", path.display()))?;
        let done = self.sync_and_show(&path, &database, format).await;
        std::fs::remove_dir_all(&folder)?;
        done
    }

    async fn sync_and_show(&self, path: &std::path::Path, database: &std::path::Path, format: Format) -> anyhow::Result<Exit> {
        let mut config = Config::load(&[path.to_owned()])?;
        // The simulators' secrets are made up: the usual advice about literals would only confuse.
        config.warnings.clear();
        let engine = run::engine(run::warn_and_open(&config)?);
        let (code, reports) = run::all(&config, &engine, &[], Work::Both, Trigger::Once).await?;
        if format == Format::Table {
            let rows = Rows::from(engine.store.reader()?.findings_by_severity()?);
            message::eprint_line("");
            rows.print(format, "findings")?;
            if self.store.is_some() {
                output::text(&format!("\nStored in {}\n", database.display()))?;
            }
        } else {
            let rows: Rows = run::summary(&reports);
            rows.print(format, "operations")?;
        }
        if self.exit {
            return Ok(code);
        }
        message::eprint_line(&format!(
            "Syncing every minute until Ctrl-C. Look around: sqlite3 {} 'select severity, state, count(*) from findings group by 1, 2'",
            database.display()
        ));
        daemon::run(vec![path.to_owned()], config, engine.stop.clone()).await?;
        Ok(Exit::Ok)
    }
}

/// The configuration holds the simulators' secrets as literals.
fn write_private(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// Starts the tools, on the ports of last time where those are free, and moves them to where they stood.
async fn start_tools(kept: &mut Kept) -> anyhow::Result<Vec<Running>> {
    let size = Size { records: 12, findings: kept.findings, seed: 1 };
    let mut tools = Vec::new();
    for (id, make) in VENDORS {
        let tool = start_any(make(size), kept.ports.get(*id).copied().unwrap_or(0)).await?;
        for _ in 0..kept.steps {
            tool.vendor.step(&Change::ONE_PERCENT);
        }
        kept.ports.extend(tool.url.rsplit_once(':').and_then(|(_, port)| Some(((*id).to_owned(), port.parse().ok()?))));
        tools.push(tool);
    }
    Ok(tools)
}

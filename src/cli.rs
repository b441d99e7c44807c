//! The command line: what a person or a script asks for, and the exit code that answers.
//!
//! Data goes to stdout, everything else to stderr.

mod change;
mod check;
mod config;
mod daemon;
mod db;
#[cfg(feature = "demo")]
mod demo;
mod error;
mod exit;
mod message;
mod output;
mod progress;
mod run;
mod show;
mod things;
mod timeline;
mod words;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::Exit;
use output::Format;
use things::ThingsCommand;
use tributary_connectors::model::ItemKind;

use crate::{log, store::RecordAction};

/// Keeps a faithful local copy of what your security tools say.
#[derive(Debug, Parser)]
#[command(name = "tributary", version, about, max_term_width = 100)]
pub struct Cli {
    /// Configuration file or directory; may be repeated.
    #[arg(short, long, global = true, value_name = "PATH")]
    config: Vec<PathBuf>,
    /// Form of the data on stdout.
    #[arg(short, long, global = true, default_value = "table")]
    output: Format,
    /// More on stderr: -v what is requested, -vv what libraries say, too, -vvv all that there is.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Form of the log on stderr.
    #[arg(long, global = true, default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon, or with --once discovers and syncs everything once.
    Run {
        /// Discover, then sync, then exit.
        #[arg(long)]
        once: bool,
        /// Only this connection; may be repeated.
        #[arg(long = "connection", value_name = "NAME")]
        connections: Vec<String>,
    },
    /// Tries each step that a sync needs and names the first that fails; changes nothing.
    Check {
        /// Connections; all when none is named.
        names: Vec<String>,
    },
    /// Reads the product records of connections.
    Discover {
        /// Connections; all when none is named.
        names: Vec<String>,
    },
    /// Reads the findings of connections (and discovers first what was never discovered).
    Sync {
        /// Connections; all when none is named.
        names: Vec<String>,
        /// List everything, so that what is gone can be closed.
        #[arg(long)]
        full: bool,
        /// Show what would be created, changed and closed, and write nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Shows how every connection stands: how its last operation ended, what runs, what is due.
    Status,
    /// Asks the running daemon whether it lives; for probes of containers.
    Health {
        /// Whether it is ready, too.
        #[arg(long)]
        ready: bool,
    },
    /// Shows what is supported, or one connector's fields and least permissions.
    Connectors {
        /// A connector's id.
        id: Option<String>,
    },
    /// Shows the configured connections, and pauses or resumes their schedules.
    #[command(subcommand)]
    Connections(ConnectionsCommand),
    /// Shows product records, and maps, ignores or deletes them.
    #[command(subcommand)]
    Records(RecordsCommand),
    /// Shows findings, and triages them.
    #[command(subcommand)]
    Findings(FindingsCommand),
    /// Shows assets: hosts, repositories, images and what else findings are on.
    #[command(subcommand)]
    Assets(ThingsCommand),
    /// Shows identities: people, groups, applications and roles.
    #[command(subcommand)]
    Identities(ThingsCommand),
    /// Shows companies that are rated.
    #[command(subcommand)]
    Parties(ThingsCommand),
    /// Shows products, and deletes them.
    #[command(subcommand)]
    Products(ProductsCommand),
    /// Shows operations, stops them, and approves what they held.
    #[command(subcommand)]
    Operations(OperationsCommand),
    /// Shows items that could not be read.
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Shows how far each list was read, or forgets it.
    #[command(subcommand)]
    State(StateCommand),
    /// Looks after the database.
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Validates and shows the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Starts simulated tools on loopback, discovers and syncs them, and shows the result.
    #[cfg(feature = "demo")]
    Demo(demo::Demo),
    /// Shows the version.
    Version,
}

#[derive(Debug, Subcommand)]
enum ConnectionsCommand {
    /// One line each.
    List,
    /// One, with everything known of it.
    Show {
        /// Name of the connection.
        name: String,
    },
    /// Lets schedules rest; what becomes due meanwhile runs once when they are resumed.
    Pause {
        /// Names of connections.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Takes schedules up again, also after a refused credential.
    Resume {
        /// Names of connections.
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum RecordsCommand {
    /// One line each.
    List {
        /// Only of this connection.
        #[arg(long)]
        connection: Option<String>,
        /// Only in this state.
        #[arg(long, value_parser = words::record_state())]
        state: Option<String>,
    },
    /// Maps records to a product: New, Good and Stale ones become Good, and their findings are synced.
    Map {
        #[command(flatten)]
        records: change::Records,
        /// The product, made when it is new; else each record's own name.
        #[arg(long)]
        product: Option<String>,
    },
    /// Takes the mapping of Good records away: they become New.
    Unmap(change::Records),
    /// Syncs New or Good records no more; their findings stay as they are.
    Ignore(change::Records),
    /// Takes ignored records back.
    Restore(change::Records),
    /// Forgets records; their findings stay as they are.
    Delete {
        #[command(flatten)]
        records: change::Records,
        /// Close their findings too.
        #[arg(long)]
        close: bool,
    },
}

#[derive(Debug, Subcommand)]
enum ProductsCommand {
    /// One line each.
    List,
    /// Deletes a product; records mapped to it become Stale.
    Delete {
        /// Name of the product.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
enum OperationsCommand {
    /// The newest hundred, one line each.
    List,
    /// One, with everything known of it.
    Show {
        /// Id of the operation.
        id: String,
    },
    /// Stops a running operation at its next page; the next one goes on from there.
    Cancel {
        /// Id of the operation.
        id: String,
    },
    /// Closes what an operation held back because it was too much to close unasked, unless it was seen again meanwhile.
    Approve {
        /// Id of the operation.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    /// One line each.
    List {
        /// Only of this connection.
        #[arg(long)]
        connection: Option<String>,
    },
    /// One, with the vendor's own item.
    Show {
        /// Number of the item, as the list shows it.
        id: i64,
    },
    /// Has the lists with items in quarantine read from their beginning by the next sync, as after an upgrade.
    Replay {
        /// Only of this connection.
        #[arg(long)]
        connection: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// How far each list of a connection was read.
    Show {
        /// Name of the connection.
        connection: String,
    },
    /// Forgets how far each list of a connection was read; findings, ids, triage and first-seen dates stay.
    Reset {
        /// Name of the connection.
        connection: String,
    },
}

#[derive(Debug, Subcommand)]
enum FindingsCommand {
    /// One line each, worst first.
    List {
        #[command(flatten)]
        findings: change::Findings,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One, with its history and the vendor's own item.
    Show {
        /// Id of the finding.
        id: String,
    },
    /// Decides about findings; what the vendor says stays beside it.
    Triage {
        /// Ids of findings.
        ids: Vec<String>,
        #[command(flatten)]
        findings: change::Findings,
        /// What is decided about the findings.
        #[arg(long = "as", value_name = "DECISION")]
        verdict: change::Verdict,
        /// When an acceptance runs out: a date or a time.
        #[arg(long)]
        until: Option<String>,
        /// Why it is decided so.
        #[arg(long)]
        note: Option<String>,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    crate::process::keep_secrets_in_memory();
    crate::process::raise_open_files();
    let cli = Cli::try_parse().unwrap_or_else(|error| error.exit());
    log::start(cli.verbose, matches!(cli.command, Command::Run { once: false, .. }), cli.log_format == "json");
    // What a panic says may quote what a vendor sent: only where it happened is told.
    std::panic::set_hook(Box::new(|defect| {
        let place = defect.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a defect of this program, please report it");
    }));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&anyhow::Error::from(error).context("starting the runtime")),
    };
    let exit = runtime.block_on(dispatch(cli));
    // With the last task the store is closed; a secret's command that hangs is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(500));
    let exit = exit.unwrap_or_else(|error| exit::report(&error));
    log::finish();
    exit
}

// long: one arm for each command
async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    use tokio::signal::unix::{SignalKind, signal};
    // Where the size of files is limited, a write shall fail and be told, not end the process: a handler is enough for that.
    let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    let Cli { config: paths, output, command, .. } = cli;
    message::remember(&paths);
    let exit = match command {
        Command::Run { once, connections } => run::run(&paths, once, &connections).await?,
        Command::Check { names } => check::check(&paths, &names).await?,
        Command::Discover { names } => run::discover(&paths, &names, output).await?,
        Command::Sync { names, full, dry_run } => run::sync(&paths, &names, full, dry_run, output).await?,
        Command::Status => daemon::status(&paths, output)?,
        Command::Health { ready } => daemon::health(&paths, ready).await?,
        Command::Connectors { id } => show::connectors(id.as_deref(), output)?,
        Command::Connections(ConnectionsCommand::List) => show::connections(&paths, output)?,
        Command::Connections(ConnectionsCommand::Show { name }) => show::connection(&paths, &name, output)?,
        Command::Connections(ConnectionsCommand::Pause { names }) => daemon::pause(&paths, &names).await?,
        Command::Connections(ConnectionsCommand::Resume { names }) => daemon::resume(&paths, &names).await?,
        Command::Records(RecordsCommand::List { connection, state }) => {
            show::records(&paths, connection.as_deref(), state.as_deref(), output)?
        }
        Command::Records(RecordsCommand::Map { records, product }) => {
            change::records(&paths, records, RecordAction::Map(product), output).await?
        }
        Command::Records(RecordsCommand::Unmap(records)) => change::records(&paths, records, RecordAction::Unmap, output).await?,
        Command::Records(RecordsCommand::Ignore(records)) => change::records(&paths, records, RecordAction::Ignore, output).await?,
        Command::Records(RecordsCommand::Restore(records)) => {
            change::records(&paths, records, RecordAction::Restore { auto_map: Vec::new() }, output).await?
        }
        Command::Records(RecordsCommand::Delete { records, close }) => {
            change::records(&paths, records, RecordAction::Delete { close }, output).await?
        }
        Command::Assets(command) => things::run(&paths, ItemKind::Asset, &command, output)?,
        Command::Identities(command) => things::run(&paths, ItemKind::Identity, &command, output)?,
        Command::Parties(command) => things::run(&paths, ItemKind::ThirdParty, &command, output)?,
        Command::Products(ProductsCommand::List) => show::products(&paths, output)?,
        Command::Products(ProductsCommand::Delete { name }) => change::delete_product(&paths, name).await?,
        Command::Findings(FindingsCommand::List { findings, limit }) => {
            show::findings(&paths, &findings.filter(Vec::new()), limit, output)?
        }
        Command::Findings(FindingsCommand::Triage { ids, findings, verdict, until, note }) => {
            change::triage(&paths, findings.filter(ids), verdict, until.as_deref(), note).await?
        }
        Command::Findings(FindingsCommand::Show { id }) => show::finding(&paths, &id, output)?,
        Command::Operations(OperationsCommand::List) => show::operations(&paths, output)?,
        Command::Operations(OperationsCommand::Show { id }) => show::operation(&paths, &id, output)?,
        Command::Operations(OperationsCommand::Cancel { id }) => daemon::cancel(&paths, &id).await?,
        Command::Operations(OperationsCommand::Approve { id }) => change::approve(&paths, &id).await?,
        Command::Quarantine(QuarantineCommand::List { connection }) => show::quarantine(&paths, connection.as_deref(), output)?,
        Command::Quarantine(QuarantineCommand::Show { id }) => show::quarantined(&paths, id, output)?,
        Command::Quarantine(QuarantineCommand::Replay { connection }) => change::replay(&paths, connection).await?,
        Command::State(StateCommand::Show { connection }) => show::state(&paths, &connection, output)?,
        Command::State(StateCommand::Reset { connection }) => change::reset(&paths, &connection).await?,
        Command::Db(what) => db::run(&paths, &what, output)?,
        Command::Config(what) => config::config(&paths, &what).await?,
        #[cfg(feature = "demo")]
        Command::Demo(demo) => demo.run(output).await?,
        Command::Version => {
            output::text(&format!("tributary {}\n", env!("CARGO_PKG_VERSION")))?;
            Exit::Ok
        }
    };
    Ok(exit.into())
}

/// The command line as data, for documentation.
pub fn definition() -> clap::Command {
    Cli::command()
}

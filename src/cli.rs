//! The command line: what a person or a script asks for, and the exit code that answers.
//!
//! Data goes to stdout, everything else to stderr.

mod command;
#[cfg(feature = "demo")]
mod demo;
mod exit;
mod output;
mod progress;
mod run;
mod show;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::Exit;
use output::Format;
pub(crate) use run::{Work, one, tell_all};

/// Keeps a faithful local copy of what your security tools say.
#[derive(Debug, Parser)]
#[command(name = "tributary", version, about, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    /// Configuration file or directory; may be repeated.
    #[arg(short, long, global = true, value_name = "PATH")]
    config: Vec<PathBuf>,
    /// Form of the data on stdout.
    #[arg(short, long, global = true, default_value = "table")]
    output: Format,
    /// More on stderr: -v what is requested, -vv everything.
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
    },
    /// Shows what is supported, or one connector's fields and least permissions.
    Connectors {
        /// A connector's id.
        id: Option<String>,
    },
    /// Shows the configured connections.
    #[command(subcommand)]
    Connections(Items),
    /// Shows product records.
    #[command(subcommand)]
    Records(RecordsCommand),
    /// Shows findings.
    #[command(subcommand)]
    Findings(FindingsCommand),
    /// Shows operations.
    #[command(subcommand)]
    Operations(Items),
    /// Validates and shows the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Starts simulated tools on loopback, discovers and syncs them, and shows the result.
    #[cfg(feature = "demo")]
    Demo(demo::Demo),
    /// Shows the version.
    Version,
}

#[derive(Debug, Subcommand)]
enum Items {
    /// One line each.
    List,
    /// One, with everything known of it.
    Show {
        /// Its name or id.
        name: String,
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
        #[arg(long)]
        state: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum FindingsCommand {
    /// One line each, worst first.
    List {
        /// Only of this connection.
        #[arg(long)]
        connection: Option<String>,
        /// Only in this state.
        #[arg(long)]
        state: Option<String>,
        /// Only of this severity.
        #[arg(long)]
        severity: Option<String>,
        /// Only of the record with this key.
        #[arg(long)]
        record: Option<String>,
        /// Only with this CVE.
        #[arg(long)]
        cve: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One, with its history and the vendor's own item.
    Show {
        /// Its id.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Reads the configuration and tells every problem at once.
    Validate,
    /// Shows the effective configuration, secrets as where they come from.
    Show,
    /// Prints the JSON Schema of a configuration file.
    Schema,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| error.exit());
    init_log(&cli);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&anyhow::Error::from(error).context("starting the runtime")),
    };
    let exit = runtime.block_on(dispatch(cli));
    runtime.shutdown_background();
    exit.unwrap_or_else(|error| exit::report(&error))
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { config, output, command, .. } = cli;
    let exit = match command {
        Command::Run { once, connections } => run::run(&config, once, &connections).await?,
        Command::Check { names } => command::check(&config, &names).await?,
        Command::Discover { names } => run::discover(&config, &names, output).await?,
        Command::Sync { names, full } => run::sync(&config, &names, full, output).await?,
        Command::Connectors { id } => show::connectors(id.as_deref(), output)?,
        Command::Connections(Items::List) => show::connections(&config, output)?,
        Command::Connections(Items::Show { name }) => show::connection(&config, &name, output)?,
        Command::Records(RecordsCommand::List { connection, state }) => {
            show::records(&config, connection.as_deref(), state.as_deref(), output)?
        }
        Command::Findings(FindingsCommand::List { connection, state, severity, record, cve, limit }) => {
            let filter = show::FindingFilter { connection, state, severity, record, cve };
            show::findings(&config, &filter, limit, output)?
        }
        Command::Findings(FindingsCommand::Show { id }) => show::finding(&config, &id, output)?,
        Command::Operations(Items::List) => show::operations(&config, output)?,
        Command::Operations(Items::Show { name }) => show::operation(&config, &name, output)?,
        Command::Config(what) => command::config(&config, &what)?,
        #[cfg(feature = "demo")]
        Command::Demo(demo) => demo.run(output).await?,
        Command::Version => {
            output::text(&format!("tributary {}\n", env!("CARGO_PKG_VERSION")))?;
            Exit::Ok
        }
    };
    Ok(exit.into())
}

fn init_log(cli: &Cli) {
    use tracing_subscriber::{EnvFilter, fmt};
    let level = match (cli.verbose, &cli.command) {
        (0, Command::Run { once: false, .. }) => "tributary=info,tributary_connectors=info,warn",
        (0, _) => "error",
        (1, _) => "tributary=debug,tributary_connectors=debug,info",
        _ => "debug",
    };
    let log = fmt().with_env_filter(EnvFilter::new(level)).with_writer(std::io::stderr);
    if cli.log_format == "json" { log.json().init() } else { log.with_target(false).init() }
}

/// The command line as data, for documentation.
pub fn definition() -> clap::Command {
    Cli::command()
}

//! `assets`, `identities`, `parties`: what findings are on, who may do what, and companies that are rated.

use std::path::PathBuf;

use clap::Subcommand;
use tributary_connectors::model::ItemKind;

use super::{
    error::NotFound,
    exit::Exit,
    message,
    output::{self, Format, Rows},
    run::{Seen, look},
    words,
};

#[derive(Debug, Subcommand)]
pub(super) enum ThingsCommand {
    /// One line each, by name.
    List {
        /// Only of this connection.
        #[arg(long)]
        connection: Option<String>,
        /// Only in this state.
        #[arg(long, value_parser = words::thing_state())]
        state: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One, with everything known of it.
    Show {
        /// Its id, as the list shows it.
        id: String,
    },
}

/// The name of the command for a kind of thing.
fn command(kind: ItemKind) -> &'static str {
    if kind == ItemKind::ThirdParty { "parties" } else { kind.plural() }
}

pub(super) fn run(paths: &[PathBuf], kind: ItemKind, command: &ThingsCommand, format: Format) -> anyhow::Result<Exit> {
    match command {
        ThingsCommand::List { connection, state, limit } => {
            let Seen { config, reader, .. } = &look(paths)?;
            words::connection(config, reader, connection.as_deref())?;
            let found = reader.things(kind, connection.as_deref(), state.as_deref(), *limit as usize)?;
            Rows::from(found).print(format, self::command(kind))?;
        }
        ThingsCommand::Show { id } => show(paths, kind, id, format)?,
    }
    Ok(Exit::Ok)
}

fn show(paths: &[PathBuf], kind: ItemKind, id: &str, format: Format) -> anyhow::Result<()> {
    let Seen { reader, .. } = &look(paths)?;
    let what = if kind == ItemKind::ThirdParty { "party" } else { kind.as_str() };
    let thing = reader.thing(kind, id)?.ok_or_else(|| NotFound::new(what, id).fix(message::list(command(kind))))?;
    output::object(&thing, format)
}

//! `check`: tries each step that a sync needs.

use std::{path::PathBuf, sync::Arc};

use tributary_connectors::{Context, RunStats, kit::Limiters};

use super::{exit::Exit, message, output, run};
use crate::{config::Config, store};

pub(super) async fn check(paths: &[PathBuf], names: &[String]) -> anyhow::Result<Exit> {
    let config = Config::load(paths)?;
    for warning in &config.warnings {
        message::eprint_line(&format!("warning: {warning}"));
    }
    let chosen = run::chosen(&config, names)?;
    store::check_connectors(&config.daemon.store.path(), chosen.iter().map(|one| (one.name.as_str(), one.entry.meta.id)))?;
    let limiters = Arc::new(Limiters::default());
    let mut exits = Vec::new();
    for connection in chosen {
        let name = connection.name.clone();
        let tell = move |doubt: &str| message::eprint_line(&format!("{name}  warning: {doubt}"));
        let checked = match connection.opened(&limiters, tell).await {
            Ok(source) => source.check(&Context::new(Arc::new(RunStats::default()))).await,
            Err(error) => Err(error),
        };
        match checked {
            Ok(checked) => {
                output::text(&format!("{}  ok  {}\n", connection.name, checked.facts.join(" · ")))?;
                for warning in checked.warnings {
                    message::eprint_line(&format!("{}  warning: {warning}", connection.name));
                }
                exits.push(Exit::Ok);
            }
            Err(error) => {
                exits.push(Exit::of_vendor(&error));
                message::vendor_error(&connection.name, &format!("check of {}", connection.location), &error, None);
            }
        }
    }
    Ok(Exit::combine(&exits))
}

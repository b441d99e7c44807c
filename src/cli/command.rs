//! `check` and `config`.

use std::{path::PathBuf, sync::Arc};

use tributary_connectors::{Activity, Cx, kit::Limiters};

use super::{
    ConfigCommand,
    exit::{self, Exit},
    output, run,
};
use crate::{config::Config, store};

pub(super) async fn check(paths: &[PathBuf], names: &[String]) -> anyhow::Result<Exit> {
    let config = Config::load(paths)?;
    for warning in &config.warnings {
        exit::say(&format!("warning: {warning}"));
    }
    let chosen = run::chosen(&config, names)?;
    store::check_connectors(&config.daemon.store.path(), chosen.iter().map(|one| (one.name.as_str(), one.entry.meta.id)))?;
    let limiters = Arc::new(Limiters::default());
    let mut exits = Vec::new();
    for connection in chosen {
        let name = connection.name.clone();
        let tell = move |doubt: &str| exit::say(&format!("{name}  warning: {doubt}"));
        let checked = match connection.opened(&limiters, tell).await {
            Ok(source) => source.check(&Cx::new(Arc::new(Activity::default()))).await,
            Err(error) => Err(error),
        };
        match checked {
            Ok(checked) => {
                output::text(&format!("{}  ok  {}\n", connection.name, checked.facts.join(" · ")))?;
                for warning in checked.warnings {
                    exit::say(&format!("{}  warning: {warning}", connection.name));
                }
                exits.push(Exit::Ok);
            }
            Err(error) => {
                exits.push(Exit::of_vendor(&error));
                exit::say_vendor(&connection.name, &format!("check of {}", connection.location), &error, None);
            }
        }
    }
    Ok(Exit::of_all(&exits))
}

pub(super) async fn config(paths: &[PathBuf], what: &ConfigCommand) -> anyhow::Result<Exit> {
    match what {
        ConfigCommand::Schema => output::text(&format!("{:#}\n", Config::schema()))?,
        ConfigCommand::Reload => return super::daemon::reload(paths).await,
        ConfigCommand::Show => output::text(&Config::load(paths)?.show())?,
        ConfigCommand::Validate => {
            let config = Config::load(paths)?;
            for warning in &config.warnings {
                exit::say(&format!("warning: {warning}"));
            }
            crate::daemon::same_connectors(&config.daemon.store.path(), &config)?;
            let files: Vec<String> = config.files.iter().map(|path| path.display().to_string()).collect();
            let (count, files) = (config.connections.len(), files.join(", "));
            output::text(&format!("{count} {} in {files}: valid\n", if count == 1 { "connection" } else { "connections" }))?;
        }
    }
    Ok(Exit::Ok)
}

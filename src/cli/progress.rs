//! Progress on stderr: a line per connection on a terminal, else a line every half minute.

use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::sync::{Progress, Snapshot};

/// Shows the progress of connections until it is dropped.
pub(super) struct Shown(tokio::task::JoinHandle<()>);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Shows the progress of these connections until the result is dropped.
pub(super) fn show(connections: Vec<(String, Progress)>) -> Shown {
    Shown(tokio::spawn(async move {
        let width = connections.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        if !stderr().is_terminal() {
            let mut tick = tokio::time::interval(Duration::from_secs(30));
            tick.tick().await;
            loop {
                tick.tick().await;
                for (name, progress) in &connections {
                    let look = progress.look();
                    if look.running.is_some() {
                        super::message::eprint_line(&format!("{name:width$}  {}", line(&look)));
                    }
                }
            }
        }
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("{prefix}  {msg}").expect("a valid template");
        let bars: Vec<ProgressBar> = connections
            .iter()
            .map(|(name, _)| all.add(ProgressBar::new_spinner().with_style(style.clone()).with_prefix(format!("{name:width$}"))))
            .collect();
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            for (bar, (_, progress)) in bars.iter().zip(&connections) {
                bar.set_message(line(&progress.look()));
            }
        }
    }))
}

fn line(look: &Snapshot) -> String {
    let Some(running) = look.running else { return look.ended.clone().unwrap_or_else(|| "waiting".to_owned()) };
    let counts = look.counts;
    let of = look.total.map_or_else(|| format!("{}/{} lists", look.scopes.0, look.scopes.1), |total| format!("of {total}"));
    if let Some(until) = look.waiting_until {
        return format!("{:8}  waiting for the tool until {}  {} read", running.as_str(), until.strftime("%H:%M:%S"), counts.fetched);
    }
    format!(
        "{:8}  {} {of}  page {}  +{} ~{} ={}  {} requests",
        running.as_str(),
        counts.fetched,
        look.pages,
        counts.created,
        counts.updated,
        counts.unchanged,
        look.requests
    )
}

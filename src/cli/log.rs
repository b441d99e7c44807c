//! The log on stderr: text for people, JSON for collectors, and with the journal's priorities where the journal reads it.

use std::io::IsTerminal;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, fmt,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    registry::LookupSpan,
};

/// Starts the log of this process. `verbose` counts `-v`.
pub(super) fn start(verbose: u8, daemon: bool, json: bool) {
    let level = match verbose {
        0 if daemon => "tributary=info,tributary_connectors=info,warn",
        0 => "error",
        1 => "tributary=debug,tributary_connectors=debug,info",
        2 => "debug",
        _ => "trace",
    };
    let terminal = std::io::stderr().is_terminal();
    let log = fmt().with_env_filter(EnvFilter::new(level)).with_writer(std::io::stderr).with_ansi(terminal);
    match json {
        true => log.json().init(),
        false if reads_journal() => log.event_format(Journal(Format::default().with_target(false).with_level(false).without_time())).init(),
        false => log.with_target(false).init(),
    }
}

/// Whether stderr is a stream of the journal, which has times of its own and reads priorities from lines.
fn reads_journal() -> bool {
    crate::config::variable("JOURNAL_STREAM").is_some() && !std::io::stderr().is_terminal()
}

/// `<3>` and so on before each line, as `sd-daemon(3)` defines it.
struct Journal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}

//! The log on stderr: text for people, JSON for collectors, and with the journal's priorities where the journal reads it.
//!
//! The daemon never waits for whoever reads it: its lines go through a bounded queue to a thread that writes them. While the
//! queue is full, lines are dropped and counted, and the daemon tells how many once there is room.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, fmt,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    registry::LookupSpan,
};
use tributary_connectors::model::text::visible;

/// What may stand on a terminal as it is, of what is not seen: it moves on in the text, and nothing else.
pub(crate) const LAYOUT: &[char] = &['\n', '\t'];

/// What `RUST_LOG` asks for. One that cannot be read is told and ignored.
fn asked_by_environment() -> Option<EnvFilter> {
    let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.trim().is_empty())?;
    EnvFilter::builder()
        .parse(&asked)
        .inspect_err(|error| {
            let say = "write a level such as `debug`, or levels by module such as `tributary=debug,hyper=info`";
            eprint_line(&format!("warning: RUST_LOG is ignored, as it cannot be read ({error}): {say}"));
        })
        .ok()
}

/// Starts the log of this process. `verbose` counts `-v`; without one `RUST_LOG` is read.
pub(crate) fn start(verbose: u8, daemon: bool, json: bool) {
    let level = match verbose {
        0 if daemon => "tributary=info,tributary_connectors=info,warn",
        0 => "error",
        1 => "tributary=debug,tributary_connectors=debug,info",
        2 => "debug",
        _ => "trace",
    };
    let asked = if verbose == 0 { asked_by_environment() } else { None };
    let filter = asked.unwrap_or_else(|| EnvFilter::new(level));
    if daemon {
        let _ = QUEUE.set(Queue::new(ROOM, io::stderr()));
    }
    // Without colours: they are escape sequences, which could not be told from those that a vendor wrote.
    let log = fmt().with_env_filter(filter).with_writer(|| Visible(stderr())).with_ansi(false);
    match json {
        true => log.json().init(),
        false if reads_journal() => log.event_format(Journal(Format::default().with_target(false).with_level(false).without_time())).init(),
        false => log.with_target(false).init(),
    }
}

/// Shows what is hidden in lines of the log, whoever wrote what they tell.
struct Visible<W>(W);

impl<W: Write> Write for Visible<W> {
    /// Takes a whole line with each call, as the log gives it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(visible(&String::from_utf8_lossy(line), LAYOUT).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// How many bytes of lines may wait to be written.
const ROOM: usize = 4 << 20;
/// How long the end of the process waits for lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The lines of the daemon; a command writes its own, and waits for its reader as any command does.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Lines on their way to a thread that writes them.
struct Queue {
    lines: mpsc::Sender<Vec<u8>>,
    /// How many bytes may wait, and how many do.
    room: usize,
    waiting: Arc<AtomicUsize>,
    /// How many lines found no room, and were not told yet.
    lost: AtomicU64,
}

impl Queue {
    fn new(room: usize, mut output: impl Write + Send + 'static) -> Queue {
        let (sender, lines) = mpsc::channel::<Vec<u8>>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&waiting);
        // Without the thread nobody takes lines, and each is counted as lost.
        let _ = std::thread::Builder::new().name("log".into()).spawn(move || {
            while let Ok(line) = lines.recv() {
                let _ = output.write_all(&line);
                written.fetch_sub(line.len(), Ordering::Relaxed);
            }
        });
        Queue { lines: sender, room, waiting, lost: AtomicU64::new(0) }
    }

    fn push(&self, line: &[u8]) {
        let waiting = self.waiting.fetch_add(line.len(), Ordering::Relaxed);
        if waiting + line.len() > self.room || self.lines.send(line.to_vec()).is_err() {
            self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines were lost since this was asked last, once there is room to tell it.
    fn lost(&self) -> Option<u64> {
        if self.waiting.load(Ordering::Relaxed) > self.room / 2 {
            return None;
        }
        Some(self.lost.swap(0, Ordering::Relaxed)).filter(|lost| *lost > 0)
    }

    /// Waits a little for what is still to be written.
    fn finish(&self) {
        let began = Instant::now();
        while self.waiting.load(Ordering::Relaxed) > 0 && began.elapsed() < FLUSH_TIMEOUT {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Queued(&'static Queue);

impl Write for Queued {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where lines go, a whole line with each write.
pub(crate) fn stderr() -> Box<dyn Write> {
    match QUEUE.get() {
        Some(queue) => Box::new(Queued(queue)),
        None => Box::new(io::stderr()),
    }
}

/// A line on stderr, which what a vendor wrote does not steer. Nobody can be told when that fails.
pub(crate) fn eprint_line(text: &str) {
    // In one write, as the log takes whole lines.
    let _ = stderr().write_all(format!("{}\n", visible(text, LAYOUT)).as_bytes());
}

/// How many lines of the log were lost since this was asked last.
pub(crate) fn lost() -> Option<u64> {
    QUEUE.get()?.lost()
}

/// Waits a little for what the daemon said last to be written.
pub(crate) fn finish() {
    if let Some(queue) = QUEUE.get() {
        queue.finish();
    }
}

/// Whether stderr is a stream of the journal, which has times of its own and reads priorities from lines.
fn reads_journal() -> bool {
    crate::config::variable("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal()
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tributary_connectors::model::text::is_hidden;

    use super::*;

    /// Takes a line only while its gate is open.
    struct Gated(Arc<Mutex<Vec<u8>>>);

    impl Write for Gated {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("a lock").extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_makes_nobody_wait_and_lost_lines_are_counted() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let queue = Queue::new(30, Gated(Arc::clone(&written)));
        let stalled = written.lock().expect("a lock");
        for number in 0..10 {
            queue.push(format!("line {number}...\n").as_bytes());
        }
        assert_eq!(queue.lost(), None, "there is no room to tell it yet");
        drop(stalled);
        while queue.waiting.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        assert_eq!(String::from_utf8_lossy(&written.lock().expect("a lock")), "line 0...\nline 1...\nline 2...\n");
        assert_eq!((queue.lost(), queue.lost()), (Some(7), None), "told once");
        queue.push(b"more\n");
        queue.finish();
        assert!(written.lock().expect("a lock").ends_with(b"more\n"));
    }

    #[test]
    fn a_line_of_the_log_shows_what_is_hidden_in_it() {
        const HOSTILE: &str = "a\u{1b}[2J\u{9b}1m\u{7}b\u{202e}c\u{200b}";
        for json in [false, true] {
            let written = Arc::new(Mutex::new(Vec::new()));
            let to = Arc::clone(&written);
            let log = fmt().with_writer(move || Visible(Gated(Arc::clone(&to)))).with_ansi(false);
            let tell = || tracing::warn!(name = HOSTILE, error = %HOSTILE, debug = ?HOSTILE, "{HOSTILE}");
            match json {
                true => tracing::subscriber::with_default(log.json().finish(), tell),
                false => tracing::subscriber::with_default(log.finish(), tell),
            }
            let line = String::from_utf8(written.lock().expect("a lock").clone()).expect("text");
            assert!(!line.trim_end_matches('\n').contains(is_hidden), "{line:?}");
            assert!(line.contains("\\u202e"), "{line}");
        }
    }
}

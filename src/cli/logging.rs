//! What log lines look like: JSON for machines, or one readable line each for a person at a terminal, which is also how
//! `run` shows what is happening.

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For a person.
    Human,
    /// One JSON object a line.
    Json,
}

/// Sends log lines to standard error: human on a terminal, JSON otherwise, unless `format` says which.
pub(super) fn set_up(format: Option<LogFormat>) {
    let terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal { LogFormat::Human } else { LogFormat::Json });
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,camera_operator=info"));
    // The RTSP library logs addresses as they are, and a password may stand in one. What it has to say comes in its errors.
    let filter = match "retina=off".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Human => {
            // https://no-color.org: any value that is not empty.
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            builder.with_ansi(terminal && !plain).event_format(Human).init();
        }
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// `03:46:21  Camera default/door  Running: 1920×1080 H264`: time of day where the reader is, then who, then what.
struct Human;

/// The fields of an event, sorted by what they are for.
#[derive(Default)]
struct Fields {
    object: String,
    state: String,
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "object" => write!(self.object, "{value:?}"),
            "state" => write!(self.state, "{value:?}"),
            "message" => write!(self.message, "{value:?}"),
            // The message says them in words.
            "reason" | "url" => Ok(()),
            name => write!(self.others, "  {name}={value:?}"),
        };
    }
}

const BOLD: &str = "\u{1b}[1m";
const DIM: &str = "\u{1b}[2m";
const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const PLAIN: &str = "\u{1b}[0m";

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        let ansi = writer.has_ansi_escapes();
        let style = |code: &'static str| if ansi { code } else { "" };
        let (colour, word) = match level {
            Level::ERROR => (RED, "error: "),
            Level::WARN => (YELLOW, "warning: "),
            Level::INFO => ("", ""),
            _ => (DIM, "debug: "),
        };
        write!(writer, "{}{}{}  ", style(DIM), jiff::Zoned::now().strftime("%H:%M:%S"), style(PLAIN))?;
        if !fields.object.is_empty() {
            write!(writer, "{}{}{}  ", style(BOLD), fields.object, style(PLAIN))?;
        }
        write!(writer, "{}", style(colour))?;
        match (fields.state.is_empty(), fields.message.is_empty()) {
            (true, _) => write!(writer, "{word}{}", fields.message)?,
            (false, true) => write!(writer, "{}", fields.state)?,
            (false, false) => write!(writer, "{}: {}", fields.state, fields.message)?,
        }
        writeln!(writer, "{}{}{}{}", style(PLAIN), style(DIM), fields.others, style(PLAIN))
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_says_who_and_what_without_noise() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).event_format(Human).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(object = %"Camera default/door", state = ?Level::INFO, reason = "Streaming", "pictures come");
            tracing::warn!(attempt = 3, "slow");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_once("  ").unwrap().1).collect();
        assert_eq!(lines, ["Camera default/door  Level(Info): pictures come", "warning: slow  attempt=3"]);
    }
}

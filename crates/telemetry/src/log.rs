//! Logs: one line an event on standard error, as JSON for machines or as text for people.
//!
//! Whoever logs is never held up by whoever reads. A panic is logged like everything else.

mod lines;

pub use lines::{flush, put};

use std::panic::{self, PanicHookInfo};
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Plain text.
    Text,
}

/// A word that names no [`LogFormat`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a log format: use json or text")]
pub struct UnknownFormat(String);

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter's text could not be read.
    #[error("the log level {filter:?} is not understood, use for example info or router=debug,info")]
    Filter {
        /// The text.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The thread that writes could not be started.
    #[error("logging has no thread: {0}")]
    Thread(#[from] std::io::Error),
    /// Logging was started before.
    #[error("logging was started twice")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl FromStr for LogFormat {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        match word {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(UnknownFormat(word.to_owned())),
        }
    }
}

/// Starts logging for the whole process. `filter` is a level (`info`) or a list (`router=debug,info`). What is still on its
/// way at the end of the process is written by [`flush`].
///
/// # Errors
/// When the filter is not understood, or logging was started before.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let levels = EnvFilter::try_new(filter).map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let lines = tracing_subscriber::fmt().with_env_filter(levels).with_writer(|| lines::Line).with_target(true);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Text => lines.with_ansi(false).try_init(),
    }
    .map_err(LogError::Twice)?;
    lines::start()?;
    panic::set_hook(Box::new(tell_panic));
    Ok(())
}

/// The standard hook writes to standard error itself, and would wait for its reader.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let at = panic.location().map(ToString::to_string);
    tracing::error!(panic = panic.payload_as_str(), at, "a fault of the program");
}

//! How a terminal's output may look: decided once, by what it is written to.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// What the output can bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Styles may be used.
    pub colour: bool,
    /// The terminal on which the state of machines may be drawn and redrawn.
    pub live: Option<LiveOn>,
    /// Guests' lines are cut to this many characters.
    pub width: Option<usize>,
}

/// Where the live state is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveOn {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Look {
    /// For files and pipes: no colour, nothing redrawn, nothing cut.
    pub const fn plain() -> Self {
        Self {
            colour: false,
            live: None,
            width: None,
        }
    }

    /// For standard output as it is. Colour follows `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` and
    /// [`ColorChoice::write_global`].
    pub fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        Self::of(
            AutoStream::choice(&stdout),
            stdout.is_terminal(),
            stdout.as_fd(),
            LiveOn::Stdout,
        )
    }

    /// The same for standard error.
    pub fn of_stderr() -> Self {
        let stderr = std::io::stderr();
        Self::of(
            AutoStream::choice(&stderr),
            stderr.is_terminal(),
            stderr.as_fd(),
            LiveOn::Stderr,
        )
    }

    fn of(colour: ColorChoice, terminal: bool, descriptor: impl AsFd, live: LiveOn) -> Self {
        // A dumb terminal cannot move its cursor, and that of a builder of Nix is a log.
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let moves = terminal && !is_dumb && std::env::var_os(BUILDER).is_none();
        Self {
            colour: colour != ColorChoice::Never,
            live: moves.then_some(live),
            width: terminal
                .then(|| terminal_size::terminal_size_of(descriptor))
                .flatten()
                .map(|(width, _)| usize::from(width.0))
                // Terminals that do not know their width say 0.
                .filter(|width| *width >= 20),
        }
    }
}

/// Nix sets it in builders, and not in the shells that it makes.
const BUILDER: &str = "NIX_LOG_FD";

/// The styles by their meaning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    pub(crate) good: Style,
    pub(crate) bad: Style,
    pub(crate) warning: Style,
    pub(crate) strong: Style,
    pub(crate) faint: Style,
}

impl Palette {
    pub(crate) fn new(colour: bool) -> Self {
        let style = |style: Style| if colour { style } else { Style::new() };
        Self {
            good: style(AnsiColor::Green.on_default().bold()),
            bad: style(AnsiColor::Red.on_default().bold()),
            warning: style(AnsiColor::Yellow.on_default().bold()),
            strong: style(Style::new().bold()),
            faint: style(Style::new().dimmed()),
        }
    }
}

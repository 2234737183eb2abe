//! Why the program ends early, in words for people, and with which exit status.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

/// The result of a command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a command did not finish.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library said no.
    Kiln(kiln::Error),
    /// A file that the program itself writes.
    Write { path: PathBuf, why: std::io::Error },
    /// A file that is not one of this program's models.
    NotAModel { path: PathBuf, why: String },
    /// A file that a training cannot go on from.
    NotACheckpoint { path: PathBuf, why: String },
    /// A stopped training is where another is to begin.
    Unfinished(PathBuf),
    /// Arguments that make no sense together, or on this machine.
    Usage(String),
    /// Rows of a benchmark without a time: a wrong answer, or none.
    Rows { wrong: usize, count: usize },
    /// A comparison that found something slower.
    Slower(usize),
    /// An example that did not reach what it is to reach.
    Bar { figure: f64, bar: f64 },
    /// Ctrl-C, after everything was saved.
    Stopped,
}

impl Failure {
    /// What the shell sees.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Kiln(kiln::Error::Device(kiln::gpu::Error::NoAdapter { .. })) => ExitCode::from(3),
            Failure::Stopped => ExitCode::from(130),
            Failure::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Kiln(kiln::Error::Device(kiln::gpu::Error::NoAdapter { wanted, found, hint })) => {
                write!(f, "kiln: no adapter for {wanted}.\nFound: {found}.\n{hint}")
            }
            Failure::Kiln(error) => write!(f, "kiln: {error}"),
            Failure::Write { path, why } => write!(f, "kiln: cannot write {}: {why}", path.display()),
            Failure::NotAModel { path, why } => {
                write!(f, "kiln: {} is not a digits model: {why}. `kiln train digits` saves one.", path.display())
            }
            Failure::NotACheckpoint { path, why } => {
                write!(f, "kiln: no training can go on from {}: {why}", path.display())
            }
            Failure::Unfinished(path) => write!(
                f,
                "kiln: a training was stopped in {0}: `kiln train digits --resume {0}` goes on with it, \
                 --out DIR trains elsewhere.",
                path.display()
            ),
            Failure::Usage(why) => write!(f, "kiln: {why}"),
            Failure::Rows { wrong, count } => {
                write!(f, "kiln: {wrong} of {count} rows have no right answer and no time")
            }
            Failure::Slower(rows) => write!(f, "kiln: {rows} slower"),
            Failure::Bar { figure, bar } => write!(f, "kiln: {figure:.4} is less than {bar}, which it is to reach"),
            Failure::Stopped => write!(f, "Stopped."),
        }
    }
}

impl From<kiln::Error> for Failure {
    fn from(error: kiln::Error) -> Self {
        Failure::Kiln(error)
    }
}

impl From<kiln::gpu::Error> for Failure {
    fn from(error: kiln::gpu::Error) -> Self {
        Failure::Kiln(error.into())
    }
}

//! Why an expression could not be built, run, read or saved.

use crate::{DType, Shape};
use std::fmt;
use std::panic::Location;
use std::path::PathBuf;
use std::sync::Arc;

/// Short for the results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The line of the user's program that an error is about. Prints as `file:line`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct At(pub(crate) &'static Location<'static>);

impl At {
    /// The caller's line.
    #[track_caller]
    pub fn here() -> Self {
        Self(Location::caller())
    }

    /// The file as the compiler names it.
    pub fn file(&self) -> &'static str {
        self.0.file()
    }

    /// The line, from 1.
    pub fn line(&self) -> u32 {
        self.0.line()
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.file(), self.0.line())
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A list that prints as `a and b`, for messages.
#[derive(Debug, Clone, PartialEq)]
pub struct List<T>(pub Vec<T>);

impl<T: fmt::Display> fmt::Display for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            let joint = if i == 0 {
                ""
            } else if i + 1 == self.0.len() {
                " and "
            } else {
                ", "
            };
            write!(f, "{joint}{item}")?;
        }
        Ok(())
    }
}

/// Why an expression could not be built, run, read or saved.
///
/// Shapes and types are checked when an operation is called. A wrong call gives a tensor that carries the
/// error; operations on it carry the same one on, and the first call that can return it does.
///
/// A message is for people; a program looks at the variant.
///
/// ```
/// use kiln::prelude::*;
///
/// let device = Device::open()?;
/// let (x, w) = (Tensor::ones(&device, [2, 3]), Tensor::ones(&device, [4, 5]));
/// let y = x.matmul(&w).relu().sum(); // wrong, and nothing is thrown
/// match y.item() {
///     Err(Error::Shape { op, shapes, at, .. }) => {
///         assert_eq!((op, &shapes.0[0][..], &shapes.0[1][..]), ("matmul", &[2, 3][..], &[4, 5][..]));
///         println!("{}:{}: wrong shapes", at.file(), at.line()); // the line of the matmul
///     }
///     other => panic!("not {other:?}"),
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Operands whose shapes the operation cannot take.
    #[error("{at}: {op}: {shapes}: {why}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The shapes it was given.
        shapes: List<Shape>,
        /// What is wrong with them.
        why: &'static str,
        /// The caller's line.
        at: At,
    },

    /// Operands whose element types the operation cannot take.
    #[error("{at}: {op}: {dtypes}: {why}")]
    DType {
        /// The operation.
        op: &'static str,
        /// The types it was given.
        dtypes: List<DType>,
        /// What is wrong with them.
        why: &'static str,
        /// The caller's line.
        at: At,
    },

    /// An axis that the tensor does not have.
    #[error("{at}: {op}: axis {axis} of a tensor of shape {shape}")]
    Axis {
        /// The operation.
        op: &'static str,
        /// The axis asked for.
        axis: i64,
        /// The tensor's shape.
        shape: Shape,
        /// The caller's line.
        at: At,
    },

    /// An argument outside of what the operation accepts.
    #[error("{at}: {op}: {name} = {value}: {why}")]
    Argument {
        /// The operation.
        op: &'static str,
        /// The argument.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is accepted.
        why: &'static str,
        /// The caller's line.
        at: At,
    },

    /// An index past the end of an axis, found while the step ran. Nothing was changed by that step.
    #[error("{at}: {op}{module}: index out of range at row {row}")]
    Index {
        /// The operation.
        op: &'static str,
        /// Where in the list of indices; capped at 1,048,575.
        row: u32,
        /// The layer, where known.
        module: Module,
        /// The caller's line.
        at: At,
    },

    /// The loss or a gradient norm was NaN or infinite. Nothing was changed by that step.
    ///
    /// The step is run again with a look at every value, so that the operation is the first one that gave NaN or
    /// infinity out of finite numbers. Where that cannot be told (the batch is gone, or other steps have changed what
    /// it read), the operation is the loss or the norm itself.
    #[error("{at}: {}", not_finite(what, op, module, *backward))]
    NotFinite {
        /// What was found not to be finite: `loss` or `gradient norm`.
        what: &'static str,
        /// The first operation that went wrong, or `what` itself; `parameter` for one that was not finite before.
        op: &'static str,
        /// Whether it went wrong in the gradient of the operation.
        backward: bool,
        /// The layer, where known.
        module: Module,
        /// The line of the operation.
        at: At,
    },

    /// An operation on tensors of two devices.
    #[error("{at}: {op}: the operands are on different devices")]
    Devices {
        /// The operation.
        op: &'static str,
        /// The caller's line.
        at: At,
    },

    /// More than the device, or a 32-bit index, can hold.
    #[error("{at}: {op}{}{shapes} needs {needs} {what}, the limit is {has}", if shapes.0.is_empty() { "" } else { ": " })]
    Limit {
        /// The operation.
        op: &'static str,
        /// The shapes of its operands and of its result, as far as there are.
        shapes: List<Shape>,
        /// What there is too much of.
        what: &'static str,
        /// How much is needed.
        needs: u64,
        /// How much there is.
        has: u64,
        /// The caller's line.
        at: At,
    },

    /// A tensor whose inputs were replaced by a later step before its value was asked for.
    #[error("{at}: {op}: its inputs were replaced by a training step before its value was asked for")]
    Stale {
        /// The operation.
        op: &'static str,
        /// Where the tensor was made.
        at: At,
    },

    /// A derivative that does not exist or was asked of a tensor that does not depend on the input.
    #[error("{at}: {op}: {why}")]
    Gradient {
        /// The operation.
        op: &'static str,
        /// What is wrong.
        why: &'static str,
        /// The caller's line.
        at: At,
    },

    /// An error inside a module that was run by another one.
    #[error("in {module}: {source}")]
    In {
        /// The module's path.
        module: Arc<str>,
        /// What went wrong in it.
        source: Box<Error>,
    },

    /// A file that could not be read, written or understood.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },

    /// A file that breaks the rules of its format. Nothing of it was taken.
    #[error("{}{place}: expected {expected}, found {found}", path.display())]
    Malformed {
        /// The file; for a member of an archive, the archive's path and its name.
        path: PathBuf,
        /// Where in it.
        place: Place,
        /// What the format asks for there.
        expected: String,
        /// What is there.
        found: String,
    },

    /// A thread that prepares batches ended without giving one.
    #[error("data worker: {0}")]
    Worker(String),

    /// The terminal cannot show what it is to show.
    #[error("terminal: {0}")]
    Terminal(String),

    /// A state dict that does not fit the module.
    #[error("{}", unfit(.0))]
    State(Box<crate::StateReport>),

    /// The device refused.
    #[error(transparent)]
    Device(#[from] kiln_device::Error),
}

impl Error {
    /// This error, with the file whose content did not fit.
    pub(crate) fn of_file(self, path: &std::path::Path) -> Self {
        match self {
            Error::State(mut report) => {
                report.file = Some(path.to_owned());
                Error::State(report)
            }
            other => other,
        }
    }
}

/// Where in a file something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    Whole,
    /// A line of text, from 1.
    Line(u64),
    /// A byte, from 0; of the content where the file is compressed.
    Byte(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Whole => Ok(()),
            Place::Line(line) => write!(f, ":{line}"),
            Place::Byte(byte) => write!(f, " at byte {byte}"),
        }
    }
}

/// What did not fit when a state dict was loaded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StateReport {
    /// In the module, not in the file.
    pub missing: Vec<String>,
    /// In the file, not in the module.
    pub unexpected: Vec<String>,
    /// Path, the module's shape, the file's shape.
    pub mismatched: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// The file, if it came from one.
    pub file: Option<PathBuf>,
}

impl fmt::Display for StateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!("missing {}", self.missing.join(", ")));
        }
        if !self.unexpected.is_empty() {
            parts.push(format!("unexpected {}", self.unexpected.join(", ")));
        }
        for (path, module, file) in &self.mismatched {
            parts.push(format!("{path} is {module:?} in the module and {file:?} in the file"));
        }
        f.write_str(&parts.join("; "))
    }
}

/// The path of a layer in its model, for messages; prints as nothing where it is not known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Module(pub Option<Arc<str>>);

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(path) => write!(f, " (in {path})"),
            None => Ok(()),
        }
    }
}

fn unfit(report: &StateReport) -> String {
    match &report.file {
        Some(file) => format!("{}: state dict: {report}", file.display()),
        None => format!("state dict: {report}"),
    }
}

fn not_finite(what: &str, op: &str, module: &Module, backward: bool) -> String {
    let first = if backward { "the gradient of " } else { "" };
    match op == what {
        true => format!("{op}{module} is not finite; the step changed nothing"),
        false => format!(
            "{first}{op}{module} is the first that is not finite; nor is the {what}, and the step changed nothing"
        ),
    }
}

//! What can be wrong with manifests, and where. Must never hold the value of a secret.

use std::fmt;
use std::path::PathBuf;

use crate::plan::unit::ObjectRef;

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// A file or folder cannot be read.
    Unreadable,
    /// A document is no YAML.
    Syntax,
    /// An API server would refuse the object. It is left out.
    Invalid,
    /// The object is declared already. This one is left out.
    Duplicate,
    /// A reference leads nowhere. The object is kept; it waits.
    Unresolved,
    /// A Secret or key is missing. The object is kept; it waits.
    SecretMissing,
}

/// Something wrong in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which file, as it was named.
    pub file: PathBuf,
    /// Line, from 1; 0 when the file cannot be read at all.
    pub line: usize,
    /// Such as `spec.source.rtsp.url`; empty when it is about the whole document.
    pub path: String,
    /// What is wrong and what to write.
    pub message: String,
    /// What kind of thing it is.
    pub kind: ProblemKind,
    /// Whose, when it is known.
    pub object: Option<ObjectRef>,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: ", self.file.display(), self.line)?;
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.message)
    }
}

/// Something worth knowing that is not wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Which file, as it was named.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// What it is.
    pub message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: note: {}", self.file.display(), self.line, self.message)
    }
}

//! Errors of a configuration file's content.

use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
};

/// Content that is not a valid configuration.
#[derive(Debug)]
pub struct SettingsError {
    path: PathBuf,
    cause: InvalidContent,
}

#[derive(Debug)]
enum InvalidContent {
    Syntax(Box<serde_saphyr::Error>),
    Value(String),
}

// === impl SettingsError ===

impl SettingsError {
    pub(super) fn syntax(path: &Path, error: serde_saphyr::Error) -> Self {
        Self { path: path.to_owned(), cause: InvalidContent::Syntax(Box::new(error)) }
    }

    pub(super) fn value(path: &Path, message: String) -> Self {
        Self { path: path.to_owned(), cause: InvalidContent::Value(message) }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.cause {
            // The snippet repeats the message and shows `<input>` as the file name.
            InvalidContent::Syntax(error) => error.without_snippet().fmt(f),
            InvalidContent::Value(message) => f.write_str(message),
        }
    }
}

impl Error for SettingsError {
    /// The message already contains the text of the cause. So `source` returns the error below the cause; otherwise the cause
    /// would be shown twice.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            InvalidContent::Syntax(error) => error.source(),
            InvalidContent::Value(_) => None,
        }
    }
}

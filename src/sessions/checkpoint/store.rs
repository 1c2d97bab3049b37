//! Where the objects of a checkpoint are.

use std::{error::Error, fmt};

/// An object with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Name of the object.
    pub name: String,
    /// The content.
    pub content: Vec<u8>,
    /// Changes with every write.
    pub version: String,
}

/// Objects by name. A write has a precondition.
pub trait Store {
    /// All objects, at one point in time.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    fn list(&self) -> impl Future<Output = Result<Vec<StoredObject>, StoreError>> + Send;

    /// Writes an object that has this version; none creates it. Returns the new version.
    ///
    /// # Errors
    /// Fails with [`StoreError::Conflict`] if the object has another version. After any other error the write may have happened.
    fn write(
        &self,
        name: &str,
        content: Vec<u8>,
        version: Option<&str>,
    ) -> impl Future<Output = Result<String, StoreError>> + Send;
}

/// Why the store has not done what it should.
#[derive(Debug)]
pub enum StoreError {
    /// The object has another version than expected: another program wrote it.
    Conflict,
    /// The store failed. It may have written the object.
    Failed(Box<dyn Error + Send + Sync>),
}

// === impl StoreError ===

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conflict => "another program wrote the object",
            Self::Failed(_) => "the store failed",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Conflict => None,
            Self::Failed(error) => Some(error.as_ref()),
        }
    }
}

//! The text of the head and of a shard: JSON with the version of the format.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::state::{Stored, checksum};

/// Version of the format. A change that an older program would misread needs a new version.
pub(super) const FORMAT: u32 = 1;

/// The head. It names the slot of each shard.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Head<T> {
    /// The leader that wrote the head.
    pub(super) writer: String,
    /// Grows with each write of the head.
    pub(super) generation: u64,
    /// As in [`super::Checkpoint`].
    pub(super) resource_version: u64,
    /// The slot of each shard, in the order of the shards; none if the shard was always empty.
    pub(super) shards: Vec<Option<ShardRef>>,
    pub(super) totals: T,
}

/// The slot of a shard, and the checksum of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct ShardRef {
    /// 0 or 1: one of the two objects of the shard.
    pub(super) slot: u8,
    pub(super) checksum: u32,
}

/// Why a text cannot be read.
#[derive(Debug)]
pub(super) enum FormatError {
    /// The text is not valid JSON of this format.
    Malformed(serde_json::Error),
    /// A newer version of this program wrote the text.
    Version(u32),
    /// The text is not the one that the head names.
    Checksum,
}

#[derive(Deserialize)]
struct VersionOnly {
    format: u32,
}

#[derive(Deserialize, Serialize)]
struct Versioned<V> {
    format: u32,
    value: V,
}

#[derive(Deserialize, Serialize)]
struct ShardText<S> {
    sessions: BTreeMap<String, S>,
}

/// The text of a head.
pub(super) fn write_head<T: Serialize>(head: &Head<T>) -> serde_json::Result<String> {
    serde_json::to_string(&Versioned { format: FORMAT, value: head })
}

/// The head of a text.
pub(super) fn read_head<T: Stored>(text: &str) -> Result<Head<T>, FormatError> {
    read(text)
}

/// The text of a shard.
pub(super) fn write_shard<S: Serialize>(sessions: &BTreeMap<String, S>) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Borrowed<'s, S> {
        sessions: &'s BTreeMap<String, S>,
    }
    serde_json::to_string(&Versioned { format: FORMAT, value: Borrowed { sessions } })
}

/// The sessions of a text, which must have this checksum.
pub(super) fn read_shard<S: Stored>(text: &str, expected: u32) -> Result<BTreeMap<String, S>, FormatError> {
    if checksum(text.as_bytes()) != expected {
        return Err(FormatError::Checksum);
    }
    read::<ShardText<S>>(text).map(|shard| shard.sessions)
}

fn read<V: Stored>(text: &str) -> Result<V, FormatError> {
    let VersionOnly { format } = serde_json::from_str(text).map_err(FormatError::Malformed)?;
    if format != FORMAT {
        return Err(FormatError::Version(format));
    }
    serde_json::from_str::<Versioned<V>>(text)
        .map(|versioned| versioned.value)
        .map_err(FormatError::Malformed)
}

// === impl FormatError ===

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "is not valid: {error}"),
            Self::Version(version) => {
                write!(f, "has format {version}, and this program reads {FORMAT}: update this program")
            }
            Self::Checksum => write!(f, "is not the object that the head names: it was changed or damaged"),
        }
    }
}

//! The content of the head and of a shard: JSON with the version of the format, compressed with gzip. The JSON of 50,000 sessions has 16 MB, and
//! is a sixth of that compressed.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read, Write},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize, ser::Error};

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

/// The slot of a shard, and the checksum of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct ShardRef {
    /// 0 or 1: one of the two objects of the shard.
    pub(super) slot: u8,
    pub(super) checksum: u32,
}

/// Why a content cannot be read.
#[derive(Debug)]
pub(super) enum FormatError {
    /// The content cannot be decompressed.
    Compression(io::Error),
    /// The text is not valid JSON of this format.
    Malformed(serde_json::Error),
    /// A newer version of this program wrote the text.
    Version(u32),
    /// The content is not the one that the head names.
    Checksum,
}

/// Maximum bytes of a decompressed text; a larger one is damaged. A ConfigMap holds less than 1 MiB, and JSON of sessions is about six times as large.
const MAX_TEXT: u64 = 64 << 20;

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

/// The content of a head.
pub(super) fn write_head<T: Serialize>(head: &Head<T>) -> serde_json::Result<Vec<u8>> {
    write(head)
}

/// The head of a content.
pub(super) fn read_head<T: Stored>(content: &[u8]) -> Result<Head<T>, FormatError> {
    read(content)
}

/// The content of a shard.
pub(super) fn write_shard<S: Serialize>(sessions: &BTreeMap<String, S>) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Borrowed<'s, S> {
        sessions: &'s BTreeMap<String, S>,
    }
    write(Borrowed { sessions })
}

/// The sessions of a content, which must have this checksum.
pub(super) fn read_shard<S: Stored>(
    content: &[u8],
    expected: u32,
) -> Result<BTreeMap<String, S>, FormatError> {
    if checksum(content) != expected {
        return Err(FormatError::Checksum);
    }
    read::<ShardText<S>>(content).map(|shard| shard.sessions)
}

/// Level 1: the server compresses every few seconds, and higher levels save little.
fn write(value: impl Serialize) -> serde_json::Result<Vec<u8>> {
    let text = serde_json::to_vec(&Versioned { format: FORMAT, value })?;
    if text.len() as u64 > MAX_TEXT {
        return Err(serde_json::Error::custom(format!(
            "{} bytes, and the maximum is {MAX_TEXT}",
            text.len()
        )));
    }
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(&text).and_then(|()| encoder.finish()).map_err(serde_json::Error::io)
}

fn read<V: Stored>(content: &[u8]) -> Result<V, FormatError> {
    let mut text = vec![];
    GzDecoder::new(content).take(MAX_TEXT).read_to_end(&mut text).map_err(FormatError::Compression)?;
    let VersionOnly { format } = serde_json::from_slice(&text).map_err(FormatError::Malformed)?;
    if format != FORMAT {
        return Err(FormatError::Version(format));
    }
    serde_json::from_slice::<Versioned<V>>(&text)
        .map(|versioned| versioned.value)
        .map_err(FormatError::Malformed)
}

// === impl FormatError ===

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compression(error) => write!(f, "cannot be decompressed: {error}"),
            Self::Malformed(error) => write!(f, "is not valid: {error}"),
            Self::Version(version) => {
                write!(f, "has format {version}, and this program reads {FORMAT}: update this program")
            }
            Self::Checksum => write!(f, "is not the object that the head names: it was changed or damaged"),
        }
    }
}

//! Loads a checkpoint and saves it again, so that a crash or another leader at any point leaves the last complete save.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    fmt,
};

use super::{
    format::{self, FormatError, Head, ShardRef},
    state::{Checkpoint, LiveSessions, SHARDS, Stored, checksum},
    store::{Store, StoreError, StoredObject},
    unsaved::Unsaved,
};

/// Name of the head. The names of the shards begin with it.
pub(super) const HEAD: &str = "vdi-metrics-ledger";

/// Maximum length of a content in bytes. The API server rejects a ConfigMap of more than 1 MiB (`MaxSecretSize` in
/// `k8s.io/kubernetes: pkg/apis/core/types.go`).
const MAX_BYTES: usize = (1 << 20) - (16 << 10);

/// Saves checkpoints as the leader.
#[derive(Debug)]
pub struct CheckpointWriter<St> {
    store: St,
    /// Names this leader; no other leader, and no earlier run of this program, has the same name.
    writer: String,
    generation: u64,
    /// The slots that the stored head names.
    shards: Vec<Option<ShardRef>>,
    /// Version of each object.
    versions: HashMap<String, String>,
    /// Whether the last write of the head failed, so that the stored head may be the old or the new one.
    is_head_unknown: bool,
}

/// Why there is no checkpoint to continue from. Nothing was overwritten.
#[derive(Debug)]
pub enum LoadError {
    /// An object cannot be read.
    Unreadable {
        /// Name of the object.
        name: String,
        /// Problem of the object.
        problem: String,
    },
    /// The head does not exist, and shards do; or the head names an object that does not exist.
    Missing(String),
    /// The store failed. The caller tries again.
    Store(StoreError),
    /// The state cannot be written. [`SaveError::Lost`]: another leader loads at the same time. The caller tries again.
    Save(SaveError),
}

/// Why a checkpoint is not saved.
#[derive(Debug)]
pub enum SaveError {
    /// Another leader has taken over. This one must not save any more.
    Lost,
    /// The store failed. The caller tries again with a later checkpoint.
    Store(StoreError),
    /// A content is too long for an object.
    TooLong {
        /// Name of the object.
        name: String,
        /// Length of the content.
        bytes: usize,
    },
    /// A value cannot be written as JSON.
    Encode(serde_json::Error),
}

// === impl CheckpointWriter ===

impl<St: Store> CheckpointWriter<St> {
    /// Loads the stored checkpoint, or starts with `initial` if there is none. Afterwards no earlier leader can save. `writer` names this
    /// leader and this run of the program.
    ///
    /// # Errors
    /// Fails if the checkpoint cannot be read, and if another leader takes over at the same time.
    pub async fn take_over<T: Stored + Clone, S: Stored>(
        store: St,
        writer: String,
        initial: Checkpoint<T, S>,
    ) -> Result<(Self, Checkpoint<T, S>), LoadError> {
        let objects = store.list().await.map_err(LoadError::Store)?;
        let (shards, versions) = (vec![None; SHARDS], HashMap::new());
        let mut this = Self { store, writer, generation: 0, shards, versions, is_head_unknown: false };
        let mut checkpoint = match this.adopt_head(&objects)? {
            Some(head) => this.read_shards(head, &objects)?,
            None if objects.is_empty() => initial,
            None => return Err(LoadError::Missing(HEAD.to_owned())),
        };
        // The shards of a loaded checkpoint are clean, so this writes only the head.
        let unsaved = checkpoint.take_unsaved().map_err(|error| LoadError::Save(SaveError::Encode(error)))?;
        this.save(&unsaved).await.map_err(|error| match error {
            SaveError::Store(error) => LoadError::Store(error),
            error => LoadError::Save(error),
        })?;
        Ok((this, checkpoint))
    }

    /// Saves what has changed. When this returns `Ok`, it is durable.
    ///
    /// # Errors
    /// Fails if another leader has taken over, or if the store fails. Then the stored checkpoint is this one or the one before.
    pub async fn save<T: Stored>(&mut self, unsaved: &Unsaved<T>) -> Result<(), SaveError> {
        if self.is_head_unknown {
            self.recover::<T>().await?;
        }
        let mut shards = self.shards.clone();
        for (index, content) in &unsaved.shards {
            let slot = self.shards[*index].map_or(0, |shard| shard.slot ^ 1);
            shards[*index] = Some(ShardRef { slot, checksum: checksum(content) });
            self.write_shard(&shard_name(*index, slot), content).await?;
        }
        self.write_head(unsaved, shards).await
    }

    /// Takes the versions of all objects, and what the head says; none if there is no head.
    fn adopt_head<T: Stored>(&mut self, objects: &[StoredObject]) -> Result<Option<Head<T>>, LoadError> {
        self.versions = objects.iter().map(|it| (it.name.clone(), it.version.clone())).collect();
        let Some(object) = objects.iter().find(|object| object.name == HEAD) else { return Ok(None) };
        let head: Head<T> = format::read_head(&object.content).map_err(|error| unreadable(HEAD, &error))?;
        self.generation = head.generation;
        self.shards = head.shards.iter().copied().chain(std::iter::repeat(None)).take(SHARDS).collect();
        Ok(Some(head))
    }

    fn read_shards<T, S: Stored>(
        &self,
        head: Head<T>,
        objects: &[StoredObject],
    ) -> Result<Checkpoint<T, S>, LoadError> {
        let mut live = LiveSessions::default();
        for (index, shard) in self.shards.iter().enumerate() {
            let Some(ShardRef { slot, checksum }) = shard else { continue };
            let name = shard_name(index, *slot);
            let Some(object) = objects.iter().find(|object| object.name == name) else {
                return Err(LoadError::Missing(name));
            };
            let sessions: BTreeMap<String, S> =
                format::read_shard(&object.content, *checksum).map_err(|error| unreadable(&name, &error))?;
            live.replace_shard(index, sessions);
        }
        Ok(Checkpoint { resource_version: head.resource_version, totals: head.totals, live })
    }

    /// Finds out which head is stored, and writes it again. Then the failed write, which may still be on its way, cannot happen any more.
    async fn recover<T: Stored>(&mut self) -> Result<(), SaveError> {
        let objects = self.store.list().await.map_err(SaveError::Store)?;
        let head = self.adopt_head::<T>(&objects).ok().flatten();
        let mut head = head.filter(|head| head.writer == self.writer).ok_or(SaveError::Lost)?;
        self.generation += 1;
        head.generation = self.generation;
        let content = format::write_head(&head).map_err(SaveError::Encode)?;
        self.write(HEAD, content).await?;
        self.is_head_unknown = false;
        Ok(())
    }

    async fn write_head<T: Stored>(
        &mut self,
        unsaved: &Unsaved<T>,
        shards: Vec<Option<ShardRef>>,
    ) -> Result<(), SaveError> {
        let head = Head {
            writer: self.writer.clone(),
            generation: self.generation + 1,
            resource_version: unsaved.resource_version,
            shards,
            totals: &unsaved.totals,
        };
        let content = format::write_head(&head).map_err(SaveError::Encode)?;
        let written = self.write(HEAD, content).await;
        match written {
            Ok(()) => (self.generation, self.shards) = (head.generation, head.shards),
            Err(SaveError::Store(StoreError::Conflict)) => return Err(SaveError::Lost),
            Err(SaveError::Store(StoreError::Failed(_))) => self.is_head_unknown = true,
            Err(_) => {}
        }
        written
    }

    /// Writes a shard that the head does not name. An older leader may have written it before it lost: then its version is read again.
    async fn write_shard(&mut self, name: &str, content: &[u8]) -> Result<(), SaveError> {
        match self.write(name, content.to_vec()).await {
            Err(SaveError::Store(StoreError::Conflict)) => {}
            result => return result,
        }
        let objects = self.store.list().await.map_err(SaveError::Store)?;
        let version = |name: &str| objects.iter().find(|it| it.name == name).map(|it| it.version.clone());
        if version(HEAD).as_ref() != self.versions.get(HEAD) {
            return Err(SaveError::Lost);
        }
        match version(name) {
            Some(version) => self.versions.insert(name.to_owned(), version),
            None => self.versions.remove(name),
        };
        self.write(name, content.to_vec()).await
    }

    async fn write(&mut self, name: &str, content: Vec<u8>) -> Result<(), SaveError> {
        if content.len() > MAX_BYTES {
            return Err(SaveError::TooLong { name: name.to_owned(), bytes: content.len() });
        }
        let version = self.versions.get(name).map(String::as_str);
        let version = self.store.write(name, content, version).await.map_err(SaveError::Store)?;
        self.versions.insert(name.to_owned(), version);
        Ok(())
    }
}

fn shard_name(index: usize, slot: u8) -> String {
    format!("{HEAD}-{index:02}-{slot}")
}

fn unreadable(name: &str, error: &FormatError) -> LoadError {
    LoadError::Unreadable { name: name.to_owned(), problem: error.to_string() }
}

// === impl LoadError ===

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { name, problem } => write!(
                f,
                "the ConfigMap {name} {problem}. Restore it from a backup; or delete all ConfigMaps whose names begin with {HEAD}; then all totals start from 0"
            ),
            Self::Missing(name) => write!(
                f,
                "the ConfigMap {name} does not exist, and others of the same state do. Restore it from a backup; or delete all ConfigMaps whose names begin with {HEAD}; then all totals start from 0"
            ),
            Self::Store(_) => f.write_str("cannot load the ledger's state"),
            Self::Save(_) => f.write_str("cannot take the ledger over"),
        }
    }
}

impl Error for LoadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable { .. } | Self::Missing(_) => None,
            Self::Store(error) => Some(error),
            Self::Save(error) => Some(error),
        }
    }
}

// === impl SaveError ===

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("another leader saves the ledger's state"),
            Self::Store(_) => f.write_str("cannot save the ledger's state"),
            Self::TooLong { name, bytes } => {
                write!(
                    f,
                    "the ConfigMap {name} would have {bytes} bytes, and the maximum is {MAX_BYTES}: the cluster has too many sessions or too long template and pool names"
                )
            }
            Self::Encode(_) => f.write_str("cannot write the ledger's state as JSON"),
        }
    }
}

impl Error for SaveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Lost | Self::TooLong { .. } => None,
            Self::Store(error) => Some(error),
            Self::Encode(error) => Some(error),
        }
    }
}

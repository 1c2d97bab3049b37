//! A store in memory.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use flate2::read::GzDecoder;
use futures_util::FutureExt;

use crate::sessions::checkpoint::{Store, StoreError, StoredObject};

/// Objects in memory. Every operation can fail, before or after it has its effect.
#[derive(Clone, Debug, Default)]
pub(in crate::sessions) struct Memory(Arc<Mutex<MemoryState>>);

#[derive(Debug, Default)]
struct MemoryState {
    objects: BTreeMap<String, (Vec<u8>, u64)>,
    version: u64,
    /// Number of operations so far.
    operations: usize,
    fault: Option<Fault>,
    /// A write whose answer was lost, and the number of the operation before which it happens.
    delayed: Option<(usize, String, Vec<u8>, Option<String>)>,
}

/// Fault of the operation with this number.
#[derive(Clone, Copy, Debug)]
struct Fault {
    operation: usize,
    kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sessions) enum FaultKind {
    /// The operation does not happen.
    Fails,
    /// The operation happens, and its answer is lost.
    AnswerLost,
    /// The answer is lost, and the operation happens this number of operations later.
    Delayed(usize),
}

// === impl Memory ===

impl Memory {
    pub(in crate::sessions) fn fault(&self, operation: usize, kind: FaultKind) {
        let mut state = self.0.lock().unwrap();
        (state.operations, state.fault) = (0, Some(Fault { operation, kind }));
    }

    pub(in crate::sessions) fn content(&self, name: &str) -> Vec<u8> {
        self.0.lock().unwrap().objects[name].0.clone()
    }

    /// The decompressed content.
    pub(in crate::sessions) fn text(&self, name: &str) -> String {
        io::read_to_string(GzDecoder::new(self.content(name).as_slice())).unwrap()
    }

    pub(in crate::sessions) fn put(&self, name: &str, content: &[u8]) {
        self.0.lock().unwrap().put(name, content.to_owned());
    }

    pub(in crate::sessions) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().objects.keys().cloned().collect()
    }

    /// Number of operations since the last call of [`Self::fault`].
    pub(in crate::sessions) fn operations(&self) -> usize {
        self.0.lock().unwrap().operations
    }

    /// Another store with the same objects.
    pub(in crate::sessions) fn copy(&self) -> Self {
        let state = self.0.lock().unwrap();
        let copy =
            MemoryState { objects: state.objects.clone(), version: state.version, ..MemoryState::default() };
        drop(state);
        Self(Arc::new(Mutex::new(copy)))
    }

    pub(in crate::sessions) fn remove(&self, name: &str) {
        self.0.lock().unwrap().objects.remove(name);
    }
}

impl MemoryState {
    fn put(&mut self, name: &str, content: Vec<u8>) -> String {
        self.version += 1;
        self.objects.insert(name.to_owned(), (content, self.version));
        self.version.to_string()
    }

    fn write(&mut self, name: &str, content: Vec<u8>, version: Option<&str>) -> Result<String, StoreError> {
        let stored = self.objects.get(name).map(|(_, version)| version.to_string());
        if stored.as_deref() != version {
            return Err(StoreError::Conflict);
        }
        Ok(self.put(name, content))
    }

    /// The kind of the fault of this operation.
    fn next(&mut self) -> Option<FaultKind> {
        if let Some((_, name, text, version)) = self.delayed.take_if(|(at, ..)| *at == self.operations) {
            // The write happens, or has a conflict. Nobody gets the answer.
            let _ = self.write(&name, text, version.as_deref());
        }
        let number = self.operations;
        self.operations += 1;
        self.fault.filter(|fault| fault.operation == number).map(|fault| fault.kind)
    }
}

fn lost() -> StoreError {
    StoreError::Failed("the connection was closed".into())
}

impl Store for Memory {
    async fn list(&self) -> Result<Vec<StoredObject>, StoreError> {
        let mut state = self.0.lock().unwrap();
        if state.next().is_some() {
            return Err(lost());
        }
        let object = |(name, (content, version)): (&String, &(Vec<u8>, u64))| StoredObject {
            name: name.clone(),
            content: content.clone(),
            version: version.to_string(),
        };
        Ok(state.objects.iter().map(object).collect())
    }

    async fn write(&self, name: &str, content: Vec<u8>, version: Option<&str>) -> Result<String, StoreError> {
        let mut state = self.0.lock().unwrap();
        match state.next() {
            None => state.write(name, content, version),
            Some(FaultKind::Fails) => Err(lost()),
            Some(FaultKind::AnswerLost) => {
                let _ = state.write(name, content, version);
                Err(lost())
            }
            Some(FaultKind::Delayed(operations)) => {
                let at = state.operations - 1 + operations;
                state.delayed = Some((at, name.to_owned(), content, version.map(str::to_owned)));
                Err(lost())
            }
        }
    }
}

/// The store in memory never waits.
pub(in crate::sessions) fn now<F: Future>(future: F) -> F::Output {
    future.now_or_never().unwrap()
}

//! A cache of successful patch tests.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use json_patch::PatchError;

use super::{additions::Additions, stub};
use crate::admission::pod::PodView;

/// Hashes of patches that applied. Whether a patch applies depends on its paths and on which of their parents exist, so pods
/// with the same parents need one test.
#[derive(Debug)]
pub(crate) struct TestedPatches([AtomicU64; 64]);

// === impl TestedPatches ===

impl TestedPatches {
    /// An empty cache.
    pub(crate) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 64])
    }

    /// Test-applies the patch, unless the same patch applied to a pod with the same parents.
    pub(crate) fn test(&self, added: &Additions, pod: &PodView<'_>) -> Result<(), PatchError> {
        let mut hasher = DefaultHasher::new();
        let existing = stub::parents(pod).map(|(.., exists)| exists);
        (added.paths(), pod.metadata.is_some(), existing).hash(&mut hasher);
        // 0 marks an empty entry.
        let hash = hasher.finish() | 1;
        let entry = &self.0[(hash >> 58) as usize];
        if entry.load(Ordering::Relaxed) != hash {
            added.test_apply(stub::stub(pod))?;
            entry.store(hash, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(text: &str) -> PodView<'_> {
        serde_json::from_str(text).unwrap()
    }

    fn adding_a_label() -> Additions {
        let mut added = Additions::default();
        added.add("/metadata/labels/a", "b");
        added
    }

    #[test]
    fn a_patch_with_a_missing_parent_is_never_cached() {
        let tested = TestedPatches::new();
        let bare = pod(r#"{"metadata": {}, "spec": {}}"#);
        for _ in 0..2 {
            assert!(tested.test(&adding_a_label(), &bare).is_err());
        }
    }

    #[test]
    fn a_cached_patch_test_counts_only_for_pods_with_the_same_parents() {
        let tested = TestedPatches::new();
        let labelled = pod(r#"{"metadata": {"labels": {}}, "spec": {}}"#);
        for _ in 0..2 {
            assert!(tested.test(&adding_a_label(), &labelled).is_ok());
        }
        for other in [
            r#"{"metadata": {}, "spec": {}}"#,
            r#"{"metadata": {"annotations": {}}, "spec": {}}"#,
            r#"{"spec": {}}"#,
        ] {
            assert!(tested.test(&adding_a_label(), &pod(other)).is_err(), "{other}");
        }
    }
}

//! Chooses the next Event: one for each object and reason.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    reason::NoSidecarReason,
    store::{CoverageStore, Subject},
};
use crate::admission::SkipReason;

/// Objects whose Events are remembered, of about 150 bytes each. While more objects than this have pods that count, no more
/// Events are written.
pub(super) const MAX_SUBJECTS: usize = 10_000;

/// The Events that were written.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    /// By the UID of the object.
    written: BTreeMap<Box<str>, BTreeSet<NoSidecarReason>>,
    /// UID of the pod of the last Event; the search for the next one begins with it.
    last: String,
    /// The version of the store in which every pod has its Event.
    up_to_date: Option<u64>,
}

/// The content of an Event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) subject: Subject,
    pub(super) reason: NoSidecarReason,
    pub(super) skip_reason: Option<SkipReason>,
    pub(super) namespace: Box<str>,
    /// UID and name of a pod that counts with this reason.
    pub(super) uid: String,
    pub(super) pod: Box<str>,
}

// === impl Announcements ===

impl Announcements {
    /// The next Event to write, if one is missing.
    pub(super) fn next(&mut self, store: &CoverageStore) -> Option<Announcement> {
        if !store.is_complete() || self.up_to_date == Some(store.version()) {
            return None;
        }
        if self.written.len() >= MAX_SUBJECTS {
            self.forget_others_than(store);
        }
        let next = (self.written.len() < MAX_SUBJECTS).then(|| self.missing(store)).flatten();
        if next.is_none() {
            self.up_to_date = Some(store.version());
        }
        next
    }

    /// The Event was written, or cannot be written.
    pub(super) fn done(&mut self, announcement: &Announcement) {
        let Announcement { subject, reason, uid, .. } = announcement;
        self.written.entry(subject.uid.clone()).or_default().insert(*reason);
        self.last.clone_from(uid);
    }

    fn missing(&self, store: &CoverageStore) -> Option<Announcement> {
        store.pods_from(&self.last).find_map(|(uid, pod)| {
            let reason = store.reason(pod);
            let written = self.written.get(pod.subject_uid(uid));
            (!written.is_some_and(|written| written.contains(&reason))).then(|| Announcement {
                subject: pod.subject(uid),
                reason,
                skip_reason: pod.skip_reason(),
                namespace: pod.namespace.clone(),
                uid: uid.to_owned(),
                pod: pod.name.clone(),
            })
        })
    }

    fn forget_others_than(&mut self, store: &CoverageStore) {
        let current: BTreeSet<&str> = store.pods().map(|(uid, pod)| pod.subject_uid(uid)).collect();
        self.written.retain(|uid, _| current.contains(&**uid));
    }
}

//! Admission: the bytes of an AdmissionReview in, the bytes of its answer out.
//!
//! All of it is pure: no await, no lock, no clock, no API call, no file. The decision is made on a view that borrows from the
//! request. The change is a patch of the raw document, so that unknown fields are kept. A desktop is more important than its
//! metrics: if anything is in doubt, the pod is allowed without a change, and the answer contains the reason.

mod answer;
mod container;
mod decide;
mod injector;
pub mod namespaces;
mod outcome;
mod patch;
mod pod;
pub mod quantity;
mod review;
mod ruleset;
pub mod selection;
pub mod settings;

pub use decide::Notice;
pub use injector::{Admission, Injector, PodDecision};
pub use namespaces::Namespaces;
pub use outcome::{Outcome, SkipReason};
pub use patch::RepairedField;
pub use review::{Malformed, Review};
pub use settings::{Settings, SettingsError};

//! The view of a pod that decisions are made on. A view borrows from the request, contains only the fields that decisions
//! depend on, and is never written back.

mod amounts;
mod object;
mod text;
mod view;

pub(super) use amounts::DeclaredAmounts;
pub(super) use object::StrictObject;
pub(super) use text::StringMap;
pub(super) use view::{ClaimReference, ContainerView, DeclaredResources, PodView};

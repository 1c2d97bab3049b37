//! The scope of a value.

use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// The scope of a value says whose use of a device the value measures. Narrowest first; values of the label `scope`.
    pub enum Scope {
        /// The use of this session alone. A sum over sessions is correct.
        Session = "session",
        /// The use of an entire device that is or may be shared. A sum over sessions counts it several times.
        Device = "device",
        /// The use of a device that may belong to any pod.
        Node = "node",
    }
}

/// Values by the scope in which they were measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ByScope<T>(Vec<(Scope, T)>);

// === impl ByScope ===

impl<T: Copy> ByScope<T> {
    /// The value of this scope; none if it was not measured in this scope.
    #[must_use]
    pub fn get(&self, scope: Scope) -> Option<T> {
        self.0.iter().find(|(other, _)| *other == scope).map(|(_, value)| *value)
    }

    /// All scopes with their values.
    pub fn iter(&self) -> impl Iterator<Item = (Scope, T)> + '_ {
        self.0.iter().copied()
    }

    /// These values.
    #[cfg(test)]
    pub(crate) fn of(values: &[(Scope, T)]) -> Self {
        Self(values.to_vec())
    }

    pub(super) fn remove(&mut self, scope: Scope) {
        self.0.retain(|(other, _)| *other != scope);
    }

    pub(super) fn set(&mut self, scope: Scope, value: T) {
        match self.0.iter_mut().find(|(other, _)| *other == scope) {
            Some((_, old)) => *old = value,
            None => self.0.push((scope, value)),
        }
    }
}

impl ByScope<f64> {
    /// Adds to the value of this scope; a missing value counts as 0.
    pub(super) fn add(&mut self, scope: Scope, more: f64) {
        self.set(scope, self.get(scope).unwrap_or_default() + more);
    }
}

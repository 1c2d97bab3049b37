//! Where a session's identity stands in its pod. Only the place is injected: the kubelet reads the value when it starts the
//! container, and no name passes through us.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{pod::Pod, settings::Profile};
use crate::contract::{MAX_NAME_BYTES, env, key};

/// A variable of the sidecar and the field of the pod that it is taken from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'p> {
    pub(super) variable: &'static str,
    map: &'static str,
    key: &'p str,
}

/// Reads one of a profile's keys.
type Key = fn(&Profile) -> Option<&String>;

/// What names a session: variable, our own key, the profile's.
const NAMES: [(&str, &str, Key); 4] = [
    (env::SESSION, key::SESSION, |profile| profile.session.as_ref()),
    (env::TEMPLATE, key::TEMPLATE, |profile| profile.template.as_ref()),
    (env::POOL, key::POOL, |profile| profile.pool.as_ref()),
    (env::USER, key::USER, |profile| profile.user.as_ref()),
];

/// The fields of this pod, by our own keys first and then those of the first profile that its labels match.
pub(super) fn fields<'p>(pod: &Pod<'_>, profiles: &'p [Profile], show_user: bool) -> Vec<Field<'p>> {
    let profile = profiles.iter().find(|profile| matches(pod, profile));
    NAMES
        .into_iter()
        .filter(|(variable, ..)| show_user || *variable != env::USER)
        .filter_map(|(variable, own, of_profile)| {
            field(pod, variable, own).or_else(|| field(pod, variable, of_profile(profile?)?))
        })
        .collect()
}

fn matches(pod: &Pod<'_>, profile: &Profile) -> bool {
    profile.match_labels.iter().all(|(key, value)| pod.label(key) == Some(value))
}

/// A label, else an annotation that can be a variable: a longer one or one with a control character in it could keep the
/// container from starting, and with it the desktop.
fn field<'p>(pod: &Pod<'_>, variable: &'static str, key: &'p str) -> Option<Field<'p>> {
    let sound =
        |value: &&str| (1..=MAX_NAME_BYTES).contains(&value.len()) && !value.contains(char::is_control);
    let is_in = |map, value: Option<&str>| value.filter(sound).map(|_| Field { variable, map, key });
    is_in("labels", pod.label(key)).or_else(|| is_in("annotations", pod.annotation(key)))
}

// === impl Field ===

/// The path of the downward API.
impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metadata.{}['{}']", self.map, self.key)
    }
}

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

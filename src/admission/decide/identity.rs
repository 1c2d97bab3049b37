//! The identity of a session: finds the labels and annotations of the pod that contain it. The patch contains only the paths
//! of these fields, so the server never writes the name of a user. The kubelet reads the values when it starts the container.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{
    admission::{pod::PodView, settings::Profile},
    contract::{env, is_valid_name, key},
};

/// An environment variable of the sidecar and the field of the pod that contains its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdentityField<'p> {
    pub(crate) variable: &'static str,
    map: &'static str,
    key: &'p str,
}

/// Returns one of the keys of a profile.
type ProfileKey = fn(&Profile) -> Option<&String>;

/// The environment variable, the standard key, and the key of the profile.
const IDENTITY: [(&str, &str, ProfileKey); 4] = [
    (env::SESSION, key::SESSION, |profile| profile.session.as_ref()),
    (env::TEMPLATE, key::TEMPLATE, |profile| profile.template.as_ref()),
    (env::POOL, key::POOL, |profile| profile.pool.as_ref()),
    (env::USER, key::USER, |profile| profile.user.as_ref()),
];

/// The identity fields of this pod. The standard keys take precedence over the first profile that the pod's labels match.
pub(crate) fn fields<'p>(
    pod: &PodView<'_>,
    profiles: &'p [Profile],
    show_user: bool,
) -> Vec<IdentityField<'p>> {
    let profile = profiles.iter().find(|profile| matches(pod, profile));
    IDENTITY
        .into_iter()
        .filter(|(variable, ..)| show_user || *variable != env::USER)
        .filter_map(|(variable, standard_key, profile_key)| {
            field(pod, variable, standard_key).or_else(|| field(pod, variable, profile_key(profile?)?))
        })
        .collect()
}

fn matches(pod: &PodView<'_>, profile: &Profile) -> bool {
    profile.match_labels.iter().all(|(key, value)| pod.label(key) == Some(value))
}

/// The label with this key, otherwise the annotation. An invalid value is ignored.
fn field<'p>(pod: &PodView<'_>, variable: &'static str, key: &'p str) -> Option<IdentityField<'p>> {
    let field_of = |map, value: Option<&str>| {
        value.filter(|value| is_valid_name(value)).map(|_| IdentityField { variable, map, key })
    };
    field_of("labels", pod.label(key)).or_else(|| field_of("annotations", pod.annotation(key)))
}

// === impl IdentityField ===

impl IdentityField<'_> {
    /// The value in the pod.
    pub(crate) fn value<'v>(&self, pod: &'v PodView<'_>) -> Option<&'v str> {
        if self.map == "labels" { pod.label(self.key) } else { pod.annotation(self.key) }
    }
}

/// The field path of the downward API.
impl fmt::Display for IdentityField<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metadata.{}['{}']", self.map, self.key)
    }
}

impl Serialize for IdentityField<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

//! Platform profiles: the labels and annotations that contain the identity of the session in a platform's pods.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The labels and annotations of one platform's pods that contain the identity of the session. The values of a profile are
/// keys of labels or annotations. The keys `vdi-metrics.io/session`, `/template`, `/user` and `/pool` take precedence over
/// them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Profile {
    /// Name of the profile. A profile with the name of a built-in profile replaces it.
    pub name: String,
    /// Labels that select the pods of this platform; a pod must have all of them.
    pub match_labels: BTreeMap<String, String>,
    /// Key of the session's name.
    pub session: Option<String>,
    /// Key of the template that the session was created from.
    pub template: Option<String>,
    /// Key of the user.
    pub user: Option<String>,
    /// Key of the pool.
    pub pool: Option<String>,
}

/// Name, the label that selects the pods, and the keys of session, template, user and pool.
type BuiltIn = (&'static str, (&'static str, &'static str), [Option<&'static str>; 4]);

/// The labels of Coder's Kubernetes templates and of kVDI's desktop pods.
const BUILT_IN: [BuiltIn; 2] = [
    (
        "coder",
        ("com.coder.resource", "true"),
        [Some("com.coder.workspace.name"), None, Some("com.coder.user.username"), None],
    ),
    (
        "kvdi",
        ("vdiComponent", "desktop"),
        [Some("desktopName"), None, Some("desktopUser"), Some("vdiCluster")],
    ),
];

/// Every active profile: the configured ones, then the built-in ones that no configured profile replaces.
pub(super) fn all(configured: &[Profile]) -> Vec<Profile> {
    let is_replaced = |name: &str| configured.iter().any(|profile| profile.name == name);
    let built_in = BUILT_IN.iter().filter(|(name, ..)| !is_replaced(name)).map(Profile::built_in);
    configured.iter().cloned().chain(built_in).collect()
}

// === impl Profile ===

impl Profile {
    fn built_in((name, (key, value), keys): &BuiltIn) -> Self {
        let [session, template, user, pool] = keys.map(|key| key.map(str::to_owned));
        let match_labels = BTreeMap::from([((*key).to_owned(), (*value).to_owned())]);
        Self { name: (*name).to_owned(), match_labels, session, template, user, pool }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_profile_replaces_the_built_in_profile_of_the_same_name() {
        let coder = Profile { name: "coder".to_owned(), ..Profile::default() };
        let names: Vec<_> =
            all(std::slice::from_ref(&coder)).into_iter().map(|profile| profile.name).collect();
        assert_eq!(names, ["coder", "kvdi"]);
        assert_eq!(all(std::slice::from_ref(&coder))[0], coder);
    }
}

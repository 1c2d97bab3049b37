//! The settings in the form that decisions use.

use super::{
    container::volume::volume,
    settings::{Profile, Settings},
};

/// Settings, active profiles, and the hash that identifies both.
#[derive(Debug)]
pub(super) struct Ruleset {
    pub(super) settings: Settings,
    pub(super) profiles: Vec<Profile>,
    /// The value of the annotation `vdi-metrics.io/config`.
    pub(super) hash: String,
}

// === impl Ruleset ===

impl Ruleset {
    pub(super) fn new(settings: Settings) -> Self {
        let profiles = settings.all_profiles();
        let hash = fingerprint(&settings, &profiles);
        Self { settings, profiles, hash }
    }
}

/// 64-bit FNV-1a hash of everything that determines the injected fields, the version of the server included. The hash
/// distinguishes configurations and has no security purpose.
fn fingerprint(settings: &Settings, profiles: &[Profile]) -> String {
    let inputs = serde_json::json!([crate::runtime::VERSION, settings, profiles, volume()]);
    let hash = inputs.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

//! The content of the server's configuration file: what the sidecar looks like. Every field has a default; unknown fields are
//! rejected.

mod error;
mod profiles;
mod types;
mod validation;

pub use error::SettingsError;
pub use profiles::Profile;
pub use types::{
    ConfiguredAmounts, ConfiguredResources, GpuAccess, GpuResources, LabelValues, Mode, PresenceSetting,
    PullPolicy, ScrapeAnnotations, Settings, SidecarSettings,
};
pub use validation::{MIN_MEMORY, is_image, is_port};

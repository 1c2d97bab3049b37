//! The server's configuration file: what the sidecar is like. Everything has a default, unknown fields are refused.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{contract, runtime};

/// What an operator can decide about the sidecar.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// The injected container.
    pub sidecar: Sidecar,
}

/// The injected container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Sidecar {
    /// Image of the sidecar; by default the one released with this server.
    pub image: String,
    /// `IfNotPresent` (default), `Always` or `Never`.
    pub image_pull_policy: PullPolicy,
    /// First port that is tried.
    pub port: u16,
    /// Seconds between two reads of the GPU, 5 to 300.
    pub interval_seconds: u64,
    /// Requests and limits at once: they are equal, so that a Guaranteed desktop stays Guaranteed.
    pub resources: Resources,
}

/// Whether the kubelet pulls an image that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "Kubernetes' own words")]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// Kubernetes quantities.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// Processor, such as `100m`.
    pub cpu: String,
    /// Memory, such as `24Mi`.
    pub memory: String,
}

/// A configuration file that cannot be used.
#[derive(Debug)]
pub struct Error {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Unreadable(io::Error),
    Unparsable(Box<serde_saphyr::Error>),
    Invalid(String),
}

// === impl Settings ===

impl Settings {
    /// Reads the file.
    ///
    /// # Errors
    /// Names the file, and the line and field where it is not what it should be.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let error = |cause| Error { path: path.to_owned(), cause };
        let text = fs::read_to_string(path).map_err(|cause| error(Cause::Unreadable(cause)))?;
        let settings: Self =
            serde_saphyr::from_str(&text).map_err(|cause| error(Cause::Unparsable(Box::new(cause))))?;
        settings.validate().map_err(|message| error(Cause::Invalid(message)))?;
        Ok(settings)
    }

    fn validate(&self) -> Result<(), String> {
        let Sidecar { image, image_pull_policy: _, port, interval_seconds, resources } = &self.sidecar;
        if image.is_empty() || image.contains(char::is_whitespace) {
            return Err(format!("sidecar.image is {image:?}; name an image or leave the field out"));
        }
        for (field, quantity) in [("cpu", &resources.cpu), ("memory", &resources.memory)] {
            if !is_quantity(quantity) {
                return Err(format!(
                    "sidecar.resources.{field} is {quantity:?}; use a quantity such as 100m or 24Mi"
                ));
            }
        }
        if *port < 1024 {
            return Err(format!("sidecar.port is {port}; the sidecar is not root, so use 1024 or above"));
        }
        if !contract::INTERVALS_SECONDS.contains(interval_seconds) {
            let (shortest, longest) = contract::INTERVALS_SECONDS.into_inner();
            return Err(format!(
                "sidecar.intervalSeconds is {interval_seconds}; use {shortest} to {longest}"
            ));
        }
        Ok(())
    }
}

/// Digits, perhaps with a fraction, and one of Kubernetes' suffixes. The API server refuses every pod that carries
/// anything else, whatever the failure policy says.
fn is_quantity(text: &str) -> bool {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let suffixes = ["", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    digits(whole) && digits(fraction) && suffixes.contains(&&text[number.len()..])
}

// === impl Sidecar ===

impl Default for Sidecar {
    fn default() -> Self {
        Self {
            image: format!("vdi-metrics/sidecar:{}", runtime::VERSION),
            image_pull_policy: PullPolicy::IfNotPresent,
            port: contract::PORT,
            interval_seconds: contract::INTERVAL_SECONDS,
            resources: Resources::default(),
        }
    }
}

// === impl Resources ===

impl Default for Resources {
    /// The processor is for the start alone: the container runtime sets a container up inside its own quota, and the
    /// desktop waits. Added to a desktop's start: 0.16 s at 100m, 0.37 s at 50m, 2.2 s at 10m; without a limit 0.10 s.
    fn default() -> Self {
        Self { cpu: "100m".into(), memory: "24Mi".into() }
    }
}

// === impl Error ===

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, cause } = self;
        match cause {
            Cause::Unreadable(error) => write!(f, "cannot read {}: {error}", path.display()),
            Cause::Unparsable(error) => write!(f, "{}: {error}", path.display()),
            Cause::Invalid(message) => write!(f, "{}: {message}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        fs::write(&file, text).unwrap();
        Settings::read(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_section_means_the_defaults() {
        assert_eq!(read("sidecar: {}").unwrap(), Settings::default());
        assert_eq!(read("sidecar: {port: 9999}").unwrap().sidecar.port, 9999);
    }

    #[test]
    fn errors_name_file_field_and_remedy() {
        for (text, expected) in [
            ("sidecar: {prot: 1}", ["config.yaml", "prot", "line 1"]),
            ("sidecar: {image: ''}", ["config.yaml", "sidecar.image", "leave the field out"]),
            ("sidecar: {port: 80}", ["config.yaml", "sidecar.port", "1024"]),
            ("sidecar: {intervalSeconds: 1}", ["config.yaml", "sidecar.intervalSeconds", "5 to 300"]),
            ("sidecar: {resources: {cpu: 10 m}}", ["config.yaml", "sidecar.resources.cpu", "100m"]),
        ] {
            let error = read(text).unwrap_err();
            assert!(expected.iter().all(|word| error.contains(word)), "{text}: {error}");
        }
    }

    #[test]
    fn quantities_are_kubernetes_own() {
        assert!(["10m", "1", "0.5", "24Mi", "1G"].iter().all(|text| is_quantity(text)));
        assert!(["", "m", "10 m", "10mb", "-1", "1.", ".5", "1e3"].iter().all(|text| !is_quantity(text)));
    }
}

//! The server's configuration file: what the sidecar is like. Everything has a default, unknown fields are refused.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::quantity::Quantity;
use crate::{contract, runtime};

/// What an operator can decide.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// The injected container.
    pub sidecar: Sidecar,
    /// How the sidecar gets to see the desktop's GPU.
    pub gpu_access: GpuAccess,
    /// Whether a sidecar that sees the node's GPUs and cannot tell which is its desktop's shows them all, with the scope
    /// `node`. Every session then shows its neighbours' use.
    pub node_totals: bool,
    /// Whether pods are annotated for scrapers that know no monitors.
    pub scrape_annotations: ScrapeAnnotations,
    /// Whether the user's name becomes a label of the session's series.
    pub show_user: bool,
    /// Which keys of a pod name its session, in this order and before the ready-made ones.
    pub profiles: Vec<Profile>,
}

/// The injected container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Sidecar {
    /// Image of the sidecar; by default the one released with this server.
    pub image: String,
    /// `IfNotPresent` (default), `Always` or `Never`.
    pub image_pull_policy: PullPolicy,
    /// Secrets of the session's namespace that the image is pulled with, beside the pod's own.
    pub image_pull_secrets: Vec<String>,
    /// `native` (default) or `container`.
    pub mode: Mode,
    /// First port that is tried.
    pub port: u16,
    /// Seconds between two reads of the GPU, 5 to 300.
    pub interval_seconds: u64,
    /// Whether the sidecar runs as the fixed user 65532, or as whoever the namespace's admission chooses.
    pub fixed_user: bool,
    /// What it may use.
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

/// Which kind of container the sidecar is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// An init container that is restarted: it starts before the desktop, ends after it and never keeps a pod from
    /// completing.
    #[default]
    Native,
    /// A regular container, which the desktop does not wait for. Only for pods that are restarted for ever; others get a
    /// native one, because a regular container would keep them from completing.
    Container,
}

/// How the sidecar gets to see the desktop's GPU. It never asks for one of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuAccess {
    /// By the desktop's resource claims if it has any, else not at all.
    #[default]
    Auto,
    /// By the desktop's resource claims.
    Claims,
    /// By the vendor's container runtime, which is asked in our container's environment for every GPU of the node.
    Runtime,
    /// Not at all.
    None,
}

/// Whether `prometheus.io/*` annotations are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScrapeAnnotations {
    /// Never: monitors find the sidecar.
    #[default]
    Never,
    /// Where the pod has none of its own in any spelling.
    Auto,
}

/// Requests and limits. A Guaranteed desktop's sidecar asks for its whole limit, so that the desktop stays Guaranteed, and
/// has at most 100m then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// What is set aside for it.
    pub requests: Amounts,
    /// What it cannot exceed.
    pub limits: Amounts,
}

/// Processor and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Amounts {
    /// Processor, such as `100m`.
    pub cpu: Quantity,
    /// Memory, such as `24Mi`.
    pub memory: Quantity,
}

/// How the pods of one platform name their session. The keys are labels or annotations; `vdi-metrics.io/session` and its
/// like come before them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Profile {
    /// A name for people; one of a ready-made profile replaces that.
    pub name: String,
    /// Labels that a pod of this platform has; all of them.
    pub match_labels: BTreeMap<String, String>,
    /// Key of the session's own name.
    pub session: Option<String>,
    /// Key of the template that the session was made from.
    pub template: Option<String>,
    /// Key of the user.
    pub user: Option<String>,
    /// Key of the pool.
    pub pool: Option<String>,
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

/// Below this the sidecar is ended by the kernel, and the desktop's pod is unready while it starts anew.
pub(super) const LEAST_MEMORY: Quantity = Quantity::mebibytes(16);

/// Name, the label of its pods, and the keys of session, template, user and pool.
type ReadyMade = (&'static str, (&'static str, &'static str), [Option<&'static str>; 4]);

/// Platforms whose pods say by labels of their own whose session they are: the labels of Coder's Kubernetes templates and
/// of kVDI's desktop pods.
const READY_MADE: [ReadyMade; 2] = [
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

// === impl Settings ===

impl Settings {
    /// Reads the file.
    ///
    /// # Errors
    /// Names the file, and the line and field where it is not what it should be.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let cause = |cause| Error { path: path.to_owned(), cause };
        let text = fs::read_to_string(path).map_err(|error| cause(Cause::Unreadable(error)))?;
        Self::parse(&text, path)
    }

    /// Reads the content of the file at `path`.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let error = |cause| Error { path: path.to_owned(), cause };
        let settings: Self =
            serde_saphyr::from_str(text).map_err(|cause| error(Cause::Unparsable(Box::new(cause))))?;
        settings.validate().map_err(|message| error(Cause::Invalid(message)))?;
        Ok(settings)
    }

    /// Every profile in force: the operator's, then the ready-made ones that none of them replaces.
    #[must_use]
    pub fn all_profiles(&self) -> Vec<Profile> {
        let replaced = |name: &str| self.profiles.iter().any(|profile| profile.name == name);
        let ready_made = READY_MADE.iter().filter(|(name, ..)| !replaced(name)).map(Profile::ready_made);
        self.profiles.iter().cloned().chain(ready_made).collect()
    }

    fn validate(&self) -> Result<(), String> {
        let Self { sidecar, gpu_access: _, node_totals: _, scrape_annotations: _, show_user: _, profiles } =
            self;
        sidecar.validate()?;
        profiles.iter().enumerate().try_for_each(|(index, profile)| profile.validate(index))
    }
}

// === impl Sidecar ===

impl Sidecar {
    fn validate(&self) -> Result<(), String> {
        let Self {
            image,
            image_pull_policy: _,
            image_pull_secrets,
            mode: _,
            port,
            interval_seconds,
            fixed_user: _,
            resources,
        } = self;
        if !is_image(image) {
            return Err(format!("sidecar.image is {image:?}; name an image or leave the field out"));
        }
        if let Some(secret) = image_pull_secrets.iter().find(|name| !is_object_name(name)) {
            return Err(format!("sidecar.imagePullSecrets names {secret:?}; use names of Secrets"));
        }
        if !is_port(*port) {
            return Err(format!("sidecar.port is {port}; the sidecar is not root, so use 1024 or above"));
        }
        if !contract::ALLOWED_INTERVAL_SECONDS.contains(interval_seconds) {
            let (shortest, longest) = contract::ALLOWED_INTERVAL_SECONDS.into_inner();
            return Err(format!(
                "sidecar.intervalSeconds is {interval_seconds}; use {shortest} to {longest}"
            ));
        }
        resources.validate()
    }
}

impl Default for Sidecar {
    fn default() -> Self {
        Self {
            image: format!("vdi-metrics/sidecar:{}", runtime::VERSION),
            image_pull_policy: PullPolicy::IfNotPresent,
            image_pull_secrets: vec![],
            mode: Mode::Native,
            port: contract::PORT,
            interval_seconds: contract::INTERVAL_SECONDS,
            fixed_user: true,
            resources: Resources::default(),
        }
    }
}

/// Whether the sidecar, which is not root, can listen there.
pub(super) const fn is_port(port: u16) -> bool {
    port >= 1024
}

/// Whether the kubelet can make sense of it. A name that it cannot would hold the desktop back.
pub(super) fn is_image(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    name.len() <= 512 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(known)
}

fn is_object_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    (1..=253).contains(&name.len()) && name.chars().all(known)
}

// === impl Resources ===

impl Resources {
    /// The processor's limit where it is a request as well, or somebody adds limits up: a later start is the lesser evil.
    pub(super) fn counted_cpu(&self) -> Quantity {
        self.requests.cpu.max(self.limits.cpu.min(MOST_COUNTED))
    }

    fn validate(&self) -> Result<(), String> {
        let Self { requests, limits } = self;
        for (field, request, limit) in
            [("cpu", requests.cpu, limits.cpu), ("memory", requests.memory, limits.memory)]
        {
            if !request.is_positive() {
                return Err(format!("sidecar.resources.requests.{field} is {request}; use more than 0"));
            }
            if request > limit {
                return Err(format!(
                    "sidecar.resources.requests.{field} is {request}; use at most the limit, {limit}"
                ));
            }
        }
        if limits.memory < LEAST_MEMORY {
            let memory = limits.memory;
            return Err(format!("sidecar.resources.limits.memory is {memory}; use {LEAST_MEMORY} or more"));
        }
        Ok(())
    }
}

impl Default for Resources {
    /// The limit of the processor is for the start alone: the container runtime sets a container up inside its own quota,
    /// and the desktop waits. Added to a desktop's start: 0.36 s at 100m, 0.17 s at 200m, 0.15 s at 500m, without a limit
    /// 0.13 s, of which 0.11 s are any container's (`make bench PARTS=start`). Running takes far less than the request.
    fn default() -> Self {
        let memory = Quantity::mebibytes(24);
        Self {
            requests: Amounts { cpu: Quantity::thousandths(10), memory },
            limits: Amounts { cpu: Quantity::thousandths(500), memory },
        }
    }
}

/// Most of a processor that is asked for where what is asked for is set aside or counted.
const MOST_COUNTED: Quantity = Quantity::thousandths(100);

// === impl Profile ===

impl Profile {
    fn ready_made(row: &ReadyMade) -> Self {
        let (name, (key, value), keys) = row;
        let [session, template, user, pool] = keys.map(|key| key.map(str::to_owned));
        let match_labels = BTreeMap::from([((*key).to_owned(), (*value).to_owned())]);
        Self { name: (*name).to_owned(), match_labels, session, template, user, pool }
    }

    fn validate(&self, index: usize) -> Result<(), String> {
        let Self { name, match_labels, session, template, user, pool } = self;
        if name.is_empty() {
            return Err(format!("profiles[{index}].name is missing; give it a name"));
        }
        if match_labels.is_empty() {
            return Err(format!(
                "profiles[{index}].matchLabels is empty; name a label that only pods of {name} have"
            ));
        }
        let keys = [("session", session), ("template", template), ("user", user), ("pool", pool)];
        for (field, key) in keys.into_iter().filter_map(|(field, key)| Some((field, key.as_ref()?))) {
            if !is_key(key) {
                return Err(format!(
                    "profiles[{index}].{field} is {key:?}; use a label or annotation key such as example.com/{field}"
                ));
            }
        }
        Ok(())
    }
}

/// Kubernetes' rule for keys. It matters: a field path with any other has the pod refused.
fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends = |text: &str| text.starts_with(alphanumeric) && text.ends_with(alphanumeric);
    (1..=63).contains(&name.len())
        && ends(name)
        && name.chars().all(inner)
        && prefix.is_none_or(|prefix| is_object_name(prefix) && ends(prefix))
}

const fn alphanumeric(c: char) -> bool {
    c.is_ascii_alphanumeric()
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
        Settings::parse(text, Path::new("config.yaml")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_section_means_the_defaults() {
        assert_eq!(read("sidecar: {}").unwrap(), Settings::default());
        assert_eq!(read("sidecar: {port: 9999}").unwrap().sidecar.port, 9999);
    }

    #[test]
    fn what_is_in_force_can_be_read_again() {
        let text = serde_saphyr::to_string(&Settings::default()).unwrap();
        assert_eq!(read(&text).unwrap(), Settings::default());
    }

    #[test]
    fn errors_name_file_field_and_remedy() {
        for (text, expected) in [
            ("sidecar: {prot: 1}", ["config.yaml", "prot", "line 1"]),
            ("sidecar: {image: ''}", ["config.yaml", "sidecar.image", "leave the field out"]),
            ("sidecar: {image: 'a b'}", ["config.yaml", "sidecar.image", "name an image"]),
            ("sidecar: {imagePullSecrets: [A]}", ["config.yaml", "sidecar.imagePullSecrets", "Secrets"]),
            ("sidecar: {port: 80}", ["config.yaml", "sidecar.port", "1024"]),
            ("sidecar: {intervalSeconds: 1}", ["config.yaml", "sidecar.intervalSeconds", "5 to 300"]),
            ("sidecar: {resources: {limits: {cpu: 1, memory: 10 m}}}", ["config.yaml", "10 m", "24Mi"]),
            ("sidecar: {resources: {limits: {cpu: 1, memory: 30}}}", ["config.yaml", "memory", "24Mi"]),
            (
                "sidecar: {resources: {requests: {cpu: 0, memory: 1Mi}}}",
                ["config.yaml", "requests.cpu", "more than 0"],
            ),
            ("gpuAccess: all", ["config.yaml", "all", "runtime"]),
            ("profiles: [{name: x}]", ["config.yaml", "profiles[0].matchLabels", "label"]),
            (
                "profiles: [{name: x, matchLabels: {a: b}, user: \"it's\"}]",
                ["config.yaml", "profiles[0].user", "example.com/user"],
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(expected.iter().all(|word| error.contains(word)), "{text}: {error}");
        }
    }

    #[test]
    fn a_profile_of_the_same_name_replaces_a_ready_made_one() {
        let settings = read("profiles: [{name: coder, matchLabels: {a: b}}]").unwrap();
        let names: Vec<_> = settings.all_profiles().into_iter().map(|profile| profile.name).collect();
        assert_eq!(names, ["coder", "kvdi"]);
    }
}

//! The rules as tables. A path in a table covers everything below it.

/// A module, and the modules that it may import.
pub(super) type ImportRow = (&'static str, &'static [&'static str]);

/// Allowed imports: a module may import itself and the modules of its row. Every top-level module needs a row. A module
/// below may have a row too; then both rows apply.
pub(super) const IMPORTS: &[ImportRow] = &[
    ("contract", &["runtime::vocabulary"]),
    ("runtime", &[]),
    ("cluster", &["runtime"]),
    ("admission", &["contract", "runtime::vocabulary", "runtime::VERSION", "runtime::build::VERSION"]),
    ("policy", &["admission", "contract"]),
    ("limits", &["admission", "cluster", "runtime"]),
    ("coverage", &["admission", "cluster", "contract", "runtime"]),
    ("breaker", &["admission", "cluster", "contract", "runtime", "sessions::pod"]),
    ("webhook", &["admission", "contract", "runtime"]),
    ("sessions", &["contract", "runtime", "cluster"]),
    ("registration", &["runtime", "cluster"]),
    ("metrics_access", &["cluster", "contract", "runtime"]),
    (
        "server",
        &[
            "admission",
            "breaker",
            "cluster",
            "contract",
            "coverage",
            "limits",
            "metrics_access",
            "policy",
            "registration",
            "runtime",
            "sessions",
            "webhook",
        ],
    ),
    // A dry run reads LimitRanges and ResourceQuotas from files as the server reads them from the cluster.
    (
        "cli",
        &[
            "admission",
            "contract",
            "limits::combine",
            "limits::store::combine",
            "policy",
            "registration",
            "runtime",
            "server",
            "webhook",
        ],
    ),
    ("gpu", &["runtime"]),
    ("presence", &["runtime"]),
    ("sampling", &["gpu", "runtime"]),
    ("sidecar", &["contract", "gpu", "presence", "runtime", "sampling"]),
    ("node", &["contract", "gpu", "runtime", "sampling"]),
    ("bin", &["cli", "node", "runtime", "server", "sidecar"]),
    // Below a top-level module.
    ("sessions::ledger", &["contract", "runtime::vocabulary", "sessions::checkpoint", "sessions::usage"]),
    (
        "sampling::counters",
        &["gpu", "runtime::vocabulary", "sampling::bounds", "sampling::processes", "sampling::scope"],
    ),
    (
        "sidecar::attribution",
        &["contract", "gpu", "runtime::vocabulary", "sampling::scope", "sampling::sharing"],
    ),
];

/// Additional imports that unit tests may have: the module of the tests, and the module that they compare it with.
pub(super) const TEST_IMPORTS: &[(&str, &str)] = &[
    // Admission and the server must read the same identity from a pod.
    ("sessions::pod::identity", "admission"),
];

/// Modules that only compute: time and input are arguments. Their unit tests are exempt.
pub(super) const PURE: &[&str] = &[
    "admission",
    "policy",
    "breaker::circuit",
    "breaker::observed",
    "breaker::pauses",
    "breaker::reason",
    "breaker::state",
    "contract",
    "coverage::announcements",
    "coverage::judge",
    "coverage::reason",
    "coverage::store",
    "metrics_access::cache",
    "metrics_access::gate",
    "metrics_access::limits",
    "node::pod_resources::allocation",
    "runtime::https::share",
    "presence::address",
    "presence::diag_message",
    "presence::mesh",
    "presence::proc_net",
    "presence::sockets",
    "presence::track",
    "presence::udp_rate",
    "presence::viewers",
    "presence::vocabulary",
    "sessions::checkpoint::format",
    "sessions::checkpoint::state",
    "sessions::checkpoint::unsaved",
    "sessions::ledger",
    "sessions::replica::history",
    "sessions::usage",
    "sampling::bounds",
    "sampling::counters",
    "sampling::observation",
    "sampling::processes",
    "sampling::scope",
    "sampling::series",
    "sidecar::attribution",
    "sidecar::evidence::memory",
    "sidecar::observation",
    "sidecar::page",
    "sidecar::snapshot",
    "sidecar::track",
    "gpu::id",
    "gpu::backoff",
    "node::allocations::listed",
    "node::attribution",
    "node::cgroup",
    "node::device_totals",
    "node::kept_samples",
    "node::schedulers",
    "node::selection",
    "sampling::report",
    "sampling::sharing",
    "sampling::streams",
];

/// Modules that a pure module may import in addition to pure modules: declarations and plain data.
pub(super) const PLAIN_DATA: &[&str] = &[
    "gpu::fault",
    "gpu::known",
    "gpu::values",
    "runtime::build",
    "runtime::catalogue",
    "runtime::vocabulary",
    "sidecar::config::SessionNames",
];

/// The dependencies that a pure module may name.
pub(super) const PURE_CRATES: &[&str] = &[
    "base64",
    "flate2",
    "json_patch",
    "serde",
    "serde_json",
    "serde_path_to_error",
    "serde_saphyr",
    "tracing",
];

/// Paths of the standard library that a pure module does not name.
pub(super) const IMPURE: &[&str] = &[
    "std::collections::hash_map::RandomState",
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    // Addresses are plain data.
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant::elapsed",
    "std::time::Instant::now",
    "std::time::SystemTime::elapsed",
    "std::time::SystemTime::now",
];

/// Functions that a pure module does not call, whatever the name of their type is: an alias can hide a clock.
pub(super) const IMPURE_FUNCTIONS: &[&str] = &["elapsed", "now"];

/// The only modules with unsafe code: calls of NVML that the wrapper lacks, and three functions of the C library.
pub(super) const UNSAFE: &[&str] = &["gpu::raw", "runtime::libc"];

/// The only module that names the NVML wrapper.
pub(super) const NVML: &str = "gpu";

/// Types with a hand-written `as_str`, and why the macro `vocabulary!` does not fit.
pub(super) const HANDWRITTEN_VOCABULARIES: &[(&str, &str)] = &[];

/// Lines of a source file, of the library, tests, benchmarks and examples.
pub(super) const MAX_LINES: usize = 400;
/// Source files of a folder, without its subfolders and the files that are the entry to them.
pub(super) const MAX_FILES: usize = 14;

/// The rule that a file breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    Imports,
    Purity,
    Cycle,
    Unsafe,
    Nvml,
    FileSize,
    FolderSize,
    TypeName,
    Vocabulary,
}

/// Files that may break a rule until they are repaired: the rule, and the beginning of the path. An entry without a
/// violation is an error.
pub(super) const NOT_YET: &[(Rule, &str)] = &[];

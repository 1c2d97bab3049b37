//! The product on a real Kubernetes. A module here is a subject; its `TESTS` table is what runs.
//!
//! Tests share two clusters, in namespaces of this run's own: one with a node, Prometheus Operator and Prometheus, and a
//! control plane alone, with the server beside it, for what only the API server decides. Where the machine cannot have
//! them, one line says what is missing; with `REQUIRE_CLUSTER=1` that is a failure.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Error, Result};
use kit::cluster::{self, Assets, Bed, Cluster, Parts, Test};
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

/// The names and functions of a module's tests.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[(&str, kit::cluster::Test)] =
            &[$((concat!(module_path!(), "::", stringify!($name)), |bed| Box::pin($name(bed)))),*];
    };
}

mod asked;
mod audit;
mod bed;
mod beside;
mod cli;
mod crowd;
mod devices;
mod dry_run;
mod guard;
mod injected;
mod last_word;
mod law;
mod lifecycle;
mod monitoring;
mod others;
mod policy;
mod product;
mod told;

/// Subjects that need pods to run.
const ON_A_NODE: &[&[(&str, Test)]] = &[
    bed::TESTS,
    cli::TESTS,
    devices::TESTS,
    injected::TESTS,
    last_word::TESTS,
    lifecycle::TESTS,
    monitoring::TESTS,
];

/// Subjects that the API server decides alone. They need no root and none of the images.
const BESIDE: &[&[(&str, Test)]] =
    &[asked::TESTS, crowd::TESTS, guard::TESTS, law::TESTS, others::TESTS, policy::TESTS, told::TESTS];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let needs_a_node = trials(ON_A_NODE, &NODE).iter().any(|trial| !arguments.is_filtered_out(trial));
    if arguments.list {
        return run_all(&arguments);
    }
    match prepared(needs_a_node) {
        Ok(None) => {}
        Ok(Some(missing)) => return not_run(&missing),
        Err(error) => return failed(&error),
    }
    if !needs_a_node {
        return run_all(&arguments);
    }
    cluster::isolated(|| run_all(&arguments)).unwrap_or_else(|error| failed(&error))
}

fn run_all(arguments: &Arguments) -> ExitCode {
    let mut all = trials(ON_A_NODE, &NODE);
    all.extend(trials(BESIDE, &CONTROL_PLANE));
    let code = libtest_mimic::run(arguments, all).exit_code();
    // What is not inside namespaces of its own has to be ended. The node is, and ends with this process.
    beside::end();
    CONTROL_PLANE.end();
    code
}

fn trials(subjects: &[&[(&'static str, Test)]], shared: &'static Shared) -> Vec<Trial> {
    let tests = subjects.iter().copied().flatten().copied();
    tests.map(|(name, test)| Trial::test(short(name), move || shared.run(name, test))).collect()
}

/// What is missing here, or nothing. Binaries are built outside the namespaces, which no download reaches; ours last,
/// so that nobody waits for them in vain.
fn prepared(needs_a_node: bool) -> Result<Option<String>> {
    if !cluster::outside() {
        return Ok(None);
    }
    if needs_a_node && let Some(missing) = cluster::lacking().or_else(product::lacking) {
        return Ok(Some(missing));
    }
    if let Err(missing) = Assets::find()? {
        return Ok(Some(missing));
    }
    if needs_a_node {
        product::build()?;
    }
    Ok(None)
}

fn short(name: &str) -> &str {
    name.split_once("::").map_or(name, |(_, rest)| rest)
}

#[allow(clippy::print_stderr, reason = "the one line a person reads when this suite does not run")]
fn not_run(missing: &str) -> ExitCode {
    let required = std::env::var_os("REQUIRE_CLUSTER").is_some_and(|value| value == "1");
    eprintln!("cluster suite not run: {missing}");
    if required { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[allow(clippy::print_stderr, reason = "there is no test yet that could fail with it")]
fn failed(error: &Error) -> ExitCode {
    eprintln!("cluster suite not run: {error:#}");
    ExitCode::FAILURE
}

/// A cluster of many tests, started by the first of them that runs.
struct Shared {
    parts: Parts,
    started: Mutex<Option<Result<Running, String>>>,
}

type Running = Arc<(Arc<Cluster>, Runtime)>;

static NODE: Shared = Shared::new(Parts::Monitoring);
static CONTROL_PLANE: Shared = Shared::new(Parts::Controllers);

// === impl Shared ===

impl Shared {
    const fn new(parts: Parts) -> Self {
        Self { parts, started: Mutex::new(None) }
    }

    fn run(&self, name: &str, test: Test) -> Result<(), libtest_mimic::Failed> {
        let running = self.running().map_err(|error| format!("no cluster: {error}"))?;
        let (cluster, runtime) = &*running;
        Ok(runtime.block_on(Bed::run(Arc::clone(cluster), name, test))?)
    }

    fn running(&self) -> Result<Running, String> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.get_or_insert_with(|| self.start().map_err(|error| format!("{error:#}"))).clone()
    }

    fn start(&self) -> Result<Running> {
        let runtime = Runtime::new()?;
        let assets = Assets::find()?.map_err(Error::msg)?;
        let cluster = runtime.block_on(Cluster::start(&assets, self.parts))?;
        Ok(Arc::new((Arc::new(cluster), runtime)))
    }

    fn end(&self) {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

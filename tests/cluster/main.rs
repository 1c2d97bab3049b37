//! The shipped programs on a real Kubernetes. Each module covers one subject, and its `TESTS` table lists its tests.
//!
//! The tests share two clusters and create their own namespaces in them: one cluster with a node, Prometheus Operator and
//! Prometheus ([`node`]), and a control plane with the server running outside the cluster, for what the API server alone
//! decides ([`api_server`]). If this machine cannot run them, one line reports what is missing; with `REQUIRE_CLUSTER=1`
//! that is a failure.
#![allow(clippy::disallowed_methods, reason = "tests have environment variables of their own")]

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Error, Result};
use kit::cluster::{self, Assets, Cluster, Parts, Test, TestCluster};
use kit::vnc_desktop;
use libtest_mimic::{Arguments, Completion, Trial};
use tokio::runtime::Runtime;

/// The names and functions of a module's tests.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[(&str, kit::cluster::Test)] =
            &[$((concat!(module_path!(), "::", stringify!($name)), |cluster| Box::pin($name(cluster)))),*];
    };
}

mod api_server;
mod manifests;
mod node;
mod support;

use support::{installation, out_of_cluster_server};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let runs = |trials: Vec<Trial>| trials.iter().any(|trial| !arguments.is_filtered_out(trial));
    let needs_vnc = runs(vnc_trials());
    let needs_a_node = needs_vnc || runs(trials(node::SUBJECTS, &NODE));
    if arguments.list {
        return run_all(&arguments);
    }
    match prepare(needs_a_node, needs_vnc) {
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
    let mut all = trials(node::SUBJECTS, &NODE);
    all.extend(vnc_trials());
    all.extend(trials(api_server::SUBJECTS, &CONTROL_PLANE));
    all.push(Trial::test(manifests::NAME, || Ok(manifests::test()?)));
    let code = libtest_mimic::run(arguments, all).exit_code();
    // Programs outside the namespaces must be stopped here. The node runs inside them and ends with this process.
    out_of_cluster_server::stop();
    CONTROL_PLANE.stop();
    code
}

fn trials(subjects: &[&[(&'static str, Test)]], shared: &'static Shared) -> Vec<Trial> {
    let tests = subjects.iter().copied().flatten().copied();
    tests.map(|(name, test)| Trial::test(short(name), move || shared.run(name, test))).collect()
}

/// The tests with a VNC server. A machine that cannot unpack the server ignores them and runs the others.
fn vnc_trials() -> Vec<Trial> {
    let trial = |&(name, test): &(&'static str, Test)| {
        Trial::ignorable_test(short(name), move || match vnc_desktop::missing_requirement()? {
            Some(missing) => Ok(Completion::ignored_with(missing)),
            None => NODE.run(name, test).map(|()| Completion::Completed),
        })
    };
    node::presence_of_vnc::TESTS.iter().map(trial).collect()
}

/// Builds what the tests need and returns what this machine lacks, if anything. The build runs outside the namespaces,
/// because inside there is no network for downloads. The project's own programs are built last, so that a missing
/// requirement is reported before that build.
fn prepare(needs_a_node: bool, needs_vnc: bool) -> Result<Option<String>> {
    if !cluster::is_first_process() {
        return Ok(None);
    }
    if needs_a_node
        && let Some(missing) = cluster::missing_requirement().or_else(installation::missing_requirement)
    {
        return Ok(Some(missing));
    }
    if let Err(missing) = Assets::find()? {
        return Ok(Some(missing));
    }
    if needs_vnc
        && let Some(missing) = vnc_desktop::missing_requirement()?
        && required()
    {
        return Ok(Some(missing));
    }
    if needs_a_node {
        installation::build()?;
    }
    Ok(None)
}

/// The test's name without the name of this crate.
fn short(name: &str) -> &str {
    name.split_once("::").map_or(name, |(_, rest)| rest)
}

#[allow(clippy::print_stderr, reason = "the user must see why no test runs")]
fn not_run(missing: &str) -> ExitCode {
    eprintln!("cluster suite not run: {missing}");
    if required() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn required() -> bool {
    std::env::var_os("REQUIRE_CLUSTER").is_some_and(|value| value == "1")
}

#[allow(clippy::print_stderr, reason = "no test runs yet that could fail with this error")]
fn failed(error: &Error) -> ExitCode {
    eprintln!("cluster suite not run: {error:#}");
    ExitCode::FAILURE
}

/// A cluster that many tests share. The first of them that runs starts it.
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
        Ok(runtime.block_on(TestCluster::run(Arc::clone(cluster), name, test))?)
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

    fn stop(&self) {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

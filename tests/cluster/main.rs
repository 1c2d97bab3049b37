//! The product on a real Kubernetes. A module here is a subject; its `TESTS` table is what runs.
//!
//! All tests share one cluster, with a node, Prometheus Operator and Prometheus, in namespaces of this run's own. Where
//! the machine cannot have one, one line says what is missing; with `REQUIRE_CLUSTER=1` that is a failure.

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

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

mod bed;
mod cli;
mod dry_run;
mod guard;
mod injected;
mod lifecycle;
mod monitoring;
mod policy;
mod product;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials()).exit_code();
    }
    match prepared() {
        Ok(None) => {}
        Ok(Some(missing)) => return not_run(&missing),
        Err(error) => return failed(&error),
    }
    cluster::isolated(|| libtest_mimic::run(&arguments, trials()).exit_code())
        .unwrap_or_else(|error| failed(&error))
}

fn trials() -> Vec<Trial> {
    let tests = [
        bed::TESTS,
        cli::TESTS,
        guard::TESTS,
        injected::TESTS,
        lifecycle::TESTS,
        monitoring::TESTS,
        policy::TESTS,
    ]
    .concat();
    tests.into_iter().map(|(name, test)| Trial::test(short(name), move || run(name, test))).collect()
}

fn run(name: &str, test: Test) -> Result<(), libtest_mimic::Failed> {
    let (runtime, cluster) = CLUSTER.as_ref().map_err(|error| format!("no cluster: {error}"))?;
    Ok(runtime.block_on(Bed::run(Arc::clone(cluster), name, test))?)
}

/// What is missing here, or nothing. Binaries are built outside the namespaces, which no download reaches; ours last,
/// so that nobody waits for them in vain.
fn prepared() -> Result<Option<String>> {
    if !cluster::outside() {
        return Ok(None);
    }
    if let Some(missing) = cluster::lacking().or_else(product::lacking) {
        return Ok(Some(missing));
    }
    if let Err(missing) = Assets::find()? {
        return Ok(Some(missing));
    }
    product::build()?;
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

/// Started by the first test that runs. It is never dropped: what it started ends with this process.
static CLUSTER: LazyLock<Result<(Runtime, Arc<Cluster>), String>> =
    LazyLock::new(|| start().map_err(|error| format!("{error:#}")));

fn start() -> Result<(Runtime, Arc<Cluster>)> {
    let runtime = Runtime::new()?;
    let assets = Assets::find()?.map_err(Error::msg)?;
    let cluster = runtime.block_on(Cluster::start(&assets, Parts::Monitoring))?;
    Ok((runtime, Arc::new(cluster)))
}

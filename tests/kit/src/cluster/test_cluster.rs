//! View of a shared cluster for one test: the test's namespaces, and a report about them when the test fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};

use super::host::eventually;
use super::running::Cluster;

/// A test: an async function that borrows the cluster and returns a boxed future.
pub type Test = for<'a> fn(&'a TestCluster) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// A shared cluster as one test sees it.
pub struct TestCluster {
    cluster: Arc<Cluster>,
    name: String,
    /// The test's own namespaces.
    namespaces: Mutex<Vec<String>>,
    /// Namespaces of other tests, shown when this test fails.
    shared: Mutex<Vec<String>>,
}

// === impl TestCluster ===

impl Deref for TestCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl TestCluster {
    /// Runs one test and deletes its namespaces.
    ///
    /// # Errors
    /// When the test fails or panics: its error, the state of its pods, its events and the ends of the servers' logs.
    pub async fn run(cluster: Arc<Cluster>, name: &str, test: Test) -> Result<(), String> {
        let this = Arc::new(Self {
            cluster,
            name: name.to_owned(),
            namespaces: Mutex::default(),
            shared: Mutex::default(),
        });
        let tested = Arc::clone(&this);
        let ended = tokio::spawn(async move { test(&tested).await }).await;
        let outcome = match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("{error:#}\n{}", this.describe_failure())),
            Err(panic) => Err(format!("{panic}\n{}", this.describe_failure())),
        };
        for namespace in this.namespaces() {
            let _ = this.all_namespaces().delete(&namespace, &DeleteParams::background()).await;
        }
        outcome
    }

    /// Creates a namespace with these labels and waits until it accepts pods. It is deleted after the test.
    ///
    /// # Errors
    /// When the API server rejects the namespace or its ServiceAccount is not created in time.
    pub async fn scratch_namespace(&self, labels: &[(&str, &str)]) -> Result<String> {
        let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
        let metadata = ObjectMeta {
            generate_name: Some(self.prefix()),
            labels: Some(labels.collect::<BTreeMap<_, _>>()),
            ..ObjectMeta::default()
        };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let created = self.all_namespaces().create(&PostParams::default(), &namespace).await?;
        let name = created.metadata.name.context("a namespace without a name")?;
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), &name);
        // The API server rejects pods without this account.
        let what = format!("the default ServiceAccount of {name}");
        eventually(what, Duration::from_secs(30), || async { Ok(accounts.get("default").await?) }).await?;
        Ok(name)
    }

    /// Includes a namespace in the report when the test fails. It is not the test's own and is not deleted.
    pub fn show_on_failure(&self, namespace: &str) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).push(namespace.to_owned());
    }

    fn prefix(&self) -> String {
        let last = self.name.rsplit("::").next().unwrap_or_default().replace('_', "-");
        format!("{}-", last.chars().take(40).collect::<String>().trim_matches('-'))
    }

    fn describe_failure(&self) -> String {
        let mut text = String::new();
        let mut run = |arguments: &[&str]| {
            let output = self.kubectl.run(arguments).unwrap_or_else(|error| format!("{error:#}"));
            let _ = writeln!(text, "--- kubectl {}\n{output}", arguments.join(" "));
        };
        run(&["get", "pods", "--all-namespaces", "--output=wide"]);
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for namespace in self.namespaces().into_iter().chain(shared) {
            for command in FAILURE_COMMANDS {
                run(&[&["--namespace", &namespace], *command].concat());
            }
        }
        text + &self.log_tails()
    }

    fn namespaces(&self) -> Vec<String> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn all_namespaces(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }
}

/// The kubectl commands that describe each namespace of a failed test.
const FAILURE_COMMANDS: &[&[&str]] = &[
    &["get", "all,endpointslices", "--output=wide"],
    &["describe", "pods"],
    &["get", "events", "--sort-by=.lastTimestamp"],
    // kubectl needs a selector for the logs of all pods. Every pod matches this one.
    &["logs", "--selector=!no-such-label", "--all-containers", "--prefix", "--tail=20", "--ignore-errors"],
    &["logs", "--selector=!no-such-label", "--prefix", "--tail=20", "--ignore-errors", "--previous"],
];

//! The real sidecar with a fake driver, as Prometheus sees it.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use fake_nvml::Scenario;
use kit::{
    exposition::Exposition,
    http,
    process::{Process, eventually},
};
use vdi_metrics::contract::{ANNOTATIONS, GpuRequest, METRICS_PATH, VOLUME_PATH, env};

use super::pod_fixture::PodFixture;

pub(super) const AVAILABLE: &str = "vdi_session_gpu_available";
pub(super) const SUCCESS: &str = "vdi_metrics_collect_success";
pub(super) const ERRORS: &str = "vdi_metrics_nvml_errors_total";
pub(super) const LAST_COLLECT: &str = "vdi_metrics_last_collect_timestamp_seconds";
pub(super) const BUSY: &str = "vdi_session_gpu_busy_seconds_total";

/// An interval so short that a test can wait for a poll.
pub(super) const FAST: (&str, &str) = (env::INTERVAL, "0.02");

/// A running sidecar and the scenario of its fake driver.
pub(super) struct RunningSidecar {
    pub(super) process: Process,
    pub(super) address: SocketAddr,
    pub(super) scenario: PathBuf,
    pub(super) root: PathBuf,
    _folder: kit::tempfile::TempDir,
}

impl RunningSidecar {
    pub(super) fn start(scenario: &Scenario, settings: &[(&str, &str)]) -> Self {
        Self::start_in_pod(&PodFixture::default(), scenario, settings)
    }

    pub(super) fn start_in_pod(pod: &PodFixture, scenario: &Scenario, settings: &[(&str, &str)]) -> Self {
        let folder = kit::tempfile::tempdir().unwrap();
        let path = folder.path().join("scenario.json");
        let root = folder.path().join("root");
        scenario.write(&path).unwrap();
        pod.create(&root);
        let program = OsString::from(env!("CARGO_BIN_EXE_vdi-metrics-sidecar"));
        let command = [&pod.wrapper[..], &[program]].concat();
        let process = Process::spawn(
            Command::new(&command[0])
                .args(&command[1..])
                .env_clear()
                .env(env::LISTEN, "127.0.0.1:0")
                .env(env::NVML_LIBRARY, fake_nvml::library().unwrap())
                .env(fake_nvml::SCENARIO, &path)
                .env(env::ROOT, &root)
                // A desktop that requests a GPU.
                .env(env::GPU_REQUEST, GpuRequest::Device.as_str())
                // The connections of this machine are not those of a desktop. The tests of presence have a network namespace.
                .env(env::PRESENCE, "off")
                .envs(&pod.variables)
                .envs(settings.iter().copied()),
        );
        Self { address: process.address(), process, scenario: path, root, _folder: folder }
    }

    pub(super) fn play(&self, scenario: &Scenario) {
        scenario.write(&self.scenario).unwrap();
    }

    /// Waits until the library is open again after a poll with slices. A poll is published before the library is closed.
    pub(super) fn wait_for_reopening(&self) {
        thread::sleep(Duration::from_millis(200));
    }

    pub(super) fn scrape(&self) -> Exposition {
        let response = http::get(self.address, METRICS_PATH).unwrap();
        assert_eq!(response.status, 200);
        Exposition::parse(&response.body).unwrap()
    }

    /// Scrapes until `probe` accepts the exposition.
    pub(super) fn scrape_until(&self, what: &str, probe: impl Fn(&Exposition) -> bool) -> Exposition {
        eventually(what, || Some(self.scrape()).filter(&probe))
    }

    /// Stops the sidecar; returns its exit code and its termination message.
    pub(super) fn end(self) -> (Option<i32>, serde_json::Value) {
        let (status, _) = self.process.terminate();
        let text = fs::read_to_string(self.root.join("dev/termination-log")).unwrap();
        assert!(text.len() <= 1024, "{text}");
        (status.code(), serde_json::from_str(&text).unwrap())
    }

    /// Waits for a termination message that `probe` accepts.
    pub(super) fn message_until(
        &self,
        what: &str,
        probe: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let path = self.root.join("dev/termination-log");
        let message = || serde_json::from_str(&fs::read_to_string(&path).ok()?).ok();
        eventually(what, || message().filter(&probe))
    }

    /// Writes the annotation `vdi-metrics.io/gpu` in one step, as the kubelet does.
    pub(super) fn annotate(&self, gpu: &str) {
        self.write_annotations(&format!("vdi-metrics.io/gpu=\"{gpu}\"\n"));
    }

    /// Writes the file with the pod's annotations in one step.
    pub(super) fn write_annotations(&self, text: &str) {
        self.replace(&annotations(), |next| fs::write(next, text).unwrap());
    }

    /// Makes a file of the pod unreadable in one step: a symbolic link to itself.
    pub(super) fn make_unreadable(&self, file: &Path) {
        self.replace(file, |next| std::os::unix::fs::symlink(file.file_name().unwrap(), next).unwrap());
    }

    /// Replaces a file of the pod in one step.
    pub(super) fn replace(&self, file: &Path, create: impl FnOnce(&Path)) {
        let file = self.root.join(file);
        let next = file.with_extension("next");
        create(&next);
        fs::rename(next, file).unwrap();
    }

    /// Waits for the end of the first poll.
    pub(super) fn first_poll(&self) -> Exposition {
        self.scrape_until("the first poll", |seen| seen.value(LAST_COLLECT, &[]).is_some())
    }
}

/// The file with the pod's annotations.
pub(super) fn annotations() -> PathBuf {
    Path::new(VOLUME_PATH.trim_start_matches('/')).join(ANNOTATIONS)
}

/// Seconds of a device in all scopes; 0 if there are none.
pub(super) fn total(seen: &Exposition, what: &str, gpu: &str) -> f64 {
    let name = format!("vdi_session_gpu_{what}_seconds_total");
    seen.series(&name).filter(|series| series.labels["gpu"] == gpu).map(|series| series.value).sum()
}

/// The reason why no GPU can be read. Panics if the exposition has a value of a GPU.
pub(super) fn unavailable(seen: &Exposition) -> &str {
    assert_eq!(seen.value("vdi_session_gpu_available", &[]), Some(0.0));
    for absent in ["utilization_ratio", "memory_used_bytes", "memory_total_bytes", "info", "attribution_info"]
    {
        assert_eq!(seen.series(&format!("vdi_session_gpu_{absent}")).count(), 0, "{absent}");
    }
    let mut reasons = seen.series("vdi_session_gpu_unavailable_info");
    let reason = reasons.next().unwrap();
    assert_eq!((reason.value, reasons.next()), (1.0, None));
    &reason.labels["reason"]
}

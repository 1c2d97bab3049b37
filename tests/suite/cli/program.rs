//! Runs the program and reads its files.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// Exit code and output of one run.
pub(super) struct Finished {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs `vdi-metrics` in `tests/cli`, with an empty environment.
pub(super) fn run(arguments: &[&str], stdin: &[u8]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vdi-metrics"));
    command.env_clear().args(arguments).current_dir(folder("tests/cli"));
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_owned();
    // Some verbs do not read standard input; the write fails then.
    let writer = std::thread::spawn(move || _ = input.write_all(&stdin));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Finished { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The output of a run that must succeed.
pub(super) fn pipe(arguments: &[&str], input: &str) -> String {
    let finished = run(arguments, input.as_bytes());
    assert_eq!(finished.code, 0, "{arguments:?}: {}", finished.stderr);
    finished.stdout
}

/// A path in the repository.
pub(super) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Golden files of a folder, or its other files, in the order of their names.
pub(super) fn files(name: &str, golden: bool) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().contains(".golden.") == golden);
    files.sort();
    assert!(golden || !files.is_empty());
    files
}

pub(super) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// The documents of a YAML text, read by another YAML reader than the program's.
pub(super) fn values(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A pod of `tests/pods`, with the arguments for its configuration and the objects of its namespace.
pub(super) struct PodCase {
    pub(super) pod: PathBuf,
    pub(super) arguments: Vec<String>,
}

pub(super) fn pod_cases() -> Vec<PodCase> {
    let pods = files("tests/pods", false);
    let pods = pods.into_iter().filter(|path| !path.file_stem().unwrap().to_string_lossy().contains('.'));
    let companion = |pod: &Path, what: &str| {
        let path = pod.with_extension(format!("{what}.yaml"));
        path.exists().then(|| path.to_str().unwrap().to_owned())
    };
    let case = |pod: PathBuf| {
        let config = companion(&pod, "config").map(|path| vec!["--config".to_owned(), path]);
        let arguments = companion(&pod, "namespace").into_iter().chain(config.unwrap_or_default()).collect();
        PodCase { pod, arguments }
    };
    pods.map(case).collect()
}

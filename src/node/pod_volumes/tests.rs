mod hostile;
mod kubelet;
mod race;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use rustix::io::Errno;

use self::kubelet::Kubelet;
use super::*;
use crate::sampling::report::MAX_BYTES;

/// Name of the file that the tests write.
const OUTPUT: &str = "samples";

/// The UID of a pod of the tests.
fn uid(number: usize) -> String {
    format!("7c1e0c1e-9a55-4f0e-8d0f-{number:012x}")
}

fn open(kubelet: &Kubelet) -> PodVolumes {
    PodVolumes::open(kubelet.root()).unwrap()
}

/// The only session; fails if any pod is left out.
fn only<'p>(pods: &'p PodVolumes) -> SessionVolume<'p> {
    let mut found = pods.sessions().unwrap();
    assert!(found.errors.is_empty(), "{:?}", found.errors);
    assert_eq!(found.volumes.len(), 1);
    found.volumes.remove(0)
}

/// UIDs of the sessions and of the pods that are left out.
fn uids(found: &SessionVolumes<'_>) -> (Vec<String>, Vec<String>) {
    let mut sessions: Vec<_> = found.volumes.iter().map(|volume| volume.uid().to_owned()).collect();
    let mut errors: Vec<_> =
        found.errors.iter().map(|error| error.uid().unwrap_or_default().to_owned()).collect();
    sessions.sort();
    errors.sort();
    (sessions, errors)
}

#[test]
fn a_session_is_a_pod_with_a_filled_projected_volume_of_our_name() {
    let kubelet = Kubelet::new();
    kubelet.session(&uid(1), "alice");
    kubelet.project(&uid(2), &[("annotations", "b=\"2\"\n")]);
    for path in
        ["emptydir/vdi-metrics", "kubernetes.io~empty-dir/vdi-metrics", "kubernetes.io~projected/token"]
    {
        fs::create_dir_all(kubelet.pod(&uid(3)).join("volumes").join(path)).unwrap();
    }
    fs::create_dir_all(kubelet.volume(&uid(4))).unwrap();
    kubelet.session("not-a-uid", "bob");
    fs::write(kubelet.root().join("pods/kubelet.sock"), "").unwrap();

    let pods = open(&kubelet);
    let mut found = pods.sessions().unwrap();
    assert_eq!(uids(&found), (vec![uid(1), uid(2)], vec![]));
    found.volumes.sort_by(|a, b| a.uid().cmp(b.uid()));
    assert_eq!(found.volumes[1].annotations().unwrap().as_deref(), Some(&b"b=\"2\"\n"[..]));
}

#[test]
fn a_file_survives_the_updates_of_the_kubelet() {
    let kubelet = Kubelet::new();
    kubelet.session(&uid(1), "alice");
    let pods = open(&kubelet);
    let session = only(&pods);
    session.write(OUTPUT, b"1").unwrap();
    kubelet.project(&uid(1), &[("annotations", "new")]);
    assert_eq!(fs::read(kubelet.volume(&uid(1)).join(OUTPUT)).unwrap(), b"1");
    assert_eq!(session.annotations().unwrap().as_deref(), Some(&b"new"[..]));
    kubelet.project(&uid(1), &[]);
    assert_eq!(fs::read(kubelet.volume(&uid(1)).join(OUTPUT)).unwrap(), b"1");
    assert_eq!(session.annotations().unwrap(), None);
}

#[test]
fn a_file_is_replaced_by_rename_and_readable_by_every_user() {
    let kubelet = Kubelet::new();
    kubelet.session(&uid(1), "alice");
    let pods = open(&kubelet);
    let session = only(&pods);
    let output = kubelet.volume(&uid(1)).join(OUTPUT);
    session.write(OUTPUT, b"first").unwrap();
    let first = fs::metadata(&output).unwrap();
    session.write(OUTPUT, b"second").unwrap();
    let second = fs::metadata(&output).unwrap();
    assert_eq!(fs::read(&output).unwrap(), b"second");
    assert_ne!(first.ino(), second.ino());
    assert_eq!(second.permissions().mode() & 0o7777, 0o444);
}

#[test]
fn a_failed_write_keeps_the_previous_file_and_concerns_one_pod() {
    let kubelet = Kubelet::new();
    kubelet.session(&uid(1), "alice");
    kubelet.session(&uid(2), "bob");
    fs::create_dir_all(kubelet.volume(&uid(1)).join(replace::TEMPORARY).join("full")).unwrap();
    fs::create_dir_all(kubelet.volume(&uid(2)).join("folder/full")).unwrap();
    let pods = open(&kubelet);
    let mut found = pods.sessions().unwrap();
    found.volumes.sort_by(|a, b| a.uid().cmp(b.uid()));
    let error = found.volumes[0].write(OUTPUT, b"1").unwrap_err();
    assert_eq!(error.uid(), Some(uid(1).as_str()));

    let bob = &found.volumes[1];
    bob.write(OUTPUT, &vec![b'a'; MAX_BYTES]).unwrap();
    assert!(bob.write(OUTPUT, &vec![b'b'; MAX_BYTES + 1]).is_err());
    assert!(bob.write("folder", b"1").is_err(), "the kubelet creates folders for nested mounts");
    let output = fs::read(kubelet.volume(&uid(2)).join(OUTPUT)).unwrap();
    assert!(output.len() == MAX_BYTES && output.iter().all(|byte| *byte == b'a'));
    assert!(!kubelet.volume(&uid(2)).join(replace::TEMPORARY).exists());
}

#[test]
fn no_volume_stays_open() {
    let kubelet = Kubelet::new();
    kubelet.session(&uid(1), "alice");
    let pods = open(&kubelet);
    let session = only(&pods);
    session.annotations().unwrap();
    session.write(OUTPUT, b"1").unwrap();
    // A descriptor can be closed between the two calls; then it has no link.
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let open: Vec<_> = links.filter(|path| path.starts_with(kubelet.root())).collect();
    assert_eq!(open, [kubelet.root().join("pods")]);
}

#[test]
fn a_read_has_a_limit() {
    let kubelet = Kubelet::new();
    kubelet.session(&uid(1), "alice");
    let pods = open(&kubelet);
    let session = only(&pods);
    let annotations = kubelet.data(&uid(1)).join("annotations");
    fs::write(&annotations, vec![b'a'; MAX_ANNOTATIONS_BYTES as usize]).unwrap();
    assert_eq!(session.annotations().unwrap().unwrap().len() as u64, MAX_ANNOTATIONS_BYTES);
    fs::write(&annotations, vec![b'a'; MAX_ANNOTATIONS_BYTES as usize + 1]).unwrap();
    let error = session.annotations().unwrap_err().to_string();
    assert!(error.ends_with("vdi-metrics/annotations: more than 2097152 bytes"), "{error}");
}

#[test]
fn more_pods_than_the_limit_are_reported() {
    let kubelet = Kubelet::new();
    kubelet.session(&uid(0), "alice");
    for number in 1..=MAX_SESSIONS {
        fs::write(kubelet.pod(&uid(number)), "a file instead of a folder").unwrap();
    }
    let pods = open(&kubelet);
    let found = pods.sessions().unwrap();
    assert_eq!(found.volumes.len() + found.errors.len(), MAX_SESSIONS + 1);
    assert!(
        found.errors[MAX_SESSIONS - found.volumes.len()].to_string().contains("more than 1024 session pods")
    );
}

#[test]
fn a_missing_folder_is_an_error_and_not_an_empty_node() {
    let empty = tempfile::tempdir().unwrap();
    let error = PodVolumes::open(empty.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}/pods: No such file or directory (os error 2); check --kubelet-root, and that its folder pods is mounted",
            empty.path().display()
        )
    );
}

#[test]
fn an_error_of_the_system_has_a_remedy() {
    let text = |errno| VolumeError::new(None, Path::new("/pods"), errno).to_string();
    assert_eq!(
        text(Errno::NOSYS),
        "/pods: Function not implemented (os error 38); the agent needs the system call openat2: use Linux 5.6 or newer"
    );
    assert!(text(Errno::NOSPC).contains("pod's memory limit"));
    assert!(text(Errno::WOULDBLOCK).ends_with("run one agent on each node"));
}

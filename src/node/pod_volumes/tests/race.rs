//! The kubelet, the agent and a second agent at the same time.

use std::{
    fs, io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{super::*, OUTPUT, kubelet::Kubelet, only, open, uid};

/// Runs `work` in a thread, and `check` again and again until `work` has ended.
fn meanwhile(work: impl FnOnce() + Send, mut check: impl FnMut()) {
    thread::scope(|scope| {
        let thread = scope.spawn(work);
        while !thread.is_finished() {
            check();
        }
    });
}

#[test]
fn a_read_never_mixes_two_updates() {
    let kubelet = Kubelet::new();
    let update = |number: usize| {
        let number = number.to_string();
        kubelet.project(&uid(1), &[("annotations", &number)]);
    };
    update(0);
    let pods = open(&kubelet);
    let mut checked = 0;
    meanwhile(
        || (1..300).for_each(update),
        || {
            // The test updates the volume much faster than the kubelet does.
            let Ok(found) = pods.sessions() else { return };
            for volume in found.volumes {
                checked += usize::from(volume.annotations().is_ok_and(|text| text.is_some()));
            }
            for error in found.errors {
                assert!(error.to_string().contains("..data: changed during"), "{error}");
            }
        },
    );
    assert!(checked > 0);
}

#[test]
fn a_reader_sees_the_complete_file_of_one_of_two_agents() {
    let kubelet = Kubelet::new();
    kubelet.session(&uid(1), "alice");
    let agent = &|contents: u8| {
        let pods = open(&kubelet);
        let session = only(&pods);
        let mut written = 0;
        while written < 100 {
            match session.write(OUTPUT, &vec![contents; 100_000]) {
                Ok(()) => written += 1,
                Err(error) => assert!(error.to_string().contains("another program writes"), "{error}"),
            }
        }
    };
    agent(b'a');
    let output = kubelet.volume(&uid(1)).join(OUTPUT);
    thread::scope(|scope| {
        let agents = [b'a', b'b'].map(|contents| scope.spawn(move || agent(contents)));
        while !agents.iter().all(thread::ScopedJoinHandle::is_finished) {
            let bytes = fs::read(&output).unwrap();
            assert!(bytes.len() == 100_000 && bytes.iter().all(|byte| *byte == bytes[0]));
        }
    });
    assert!(!kubelet.volume(&uid(1)).join(replace::TEMPORARY).exists());
}

#[test]
fn a_write_to_a_pod_that_is_deleted_fails_for_this_pod() {
    let kubelet = Kubelet::new();
    let pod = kubelet.pod(&uid(1));
    kubelet.session(&uid(1), "alice");
    let pods = open(&kubelet);
    let session = only(&pods);
    fs::remove_file(kubelet.volume(&uid(1)).join("..data")).unwrap();
    assert!(session.write(OUTPUT, b"1").is_err(), "the volume is not mounted");
    assert!(!kubelet.volume(&uid(1)).join(OUTPUT).exists());
    fs::remove_dir_all(&pod).unwrap();
    for error in [session.write(OUTPUT, b"1"), session.annotations().map(drop)] {
        let error = error.unwrap_err();
        assert_eq!(error.uid(), Some(uid(1).as_str()));
        assert_eq!(error.to_string(), format!("{}: No such file or directory (os error 2)", pod.display()));
    }
}

#[test]
fn pods_that_come_and_go_disturb_no_other_pod() {
    let kubelet = Kubelet::new();
    kubelet.session(&uid(1), "alice");
    let pods = open(&kubelet);
    let root = kubelet.pod(&uid(2));
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                for volume in pods.sessions().unwrap().volumes {
                    let Err(error) = volume.write(OUTPUT, b"1") else { continue };
                    // A child of another test has the lock too until it executes its program.
                    let is_locked = error.to_string().contains("another program writes");
                    assert!(is_locked || volume.uid() == uid(2), "{error}");
                }
            }
        });
        let template = Kubelet::new();
        for _ in 0..300 {
            template.session(&uid(2), "bob");
            fs::rename(template.pod(&uid(2)), &root).unwrap();
            // A write can create a file in a folder that is being removed. The kubelet tries again too.
            while fs::remove_dir_all(&root).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {}
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert_eq!(only(&pods).uid(), uid(1));
}

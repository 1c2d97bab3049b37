//! Objects that the kubelet does not create, in every place that the agent opens.

use std::{fs, os::unix::fs::symlink, path::PathBuf, sync::mpsc, thread, time::Duration};

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    super::*,
    OUTPUT,
    kubelet::{Kubelet, OBJECTS, Object, SECRET},
    only, open, uid, uids,
};

/// Time after which a read or write counts as blocked.
const BLOCKED: Duration = Duration::from_secs(10);

/// The places of files and folders of a pod that the agent opens, writes or renames.
fn places(kubelet: &Kubelet, uid: &str) -> Vec<PathBuf> {
    let (pod, volume, data) = (kubelet.pod(uid), kubelet.volume(uid), kubelet.data(uid));
    let mut places = vec![pod.clone(), pod.join("volumes"), pod.join("volumes/kubernetes.io~projected")];
    places.extend([volume.clone(), volume.join("..data"), data.clone()]);
    places.extend(["annotations"].map(|name| data.join(name)));
    places.extend([OUTPUT, replace::TEMPORARY].map(|name| volume.join(name)));
    places
}

/// A node with one good pod and one pod with objects in some places.
fn node(objects: &[(usize, Object)]) -> Kubelet {
    let kubelet = Kubelet::new();
    kubelet.session(&uid(1), "alice");
    kubelet.hostile_session(&uid(2));
    let places = places(&kubelet, &uid(2));
    let pods = kubelet.root().join("pods").canonicalize().unwrap();
    for (place, object) in objects {
        let place = &places[*place % places.len()];
        // An earlier object can be a link in the path of this place.
        if place.parent().unwrap().canonicalize().is_ok_and(|parent| parent.starts_with(&pods)) {
            kubelet.replace(place, *object);
        }
    }
    kubelet
}

/// Does the work in a thread, and fails if it does not end.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        work();
        // Only a blocked test has no receiver.
        _ = sender.send(());
    });
    assert!(receiver.recv_timeout(BLOCKED) != Err(mpsc::RecvTimeoutError::Timeout), "blocked");
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Uses every session of the node. The good pod must be served. Everything that is read must be in the pod's own files.
fn serve(kubelet: Kubelet) {
    in_time(move || {
        let pods = open(&kubelet);
        let found = pods.sessions().unwrap();
        let (sessions, errors) = uids(&found);
        assert!(sessions.contains(&uid(1)) && !errors.contains(&uid(1)), "{:?}", found.errors);
        for volume in &found.volumes {
            let written = volume.write(OUTPUT, b"output");
            let annotations = volume.annotations();
            assert!(volume.uid() != uid(1) || written.is_ok());
            assert!(
                annotations.is_err() || annotations.unwrap().is_none_or(|text| text != SECRET.as_bytes())
            );
            if written.is_ok() {
                let output = kubelet.volume(volume.uid()).join(OUTPUT);
                assert!(fs::symlink_metadata(&output).unwrap().is_file());
                assert_eq!(fs::read(output).unwrap(), b"output");
            }
        }
        assert!(kubelet.outside_is_unchanged(&uid(2)));
    });
}

#[test]
fn no_object_in_any_place_blocks_the_agent_or_leads_out_of_the_volume() {
    let count = places(&node(&[]), &uid(2)).len();
    for place in 0..count {
        for object in OBJECTS {
            serve(node(&[(place, object)]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_tree_blocks_the_agent_or_leads_out_of_the_volume(objects in vec((0..20_usize, select(&OBJECTS)), 0..8)) {
        serve(node(&objects));
    }
}

#[test]
fn an_object_in_the_place_of_a_file_is_an_error() {
    for object in OBJECTS.into_iter().filter(|object| !matches!(object, Object::Absent)) {
        let kubelet = Kubelet::new();
        kubelet.hostile_session(&uid(1));
        kubelet.replace(&kubelet.data(&uid(1)).join("annotations"), object);
        in_time(move || {
            assert!(only(&open(&kubelet)).annotations().is_err(), "{object:?}");
        });
    }
}

#[test]
fn the_data_link_leads_to_a_folder_in_the_volume() {
    for target in
        ["/etc", "..", ".", "folder", "../..", "..a/b", "../vdi-metrics", "..data", "..link", "..absent"]
    {
        let kubelet = Kubelet::new();
        kubelet.session(&uid(1), "alice");
        let volume = kubelet.volume(&uid(1));
        fs::create_dir(volume.join("folder")).unwrap();
        symlink("folder", volume.join("..link")).unwrap();
        fs::remove_file(volume.join("..data")).unwrap();
        symlink(target, volume.join("..data")).unwrap();
        assert_eq!(uids(&open(&kubelet).sessions().unwrap()), (vec![], vec![uid(1)]), "{target}");
    }
}

#[test]
fn what_a_killed_agent_left_is_replaced() {
    for object in OBJECTS.into_iter().filter(|object| !matches!(object, Object::Folder)) {
        let kubelet = Kubelet::new();
        kubelet.hostile_session(&uid(1));
        let [temporary, output] = [replace::TEMPORARY, OUTPUT].map(|name| kubelet.volume(&uid(1)).join(name));
        kubelet.replace(&temporary, object);
        kubelet.replace(&output, object);
        in_time(move || {
            let pods = open(&kubelet);
            only(&pods).write(OUTPUT, b"new").unwrap();
            assert_eq!(fs::read(&output).unwrap(), b"new");
            assert!(fs::symlink_metadata(&temporary).is_err() && kubelet.outside_is_unchanged(&uid(1)));
        });
    }
}

#[test]
fn a_locked_volume_is_not_waited_for() {
    let kubelet = Kubelet::new();
    kubelet.session(&uid(1), "alice");
    let lock = fs::File::open(kubelet.volume(&uid(1))).unwrap();
    lock.lock().unwrap();
    let pods = open(&kubelet);
    let session = only(&pods);
    assert!(session.write(OUTPUT, b"1").is_err());
    drop(lock);
    session.write(OUTPUT, b"1").unwrap();
}

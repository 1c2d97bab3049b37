mod kubelet;

use std::{fs, io, sync::Arc};

use kit::kubelet::{Answer, serve};
use proptest::prelude::*;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::kubelet::KubeletRoot;
use super::{
    allocation::{ClaimDevice, PodName},
    error::ListFailure,
    wire::{WireContainer, WireDevices, WirePod},
    *,
};

/// Written by the Go types of k8s.io/kubelet v0.37.2, with all their fields, in the way in which the kubelet fills them: the plugin's
/// device `GPU-b::1` once for each of its NUMA nodes; the second device of the claim with the CDI ID of the first.
const RECORDED: &[u8] = include_bytes!("tests/kubelet-1.37.pb");

/// Shorter than [`TIMEOUT`], so that a test does not take seconds.
const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn the_list_has_the_devices_of_plugins_and_claims() {
    let root = KubeletRoot::new();
    let _kubelet = root.start(Answer::Message(RECORDED.to_vec()));
    assert_eq!(root.client().list().await.unwrap(), recorded());
}

fn recorded() -> Vec<PodAllocation> {
    let devices =
        [claim_device("gpu-0", None, &["gpu-1", "gpu-0"]), claim_device("gpu-1", Some("b7e5"), &["gpu-1"])];
    let ids = ["GPU-a", "GPU-b::1"].map(str::to_owned);
    vec![
        PodAllocation { devices: ids.into(), ..pod("alice-1") },
        PodAllocation { claimed: devices.into(), ..pod("bob-1") },
    ]
}

fn pod(name: &str) -> PodAllocation {
    let name = PodName { namespace: "desktops".to_owned(), name: name.to_owned() };
    PodAllocation { name, devices: [].into(), claimed: [].into() }
}

fn claim_device(device: &str, share_id: Option<&str>, cdi_ids: &[&str]) -> ClaimDevice {
    ClaimDevice {
        driver: "gpu.nvidia.com".to_owned(),
        device: device.to_owned(),
        share_id: share_id.map(str::to_owned),
        cdi_ids: cdi_ids.iter().map(|id| format!("k8s.gpu.nvidia.com/device={id}")).collect(),
    }
}

#[tokio::test]
async fn a_node_without_pods_has_an_empty_list() {
    let root = KubeletRoot::new();
    let _kubelet = root.start(Answer::Message(vec![]));
    assert_eq!(root.client().list().await.unwrap(), []);
}

#[tokio::test]
async fn a_list_of_200_pods_with_8_devices_has_a_hundredth_of_the_maximum() {
    let list = list_of(200, 8);
    assert!(list.len() < MAX_LIST_BYTES / 100, "{} bytes", list.len());
    let root = KubeletRoot::new();
    let _kubelet = root.start(Answer::Message(list));
    let pods = root.client().list().await.unwrap();
    assert!(pods.len() == 200 && pods.iter().all(|pod| pod.devices.len() == 8));
}

/// A list in which each pod has as many devices as `devices`, with one entry for each device.
fn list_of(pods: usize, devices: usize) -> Vec<u8> {
    let devices = |pod| {
        (0..devices).map(move |device| WireDevices {
            ids: vec![format!("GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035::{pod}-{device}")],
        })
    };
    let pods = (0..pods).map(|number| {
        let containers = vec![WireContainer { devices: devices(number).collect(), claims: vec![] }];
        WirePod { name: format!("desktop-{number}"), namespace: "desktops".to_owned(), containers }
    });
    ListResponse { pods: pods.collect() }.encode_to_vec()
}

#[tokio::test]
async fn a_list_has_at_most_the_maximum_number_of_bytes() {
    let root = KubeletRoot::new();
    let kubelet = root.start(Answer::Message(unknown_field(MAX_LIST_BYTES)));
    assert_eq!(root.client().list().await.unwrap(), []);
    drop(kubelet);
    let _kubelet = root.start(Answer::Message(unknown_field(MAX_LIST_BYTES + 1)));
    let error = root.client().list().await.unwrap_err();
    assert_eq!(error.failure, ListFailure::TooLarge);
    assert!(error.to_string().contains("found 16777217 bytes"), "{error}");
}

/// A message of some MiB with one field that the agent does not know.
fn unknown_field(bytes: usize) -> Vec<u8> {
    let mut message = vec![15 << 3 | 2];
    prost::encoding::encode_varint(bytes as u64 - 5, &mut message);
    message.resize(bytes, 0);
    message
}

#[tokio::test]
async fn the_next_call_after_a_restart_of_the_kubelet_succeeds() {
    let root = KubeletRoot::new();
    let client = root.client();
    let kubelet = root.start(Answer::Message(vec![]));
    assert_eq!(client.list().await.unwrap(), []);
    drop(kubelet);
    drop(root.bind());
    assert_eq!(client.list().await.unwrap_err().failure, ListFailure::NotListening);
    fs::remove_file(root.socket()).unwrap();
    assert_eq!(client.list().await.unwrap_err().failure, ListFailure::NoSocket);
    let _kubelet = root.start(Answer::Message(RECORDED.to_vec()));
    assert_eq!(client.list().await.unwrap(), recorded());
}

#[tokio::test]
async fn a_socket_that_cannot_be_used_has_a_failure_and_a_remedy() {
    let root = KubeletRoot::new();
    let folder = root.socket().parent().unwrap().to_owned();
    let expect = async |failure, remedy| {
        let error = root.client().list().await.unwrap_err();
        assert_eq!(error.failure, failure, "{error}");
        let text = error.to_string();
        assert!(text.contains(root.socket().to_str().unwrap()) && text.contains(remedy), "{text}");
    };
    expect(ListFailure::NoSocket, "check the kubelet root").await;
    drop(root.bind());
    expect(ListFailure::NotListening, "mount the folder pod-resources").await;
    fs::remove_file(root.socket()).unwrap();
    fs::write(root.socket(), "").unwrap();
    expect(ListFailure::NotASocket, "does not belong to the kubelet").await;
    fs::remove_file(root.socket()).unwrap();
    fs::create_dir(root.socket()).unwrap();
    expect(ListFailure::NotASocket, "does not belong to the kubelet").await;
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    expect(ListFailure::NoSocket, "check the kubelet root").await;
}

#[tokio::test]
async fn a_path_that_is_too_long_for_a_socket_is_an_error() {
    let error = PodResources::new(&Path::new("/").join("x".repeat(200))).list().await.unwrap_err();
    assert_eq!(error.failure, ListFailure::ConnectFailed);
    assert!(error.to_string().contains("SUN_LEN"), "{error}");
}

/// Root may use every socket, and tests can run as root.
#[test]
fn a_socket_without_permission_needs_uid_0() {
    let error = io::Error::from(io::ErrorKind::PermissionDenied);
    let error = ListError::connect(Path::new("/kubelet.sock"), &error);
    assert_eq!(error.failure, ListFailure::Forbidden);
    assert!(error.to_string().contains("UID 0"), "{error}");
}

#[tokio::test]
async fn an_error_of_the_kubelet_has_its_message() {
    for (number, failure) in [
        ("12", ListFailure::Unimplemented),
        ("8", ListFailure::RateLimited),
        ("13", ListFailure::CallFailed),
        ("14", ListFailure::CallFailed),
    ] {
        let root = KubeletRoot::new();
        let _kubelet = root.start(Answer::Error(number, "the reason"));
        let error = root.client().list().await.unwrap_err();
        assert_eq!(error.failure, failure);
        assert!(error.to_string().contains(": the reason; "), "{error}");
    }
}

#[tokio::test]
async fn a_message_that_is_not_a_list_is_malformed() {
    let number_for_pods = vec![1 << 3, 7];
    let name_not_utf8 = vec![1 << 3 | 2, 3, 1 << 3 | 2, 1, 0xff];
    let cut = RECORDED[..RECORDED.len() - 1].to_vec();
    for message in [number_for_pods, name_not_utf8, cut, b"HTTP/1.1 404 Not Found".to_vec()] {
        let root = KubeletRoot::new();
        let _kubelet = root.start(Answer::Message(message));
        let error = root.client().list().await.unwrap_err();
        assert_eq!(error.failure, ListFailure::Malformed, "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_grpc_is_an_error_with_a_cause() {
    for answer in ["", "garbage", "HTTP/1.1 400 Bad Request\r\n\r\n", &"\0".repeat(100_000)] {
        let root = KubeletRoot::new();
        let (client, listener) = (root.client(), root.bind());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The client can close the connection before the server has sent everything.
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut vec![]).await;
        };
        let (error, ()) = tokio::join!(client.list(), server);
        let error = error.unwrap_err();
        assert_eq!(error.failure, ListFailure::CallFailed, "{error}");
        assert!(error.to_string().contains("the connection failed: "), "{error}");
    }
}

#[tokio::test]
async fn a_call_without_a_complete_answer_ends_after_the_timeout() {
    let root = KubeletRoot::new();
    let client = PodResources { timeout: SHORT, ..root.client() };
    let _not_accepting = root.bind();
    let not_accepted = client.list().await.unwrap_err();
    let _kubelet = root.start(Answer::Unfinished(RECORDED.to_vec()));
    let unfinished = client.list().await.unwrap_err();
    for error in [not_accepted, unfinished] {
        assert_eq!(error.failure, ListFailure::Timeout);
        assert!(error.to_string().contains("no complete answer within 100ms"), "{error}");
    }
}

/// A kubelet can hang for days, and the agent calls four times a minute.
#[tokio::test]
async fn each_call_closes_its_connection() {
    let root = KubeletRoot::new();
    let listener = root.bind();

    PodResources { timeout: SHORT, ..root.client() }.list().await.unwrap_err();
    let (mut stream, _) = listener.accept().await.unwrap();
    time::timeout(TIMEOUT, stream.read_to_end(&mut vec![])).await.unwrap().unwrap();

    let client = root.client();
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        time::timeout(TIMEOUT, serve(stream, Arc::new(Answer::Message(vec![])))).await.unwrap();
    };
    tokio::join!(client.list(), server).0.unwrap();
}

proptest! {
    #[test]
    fn any_bytes_are_a_list_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..RECORDED.len()) {
        let _ = ListResponse::decode(&bytes[..]);
        let _ = ListResponse::decode(&[&RECORDED[..cut], &bytes].concat()[..]);
    }
}

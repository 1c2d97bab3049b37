//! Connections that last for more than a minute. One test has all of them, so that they take their time together.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use kit::network::{
    OUTSIDE, POD,
    slow_line::{POD_AT_LINE, SlowLine},
};
use vdi_metrics::contract::env;

use super::desktop_pod::*;

/// Bytes to a viewer before its line is cut.
const BYTES: usize = 100_000;

/// A viewer with unacknowledged data is gone after a minute. 5 s are for the last acknowledgement and for a busy machine.
const STILL_HERE: Duration = Duration::from_secs(55);
const GONE: Duration = Duration::from_secs(65);

/// Viewers of a still screen get nothing and are alive. The kubelet probes each second, and Prometheus has a connection to the desktop.
#[test]
fn after_a_minute_only_the_unplugged_viewer_of_a_moving_screen_is_gone() {
    // On a busy machine two polls within 0.1 s can see the same probe.
    let Some(pod) = DesktopPod::start(&[(env::INTERVAL, "1")]) else { return };
    let line = SlowLine::create(&pod.network, Duration::from_millis(5), 0);
    let (desktop, web) = (pod.listen("::", PORT), pod.listen("::", 8080));
    let mut others = OtherClients::connect(&pod, &web);
    let mut moving = pod.connect(&desktop, POD_AT_LINE);
    let _still = [pod.connect(&desktop, POD_AT_LINE), pod.connect(&desktop, POD[0])];
    moving.send(BYTES);
    pod.scrape_until("three viewers and the acknowledgements", |seen| {
        (seen.value(CONNECTIONS, &[]), seen.value(TRANSMITTED, &[])) == (Some(3.0), Some(BYTES as f64))
    });
    line.cut();
    let (cut, ended) = (Instant::now(), AtomicBool::new(false));
    let mut longest = Duration::ZERO;
    thread::scope(|scope| {
        let _end = EndOnDrop(&ended);
        scope.spawn(|| stream(&mut moving.server, &ended));
        while cut.elapsed() < GONE + Duration::from_secs(5) {
            others.act(&pod, &web);
            let viewers = pod.scrape().value(CONNECTIONS, &[]).unwrap();
            let now = cut.elapsed();
            assert!(viewers == 3.0 || viewers == 2.0 && now > STILL_HERE, "{viewers} after {now:?}");
            longest = if viewers == 3.0 { now } else { longest };
            thread::sleep(Duration::from_secs(1));
        }
    });
    assert!(longest < GONE, "the unplugged viewer was counted for {longest:?}");
    let seen = pod.scrape();
    assert_eq!((seen.value(TRANSMITTED, &[]), seen.value(RECEIVED, &[])), (Some(BYTES as f64), Some(0.0)));
    let (connected, lasted) = (seen.value(CONNECTED, &[]).unwrap(), cut.elapsed().as_secs_f64());
    assert!((lasted..lasted + 10.0).contains(&connected), "{connected} s, {lasted} s after the cut");
}

/// Clients that are no viewers.
struct OtherClients {
    /// Prometheus keeps its connections open: to the sidecar, and to a metrics port of the desktop.
    to_sidecar: TcpStream,
    to_desktop: Link,
}

// === impl OtherClients ===

impl OtherClients {
    fn connect(pod: &DesktopPod, web: &TcpListener) -> Self {
        Self { to_sidecar: scrape_sidecar(pod), to_desktop: pod.connect(web, POD[1]) }
    }

    /// One probe of the kubelet from the address of a viewer, and one scrape of each port.
    fn act(&mut self, pod: &DesktopPod, web: &TcpListener) {
        let mut probe = pod.connect(web, POD[0]);
        probe.receive(100);
        probe.send(100);
        self.to_desktop.receive(100);
        self.to_desktop.send(2000);
        self.to_sidecar = scrape_sidecar(pod);
    }
}

/// Scrapes, and returns the connection without closing it.
fn scrape_sidecar(pod: &DesktopPod) -> TcpStream {
    let mut stream = pod.network.outside.inside(|| TcpStream::connect((POD[1], OWN)).unwrap());
    let header = "X-Prometheus-Scrape-Timeout-Seconds: 10";
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {}\r\n{header}\r\n\r\n", OUTSIDE[1]).unwrap();
    assert!(stream.read(&mut [0; 1000]).unwrap() > 0);
    stream
}

/// Sends frames until the end. The send buffer may be full.
fn stream(server: &mut TcpStream, ended: &AtomicBool) {
    server.set_nonblocking(true).unwrap();
    while !ended.load(Ordering::Relaxed) {
        let _ = server.write(&[b'x'; 1000]);
        thread::sleep(Duration::from_millis(50));
    }
}

/// Ends the stream, also if an assertion fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

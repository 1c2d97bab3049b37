//! What Prometheus sees of the sessions with the relabelings of the shipped monitor, when the leader changes. Two exporters take the
//! place of the replicas.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kit::cluster::{Labels, Prometheus, TestCluster, eventually};

use crate::support::{common::MINUTE, own_prometheus::OwnPrometheus};

tests![a_counter_is_one_series_whichever_replica_leads];

/// A counter of the sessions, and a series that each replica has.
const COUNTER: &str = "vdi_session_ended_total";
const OF_EACH: &str = "vdi_metrics_ledger_leading";

/// A replica as Prometheus sees it.
struct Exporter {
    address: SocketAddr,
    /// The counter, if the replica leads.
    counter: Arc<Mutex<Option<u64>>>,
}

async fn a_counter_is_one_series_whichever_replica_leads(cluster: &TestCluster) -> Result<()> {
    let replicas = [Exporter::start()?, Exporter::start()?];
    let own = OwnPrometheus::start(cluster, "http", &[replicas[0].address, replicas[1].address]).await?;
    let began = Instant::now();
    replicas[0].shows(Some(0));
    shown(&own.client, 0).await?;
    let mut total = 0;
    for leader in [0, 1, 0] {
        for _ in 0..3 {
            total += 5;
            replicas[leader].shows(Some(total));
            shown(&own.client, total).await?;
        }
        // Between two leaders no replica shows the counter, and the next leader begins with what ended meanwhile.
        replicas[leader].shows(None);
        disappeared(&own.client).await?;
        total += 3;
        replicas[1 - leader].shows(Some(total));
        shown(&own.client, total).await?;
        replicas[1 - leader].shows(None);
    }
    let window = format!("{}s", began.elapsed().as_secs() + 2);
    let increase = value(&own.client, &format!("increase({COUNTER}[{window}])")).await?;
    ensure!((increase / total as f64 - 1.0).abs() < 0.1, "increase {increase} for {total}");
    let most = format!("max_over_time(count({COUNTER})[{window}:500ms])");
    ensure!(value(&own.client, &most).await? == 1.0, "a sum counts a session twice");
    ensure!(value(&own.client, &format!("resets({COUNTER}[{window}])")).await? == 0.0, "the counter fell");
    let own_series = own.client.query(OF_EACH).await?;
    ensure!(own_series.len() == 2, "series of the replicas themselves: {own_series:?}");
    Ok(())
}

/// Waits until Prometheus shows one series of the counter, with this value and the identity that all leaders have.
async fn shown(prometheus: &Prometheus, total: u64) -> Result<()> {
    let identity: Labels = [
        ("__name__", COUNTER),
        ("instance", "vdi-metrics-ledger"),
        ("job", "vdi-metrics-webhook"),
        ("namespace", "vdi-metrics"),
        ("service", "vdi-metrics-webhook"),
        ("endpoint", "metrics"),
        ("template", "cad"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    eventually(format!("{COUNTER} is {total}"), MINUTE, || async {
        let samples = prometheus.query(COUNTER).await?;
        ensure!(samples == [(identity.clone(), total as f64)], "{samples:?}");
        Ok(())
    })
    .await
}

async fn disappeared(prometheus: &Prometheus) -> Result<()> {
    eventually("no replica leads", MINUTE, || async {
        let samples = prometheus.query(COUNTER).await?;
        ensure!(samples.is_empty(), "{samples:?}");
        Ok(())
    })
    .await
}

async fn value(prometheus: &Prometheus, query: &str) -> Result<f64> {
    let samples = prometheus.query(query).await?;
    ensure!(samples.len() == 1, "{query}: {samples:?}");
    samples.first().map(|(_, value)| *value).context("no sample")
}

// === impl Exporter ===

impl Exporter {
    /// Serves its page until the process ends.
    fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, counter) = (listener.local_addr()?, Arc::<Mutex<Option<u64>>>::default());
        let shown = Arc::clone(&counter);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = *shown.lock().unwrap_or_else(PoisonError::into_inner);
                // Prometheus shows a failed scrape as missing samples, which fail the test.
                let _ = answer(&stream, counter);
            }
        });
        Ok(Self { address, counter })
    }

    fn shows(&self, counter: Option<u64>) {
        *self.counter.lock().unwrap_or_else(PoisonError::into_inner) = counter;
    }
}

fn answer(mut stream: &TcpStream, counter: Option<u64>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut page = format!("# TYPE {OF_EACH} gauge\n{OF_EACH} {}\n", u8::from(counter.is_some()));
    if let Some(counter) = counter {
        page += &format!("# TYPE {COUNTER} counter\n{COUNTER}{{template=\"cad\"}} {counter}\n");
    }
    let length = page.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{page}"
    )
}

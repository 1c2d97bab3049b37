//! Sessions with known fates, while replicas of the server are killed, paused and stopped and the API server is restarted. In the end every
//! counter is the truth, and no counter has ever fallen.
//!
//! `make chaos` runs the long form. `CHAOS_SEED` repeats a run.

mod driver;
mod fates;
mod killer;
mod random;
mod replicas;
mod requests;
mod scraper;
mod states;
mod truth;
mod words;

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use kit::cluster::{Parts, Prometheus, TestCluster, eventually};
use tokio::time::{interval, sleep};

use driver::{Played, Script};
use fates::Fate;
use killer::Disturbance;
use random::SeededRandom;
use replicas::Replicas;
use requests::Requests;
use scraper::Scraper;
use truth::Truth;

use crate::support::{
    common::{MINUTE, TWO_MINUTES, report},
    own_control_plane::control_plane,
    own_prometheus::OwnPrometheus,
};

tests![every_session_is_counted_once_whatever_is_killed];

/// Size and seed of a run.
#[derive(Clone, Copy, Debug)]
struct Plan {
    seed: u64,
    sessions: usize,
    kills: usize,
}

/// The time of a failover, over which the sessions are spread.
const PER_KILL: Duration = Duration::from_secs(12);

/// The aim of a failover after a kill, and after an orderly stop.
const KILLED: Duration = Duration::from_secs(15);
const STOPPED: Duration = Duration::from_secs(2);

async fn every_session_is_counted_once_whatever_is_killed(_: &TestCluster) -> Result<()> {
    let plan = Plan::from_environment()?;
    report(&format!("chaos: {plan:?}"));
    run(plan).await.with_context(|| format!("{plan:?}: CHAOS_SEED={} repeats it", plan.seed))
}

async fn run(plan: Plan) -> Result<()> {
    let mut random = SeededRandom::new(plan.seed);
    let cluster = Arc::new(control_plane(Parts::Controllers).await?);
    let requests = Requests(cluster.client.clone());
    states::create_node(&cluster)?;
    requests.keep_node_ready().await?;
    let replicas = Arc::new(Replicas::start(Arc::clone(&cluster)).await?);
    let own = OwnPrometheus::start(&cluster, "https", &replicas.addresses()).await?;
    let prometheus = &own.client;

    let fates: Vec<_> = fates::fates().into_iter().map(Arc::new).collect();
    let scripts = driver::scripts(&fates, plan.sessions, PER_KILL * u32::try_from(plan.kills)?, &mut random);
    let disturbances = killer::plan(plan.kills, &mut random);
    let began = Instant::now();
    let checked = async {
        let mut played = anchors(&requests, &fates, prometheus, &mut random).await?;
        let (sessions, findings) = tokio::try_join!(
            driver::play(&requests, scripts),
            killer::disturb(&replicas, &disturbances, random.fork())
        )?;
        played.extend(sessions);
        report(findings.to_string().trim_end());
        let truth = Truth::of(&played, &findings.outages);
        report(&format!("{} sessions, {} of them ended in an outage", played.len(), truth.in_outages));
        let gaps = eventually("every counter is the truth", TWO_MINUTES, || async {
            let (_, metrics) = replicas.leader().await?;
            truth.check(&metrics)
        })
        .await?;
        report(&format!("{gaps} sessions ended in a gap"));
        check_prometheus(prometheus, &truth, began.elapsed()).await?;
        for (disturbance, aim) in [(Disturbance::KillLeader, KILLED), (Disturbance::StopLeader, STOPPED)] {
            let longest = findings.longest(disturbance);
            ensure!(longest <= aim, "{disturbance:?}: a failover took {longest:.1?}");
        }
        Ok(())
    };
    let ended = tokio::select! {
        checked = checked => checked,
        scraped = Scraper::default().run(Arc::clone(&replicas)) => scraped.context("scraping"),
        kept = keep_node_ready(&requests) => kept,
    };
    ended.map_err(|error| error.context(replicas.logs()))
}

/// A session of each template that runs until the end, so that each counter is 0 in Prometheus before its first session ends.
async fn anchors(
    requests: &Requests,
    fates: &[Arc<Fate>],
    prometheus: &Prometheus,
    random: &mut SeededRandom,
) -> Result<Vec<Played>> {
    let anchor = |fate: &Arc<Fate>| Script {
        name: format!("anchor-{}", fate.name),
        fate: Arc::clone(&fates[0]),
        template: fate.name,
        pool: driver::POOLS[0],
        after: Duration::ZERO,
        random: random.fork(),
    };
    let played = driver::play(requests, fates.iter().map(anchor).collect()).await?;
    let query = "count(count by (template) (vdi_session_ended_total))";
    eventually("Prometheus shows each counter", MINUTE, || async {
        let templates = prometheus.query(query).await?;
        ensure!(templates.first().is_some_and(|(_, count)| *count == fates.len() as f64), "{templates:?}");
        Ok(())
    })
    .await?;
    Ok(played)
}

/// The `increase` over the run is the truth. Prometheus extrapolates by at most half an interval at each end of the series.
async fn check_prometheus(prometheus: &Prometheus, truth: &Truth, run: Duration) -> Result<()> {
    sleep(Duration::from_secs(3)).await;
    let window = format!("{}s", run.as_secs() + 10);
    ensure!(
        prometheus.query(&format!("resets(vdi_session_ended_total[{window}]) > 0")).await?.is_empty(),
        "a reset"
    );
    let twice = format!("max_over_time(count(vdi_session_ended_total)[{window}:1s])");
    let series = prometheus.query("count(vdi_session_ended_total)").await?;
    ensure!(prometheus.query(&twice).await? == series, "a series with more than one identity");
    for (series, number) in
        truth.certain().filter(|(series, _)| series.starts_with("vdi_session_ended_total"))
    {
        let query = format!("increase({series}[{window}])");
        let increase = prometheus.query(&query).await?;
        let (_, increase) = increase.first().with_context(|| format!("{query}: no series"))?;
        let most = number * (1.0 + 4.0 / run.as_secs_f64()) + 0.001;
        ensure!((number - 0.001..=most).contains(increase), "{query} is {increase} and not {number}");
    }
    Ok(())
}

async fn keep_node_ready(requests: &Requests) -> Result<()> {
    let mut ticks = interval(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        requests.keep_node_ready().await?;
    }
}

// === impl Plan ===

impl Plan {
    /// The short form, unless variables say otherwise.
    fn from_environment() -> Result<Self> {
        let number = |name: &str| match env::var(name) {
            Ok(text) => text.parse().map(Some).with_context(|| format!("{name}={text}: write a number")),
            Err(_) => Ok(None),
        };
        let size = |name: &str, default: u64| {
            Ok::<_, anyhow::Error>(usize::try_from(number(name)?.unwrap_or(default))?)
        };
        let random = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        Ok(Self {
            seed: number("CHAOS_SEED")?.unwrap_or(random),
            sessions: size("CHAOS_SESSIONS", 150)?,
            kills: size("CHAOS_KILLS", 5)?,
        })
    }
}

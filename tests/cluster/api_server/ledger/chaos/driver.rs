//! Plays sessions against the API server as clients, controllers and a kubelet, and records when each event happened.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use tokio::{task::JoinSet, time::sleep};

use super::{
    fates::{EARLIER, Fate, LastsUntil, Step},
    random::SeededRandom,
    requests::Requests,
    states::{Container, Facts, State, pod},
    words::{Used, Word},
};

/// A session to play.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) name: String,
    pub(super) fate: Arc<Fate>,
    pub(super) template: &'static str,
    pub(super) pool: &'static str,
    /// Time from the beginning to the creation of the pod.
    pub(super) after: Duration,
    pub(super) random: SeededRandom,
}

/// What happened to a session.
#[derive(Clone, Debug)]
pub(super) struct Played {
    pub(super) fate: Arc<Fate>,
    pub(super) template: &'static str,
    pub(super) pool: &'static str,
    /// The duration in seconds, if there is one.
    pub(super) duration: Option<u64>,
    /// Whether the desktop ran.
    pub(super) has_run: bool,
    /// The usage, if the session has ended.
    pub(super) used: Option<Used>,
    /// The number of seconds for which devices can have been allocated.
    pub(super) device_seconds: u64,
    /// The phase in which the pod stays; `None` if the pod is removed.
    pub(super) phase: Option<&'static str>,
    /// The event that shows that the desktop is ready.
    pub(super) ready: Option<Instant>,
    /// The first event that shows the end, and the removal of the pod.
    pub(super) ended: Option<Instant>,
    pub(super) removed: Option<Instant>,
    /// The events that show a restart.
    pub(super) restarted: Vec<Instant>,
}

/// The pools of the sessions.
pub(super) const POOLS: [&str; 3] = ["engineering", "design", "training"];

/// Scripts of random fates, with creations spread over `spread`. Every fate occurs equally often.
pub(super) fn scripts(
    fates: &[Arc<Fate>],
    count: usize,
    spread: Duration,
    random: &mut SeededRandom,
) -> Vec<Script> {
    let script = |number: usize| {
        let fate = &fates[number % fates.len()];
        Script {
            name: format!("session-{number:04}"),
            fate: Arc::clone(fate),
            template: fate.name,
            pool: random.one_of(&POOLS),
            after: spread.mul_f64(random.below(1000) as f64 / 1000.0),
            random: random.fork(),
        }
    };
    (0..count).map(script).collect()
}

/// Plays all scripts at the same time.
pub(super) async fn play(requests: &Requests, scripts: Vec<Script>) -> Result<Vec<Played>> {
    let mut tasks = JoinSet::new();
    for script in scripts {
        let requests = requests.clone();
        tasks.spawn(async move {
            let name = script.name.clone();
            sleep(script.after).await;
            Session::play(requests, script).await.with_context(|| name)
        });
    }
    let mut played = vec![];
    while let Some(session) = tasks.join_next().await {
        played.push(session??);
    }
    Ok(played)
}

/// A session that is being played.
struct Session {
    requests: Requests,
    script: Script,
    facts: Facts,
    word: Option<Word>,
    requested: Option<i64>,
    has_exited: bool,
    /// Whether the sidecar ran.
    has_sidecar: bool,
    played: Played,
}

// === impl Session ===

impl Session {
    async fn play(requests: Requests, mut script: Script) -> Result<Played> {
        let fate = Arc::clone(&script.fate);
        let restart_policy = if fate.restarts.is_empty() { "Never" } else { "Always" };
        let has_device = script.random.below(2) == 0;
        let names = [script.template, script.pool];
        requests.create(&pod(&script.name, names, restart_policy, has_device)).await?;
        let played = Played {
            fate: Arc::clone(&fate),
            template: script.template,
            pool: script.pool,
            duration: None,
            has_run: false,
            used: None,
            device_seconds: 0,
            phase: Some("Pending"),
            ready: None,
            ended: None,
            removed: None,
            restarted: vec![],
        };
        let started = now() - 60 - seconds(script.random.below(50_000));
        let facts = Facts { started, has_device, ..Facts::default() };
        let mut this = Self {
            requests,
            script,
            facts,
            word: None,
            requested: None,
            has_exited: false,
            has_sidecar: false,
            played,
        };
        for step in &fate.steps {
            this.pause(4000).await;
            this.step(*step).await?;
        }
        if fate.reason.is_some() && this.played.removed.is_none() && this.script.random.below(2) == 0 {
            this.pause(10_000).await;
            this.step(Step::Remove).await?;
        }
        this.played.duration = this.duration();
        this.use_devices();
        Ok(this.played)
    }

    /// Waits between 0.2 s and a random time of at most this many milliseconds more.
    async fn pause(&mut self, milliseconds: u64) {
        sleep(Duration::from_millis(200 + self.script.random.below(milliseconds))).await;
    }

    async fn step(&mut self, step: Step) -> Result<()> {
        let name = self.script.name.clone();
        match step {
            Step::Status(state) => self.write(state, self.requested.unwrap_or_else(now)).await?,
            Step::EarlierEnd(state) => self.write(state, now() - seconds(EARLIER)).await?,
            Step::Delete => {
                let pod = self.requests.delete(&name, 30).await?;
                self.request(&pod);
            }
            Step::Evict => {
                let pod = self.requests.evict(&name).await?;
                self.request(&pod);
            }
            Step::Remove => {
                let last = self.requests.delete(&name, 0).await?;
                if self.played.ended.is_none() {
                    self.request(&last);
                }
                self.played.removed = Some(Instant::now());
                self.played.ended.get_or_insert_with(Instant::now);
                self.played.phase = None;
            }
            Step::Unlabel => self.requests.label(&name, None).await?,
            Step::Relabel => self.requests.label(&name, Some("true")).await?,
        }
        Ok(())
    }

    async fn write(&mut self, state: State, ends: i64) -> Result<()> {
        let exits = [state.desktop, state.sidecar].iter().any(|it| matches!(it, Container::Exited(..)));
        if !self.has_exited && (exits || !state.disruption.is_empty()) {
            self.facts.ended = ends;
        }
        self.has_exited |= exits;
        self.has_sidecar |= state.sidecar == Container::Runs;
        if matches!(state.sidecar, Container::Exited(..)) && self.word.is_none() {
            let word = Word::of(self.run_seconds(), self.devices(), &mut self.script.random);
            self.facts.message = Some(word.text.clone());
            self.word = Some(word);
        }
        self.requests.status(&self.script.name, &state.status(&self.facts)).await?;
        if state.desktop == Container::Runs {
            self.played.has_run = true;
            self.played.ready.get_or_insert_with(Instant::now);
        }
        if state.restarts.is_some() && state.desktop == Container::Runs {
            self.played.restarted.push(Instant::now());
        }
        if ["Succeeded", "Failed"].contains(&state.phase) {
            self.played.ended.get_or_insert_with(Instant::now);
        }
        self.played.phase = Some(state.phase);
        Ok(())
    }

    /// Records the first request to delete the pod. In an outage its response can be lost; then the time is not exact.
    fn request(&mut self, pod: &Value) {
        let metadata = &pod["metadata"];
        let requested = || {
            let timestamp: Timestamp = metadata["deletionTimestamp"].as_str()?.parse().ok()?;
            Some(timestamp.as_second() - metadata["deletionGracePeriodSeconds"].as_i64()?)
        };
        if self.requested.is_none() {
            self.requested = requested().or_else(|| Some(now()));
        }
    }

    fn duration(&self) -> Option<u64> {
        let end = match self.script.fate.lasts_until {
            LastsUntil::End => Some(self.facts.ended),
            LastsUntil::Request => self.requested,
            LastsUntil::Never => None,
        };
        u64::try_from(end? - self.facts.started).ok()
    }

    fn use_devices(&mut self) {
        let seconds = self.duration().unwrap_or(0).max(self.word.as_ref().map_or(0, |_| self.run_seconds()));
        self.played.device_seconds = (seconds + self.script.fate.seconds_until_seen()) * self.devices();
        let has_ended = self.script.fate.reason.is_some() && (self.has_sidecar || self.word.is_some());
        self.played.used = has_ended.then(|| Used::of(self.word.as_ref(), seconds, self.devices()));
    }

    /// Length of the run of the sidecar.
    fn run_seconds(&self) -> u64 {
        u64::try_from(self.facts.ended - self.facts.started).unwrap_or(0)
    }

    fn devices(&self) -> u64 {
        u64::from(self.facts.has_device)
    }
}

/// The current time in Unix seconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    seconds(since.as_secs())
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

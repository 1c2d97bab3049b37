//! Leadership of one replica by a Lease. Only the candidate's own clock is used: a lease has expired when no candidate has changed it for its duration, as in client-go's `leaderelection`.

use std::{convert::Infallible, future::pending, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

/// A replica that leads or waits for the lease.
#[derive(Debug)]
pub struct LeaseCandidate {
    api: Api<Lease>,
    name: String,
    /// Names this replica, and no other one.
    identity: String,
    /// The resource version of the lease of another leader, and when this candidate saw it first.
    seen: Option<(String, Instant)>,
    reports: LeadershipSender,
}

/// Reports whether the candidate of this process leads. It exists before the candidate, which needs a client.
#[derive(Debug)]
pub struct LeadershipSender(watch::Sender<Option<Instant>>);

/// Whether a candidate leads. Clones refer to the same candidate.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// The candidate leads until this time; none if it does not lead.
    until: watch::Receiver<Option<Instant>>,
}

/// A leader that does not renew its lease for this time is replaced. A failover takes this time, one attempt, and the start of the next
/// leader; the aim for all of it is 15 s.
const DURATION: Duration = Duration::from_secs(10);

/// A leader that cannot renew its lease for this time stops leading before another one can begin.
const RENEW_DEADLINE: Duration = Duration::from_secs(8);

/// Time between two attempts of the leader.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);

/// Time between two attempts of another candidate. After an orderly stop of the leader the next one begins after this time.
const WAIT_INTERVAL: Duration = Duration::from_secs(1);

/// Timeout of an attempt, which is two requests. Before its deadline a leader has one attempt that times out and a second one.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);

/// Maximum duration that another leader may set. A longer one would be a mistake, and no replica would lead.
const MAX_DURATION: Duration = Duration::from_secs(60);

/// Action of a candidate on the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseStep {
    Create,
    /// The lease is this candidate's.
    Renew,
    /// The lease has expired or was released.
    Take,
    /// Another replica leads.
    Wait,
}

// === impl LeaseCandidate ===

impl LeaseCandidate {
    /// A candidate for the lease of this name. `identity` names the replica in the lease.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        reports: LeadershipSender,
    ) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.to_owned(), identity, seen: None, reports }
    }

    /// Takes the lease when it is free, and renews it. Does not return. If the future is dropped, the lease expires after its duration.
    pub async fn run(&mut self) -> Infallible {
        loop {
            let (before, began) = (*self.reports.0.borrow(), Instant::now());
            let attempt = self.attempt_before(before).await;
            let now = Instant::now();
            let until = leads_until(before, attempt, began, now);
            self.report(until);
            let next = now + if until.is_some() { RENEW_INTERVAL } else { WAIT_INTERVAL };
            sleep_until(until.map_or(next, |until| until.min(next))).await;
        }
    }

    /// Gives the lease up at an orderly stop, so that another replica can lead at once.
    pub async fn release(&mut self) {
        if self.reports.0.send_replace(None).is_none() {
            return;
        }
        let release = async {
            let lease = self.api.get(&self.name).await?;
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
            if holder == Some(self.identity.as_str()) {
                self.replace(&lease, None).await?;
            }
            Ok::<_, kube::Error>(())
        };
        match timeout(ATTEMPT_TIMEOUT, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, lease = self.name, "Cannot release the lease; another replica leads after about 12 s")
            }
            Err(_) => tracing::warn!(
                lease = self.name,
                "Cannot release the lease in time; another replica leads after about 12 s"
            ),
        }
    }

    /// Makes an attempt; none if the API server does not answer in time, or if another program wrote the lease meanwhile. A leader waits for
    /// the answer until its deadline at most.
    async fn attempt_before(&mut self, deadline: Option<Instant>) -> Option<bool> {
        tokio::select! {
            attempt = timeout(ATTEMPT_TIMEOUT, self.attempt()) => match attempt {
                Ok(Ok(leads)) => leads,
                Ok(Err(error)) => {
                    tracing::warn!(%error, lease = self.name, "Cannot read or renew the lease; trying again");
                    None
                }
                Err(_) => {
                    tracing::warn!(lease = self.name, "The API server does not answer a request for the lease; trying again");
                    None
                }
            },
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => None,
        }
    }

    /// Whether this candidate has the lease after the attempt; none if another program wrote or deleted the lease meanwhile.
    async fn attempt(&mut self) -> kube::Result<Option<bool>> {
        let lease = self.api.get_opt(&self.name).await?;
        let written = match (self.decide(lease.as_ref(), Instant::now()), &lease) {
            (LeaseStep::Wait, _) => return Ok(Some(false)),
            (LeaseStep::Create, _) | (_, None) => self.create().await,
            (LeaseStep::Renew | LeaseStep::Take, Some(lease)) => {
                self.replace(lease, Some(&self.identity)).await
            }
        };
        match written {
            Ok(()) => Ok(Some(true)),
            // 409: another program wrote the lease. 404: a client deleted it. The next attempt reads it again.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn decide(&mut self, lease: Option<&Lease>, now: Instant) -> LeaseStep {
        let Some(lease) = lease else {
            // The leader of a deleted lease leads until its deadline.
            let can_lead = |(_, since): &(String, Instant)| now.saturating_duration_since(*since) < DURATION;
            return if self.seen.as_ref().is_some_and(can_lead) {
                LeaseStep::Wait
            } else {
                LeaseStep::Create
            };
        };
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder == self.identity {
            self.seen = None;
            return LeaseStep::Renew;
        }
        let version = lease.resource_version().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => now,
        };
        self.seen = Some((version, since));
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|it| u64::try_from(it).ok());
        let duration = seconds.map_or(DURATION, Duration::from_secs).min(MAX_DURATION);
        if holder.is_empty() || now.saturating_duration_since(since) >= duration {
            LeaseStep::Take
        } else {
            LeaseStep::Wait
        }
    }

    async fn create(&self) -> kube::Result<()> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(self.spec(Some(&self.identity), None)) };
        self.api.create(&PostParams::default(), &lease).await.map(drop)
    }

    /// Writes the lease with the version that was read, so that only one of two candidates succeeds.
    async fn replace(&self, lease: &Lease, holder: Option<&str>) -> kube::Result<()> {
        let spec = self.spec(holder, lease.spec.as_ref());
        let lease = Lease { metadata: lease.metadata.clone(), spec: Some(spec) };
        self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
    }

    fn spec(&self, holder: Option<&str>, earlier: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let is_new = holder.is_some() && earlier.is_none_or(|spec| spec.holder_identity.as_deref() != holder);
        let transitions = earlier.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let acquired = earlier.and_then(|spec| spec.acquire_time.clone()).filter(|_| !is_new);
        LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(i32::from(is_new && earlier.is_some()))),
            ..LeaseSpec::default()
        }
    }

    fn report(&self, until: Option<Instant>) {
        let before = self.reports.0.send_replace(until);
        let (identity, lease) = (&self.identity, &self.name);
        match (before.is_some(), until.is_some()) {
            (false, true) => tracing::info!(identity, lease, "This replica leads"),
            (true, false) => tracing::warn!(identity, lease, "This replica does not lead any more"),
            (true, true) | (false, false) => {}
        }
    }
}

// === impl LeadershipSender ===

impl LeadershipSender {
    /// The leadership that this sender reports.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership { until: self.0.subscribe() }
    }

    /// Reports that the process leads.
    #[cfg(test)]
    pub(crate) fn lead(&self) {
        self.0.send_replace(Some(Instant::now() + RENEW_DEADLINE));
    }
}

impl Default for LeadershipSender {
    /// The process does not lead.
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

// === impl Leadership ===

impl Leadership {
    /// Whether the candidate leads now. It does not after its deadline, even if its task was paused since.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until the candidate leads, or until it does not lead any more. Waits forever once the candidate was dropped.
    pub async fn becomes(&mut self, leads: bool) {
        if self.until.wait_for(|until| until.is_some() == leads).await.is_err() {
            pending::<()>().await;
        }
    }
}

/// The time until which the candidate leads after an attempt that began at `began`; none if it does not lead.
fn leads_until(
    before: Option<Instant>,
    attempt: Option<bool>,
    began: Instant,
    now: Instant,
) -> Option<Instant> {
    match attempt {
        Some(true) => Some(began + RENEW_DEADLINE).filter(|until| now < *until),
        Some(false) => None,
        None => before.filter(|until| now < *until),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Option<&str>, version: &str) -> Lease {
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(10),
            ..LeaseSpec::default()
        };
        let metadata = ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() };
        Lease { metadata, spec: Some(spec) }
    }

    fn candidate() -> LeaseCandidate {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        LeaseCandidate::new(
            Client::try_from(config).unwrap(),
            "default",
            "lease",
            "me".to_owned(),
            LeadershipSender::default(),
        )
    }

    #[tokio::test]
    async fn a_lease_that_does_not_change_for_its_duration_is_taken() {
        let (mut candidate, start) = (candidate(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(candidate.decide(None, at(0)), LeaseStep::Create);
        assert_eq!(candidate.decide(Some(&lease(Some("me"), "1")), at(0)), LeaseStep::Renew);
        assert_eq!(candidate.decide(Some(&lease(None, "2")), at(0)), LeaseStep::Take);
        for (version, seconds, step) in [
            ("3", 0, LeaseStep::Wait),
            ("3", 9, LeaseStep::Wait),
            ("4", 10, LeaseStep::Wait),
            ("4", 19, LeaseStep::Wait),
            ("4", 20, LeaseStep::Take),
        ] {
            assert_eq!(
                candidate.decide(Some(&lease(Some("other"), version)), at(seconds)),
                step,
                "{seconds} s"
            );
        }
    }

    #[test]
    fn a_leader_without_an_answer_leads_until_its_deadline() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let deadline = at(0) + RENEW_DEADLINE;
        for (before, attempt, began, now, until) in [
            (None, Some(true), 0, 1, Some(deadline)),
            (None, Some(false), 0, 1, None),
            (None, None, 0, 4, None),
            (Some(deadline), None, 2, 6, Some(deadline)),
            (Some(deadline), None, 6, 8, None),
            (Some(deadline), Some(false), 2, 3, None),
            (Some(deadline), Some(true), 2, 3, Some(at(2) + RENEW_DEADLINE)),
            // The process was paused during the request.
            (Some(deadline), Some(true), 2, 30, None),
        ] {
            let result = leads_until(before, attempt, at(began), at(now));
            assert_eq!(result, until, "{before:?} {attempt:?} {began} {now}");
        }
        assert!(RENEW_DEADLINE < DURATION && ATTEMPT_TIMEOUT < RENEW_DEADLINE);
    }

    #[tokio::test]
    async fn a_lease_without_an_end_is_taken_after_a_minute() {
        let (mut candidate, start) = (candidate(), Instant::now());
        let mut endless = lease(Some("other"), "1");
        endless.spec.as_mut().unwrap().lease_duration_seconds = Some(i32::MAX);
        assert_eq!(candidate.decide(Some(&endless), start), LeaseStep::Wait);
        assert_eq!(candidate.decide(Some(&endless), start + Duration::from_secs(59)), LeaseStep::Wait);
        assert_eq!(candidate.decide(Some(&endless), start + MAX_DURATION), LeaseStep::Take);
    }

    #[tokio::test]
    async fn the_number_of_transitions_grows_with_each_new_holder() {
        let candidate = candidate();
        let first = candidate.spec(Some("me"), None);
        assert_eq!((first.lease_transitions, first.holder_identity.as_deref()), (Some(0), Some("me")));
        let renewed = candidate.spec(Some("me"), Some(&first));
        assert_eq!((renewed.lease_transitions, &renewed.acquire_time), (Some(0), &first.acquire_time));
        let released = candidate.spec(None, Some(&renewed));
        assert_eq!((released.lease_transitions, &released.holder_identity), (Some(0), &None));
        assert_eq!(candidate.spec(Some("me"), Some(&released)).lease_transitions, Some(1));
    }
}

//! Random polls. A poll that cannot read some evidence must bill the same devices.

use std::time::{Duration, Instant};

use proptest::{prelude::*, sample::select};

use super::*;
use crate::{
    sampling::observation::{DeviceObservation, DeviceValues},
    sidecar::{
        attribution::{self, Attribution, AttributionResult, AttributionStep, Sharing},
        observation::{DeviceView, Observation},
        track::Track,
    },
};

const UUIDS: [&str; 3] = [
    "GPU-00000000-0000-0000-0000-000000000000",
    "GPU-11111111-1111-1111-1111-111111111111",
    "GPU-22222222-2222-2222-2222-222222222222",
];

/// What one poll can read. Files that it cannot read are none.
#[derive(Clone, Debug)]
struct Poll {
    annotations: Option<Annotations>,
    metadata: Option<Vec<Id>>,
    processes: ProcessReading,
    /// The devices that the driver shows; none if the driver does not answer.
    visible: Option<Vec<Device>>,
}

/// A session with its counters.
struct Session {
    memory: EvidenceMemory,
    track: Track,
    now: Instant,
}

/// Result of a poll: the strategy with its devices, or the reason; and the seconds of each device so far.
type Billed = (Result<(attribution::Strategy, Vec<String>), UnavailableReason>, [f64; 3]);

impl Session {
    fn new(facts: PodFacts) -> Self {
        let track = Track::new(Duration::from_secs(15));
        Self { memory: EvidenceMemory::new(facts), track, now: Instant::now() }
    }

    fn poll(&mut self, poll: &Poll) -> Billed {
        self.now += Duration::from_secs(15);
        let (memory, at) = (&mut self.memory, self.now);
        memory.record_files(poll.annotations.clone(), poll.metadata.clone());
        let observation = match (memory.reason_without_driver(), &poll.visible) {
            (Some(reason), _) => Observation::without_driver(reason, at),
            (None, None) => {
                let reason = UnavailableReason::DriverNotLoaded;
                self.track.driver_unavailable(reason, memory.expected(), at);
                return (Err(reason), UUIDS.map(|uuid| self.allocated(uuid)));
            }
            (None, Some(visible)) => {
                let attribution = attribute(memory, &poll.processes, visible);
                let view = DeviceView { visible, expected: memory.expected(), ..DeviceView::default() };
                let readings = uuids_of(&attribution.outcome, visible).map(|uuid| read(uuid, at)).collect();
                Observation { at, interval: None, view, attribution, readings }
            }
        };
        let outcome = observation.attribution.outcome.clone();
        let uuids = uuids_of(&outcome, observation.view.visible).collect();
        self.track.observe(observation, None);
        (outcome.map(|attribution| (attribution.strategy, uuids)), UUIDS.map(|uuid| self.allocated(uuid)))
    }

    fn allocated(&self, uuid: &str) -> f64 {
        let account = self.track.accounts().iter().find(|account| account.gpu == uuid);
        account.and_then(|account| account.allocated).unwrap_or_default()
    }
}

fn attribute(
    memory: &mut EvidenceMemory,
    processes: &ProcessReading,
    visible: &[Device],
) -> AttributionResult {
    match attribution::decide(&memory.evidence(visible, 0)) {
        AttributionStep::Final(result) => result,
        AttributionStep::NeedsProcesses(undecided) => {
            let processes = memory.record_processes(processes.clone(), visible);
            undecided.decide(&memory.evidence(visible, 0), &processes)
        }
    }
}

fn uuids_of(
    outcome: &Result<Attribution, UnavailableReason>,
    visible: &[Device],
) -> impl Iterator<Item = String> {
    let devices = outcome.iter().flat_map(|attribution| &attribution.devices);
    devices.map(|device| visible[device.index].uuid.clone())
}

/// A reading without values.
fn read(uuid: String, at: Instant) -> DeviceObservation {
    DeviceObservation { uuid, at, values: Ok(DeviceValues::default()) }
}

fn facts() -> impl Strategy<Value = PodFacts> {
    let requests = GpuRequest::ALL.into_iter().map(Some).chain([None]).collect::<Vec<_>>();
    let claims = vec![None, Some(ClaimKind::Own), Some(ClaimKind::Named)];
    (select(requests), select(claims)).prop_map(|(request, claim)| PodFacts {
        request,
        claim,
        node_totals: false,
    })
}

fn annotations() -> impl Strategy<Value = Annotations> {
    let replica = format!("{}::1", UUIDS[1]);
    let gpu = [None, Some(UUIDS[0]), Some(&replica), Some("pending"), Some("yes")];
    let gpu: Vec<Option<String>> = gpu.into_iter().map(|gpu| gpu.map(str::to_owned)).collect();
    let sharing = vec![None, None, Some(Sharing::Exclusive), Some(Sharing::TimeSlicing)];
    (select(gpu), select(sharing)).prop_map(|(gpu, sharing)| Annotations { gpu, sharing })
}

/// A list of the devices, possibly empty.
fn uuids() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(UUIDS.to_vec(), 0..=UUIDS.len())
}

fn ids() -> impl Strategy<Value = Vec<Id>> {
    uuids().prop_map(|uuids| uuids.into_iter().filter_map(Id::uuid).collect())
}

fn process_reading() -> impl Strategy<Value = ProcessReading> {
    let with_processes = uuids().prop_map(|uuids| uuids.into_iter().map(str::to_owned).collect());
    let in_environments =
        ids().prop_map(|ids| if ids.is_empty() { Err(NotApplicable::NotGiven) } else { Ok(ids) });
    (with_processes.prop_map(Ok), in_environments)
        .prop_map(|(with_processes, in_environments)| ProcessReading { with_processes, in_environments })
}

fn visible() -> impl Strategy<Value = Vec<Device>> {
    let device = |uuid: &str| Device { uuid: uuid.to_owned(), ..Device::default() };
    uuids().prop_map(move |uuids| uuids.into_iter().map(device).collect())
}

fn poll() -> impl Strategy<Value = Poll> {
    let can_read = || prop::bool::weighted(0.6);
    let files = (annotations(), can_read(), ids(), can_read());
    (files, process_reading(), prop::option::weighted(0.8, visible())).prop_map(
        |(files, processes, visible)| Poll {
            annotations: files.1.then_some(files.0),
            metadata: files.3.then_some(files.2),
            processes,
            visible,
        },
    )
}

fn polls() -> impl Strategy<Value = Vec<Poll>> {
    prop::collection::vec(poll(), 1..12)
}

/// The polls, with the newest readable files instead of those that cannot be read.
fn all_readable(polls: &[Poll]) -> Vec<Poll> {
    let mut readable = polls.to_vec();
    for index in 1..readable.len() {
        let earlier = readable[index - 1].clone();
        let poll = &mut readable[index];
        poll.annotations = poll.annotations.take().or(earlier.annotations);
        poll.metadata = poll.metadata.take().or(earlier.metadata);
    }
    readable
}

/// Whether evidence of this or an earlier poll shows that the device is the session's.
fn is_justified(uuid: &str, facts: PodFacts, polls: &[Poll]) -> bool {
    let now = all_readable(polls).pop().unwrap();
    let Some(Annotations { gpu, sharing }) = now.annotations else { return false };
    let names = |ids: &[Id]| ids.iter().any(|id| id.as_uuid() == Some(uuid));
    if facts.claim.is_some() {
        return now.metadata.is_some_and(|named| named.is_empty() || names(&named));
    }
    let annotated = gpu.as_deref().and_then(|gpu| id::list(gpu).ok()).unwrap_or_default();
    if !annotated.is_empty() {
        return names(&annotated);
    }
    if now.visible.is_none() {
        // The session keeps its devices while the driver does not answer.
        return true;
    }
    let has_device = matches!(facts.request, Some(GpuRequest::Device | GpuRequest::Part))
        || gpu.is_some_and(|gpu| gpu != "pending")
        || sharing.is_some();
    let is_alone = matches!(now.visible.as_deref(), Some([device]) if device.uuid == uuid);
    let was_in_use = |poll: &Poll| {
        let ProcessReading { with_processes, in_environments } = &poll.processes;
        with_processes.iter().flatten().any(|used| used == uuid)
            || in_environments.iter().any(|ids| names(ids))
    };
    is_alone && has_device || polls.iter().any(was_in_use)
}

proptest! {
    /// A file that cannot be read changes neither the strategy, nor the devices, nor what is billed for them.
    #[test]
    fn files_that_cannot_be_read_count_as_at_the_last_readable_poll(facts in facts(), polls in polls()) {
        let (mut session, mut readable) = (Session::new(facts), Session::new(facts));
        for (poll, as_readable) in polls.iter().zip(all_readable(&polls)) {
            prop_assert_eq!(session.poll(poll), readable.poll(&as_readable));
        }
    }

    #[test]
    fn only_a_device_with_evidence_is_billed(
        facts in facts(),
        polls in polls(),
        unreadable in prop::collection::vec((any::<bool>(), any::<bool>()), 12),
    ) {
        let mut polls = polls;
        for (poll, (processes, environments)) in polls.iter_mut().zip(unreadable) {
            if processes {
                poll.processes.with_processes = Err(NotApplicable::Unreadable);
            }
            if environments {
                poll.processes.in_environments = Err(NotApplicable::Unreadable);
            }
        }
        let mut session = Session::new(facts);
        let mut before = [0.0; 3];
        for index in 0..polls.len() {
            let (_, billed) = session.poll(&polls[index]);
            for (uuid, (now, before)) in UUIDS.into_iter().zip(billed.into_iter().zip(before)) {
                prop_assert!(now >= before, "{uuid}: {now} after {before}");
                prop_assert!(now == before || is_justified(uuid, facts, &polls[..=index]), "{uuid}");
            }
            before = billed;
        }
    }
}

#[test]
fn nothing_is_attributed_before_the_files_were_readable() {
    let visible = Some(vec![Device { uuid: UUIDS[0].into(), ..Device::default() }]);
    let processes = ProcessReading { with_processes: Ok(vec![UUIDS[0].into()]), in_environments: Ok(vec![]) };
    let annotations = Some(Annotations::default());
    let unreadable = Poll { annotations: None, metadata: Some(vec![]), processes, visible };
    let mut plain = Session::new(PodFacts { request: Some(GpuRequest::Device), ..PodFacts::default() });
    assert_eq!(plain.poll(&unreadable), (Err(UnavailableReason::Unreadable), [0.0; 3]));
    let unreadable = Poll { annotations, metadata: None, ..unreadable };
    assert!(plain.poll(&unreadable).0.is_ok(), "without a claim no metadata is needed");
    let mut claimed = Session::new(PodFacts { claim: Some(ClaimKind::Own), ..PodFacts::default() });
    assert_eq!(claimed.poll(&unreadable), (Err(UnavailableReason::Unreadable), [0.0; 3]));
}

#[test]
fn a_session_without_a_request_has_a_device_as_long_as_an_annotation_says_so() {
    let visible = Some(vec![Device { uuid: UUIDS[0].into(), ..Device::default() }]);
    let processes = ProcessReading {
        with_processes: Ok(vec![UUIDS[0].into()]),
        in_environments: Err(NotApplicable::NotGiven),
    };
    let nothing = Poll { annotations: Some(Annotations::default()), metadata: None, processes, visible };
    let sharing = Some(Annotations { sharing: Some(Sharing::Exclusive), ..Annotations::default() });
    let annotated = Poll { annotations: sharing, ..nothing.clone() };
    let mut session = Session::new(PodFacts { request: Some(GpuRequest::None), ..PodFacts::default() });
    assert_eq!(session.poll(&nothing), (Err(UnavailableReason::NotRequested), [0.0; 3]));
    assert_eq!(session.poll(&annotated).1, [0.0; 3], "allocated from now on");
    assert_eq!(session.poll(&annotated).1[0], 15.0);
    let released = session.poll(&nothing);
    assert_eq!(released.0, Err(UnavailableReason::NotRequested));
    assert_eq!(session.poll(&nothing), released, "released devices are not billed");
    assert_eq!(session.memory.with_processes(), [""; 0]);
}

/// The driver gives another UUID at each opening.
#[test]
fn devices_of_earlier_openings_do_not_fill_the_memory() {
    let mut memory = EvidenceMemory::default();
    for number in 0..1000 {
        let device = Device { uuid: format!("GPU-{number:08}"), ..Device::default() };
        let with_processes = Ok(vec![device.uuid.clone()]);
        let evidence = memory
            .record_processes(ProcessReading { with_processes, in_environments: Ok(vec![]) }, &[device]);
        assert_eq!(evidence.processes, Processes::Seen { indices: vec![0], now: true });
        assert!(memory.with_processes().len() <= MAX_WITH_PROCESSES);
    }
}

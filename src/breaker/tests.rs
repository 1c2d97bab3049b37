//! Tests of the state of the breaker.

mod events;
mod properties;
mod trials;

use super::{
    circuit::{DELETED_MEMORY, Extent, ONE_NODE_DELAY, START_MEMORY, STARTS_TO_CLOSE},
    observed::{ObservedPod, PodOwner, SidecarCondition},
    reason::BlockReason,
    state::{BreakerState, CircuitScope, Transition},
};

const CONFIG: &str = "c0ffee";

/// The state, and the current time.
struct Story {
    state: BreakerState,
    now: i64,
}

/// A pod that is created now on a node.
fn pod(uid: &str, template: &str, node: &str, now: i64) -> ObservedPod {
    let subject =
        PodOwner { api_version: "v1".into(), kind: "Pod".into(), name: uid.into(), uid: uid.into() };
    ObservedPod {
        uid: uid.into(),
        namespace: "desktops".into(),
        name: uid.into(),
        node: node.into(),
        template: template.into(),
        config: CONFIG.into(),
        has_overrides: false,
        created: now,
        accepted: Some(now),
        is_pending: true,
        sidecar: SidecarCondition::Blocks(BlockReason::ErrImagePull),
        subject,
    }
}

fn template(name: &str) -> CircuitScope {
    CircuitScope::Template(name.into())
}

// === impl Story ===

impl Story {
    fn new() -> Self {
        let mut state = BreakerState::default();
        state.activate(CONFIG, 0);
        Self { state, now: 1_000_000 }
    }

    fn pod(&self, uid: &str, template: &str, node: &str) -> ObservedPod {
        pod(uid, template, node, self.now)
    }

    fn fails(&mut self, uid: &str, template: &str, node: &str) -> Vec<Transition> {
        let pod = self.pod(uid, template, node);
        self.observe(&pod)
    }

    fn observe(&mut self, pod: &ObservedPod) -> Vec<Transition> {
        self.state.observe(pod, self.now);
        self.state.evaluate(self.now)
    }

    fn starts(&mut self, uid: &str, template: &str, node: &str) -> Vec<Transition> {
        let pod = self.pod(uid, template, node);
        self.state.start(&pod, self.now);
        self.state.evaluate(self.now)
    }

    fn wait(&mut self, seconds: i64) -> Vec<Transition> {
        self.now += seconds;
        self.state.evaluate(self.now)
    }

    fn open(&self) -> Vec<CircuitScope> {
        self.state.open().map(|(scope, _)| scope).collect()
    }

    /// Opens the circuit of the template `cad`: its pods a, b and c fail on a node.
    fn with_cad_open() -> Self {
        let mut story = Self::new();
        for uid in ["a", "b", "c"] {
            story.fails(uid, "cad", "n1");
        }
        story.wait(ONE_NODE_DELAY);
        assert_eq!(story.open(), [template("cad")]);
        story
    }
}

#[test]
fn three_pods_on_the_only_node_open_the_circuit_of_their_template() {
    let mut story = Story::new();
    assert_eq!(story.fails("a", "cad", "n1"), []);
    assert_eq!(story.fails("b", "cad", "n1"), []);
    assert_eq!(story.fails("b", "cad", "n1"), [], "each pod counts once");
    assert_eq!(story.fails("d", "office", "n1"), []);
    let opened = Transition::Opened(template("cad"), Extent { pods: 3, nodes: 1 });
    assert_eq!(story.fails("c", "cad", "n1"), []);
    assert_eq!(story.wait(ONE_NODE_DELAY - 1), []);
    assert_eq!(story.wait(1), [opened]);
    assert_eq!(story.open(), [template("cad")]);
}

#[test]
fn the_nodes_decide_whether_the_sidecar_or_a_node_is_at_fault() {
    for (failing, working, opens) in [
        (&["n1", "n1", "n1"][..], 0, true),
        (&["n1", "n1", "n1"], 1, false),
        (&["n1", "n1", "n1", "n1", "n1", "n1"], 1, false),
        (&["n1", "n1", "n2"], 0, true),
        (&["n1", "n1", "n2"], 8, true),
        (&["n1", "n1", "n2"], 9, false),
        (&["n1", "n2", "n3"], 12, true),
        (&["n1", "n2", "n3"], 13, false),
    ] {
        let mut story = Story::new();
        for node in 0..working {
            story.starts(&format!("w{node}"), "cad", &format!("works-{node}"));
        }
        for (index, node) in failing.iter().enumerate() {
            story.fails(&format!("f{index}"), "cad", node);
        }
        story.wait(ONE_NODE_DELAY);
        assert_eq!(!story.open().is_empty(), opens, "{failing:?}, {working} nodes work");
    }
}

#[test]
fn a_start_shows_for_five_minutes_that_a_node_works() {
    let mut story = Story::new();
    story.starts("w", "cad", "n2");
    for uid in ["a", "b", "c"] {
        story.fails(uid, "cad", "n1");
    }
    assert_eq!(story.wait(START_MEMORY), []);
    assert_eq!(story.wait(1).len(), 1);
}

#[test]
fn starts_of_another_template_do_not_keep_the_circuit_of_a_template_closed() {
    let mut story = Story::new();
    story.starts("w", "office", "n2");
    for uid in ["a", "b", "c"] {
        story.fails(uid, "cad", "n1");
    }
    story.wait(ONE_NODE_DELAY);
    assert_eq!(story.open(), [template("cad")]);
}

#[test]
fn three_templates_open_the_circuit_of_all_pods() {
    let mut story = Story::new();
    story.fails("a", "cad", "n1");
    story.fails("b", "office", "n1");
    story.wait(ONE_NODE_DELAY);
    assert_eq!(story.open(), []);
    // Pods without a template are a template too.
    story.fails("c", "", "n1");
    assert_eq!(story.open(), [CircuitScope::All]);
}

#[test]
fn a_pod_with_overrides_counts_for_its_template_only() {
    let mut story = Story::new();
    for (uid, of) in [("a", "cad"), ("b", "office"), ("c", "video"), ("d", "cad"), ("e", "cad")] {
        let pod = ObservedPod { has_overrides: true, ..story.pod(uid, of, "n1") };
        story.observe(&pod);
    }
    story.wait(ONE_NODE_DELAY);
    assert_eq!(story.open(), [template("cad")]);
}

#[test]
fn only_pods_of_the_active_configuration_count() {
    let mut story = Story::with_cad_open();
    for uid in ["d", "e", "f"] {
        let pod = ObservedPod { config: "changed".into(), ..story.pod(uid, "office", "n1") };
        story.observe(&pod);
    }
    assert_eq!(story.open(), [template("cad")]);
    // The pods that another replica has injected with the changed configuration are known already.
    story.state.activate("changed", story.now);
    let opened = Transition::Opened(template("office"), Extent { pods: 3, nodes: 1 });
    assert_eq!(story.wait(0), [Transition::Closed(template("cad"))]);
    assert_eq!(story.wait(ONE_NODE_DELAY), [opened]);
}

#[test]
fn a_start_on_a_failing_node_closes_the_circuit_and_its_pods_do_not_count_again() {
    let mut story = Story::with_cad_open();
    assert_eq!(story.starts("a", "cad", "n1"), [Transition::Closed(template("cad"))]);
    for uid in ["b", "c"] {
        assert_eq!(story.fails(uid, "cad", "n1"), []);
    }
    assert_eq!(story.fails("d", "cad", "n1"), []);
    assert_eq!(story.fails("e", "cad", "n1"), []);
    story.fails("f", "cad", "n1");
    assert_eq!(story.wait(ONE_NODE_DELAY).len(), 1, "three other pods open it again");
}

#[test]
fn starts_in_a_row_of_pods_that_are_younger_than_the_pause_close_the_circuit() {
    let mut story = Story::with_cad_open();
    for index in 0..STARTS_TO_CLOSE {
        story.starts(&format!("older-{index}"), "cad", "n2");
    }
    assert_eq!(story.open(), [template("cad")]);
    story.wait(60);
    story.starts("d", "cad", "n2");
    story.starts("e", "cad", "n2");
    story.fails("f", "cad", "n3");
    story.starts("g", "cad", "n2");
    story.starts("h", "cad", "n2");
    assert_eq!(story.open(), [template("cad")]);
    assert_eq!(story.starts("i", "cad", "n2"), [Transition::Closed(template("cad"))]);
}

#[test]
fn a_start_closes_the_circuit_of_all_pods_too() {
    let mut story = Story::new();
    for (uid, of) in [("a", "cad"), ("b", "office"), ("c", "video")] {
        story.fails(uid, of, "n1");
    }
    assert_eq!(story.wait(ONE_NODE_DELAY).len(), 1);
    assert_eq!(story.starts("a", "cad", "n1"), [Transition::Closed(CircuitScope::All)]);
    assert_eq!(story.open(), []);
}

#[test]
fn a_deleted_pod_counts_for_ten_minutes() {
    for (seconds, opens) in [(DELETED_MEMORY, true), (DELETED_MEMORY + 1, false)] {
        let mut story = Story::new();
        story.fails("a", "cad", "n1");
        story.fails("b", "cad", "n1");
        story.state.gone("a", story.now);
        story.wait(seconds);
        story.fails("c", "cad", "n1");
        assert_eq!(!story.open().is_empty(), opens, "{seconds} s");
    }
}

#[test]
fn a_pod_that_fails_long_after_its_start_does_not_count() {
    let mut story = Story::new();
    for (uid, age) in [("a", 600), ("b", 600), ("c", 601)] {
        let accepted = Some(story.now - age);
        let pod = ObservedPod { accepted, ..story.pod(uid, "cad", "n1") };
        story.observe(&pod);
    }
    story.wait(ONE_NODE_DELAY);
    assert_eq!(story.open(), []);
    assert_eq!(story.state.blocked().count(), 3, "but it is reported");
    assert_eq!(story.fails("d", "cad", "n1").len(), 1);
}

#[test]
fn blocked_pods_that_a_new_list_does_not_have_are_returned() {
    let mut story = Story::new();
    let [a, b] = ["a", "b"].map(|uid| story.pod(uid, "cad", "n1"));
    story.observe(&a);
    story.observe(&b);
    story.state.begin_list();
    story.observe(&b);
    assert_eq!(story.state.end_list(), [a]);
}

#[test]
fn further_templates_than_the_limit_count_for_all_pods_only() {
    let mut story = Story::new();
    for index in 0..300 {
        let node = format!("n{index}");
        story.fails(&format!("{index}"), &format!("template-{index}"), &node);
    }
    assert_eq!(story.open(), [CircuitScope::All]);
    for uid in ["x", "y", "z"] {
        story.fails(uid, "template-299", "n1");
    }
    story.wait(ONE_NODE_DELAY);
    assert_eq!(story.open(), [CircuitScope::All]);
    for uid in ["x0", "y0", "z0"] {
        story.fails(uid, "template-0", "n1");
    }
    assert_eq!(story.open(), [CircuitScope::All, template("template-0")]);
}

//! Random starts and failures.

use proptest::{collection::vec, prelude::*};

use super::{CONFIG, Story};
use crate::{
    admission::InjectionRequest,
    breaker::{circuit::STARTS_TO_CLOSE, pauses::Pauses},
};

/// What happens to a pod.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Fails {
        template: usize,
        node: usize,
    },
    Starts {
        template: usize,
        node: usize,
    },
    /// The pod with this number is deleted.
    Deleted(usize),
    Seconds(i64),
}

const TEMPLATES: [&str; 4] = ["cad", "office", "video", ""];
const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0..TEMPLATES.len(), 0..NODES.len()).prop_map(|(template, node)| Happening::Fails { template, node }),
        (0..TEMPLATES.len(), 0..NODES.len())
            .prop_map(|(template, node)| Happening::Starts { template, node }),
        (0..60_usize).prop_map(Happening::Deleted),
        (0..400_i64).prop_map(Happening::Seconds),
    ]
}

fn apply(story: &mut Story, index: usize, happening: Happening) {
    let uid = format!("{index}");
    match happening {
        Happening::Fails { template, node } => drop(story.fails(&uid, TEMPLATES[template], NODES[node])),
        Happening::Starts { template, node } => drop(story.starts(&uid, TEMPLATES[template], NODES[node])),
        Happening::Deleted(index) => story.state.gone(&format!("{index}"), story.now),
        Happening::Seconds(seconds) => drop(story.wait(seconds)),
    }
}

proptest! {
    /// Every template has a start on another node at least each 5 minutes.
    #[test]
    fn one_node_never_opens_a_circuit_while_other_nodes_work(happenings in vec(happening(), 1..60)) {
        let mut story = Story::new();
        for (index, happening) in happenings.into_iter().enumerate() {
            for (template, name) in TEMPLATES.into_iter().enumerate() {
                story.starts(&format!("{index}-{template}"), name, "works");
            }
            let happening = match happening {
                Happening::Fails { template, .. } => Happening::Fails { template, node: 0 },
                Happening::Seconds(seconds) => Happening::Seconds(seconds.min(300)),
                other => other,
            };
            apply(&mut story, index, happening);
            prop_assert_eq!(story.open(), []);
        }
    }

    #[test]
    fn every_circuit_closes_once_pods_start_again(happenings in vec(happening(), 1..60), node in 0..NODES.len()) {
        let mut story = Story::new();
        for (index, happening) in happenings.into_iter().enumerate() {
            apply(&mut story, index, happening);
        }
        story.wait(1);
        for trial in 0..STARTS_TO_CLOSE {
            for template in TEMPLATES {
                story.starts(&format!("trial-{trial}-{template}"), template, NODES[node]);
            }
        }
        prop_assert_eq!(story.open(), []);
    }

    #[test]
    fn a_paused_template_gets_one_trial_pod_in_a_minute_at_most(
        happenings in vec(happening(), 1..40), requests in vec(0..20_000_i64, 1..200),
    ) {
        let mut story = Story::with_cad_open();
        let (mut pauses, mut injected) = (Pauses::default().next(&story.state), vec![]);
        let request = InjectionRequest { template: Some("cad"), config: CONFIG, is_dry_run: false };
        let (mut happenings, mut now) = (happenings.into_iter().enumerate(), story.now * 1000);
        for milliseconds in requests {
            now += milliseconds;
            story.wait(now / 1000 - story.now);
            // Starts would close the circuit.
            if let Some((index, happening @ (Happening::Fails { .. } | Happening::Deleted(_)))) = happenings.next() {
                apply(&mut story, index, happening);
            }
            pauses = pauses.next(&story.state);
            if !pauses.apply_to(&request, now) {
                injected.push(now);
            }
        }
        let gaps: Vec<_> = injected.windows(2).map(|pair| pair[1] - pair[0]).collect();
        prop_assert!(gaps.iter().all(|gap| *gap >= 60_000), "{:?}", gaps);
    }
}

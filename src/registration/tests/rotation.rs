//! Each API server accepts each replica at any time, whatever happens to the leader.

use super::{
    pair,
    world::{Crash, LIFETIMES, World, entries, stored},
};
use crate::registration::{certificates::Authority, rotation::RotationStep, stored::Content};

/// Time until the first certificate is accepted everywhere.
const BEGIN: i64 = 40;

/// A cluster in which every replica is accepted.
fn running() -> World {
    let mut world = World::new(None);
    world.run(BEGIN, |_| {});
    assert_eq!((world.refused(), &world.steps[..]), (0, &[RotationStep::Begin][..]));
    world
}

fn always_accepted(world: &World) {
    assert_eq!(world.refused(), 0, "at {}, after {:?}", world.now, world.steps);
}

#[test]
fn an_empty_cluster_has_a_certificate_after_one_write_of_each_object() {
    let world = running();
    assert_eq!((world.bundles.len(), world.trusted()), (2, 1));
}

#[test]
fn certificates_and_cas_are_renewed_in_order() {
    let mut world = running();
    world.run(3 * LIFETIMES.authority, always_accepted);
    let count = |step: &RotationStep| world.steps.iter().filter(|it| *it == step).count();
    assert_eq!(count(&RotationStep::Begin), 1);
    // A CA is renewed after two thirds of its lifetime.
    assert_eq!(
        (count(&RotationStep::AddAuthority), count(&RotationStep::DropAuthorities)),
        (4, 4),
        "{:?}",
        world.steps
    );
    assert!(count(&RotationStep::Issue) >= 16, "{:?}", world.steps);
    assert_eq!(world.trusted(), 1);
}

#[test]
fn a_leader_that_crashes_at_any_write_leaves_a_state_from_which_the_next_one_goes_on() {
    // The writes of the first certificate, and of a rotation of the CA.
    for write in 1..=14 {
        for crash in [Crash::Before, Crash::After] {
            let mut world = World::new(Some((write, crash)));
            world.run(BEGIN, |_| {});
            world.run(LIFETIMES.authority + 200, always_accepted);
            // A rotation can still run.
            let ends = (0..10).any(|_| {
                world.run(10, always_accepted);
                world.trusted() == 1
            });
            assert!(ends, "{crash:?} write {write}: {:?}", world.steps);
        }
    }
}

#[test]
fn a_secret_that_is_deleted_or_filled_with_rubbish_is_restored_from_memory() {
    let rubbish = Content::rubbish();
    for secret in [None, Some(rubbish)] {
        let mut world = running();
        let before = world.secret.clone();
        world.set_secret(secret);
        world.run(60, always_accepted);
        assert!(world.secret == before, "{:?}", world.steps);
        assert_eq!(world.steps[1..], [RotationStep::Restore]);
    }
}

/// The other replica still serves a certificate of the old CA, whose key is lost.
#[test]
fn a_new_leader_without_a_secret_keeps_the_trust_in_the_old_ca() {
    let mut world = running();
    world.set_secret(None);
    world.restart_leader();
    // The replica that lost its memory has no certificate at first.
    world.run(20, |world| assert!(world.refused() <= 1));
    world.run(80, always_accepted);
    assert_eq!(world.steps[1..], [RotationStep::Begin, RotationStep::DropAuthorities]);
}

#[test]
fn a_bundle_that_is_emptied_or_replaced_is_written_again() {
    let foreign = Authority::generate(1_000_000, 9000).unwrap().certificate;
    for bundle in [vec![], vec![foreign]] {
        let mut world = running();
        world.set_bundle(bundle);
        world.run(20, |_| {});
        world.run(60, always_accepted);
        assert_eq!(world.steps.len(), 1, "the certificate stays: {:?}", world.steps);
    }
}

#[test]
fn certificates_that_are_expired_or_not_valid_yet_are_replaced_at_once() {
    // A CA that is not valid yet stays trusted for a while: the clock of the leader can be wrong.
    let (begin, drop) = (RotationStep::Begin, RotationStep::DropAuthorities);
    for (now, steps) in [(100_000, vec![&begin]), (90_000_000, vec![&begin, &drop])] {
        let authority = Authority::generate(now, 720).unwrap();
        let issued = authority.issue(&[super::NAME.to_owned()], now, 180).unwrap();
        let trusted = [authority.certificate.clone()];
        let mut world = World::new(None);
        world.set_bundle(trusted.to_vec());
        world.set_secret(Some(Content::new(&authority, &trusted, &issued)));
        world.run(20, |_| {});
        world.run(100, always_accepted);
        assert_eq!(world.steps.iter().collect::<Vec<_>>(), steps, "{now}");
    }
}

#[test]
fn a_certificate_without_the_names_of_the_service_is_replaced() {
    let mut world = running();
    let authority = Authority::generate(1_000_000, 3000).unwrap();
    let issued = authority.issue(&["old.desktops.svc".to_owned()], 1_000_000, 900).unwrap();
    world.set_secret(Some(Content::new(&authority, std::slice::from_ref(&authority.certificate), &issued)));
    world.run(60, |_| {});
    always_accepted(&world);
    assert_eq!(world.steps[1..], [RotationStep::Issue]);
}

/// The bundle of another entry of the configuration says nothing about ours.
#[test]
fn only_the_entries_of_the_product_count() {
    let authority = Authority::generate(1_000_000, 3000).unwrap();
    let trusted = entries(std::slice::from_ref(&authority.certificate));
    assert_eq!(trusted.len(), 1);
    assert!(crate::registration::live::all_trust(&trusted, &pair(&authority, 1_000_000, 900), 1_000_000));
    let apply =
        crate::registration::live::apply("vdi-metrics", &entries(&[]), &[authority.certificate]).unwrap();
    let written = apply["webhooks"].as_array().unwrap();
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["clientConfig", "name"]);
    assert!(stored(&Content::rubbish(), "1").pair.is_none());
}

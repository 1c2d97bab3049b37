//! Computes the series of the catalogue's rows from a snapshot.

use std::time::Duration;

use crate::{
    node::{
        device_totals::{ByOwner, DeviceCounters, OwnerKind},
        snapshot::{MappingFailure, NodeSnapshot},
    },
    runtime::{catalogue::Series, libc},
};

/// The owners of a value of which no part is idle.
pub(super) const USERS: &[OwnerKind] =
    &[OwnerKind::Session, OwnerKind::OtherPod, OwnerKind::NoPod, OwnerKind::Unsampled];

pub(super) fn flag(is_true: bool) -> Vec<Series<'static>> {
    vec![Series::number([], f64::from(u8::from(is_true)))]
}

pub(super) fn failures(snapshot: &NodeSnapshot) -> Vec<Series<'_>> {
    let count = |reason| snapshot.failures.iter().find(|(counted, _)| *counted == reason);
    let series = |reason: MappingFailure| {
        Series::number([reason.as_str()], count(reason).map_or(0.0, |(_, count)| *count as f64))
    };
    MappingFailure::ALL.into_iter().map(series).collect()
}

/// The age at the time of the scrape, so it grows while the agent hangs in the driver.
pub(super) fn report_age(snapshot: &NodeSnapshot) -> Vec<Series<'_>> {
    let age = |at: &Duration| libc::since_boot().saturating_sub(*at).as_secs_f64();
    snapshot.reported.iter().map(|at| Series::number([], age(at))).collect()
}

pub(super) fn gpu_info(snapshot: &NodeSnapshot) -> Vec<Series<'_>> {
    let driver = snapshot.versions.driver.as_deref().unwrap_or_default();
    let read = snapshot.totals.iter().filter(|total| total.current.is_some()).map(|total| &total.device);
    let series = read.map(|device| {
        let card = device.slice.as_ref().map_or("", |slice| &slice.card);
        let (model, profile) = device.model_and_profile();
        Series::number([&device.uuid, card, model, profile, driver], 1.0)
    });
    series.collect()
}

/// A series for each device that has this value.
pub(super) fn per_gpu<'s>(
    snapshot: &'s NodeSnapshot,
    number: impl Fn(&'s DeviceCounters) -> Option<f64>,
) -> Vec<Series<'s>> {
    let totals = snapshot.totals.iter();
    totals.filter_map(|total| Some(Series::number([&total.device.uuid], number(total)?))).collect()
}

/// A series for each device that has this value, and for each of these owners.
pub(super) fn per_gpu_and_owner<'s>(
    snapshot: &'s NodeSnapshot,
    owners: &[OwnerKind],
    value: impl Fn(&'s DeviceCounters) -> Option<ByOwner>,
) -> Vec<Series<'s>> {
    let values = snapshot.totals.iter().filter_map(|total| Some((total, value(total)?)));
    let series = |(total, value): (&'s DeviceCounters, ByOwner)| {
        let number = move |owner: &OwnerKind| {
            Series::number([total.device.uuid.as_str(), owner.as_str()], value.get(*owner))
        };
        owners.iter().map(number).collect::<Vec<_>>()
    };
    values.flat_map(series).collect()
}

//! Computes the series of the catalogue's rows from a snapshot.

use std::{borrow::Cow, time::SystemTime};

use crate::{
    gpu::{Reading, StreamStats},
    runtime::{
        catalogue::{Series, Value},
        clock,
    },
    sampling::{
        counters::{Account, IdleReason},
        scope::{ByScope, Scope},
    },
    sidecar::snapshot::{Collection, Gpu, Snapshot},
};

pub(super) fn unavailable(snapshot: &Snapshot) -> Vec<Series<'_>> {
    let session = snapshot.attribution.as_ref().err().map(|reason| (reason, ""));
    let gpus = snapshot.lost.iter().map(|(gpu, reason)| (reason, gpu.as_str()));
    session.into_iter().chain(gpus).map(|(reason, gpu)| Series::number([reason.as_str(), gpu], 1.0)).collect()
}

pub(super) fn gpu_info(snapshot: &Snapshot) -> Vec<Series<'_>> {
    let driver = text(&snapshot.versions.driver);
    snapshot.gpus.iter().map(|gpu| Series::number(gpu_labels(gpu, driver), 1.0)).collect()
}

fn gpu_labels<'s>(gpu: &'s Gpu, driver: &'s str) -> [&'s str; 6] {
    let card = gpu.device.slice.as_ref().map_or("", |slice| &slice.card);
    let (model, profile) = gpu.device.model_and_profile();
    [&gpu.device.uuid, card, model, profile, gpu.sharing.as_str(), driver]
}

pub(super) fn xids(snapshot: &Snapshot) -> Vec<Series<'_>> {
    let number = |xid: Option<u64>| xid.map_or(Cow::Borrowed("other"), |xid| xid.to_string().into());
    let xids =
        snapshot.accounts.iter().flat_map(|account| account.xids.iter().map(move |xid| (account, xid)));
    let series = xids.map(|(account, (xid, count))| Series {
        labels: vec![Cow::Borrowed(account.gpu.as_str()), number(*xid)],
        value: Value::Number(*count as f64),
    });
    series.collect()
}

pub(super) fn codecs(snapshot: &Snapshot) -> Vec<Series<'_>> {
    let codecs = snapshot.gpus.iter().flat_map(|gpu| {
        let of_card = gpu.reading.codecs.iter().map(move |codec| (gpu, gpu.scopes.card, codec));
        of_card.chain(gpu.own_streams.codecs.iter().map(move |codec| (gpu, Scope::Session, codec)))
    });
    let series = codecs.map(|(gpu, scope, (codec, sessions))| {
        let labels = [gpu.device.uuid.as_str(), scope.as_str(), codec.as_str()];
        Series::number(labels, f64::from(*sessions))
    });
    series.collect()
}

/// A value of the encoder sessions of each card, and of the session's own encoder sessions on a shared card.
pub(super) fn encoding(snapshot: &Snapshot, number: impl Fn(StreamStats) -> f64) -> Vec<Series<'_>> {
    per_card_and_session(snapshot, |gpu| [gpu.reading.encoding, gpu.own_streams.encoding], number)
}

/// As [`encoding`], for frame-buffer captures. Without captures there is no series.
pub(super) fn capturing(snapshot: &Snapshot, number: impl Fn(StreamStats) -> f64) -> Vec<Series<'_>> {
    let has_any = |streams: &StreamStats| streams.sessions > 0;
    let streams = |gpu: &Gpu| [gpu.reading.capturing, gpu.own_streams.capturing].map(|it| it.filter(has_any));
    per_card_and_session(snapshot, streams, number)
}

/// A series for each device that was read, in the scope of its card, and one with the scope `session`.
fn per_card_and_session<'s>(
    snapshot: &'s Snapshot,
    streams: impl Fn(&'s Gpu) -> [Option<StreamStats>; 2],
    number: impl Fn(StreamStats) -> f64,
) -> Vec<Series<'s>> {
    let series = |gpu: &'s Gpu| {
        let scopes = [gpu.scopes.card, Scope::Session];
        let streams = scopes.into_iter().zip(streams(gpu)).filter_map(|(scope, it)| Some((scope, it?)));
        by_scope(&gpu.device.uuid, streams, &number)
    };
    snapshot.gpus.iter().flat_map(series).collect()
}

/// A series for each device that was read.
pub(super) fn per_gpu<'s>(
    snapshot: &'s Snapshot,
    number: impl Fn(&'s Gpu) -> Option<f64>,
) -> Vec<Series<'s>> {
    let gpus = snapshot.gpus.iter();
    gpus.filter_map(|gpu| Some(Series::number([&gpu.device.uuid], number(gpu)?))).collect()
}

/// A series for each device that was read, and for each value of a second label.
pub(super) fn per_gpu_and_label<'s>(
    snapshot: &'s Snapshot,
    numbers: impl Fn(&'s Gpu) -> Vec<(&'s str, f64)>,
) -> Vec<Series<'s>> {
    let series = |gpu: &'s Gpu| {
        let numbers = numbers(gpu).into_iter();
        numbers.map(|(label, number)| Series::number([&gpu.device.uuid, label], number)).collect::<Vec<_>>()
    };
    snapshot.gpus.iter().flat_map(series).collect()
}

/// A series for each device that was read, and for each scope of a value.
pub(super) fn per_gpu_and_scope<'s, T: Copy + 's>(
    snapshot: &'s Snapshot,
    values: impl Fn(&'s Gpu) -> &'s ByScope<T>,
    number: impl Fn(T) -> f64,
) -> Vec<Series<'s>> {
    let series = |gpu: &'s Gpu| by_scope(&gpu.device.uuid, values(gpu).iter(), &number);
    snapshot.gpus.iter().flat_map(series).collect()
}

/// A series for each device that was read, for a value that NVML gives only for the entire card. The scope is the card's,
/// because other slices contribute to the value.
pub(super) fn per_card<'s>(
    snapshot: &'s Snapshot,
    number: impl Fn(&'s Reading) -> Option<f64>,
) -> Vec<Series<'s>> {
    let series = |gpu: &'s Gpu| {
        Some(Series::number([&gpu.device.uuid, gpu.scopes.card.as_str()], number(&gpu.reading)?))
    };
    snapshot.gpus.iter().filter_map(series).collect()
}

/// A series for each device that was allocated or exposed since the sidecar started and that has this total.
pub(super) fn per_account<'s>(
    snapshot: &'s Snapshot,
    total: impl Fn(&'s Account) -> Option<f64>,
) -> Vec<Series<'s>> {
    let accounts = snapshot.accounts.iter();
    accounts.filter_map(|account| Some(Series::number([&account.gpu], total(account)?))).collect()
}

/// The seconds in which no viewer used the device, by reason.
pub(super) fn idle(snapshot: &Snapshot) -> Vec<Series<'_>> {
    let accounts = snapshot.accounts.iter().filter_map(|account| Some((account, account.idle?)));
    let series = accounts.flat_map(|(account, idle)| {
        let reasons = IdleReason::ALL.iter();
        reasons.map(move |reason| Series::number([&account.gpu, reason.as_str()], idle.get(*reason)))
    });
    series.collect()
}

/// A series for each device that was allocated or exposed since the sidecar started, and for each scope of a total.
pub(super) fn per_account_and_scope<'s, T: Copy + 's>(
    snapshot: &'s Snapshot,
    totals: impl Fn(&'s Account) -> &'s ByScope<T>,
    number: impl Fn(T) -> f64,
) -> Vec<Series<'s>> {
    let series = |account: &'s Account| by_scope(&account.gpu, totals(account).iter(), &number);
    snapshot.accounts.iter().flat_map(series).collect()
}

fn by_scope<'s, T>(
    gpu: &'s str,
    values: impl Iterator<Item = (Scope, T)>,
    number: impl Fn(T) -> f64,
) -> Vec<Series<'s>> {
    values.map(|(scope, value)| Series::number([gpu, scope.as_str()], number(value))).collect()
}

/// A series about the last poll; none before the first poll has ended.
pub(super) fn last_poll(snapshot: &Snapshot, number: impl FnOnce(&Collection) -> f64) -> Vec<Series<'_>> {
    snapshot.collection.as_ref().map(|poll| Series::number([], number(poll))).into_iter().collect()
}

pub(super) fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

pub(super) fn unix_seconds(time: SystemTime) -> f64 {
    clock::unix_time(time).as_secs_f64()
}

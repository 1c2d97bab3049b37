//! Admission without a socket, compared with a minimal scan of the same bytes: the least work that a JSON parser can do.

use std::{hint::black_box, time::Instant};

use kit::desktop::{Size, review};
use serde::de::IgnoredAny;
use vdi_metrics::admission::{Injector, Namespaces, Settings};

use crate::table::{Table, Target, quantile};

/// The rounds are interleaved, so that other load on the machine affects both alike.
const ROUNDS: usize = 500;

/// Duration of one measurement: long compared with the clock's resolution, short compared with the scheduler's time slices.
const NANOSECONDS: f64 = 200_000.0;

/// The maximum ratio of a review to a minimal scan.
const MAX_RATIOS: [(Size, f64); 2] = [(Size::Medium, 2.0), (Size::Large, 1.3)];

/// Microseconds of one call.
#[derive(Clone, Copy, Debug)]
struct Cost {
    minimum: f64,
    median: f64,
}

pub(crate) fn measure() -> anyhow::Result<Vec<Target>> {
    let (injector, namespaces) = (Injector::new(Settings::default()), Namespaces::default());
    let mut table = Table::new("in process, us per review", ["vdi-metrics", "a minimal scan"]);
    let mut targets = vec![];
    for size in Size::ALL {
        let body = review(size);
        let [admission, scan] = interleaved([
            &mut || drop(black_box(injector.admit(black_box(&body), &namespaces))),
            &mut || drop(black_box(serde_json::from_slice::<IgnoredAny>(black_box(&body)))),
        ]);
        let name = format!("{}, {} bytes", size.as_str(), body.len());
        table.row(&format!("{name}: minimum"), [admission.minimum, scan.minimum].map(Some));
        table.row(&format!("{name}: median"), [admission.median, scan.median].map(Some));
        targets.extend(MAX_RATIOS.iter().filter(|(of, _)| *of == size).map(|(_, max)| Target {
            what: format!("in process, {} pod, ratio to a minimal scan (median)", size.as_str()),
            max: *max,
            measured: admission.median / scan.median,
        }));
    }
    table.print();
    Ok(targets)
}

fn interleaved<const N: usize>(mut calls: [&mut dyn FnMut(); N]) -> [Cost; N] {
    let batches = calls.each_mut().map(|call| (NANOSECONDS / time(1000, call)).ceil() as u32);
    let mut times = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for ((call, batch), times) in calls.iter_mut().zip(batches).zip(&mut times) {
            times.push(time(batch, call) / 1000.0);
        }
    }
    times.map(|mut times| Cost { minimum: quantile(&mut times, 0.0), median: quantile(&mut times, 0.5) })
}

/// Nanoseconds per call.
fn time(calls: u32, call: &mut dyn FnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..calls {
        call();
    }
    began.elapsed().as_nanos() as f64 / f64::from(calls)
}

//! Admission without a socket, against a bare scan of the same bytes: the least that any reader of JSON could do.

use std::{hint::black_box, time::Instant};

use kit::desktop::{Size, review};
use serde::de::IgnoredAny;
use vdi_metrics::admission::{Injector, Namespaces, Settings};

use crate::table::{Aim, Table, quantile};

/// Interleaved: whatever else runs on the machine meets both alike.
const ROUNDS: usize = 500;

/// Time of one measurement. Long against the clock, short against the scheduler's slices.
const NANOSECONDS: f64 = 200_000.0;

/// Most times the bare scan that a review may cost.
const AIMS: [(Size, f64); 2] = [(Size::Medium, 2.0), (Size::Large, 1.3)];

/// Microseconds of one call.
#[derive(Clone, Copy, Debug)]
struct Cost {
    least: f64,
    median: f64,
}

pub(crate) fn measure() -> anyhow::Result<Vec<Aim>> {
    let (injector, known) = (Injector::new(Settings::default()), Namespaces::default());
    let mut table = Table::new("in process, us per review", ["ours", "a bare scan"]);
    let mut aims = vec![];
    for size in Size::ALL {
        let body = review(size);
        let [ours, scan] =
            interleaved([&mut || drop(black_box(injector.admit(black_box(&body), &known))), &mut || {
                drop(black_box(serde_json::from_slice::<IgnoredAny>(black_box(&body))))
            }]);
        let name = format!("{}, {} bytes", size.as_str(), body.len());
        table.row(&format!("{name}: least"), [ours.least, scan.least].map(Some));
        table.row(&format!("{name}: median"), [ours.median, scan.median].map(Some));
        aims.extend(AIMS.iter().filter(|(of, _)| *of == size).map(|(_, at_most)| Aim {
            what: format!("in process, {} pod, times a bare scan (median)", size.as_str()),
            at_most: *at_most,
            found: ours.median / scan.median,
        }));
    }
    table.print();
    Ok(aims)
}

fn interleaved<const N: usize>(mut calls: [&mut dyn FnMut(); N]) -> [Cost; N] {
    let batches = calls.each_mut().map(|call| (NANOSECONDS / time(1000, call)).ceil() as u32);
    let mut times = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for ((call, batch), times) in calls.iter_mut().zip(batches).zip(&mut times) {
            times.push(time(batch, call) / 1000.0);
        }
    }
    times.map(|mut times| Cost { least: quantile(&mut times, 0.0), median: quantile(&mut times, 0.5) })
}

/// Nanoseconds per call.
fn time(calls: u32, call: &mut dyn FnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..calls {
        call();
    }
    began.elapsed().as_nanos() as f64 / f64::from(calls)
}

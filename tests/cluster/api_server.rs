//! Tests of what the API server alone decides. They need no root and no images.

use kit::cluster::Test;

mod allocations;
mod breaker;
mod changes;
mod client_certificate;
mod coverage;
mod equivalence;
mod ledger;
mod load;
mod metrics_access;
mod nulls;
mod other_webhooks;
mod policy;
mod quantities;
mod registration;
mod warning_policy;
mod warnings;
mod webhook_calls;

/// The tests of each module.
pub(crate) const SUBJECTS: &[&[(&str, Test)]] = &[
    allocations::TESTS,
    breaker::TESTS,
    changes::TESTS,
    client_certificate::TESTS,
    coverage::TESTS,
    equivalence::TESTS,
    ledger::chaos::TESTS,
    ledger::checkpoint::TESTS,
    ledger::leadership::TESTS,
    ledger::series::TESTS,
    load::TESTS,
    metrics_access::TESTS,
    nulls::TESTS,
    other_webhooks::TESTS,
    policy::TESTS,
    quantities::TESTS,
    registration::DAMAGE_TESTS,
    registration::FILES_TESTS,
    registration::TESTS,
    warning_policy::TESTS,
    warnings::TESTS,
    webhook_calls::TESTS,
];

//! Many desktops at once: none goes without us, none is refused for us, and each costs one call.

use anyhow::{Error, Result, ensure};
use kit::cluster::{Bed, crowd::at_once};
use kit::desktop::{Size, pod};
use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, key};

use crate::audit;
use crate::beside::registered;

tests![none_of_three_thousand_goes_without];

const PODS: usize = 3000;
const CLIENTS: usize = 32;

async fn none_of_three_thousand_goes_without(bed: &Bed) -> Result<()> {
    let _alive = registered(bed).await?;
    let namespace = bed.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let mut desktop = pod(Size::Medium);
    // There is no node for so many, and looking for one again and again would slow the other tests down.
    desktop["spec"]["schedulerName"] = json!("nobody");
    let created = at_once(&bed.client, &namespace, &desktop.to_string(), CLIENTS, PODS).await?;
    ensure!(created.len() == PODS, "{} pods", created.len());
    for created in created {
        let pod: Value = serde_json::from_str(&created.answer.map_err(Error::msg)?)?;
        let has_us = pod["spec"]["initContainers"][0]["name"] == CONTAINER;
        ensure!(has_us, "without sidecar after {:?}: {pod:#}", created.took);
    }
    for creation in audit::creations(bed, &namespace, PODS).await? {
        ensure!(creation.calls() == 1 && creation.decisions() == ["injected"], "{creation:#?}");
    }
    Ok(())
}

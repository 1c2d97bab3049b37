//! The node agent as it is shipped, with a fake driver in its image. Only these tests run it: with an agent the sidecars of other
//! tests would not read their own driver.

mod agent;
pub(super) mod devices;
mod hostile_pods;
mod hour;
pub(super) mod many_pods;
mod node_driver;
pub(super) mod restarts;
mod shown;
pub(super) mod volume;

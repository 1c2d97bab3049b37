//! A process with a control group of its own, as each container of a pod has one.

use std::{ffi::OsString, process::Command};

/// Enters the control group `$1` of version 2, and starts the rest of the arguments. The hierarchy is mounted only for this process: a
/// machine with version 1 has it too, without controllers. The folder stays, and is empty after the process.
const START: &str = "mount -t cgroup2 none /sys/fs/cgroup && group=/sys/fs/cgroup/vdi-metrics-test/$1 && mkdir -p $group \
    && echo $$ >$group/cgroup.procs && shift && exec \"$@\"";

/// The program, and its first arguments, that starts another program in this control group. It needs root.
#[must_use]
pub fn starter(group: &str) -> Vec<OsString> {
    ["unshare", "--mount", "sh", "-c", START, "sh", group].map(OsString::from).to_vec()
}

/// A command that runs this program in this control group.
#[must_use]
pub fn command(group: &str, program: &str) -> Command {
    let starter = starter(group);
    let mut command = Command::new(&starter[0]);
    command.args(&starter[1..]).arg(program);
    command
}

//! The image of a desktop with a VNC server, and of its clients. `tests/testbed/desktop` unpacks packages of Debian for it, and
//! describes the commands of its containers.

use anyhow::{Error, Result};

use crate::cluster::{File, Image, built, testbed};

/// The requirement that this machine lacks, in one sentence. Unpacks the packages first if necessary, which needs the network.
///
/// # Errors
/// When a package cannot be downloaded or unpacked.
pub fn missing_requirement() -> Result<Option<String>> {
    Ok(built(SCRIPT)?.err())
}

/// The image with this name.
///
/// # Errors
/// When the packages are not unpacked and this machine cannot unpack them.
pub fn image(name: &str) -> Result<Image> {
    let program = File { at: PROGRAM.into(), from: testbed("desktop/vnc.py"), mode: 0o644 };
    Ok(Image {
        name: name.into(),
        root: Some(built(SCRIPT)?.map_err(Error::msg)?),
        files: vec![program],
        entrypoint: ["/usr/bin/python3.11", "-u", PROGRAM].map(Into::into).into(),
        user: USER,
        env: ["PATH=/usr/bin:/bin", "HOME=/tmp"].map(Into::into).into(),
        ..Image::default()
    })
}

const SCRIPT: &str = "desktop/build";
const PROGRAM: &str = "/vnc.py";
const USER: u32 = 65532;

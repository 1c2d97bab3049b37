//! Input and output of a verb.

use std::io::{Read, Write};

/// Standard input, output and error of a verb. Tests pass buffers.
pub struct Streams<'a> {
    /// Standard input.
    pub stdin: &'a mut dyn Read,
    /// Standard output: the result.
    pub stdout: &'a mut dyn Write,
    /// Standard error: the report and the errors.
    pub stderr: &'a mut dyn Write,
}

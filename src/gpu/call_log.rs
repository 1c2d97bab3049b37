//! Counts the calls of one poll and keeps their failures.

use nvml_wrapper::error::NvmlError;

use super::fault::{Call, Code, Fault, ReopenReason};

/// The calls since the last poll ended.
#[derive(Debug, Default)]
pub(super) struct CallLog {
    pub(super) calls: u64,
    pub(super) faults: Vec<Fault>,
}

/// All calls of one finished poll.
#[derive(Debug, Default)]
pub struct PollCalls {
    /// Number of calls, failed ones included.
    pub calls: u64,
    /// Failures, first to last.
    pub faults: Vec<Fault>,
    /// Why another opening of the library may show more devices.
    pub reopen: Option<ReopenReason>,
}

type CallResult<T> = Result<T, NvmlError>;

// === impl CallLog ===

impl CallLog {
    /// Records a call and its failure.
    pub(super) fn record<T>(&mut self, call: Call, answer: CallResult<T>) -> Result<T, Fault> {
        self.calls += 1;
        answer.or_else(|error| self.failed(fault(call, &error)))
    }

    /// Records a call for a property that only some cards have. A card without the property is not a failure.
    pub(super) fn record_optional<T>(
        &mut self,
        call: Call,
        answer: CallResult<T>,
    ) -> Result<Option<T>, Fault> {
        match answer {
            Err(error) if is_unsupported(&error) => {
                self.calls += 1;
                Ok(None)
            }
            answer => self.record(call, answer).map(Some),
        }
    }

    /// Records a failure without a call of its own.
    pub(super) fn failed<T>(&mut self, fault: Fault) -> Result<T, Fault> {
        self.faults.push(fault);
        Err(fault)
    }
}

/// Whether the card does not have the property, or the library does not have the call.
fn is_unsupported(error: &NvmlError) -> bool {
    use NvmlError::{FailedToLoadSymbol, FunctionNotFound, InvalidArg, NotSupported};

    matches!(error, NotSupported | InvalidArg | FunctionNotFound | FailedToLoadSymbol(_))
}

/// Translates an error of the wrapper.
pub(super) fn fault(call: Call, error: &NvmlError) -> Fault {
    let fault = Fault { call, code: code(error) };
    tracing::debug!(%fault, %error, "An NVML call failed");
    fault
}

fn code(error: &NvmlError) -> Code {
    match error {
        NvmlError::LibloadingError(_) => Code::LibraryMissing,
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => Code::SymbolMissing,
        NvmlError::Uninitialized => Code::Uninitialized,
        NvmlError::InvalidArg => Code::InvalidArgument,
        NvmlError::NotSupported => Code::NotSupported,
        NvmlError::NoPermission => Code::NoPermission,
        NvmlError::NotFound => Code::NotFound,
        NvmlError::DriverNotLoaded => Code::DriverNotLoaded,
        NvmlError::Timeout => Code::Timeout,
        NvmlError::GpuLost => Code::GpuLost,
        NvmlError::ResetRequired => Code::ResetRequired,
        NvmlError::LibRmVersionMismatch => Code::VersionMismatch,
        NvmlError::Unknown => Code::Unknown,
        _ => Code::Other,
    }
}

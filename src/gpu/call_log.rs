//! Counts the calls of one poll and keeps their failures.

use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings as sys;

use super::{
    fault::{Call, Code, Fault},
    known::Answer,
};

/// Calls and failures since the end of the last poll.
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
}

type CallResult<T> = Result<T, NvmlError>;

// === impl CallLog ===

impl CallLog {
    /// Counts a call and records its failure. A placeholder for a value that the driver does not have is a failure.
    pub(super) fn record<T: Answer>(&mut self, call: Call, answer: CallResult<T>) -> Result<T, Fault> {
        self.calls += 1;
        match answer.map(Answer::known) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => self.record_failure(Fault { call, code: Code::NotAvailable }),
            Err(error) => self.record_failure(fault(call, &error)),
        }
    }

    /// Counts a call for a property that only some cards have. Returns `Ok(None)` if the card does not have the property.
    pub(super) fn record_optional<T: Answer>(
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

    /// Records a failure without counting a call.
    pub(super) fn record_failure<T>(&mut self, fault: Fault) -> Result<T, Fault> {
        self.faults.push(fault);
        Err(fault)
    }
}

/// Whether the error means that the card does not have the property, or that the library does not have the call.
fn is_unsupported(error: &NvmlError) -> bool {
    use NvmlError::{FailedToLoadSymbol, FunctionNotFound, InvalidArg, NotSupported};

    matches!(error, NotSupported | InvalidArg | FunctionNotFound | FailedToLoadSymbol(_))
}

/// Translates an error of `nvml_wrapper` and logs it.
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
        NvmlError::UnexpectedVariant(sys::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH) => {
            Code::ArgumentVersion
        }
        NvmlError::UnexpectedVariant(sys::nvmlReturn_enum_NVML_ERROR_DEPRECATED) => Code::Deprecated,
        NvmlError::Unknown => Code::Unknown,
        _ => Code::Other,
    }
}

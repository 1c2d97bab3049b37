//! The library's functions by name.

use serde::{Deserialize, Serialize};

macro_rules! symbols {
    ($($symbol:ident)*) => {
        /// A function of the library.
        #[expect(non_camel_case_types, reason = "names of C functions")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
        pub enum Symbol {
            $(#[doc = concat!("`", stringify!($symbol), "`")] $symbol,)*
        }

        impl Symbol {
            /// Number of functions.
            pub(crate) const COUNT: usize = [$(Self::$symbol),*].len();
        }
    };
}

symbols! {
    nvmlInit_v2
    nvmlShutdown
    nvmlSystemGetDriverVersion
    nvmlSystemGetNVMLVersion
    nvmlDeviceGetCount_v2
    nvmlDeviceGetHandleByIndex_v2
    nvmlDeviceGetHandleByUUID
    nvmlDeviceGetUUID
    nvmlDeviceGetName
    nvmlDeviceGetMigMode
    nvmlDeviceGetUtilizationRates
    nvmlDeviceGetMemoryInfo_v2
    nvmlDeviceGetMemoryInfo
    nvmlDeviceGetEncoderUtilization
    nvmlDeviceGetDecoderUtilization
    nvmlDeviceGetTotalEnergyConsumption
    nvmlDeviceGetPowerUsage
    nvmlDeviceGetTemperature
    nvmlDeviceGetClockInfo
    nvmlDeviceGetCurrentClocksThrottleReasons
    nvmlDeviceGetComputeMode
    nvmlDeviceGetEncoderStats
    nvmlDeviceGetEncoderSessions
    nvmlDeviceGetFBCStats
    nvmlDeviceGetFBCSessions
    nvmlDeviceGetSamples
    nvmlDeviceGetProcessUtilization
    nvmlDeviceGetProcessesUtilizationInfo
    nvmlDeviceGetComputeRunningProcesses_v3
    nvmlDeviceGetGraphicsRunningProcesses_v3
    nvmlDeviceGetMPSComputeRunningProcesses_v3
    nvmlDeviceGetMaxMigDeviceCount
    nvmlDeviceGetMigDeviceHandleByIndex
    nvmlDeviceGetDeviceHandleFromMigDeviceHandle
    nvmlDeviceGetGpuInstanceId
    nvmlDeviceGetComputeInstanceId
    nvmlDeviceGetMinorNumber
    nvmlDeviceGetSupportedEventTypes
    nvmlDeviceRegisterEvents
    nvmlEventSetCreate
    nvmlEventSetFree
    nvmlEventSetWait_v2
}

//! Plays a call: the scenario as it is now, the delay, then the failure or the answer.
#![expect(unsafe_code, reason = "sections of a C library")]

use std::{
    cell::Cell,
    collections::BTreeMap,
    env, fs, io,
    os::unix::fs::MetadataExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    ptr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use nvml_wrapper_sys::bindings::{self as nvml, nvmlDevice_t, nvmlReturn_t};

use crate::{
    call_log,
    devices::{self, Called},
    events,
    scenario::{Behaviour, Scenario},
    symbol::Symbol,
};

/// Environment variable with the path of the scenario file.
pub const SCENARIO: &str = "FAKE_NVML_SCENARIO";

/// Success, or the code to return.
pub(crate) type Answer = Result<(), nvmlReturn_t>;

/// Number of calls of `nvmlInit_v2` without a call of `nvmlShutdown`.
static INITIALIZED: AtomicUsize = AtomicUsize::new(0);
/// The last message that was printed, so that polling does not repeat it.
static LAST_MESSAGE: Mutex<String> = Mutex::new(String::new());

/// Inode, modification time and size of a file, and the scenario in it.
type CachedScenario = ((u64, i64, i64, u64), Arc<Scenario>);
static CACHE: Mutex<Option<CachedScenario>> = Mutex::new(None);

/// Number of calls with a behaviour since the scenario was read, by function and handle.
static CALLS: Mutex<BTreeMap<(Symbol, usize), u64>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// Behaviour of the call that is being played.
    static CURRENT: Cell<Behaviour> = Cell::default();
}

#[unsafe(link_section = ".init_array")]
#[used]
static LOADED: extern "C" fn() = delay_loading;
#[unsafe(link_section = ".fini_array")]
#[used]
static UNLOADED: extern "C" fn() = delay_loading;

/// Runs when the library is loaded and unloaded. Does nothing in the tests themselves, which are linked with this crate and
/// have no scenario.
extern "C" fn delay_loading() {
    let scenario = env::var_os(SCENARIO).and_then(|path| Scenario::read(Path::new(&path)).ok());
    thread::sleep(Duration::from_millis(scenario.map_or(0, |scenario| scenario.loading_ms)));
}

/// Plays a call without a device.
pub(crate) fn play(symbol: Symbol, answer: impl FnOnce(&Scenario) -> Answer) -> nvmlReturn_t {
    played(symbol, ptr::null_mut(), answer)
}

/// Plays a call for the device with this handle.
pub(crate) fn play_for(
    symbol: Symbol,
    handle: nvmlDevice_t,
    answer: impl FnOnce(Called<'_>) -> Answer,
) -> nvmlReturn_t {
    played(symbol, handle, |scenario| {
        let device = devices::called(scenario, handle)?;
        behave(&device.calls, symbol, handle)?;
        answer(device)
    })
}

fn played(symbol: Symbol, handle: nvmlDevice_t, answer: impl FnOnce(&Scenario) -> Answer) -> nvmlReturn_t {
    let played = catch_unwind(AssertUnwindSafe(|| {
        call_log::record(symbol, handle);
        let scenario = current_scenario()?;
        CURRENT.set(Behaviour::default());
        behave(&scenario.calls, symbol, handle)?;
        if symbol != Symbol::nvmlInit_v2 && INITIALIZED.load(Ordering::SeqCst) == 0 {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_UNINITIALIZED);
        }
        answer(&scenario)
    }));
    match played {
        Ok(Ok(())) => nvml::nvmlReturn_enum_NVML_SUCCESS,
        Ok(Err(code)) => code,
        Err(_) => nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN,
    }
}

/// Behaviour of the call that is being played.
pub(crate) fn current() -> Behaviour {
    CURRENT.get()
}

/// Gives the call the behaviour that `calls` has for it, if it applies to this call.
pub(crate) fn behave(calls: &BTreeMap<Symbol, Behaviour>, symbol: Symbol, handle: nvmlDevice_t) -> Answer {
    let Some(behaviour) = calls.get(&symbol) else { return Ok(()) };
    if !behaviour.applies_to(earlier_calls(symbol, handle)) {
        return Ok(());
    }
    CURRENT.set(*behaviour);
    thread::sleep(Duration::from_millis(behaviour.delay_ms));
    if let Some(xid) = behaviour.xid {
        events::cause(handle, xid);
    }
    behaviour.returns.map_or(Ok(()), Err)
}

/// Counts the call. Returns the number of calls before it.
fn earlier_calls(symbol: Symbol, handle: nvmlDevice_t) -> u64 {
    let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    let count = calls.entry((symbol, handle.addr())).or_default();
    *count += 1;
    *count - 1
}

fn current_scenario() -> Result<Arc<Scenario>, nvmlReturn_t> {
    let scenario = match env::var_os(SCENARIO) {
        Some(path) => read(Path::new(&path)).map_err(|error| error.to_string()),
        None => Err(format!("{SCENARIO} is not set; set it to the path of a scenario file")),
    };
    scenario.map_err(|message| {
        print_once(message);
        nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN
    })
}

/// Returns the cached scenario unless the file has changed, because reading it costs more than the sidecar's own work.
fn read(path: &Path) -> io::Result<Arc<Scenario>> {
    let file = fs::metadata(path)?;
    let stamp = (file.ino(), file.mtime(), file.mtime_nsec(), file.size());
    let mut cached = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    match cached.as_ref() {
        Some((of, scenario)) if *of == stamp => Ok(Arc::clone(scenario)),
        _ => {
            let scenario = Arc::new(Scenario::read(path)?);
            *cached = Some((stamp, Arc::clone(&scenario)));
            CALLS.lock().unwrap_or_else(PoisonError::into_inner).clear();
            Ok(scenario)
        }
    }
}

#[expect(clippy::print_stderr, reason = "a C library has no other way to report an error")]
fn print_once(message: String) {
    let mut last = LAST_MESSAGE.lock().unwrap_or_else(PoisonError::into_inner);
    if *last != message {
        eprintln!("fake_nvml: {message}");
        *last = message;
    }
}

pub(crate) fn init() -> Answer {
    INITIALIZED.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

pub(crate) fn shut_down() -> Answer {
    INITIALIZED.fetch_sub(1, Ordering::SeqCst);
    devices::release_slices();
    Ok(())
}

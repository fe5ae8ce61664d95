//! Ending a command that runs until somebody ends it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};

/// Becomes true at Ctrl-C, and where the service manager ends the process.
///
/// # Errors
/// Where the system does not let the process hear of signals.
pub fn ended_by_signal() -> std::io::Result<Arc<AtomicBool>> {
    let over = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&over))?;
    }
    Ok(over)
}

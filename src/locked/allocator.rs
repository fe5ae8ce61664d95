//! The program's allocator: what is freed is wiped first.
//!
//! Rows of a picture in the JPEG library, a message of the MQTT client, a vector that grew: none
//! leaves its bytes to whoever gets the memory next, or to a core file. Memory that is still in use
//! is its owner's business.
//!
//! Costs a write of what is freed; the daemon frees hardly anything while it runs.

use std::alloc::{GlobalAlloc, Layout, System};

use super::wipe_at;

/// The system's allocator, which wipes what is freed. Growing moves to new memory, so that the old
/// one is wiped.
pub struct WipingAllocator;

// SAFETY: memory comes from the system's allocator and goes back to it as it came. `realloc` is the
// trait's own: it allocates, copies and frees.
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the callee's condition.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the callee's condition.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller gives up `layout.size()` bytes at `at`; nobody refers to them.
        unsafe {
            wipe_at(at, layout.size());
            System.dealloc(at, layout);
        }
    }
}

//! What a piece of work costs: processor time of the thread, instructions where the kernel counts
//! them, allocations.
//!
//! Processor time, because it is not lengthened by what else the machine does while the thread
//! waits for its turn. Caches and clock rate it still shares.

use std::alloc::{GlobalAlloc, Layout};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::clock::processor_time;
use crate::locked::WipingAllocator;

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The program's allocator; counts while a benchmark runs. Otherwise it costs one load that every
/// thread shares.
pub struct Allocator;

impl Allocator {
    fn count() {
        if COUNTING.load(Relaxed) {
            ALLOCATIONS.fetch_add(1, Relaxed);
        }
    }
}

// SAFETY: every call is handed on to the program's allocator as it came.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promise is the callee's condition.
        unsafe { WipingAllocator.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promise is the callee's condition.
        unsafe { WipingAllocator.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promise is the callee's condition.
        unsafe { WipingAllocator.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the callee's condition.
        unsafe { WipingAllocator.dealloc(at, layout) }
    }
}

/// `struct perf_event_attr` in its first published size (linux/perf_event.h,
/// `PERF_ATTR_SIZE_VER0`), which every kernel takes.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_kind: u32,
    config1: u64,
}

const INSTRUCTIONS: u64 = 1;
const EXCLUDE_KERNEL_AND_HYPERVISOR: u64 = 1 << 5 | 1 << 6;
/// Counts all the time or not at all: a counter that takes turns with others would count too few.
const PINNED: u64 = 1 << 2;

/// Instructions of this thread in user mode.
struct Instructions(File);

impl Instructions {
    fn open() -> io::Result<Self> {
        let size = size_of::<Attributes>() as u32;
        // Kind 0: the processor's own counters.
        let flags = EXCLUDE_KERNEL_AND_HYPERVISOR | PINNED;
        let attributes = Attributes { size, config: INSTRUCTIONS, flags, ..Attributes::default() };
        const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;
        let (this_thread, any_cpu, no_group): (libc::pid_t, libc::c_int, libc::c_int) = (0, -1, -1);
        // SAFETY: the kernel reads `size` bytes of the structure, which lives until the call
        // returns.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                this_thread,
                any_cpu,
                no_group,
                CLOSE_ON_EXEC,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave this descriptor, and nobody else knows it.
        let counter = Self(unsafe { File::from_raw_fd(fd as i32) });
        // One that found no place is at its end at once.
        counter.read().map(|_| counter)
    }

    fn read(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        (&self.0).read_exact(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

/// What was measured of one piece of work, run after run.
#[derive(Default)]
pub struct RunCosts {
    pub times: Vec<Duration>,
    instructions: Vec<u64>,
    allocations: Vec<u64>,
}

impl RunCosts {
    pub fn with_capacity(runs: usize) -> Self {
        Self {
            times: Vec::with_capacity(runs),
            instructions: Vec::with_capacity(runs),
            allocations: Vec::with_capacity(runs),
        }
    }

    /// Forgets all runs; the memory stays.
    pub fn clear(&mut self) {
        self.times.clear();
        self.instructions.clear();
        self.allocations.clear();
    }

    /// All runs of `parts` together as one more run.
    pub fn add_sum(&mut self, parts: &Self) {
        self.times.push(parts.times.iter().sum());
        for (all, part) in [
            (&mut self.instructions, &parts.instructions),
            (&mut self.allocations, &parts.allocations),
        ] {
            // Empty also where the kernel does not count; that must not pass for zero.
            if !part.is_empty() {
                all.push(part.iter().sum());
            }
        }
    }

    /// Mean of the times.
    pub fn mean(&self) -> Duration {
        self.times.iter().sum::<Duration>()
            / u32::try_from(self.times.len()).unwrap_or(u32::MAX).max(1)
    }

    /// The time that `share` of the runs did not exceed, in milliseconds.
    pub fn quantile_ms(&mut self, share: f64) -> f64 {
        quantile(&mut self.times, share).map_or(0.0, |d| d.as_secs_f64() * 1e3)
    }

    /// Median instructions of a run, where they were counted.
    pub fn instructions(&mut self) -> Option<u64> {
        quantile(&mut self.instructions, 0.5)
    }

    /// Median allocations of a run, where they were counted.
    pub fn allocations(&mut self) -> Option<u64> {
        quantile(&mut self.allocations, 0.5)
    }
}

fn quantile<T: Copy + Ord>(values: &mut [T], share: f64) -> Option<T> {
    values.sort_unstable();
    let index = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(index).copied()
}

/// Measures one piece of work after the other.
pub struct Meter {
    instructions: io::Result<Instructions>,
    /// Whether this program's allocator is [`Allocator`]; in tests it is not.
    counted: bool,
}

impl Meter {
    pub fn new() -> Self {
        COUNTING.store(true, Relaxed);
        let before = ALLOCATIONS.load(Relaxed);
        drop(std::hint::black_box(Box::new(0_u64)));
        Self { instructions: Instructions::open(), counted: ALLOCATIONS.load(Relaxed) != before }
    }

    /// Why instructions are not counted, if they are not.
    pub fn refusal(&self) -> Option<String> {
        let error = self.instructions.as_ref().err()?;
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "; there is no such counter, as in most virtual machines",
            io::ErrorKind::PermissionDenied => "; lower kernel.perf_event_paranoid to 2",
            _ => "",
        };
        Some(format!("instructions are not counted: perf_event_open: {error}{hint}"))
    }

    /// Runs `work`; what it cost goes to `into`, unless it failed or `into` is absent, as for a run
    /// that warms up.
    pub fn time<T, E>(
        &self,
        into: Option<&mut RunCosts>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let count = || self.instructions.as_ref().ok().and_then(|counter| counter.read().ok());
        let (allocations, instructions) = (ALLOCATIONS.load(Relaxed), count());
        let start = processor_time();
        let result = work()?;
        let time = processor_time().saturating_sub(start);
        let (instructions_after, allocations_after) = (count(), ALLOCATIONS.load(Relaxed));
        if let Some(samples) = into {
            samples.times.push(time);
            if let (Some(before), Some(after)) = (instructions, instructions_after) {
                samples.instructions.push(after - before);
            }
            if self.counted {
                samples.allocations.push(allocations_after - allocations);
            }
        }
        Ok(result)
    }

    /// Runs `work` a tenth of `runs` for nothing, then `runs` times.
    pub fn measure<E>(
        &self,
        runs: u32,
        mut work: impl FnMut() -> Result<(), E>,
    ) -> Result<RunCosts, E> {
        let mut samples = RunCosts::with_capacity(runs as usize);
        for n in 0..runs + runs / 10 {
            self.time((n >= runs / 10).then_some(&mut samples), &mut work)?;
        }
        Ok(samples)
    }
}

/// `VmHWM` of this process.
pub fn peak_memory_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .trim()
        .strip_suffix(" kB")?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_that_counts_is_measured_and_no_other() {
        let mut calls = 0;
        let mut samples = Meter::new()
            .measure(20, || {
                calls += 1;
                Ok::<_, ()>(())
            })
            .unwrap();
        assert_eq!((calls, samples.times.len()), (22, 20));
        assert!(samples.quantile_ms(0.5) <= samples.quantile_ms(0.99));
    }

    #[test]
    fn what_a_counter_says_grows_with_the_work_or_its_absence_has_a_reason() {
        let meter = Meter::new();
        let work = |n: u64| {
            let sum = || {
                std::hint::black_box((0..n).fold(0, |a, b| std::hint::black_box(a ^ b)));
                Ok::<_, ()>(())
            };
            meter.measure(5, sum).unwrap().instructions()
        };
        match (work(1000), work(100_000)) {
            (Some(few), Some(many)) => assert!(many > few + 99_000, "{few} {many}"),
            _ => assert!(meter.refusal().is_some_and(|r| r.contains("perf_event_open"))),
        }
    }

    #[test]
    fn the_median_of_an_even_number_is_the_lower_middle() {
        assert_eq!(quantile(&mut [4, 1, 3, 2], 0.5), Some(2));
        assert_eq!(quantile(&mut [4, 1, 3, 2], 0.99), Some(4));
        assert_eq!(quantile::<u64>(&mut [], 0.5), None);
    }
}

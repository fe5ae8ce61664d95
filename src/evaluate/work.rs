//! Spreads independent pieces of work over threads, with a progress bar, and survives a piece that
//! panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use indicatif::ProgressBar;

/// Calls `each` once for every item, on up to `threads` threads that each own a worker from `make`,
/// and returns the results in the order of the items. Where a call panics, its result is
/// `broken(item)` and the thread gets a fresh worker: one hostile file must not end an evaluation
/// of thousands.
///
/// # Errors
/// The first error of `make`; nothing of the results is then kept.
pub fn spread<T: Sync, W, R: Send, E: Send>(
    items: &[T],
    threads: usize,
    progress: &ProgressBar,
    make: impl Fn() -> Result<W, E> + Sync,
    each: impl Fn(&mut W, &T) -> R + Sync,
    broken: impl Fn(&T) -> R + Sync,
) -> Result<Vec<R>, E> {
    progress.set_length(items.len() as u64);
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let results: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    let error: Mutex<Option<E>> = Mutex::new(None);
    let fail = |e: E| {
        stop.store(true, Ordering::Relaxed);
        error.lock().expect("no thread panics while it holds the lock").get_or_insert(e);
    };
    let run = || {
        let mut worker = match make() {
            Ok(worker) => worker,
            Err(e) => return fail(e),
        };
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            let result = match catch_unwind(AssertUnwindSafe(|| each(&mut worker, item))) {
                Ok(result) => result,
                Err(_) => {
                    worker = match make() {
                        Ok(worker) => worker,
                        Err(e) => return fail(e),
                    };
                    broken(item)
                }
            };
            results.lock().expect("no thread panics while it holds the lock")[at] = Some(result);
            progress.inc(1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(run);
        }
    });
    match error.into_inner().expect("no thread panics while it holds the lock") {
        Some(e) => Err(e),
        None => Ok(results
            .into_inner()
            .expect("no thread panics while it holds the lock")
            .into_iter()
            .map(|r| r.expect("every item was taken by a thread that finished it"))
            .collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items_on_any_number_of_threads() {
        let items: Vec<usize> = (0..500).collect();
        for threads in [0, 1, 3, 8] {
            let bar = ProgressBar::hidden();
            let r =
                spread(&items, threads, &bar, || Ok::<_, ()>(()), |(), i| i * 2, |_| 0).unwrap();
            assert!(r.iter().enumerate().all(|(i, v)| *v == i * 2));
            assert_eq!(bar.position(), 500);
        }
        let none: Vec<u8> = vec![];
        assert!(
            spread(&none, 2, &ProgressBar::hidden(), || Ok::<_, ()>(()), |(), _| (), |_| ())
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_piece_that_panics_is_replaced_and_the_rest_is_done_by_a_fresh_worker() {
        let items: Vec<usize> = (0..20).collect();
        let made = AtomicUsize::new(0);
        let make = || Ok::<_, ()>(made.fetch_add(1, Ordering::Relaxed));
        let each =
            |_: &mut usize, i: &usize| if *i == 7 { std::panic::panic_any("hostile") } else { *i };
        let r = spread(&items, 1, &ProgressBar::hidden(), make, each, |_| 99).unwrap();
        assert_eq!((r[7], r[8], made.load(Ordering::Relaxed)), (99, 8, 2));
    }

    #[test]
    fn a_worker_that_cannot_be_made_ends_it_with_its_error() {
        let r = spread(
            &[1, 2, 3],
            2,
            &ProgressBar::hidden(),
            || Err::<(), _>("no model"),
            |(), _| (),
            |_| (),
        );
        assert_eq!(r, Err("no model"));
    }
}

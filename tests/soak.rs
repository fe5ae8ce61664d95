//! What the daemon takes does not grow: resident memory, open files, threads, over frames with
//! faces, links that are lost, and lists that are read again.
//!
//! One minute, or `WATCHPOST_SOAK_SECONDS`. `cargo test --test soak -- --nocapture` prints what was
//! measured. Each sample is taken in the same state: connected, the list just read. The first third
//! of them is not judged, as caches fill; of the others the least of the earlier half is compared
//! with the least of the later half. The least, because an allocator takes a megabyte more for a
//! while and gives it back: what is never given back raises the least too. The halves lie a third
//! of the run apart, so a minute finds what takes a hundred kilobytes a second (a list read again,
//! or ten frames), an hour what takes two.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::desk::{Daemon, Desk, PORTRAITS};
use support::field::Field;
use support::{Link, say};

/// By how much the later samples' least resident memory may exceed the earlier ones', in kB: it
/// moved by up to 1.3 MB within a minute in which nothing grew.
const GROWTH_KB: u64 = 2048;
/// A link that has lasted for so long is tried again soon after it is lost.
const STABLE: Duration = Duration::from_secs(11);
/// Fewest samples that say anything.
const FEWEST: usize = 12;

/// What a process takes.
#[derive(Debug, Clone, Copy)]
struct Taken {
    resident_kb: u64,
    files: u64,
    threads: u64,
}

impl Taken {
    fn by(process: u32) -> Self {
        let folder = format!("/proc/{process}");
        let status = fs::read_to_string(format!("{folder}/status")).expect("it runs");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
            line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
        };
        let files = fs::read_dir(format!("{folder}/fd")).expect("its files").count() as u64;
        Self { resident_kb: number("VmRSS:"), files, threads: number("Threads:") }
    }
}

/// The least of what `of` says of the earlier half and of the later half of the judged samples.
fn least(samples: &[Taken], of: fn(&Taken) -> u64) -> [u64; 2] {
    let judged = &samples[samples.len() / 3..];
    let (earlier, later) = judged.split_at(judged.len() / 2);
    [earlier, later].map(|half| half.iter().map(of).min().expect("samples in each half"))
}

/// A daemon before which people pass endlessly, connected through `link`.
fn passing(field: &Field, link: &Link) {
    for portrait in ["biden-2010.jpg", "obama-2010.jpg"] {
        let to = field.desk.path("pictures").join(portrait);
        fs::copy(format!("{PORTRAITS}/{portrait}"), to).expect("a portrait");
    }
    let file = field.desk.path("watchpost.toml");
    let text = fs::read_to_string(&file).expect("a configuration");
    let text = text
        .replace(&format!("127.0.0.1:{}", field.broker.port), &format!("127.0.0.1:{}", link.port))
        .replace("fps = 0.0\n", "fps = 10.0\n");
    fs::write(&file, text).expect("writes");
}

#[test]
fn memory_open_files_and_threads_do_not_grow_over_faces_lost_links_and_lists_read_again() {
    let seconds = std::env::var("WATCHPOST_SOAK_SECONDS").ok();
    let seconds = seconds.map_or(60, |text| text.parse().expect("a number of seconds"));
    let Some(field) = Field::with("", Desk::list) else { return };
    let link = Link::to(field.broker.port);
    passing(&field, &link);
    link.open();
    let daemon = Daemon::start(&field.desk);
    field.await_online();

    let (begun, mut connected, mut links) = (Instant::now(), Instant::now(), 1);
    let mut samples = Vec::new();
    while begun.elapsed() < Duration::from_secs(seconds) || samples.len() < FEWEST {
        if connected.elapsed() > STABLE {
            links += 1;
            link.cut();
            link.open();
            field.await_("stats", "the next link", |s| {
                s["counts"]["delivery.connections"].as_u64() >= Some(links)
            });
            connected = Instant::now();
        }
        field.forget();
        daemon.hang_up();
        field.await_("watchlist/state", "the list", |s| s["last_change"]["what"] == "reloaded");
        // A second of faces, too.
        let stats = field.await_("stats", "a second", |_| true);
        assert!(stats["counts"]["pipeline.vision.embedded"].as_u64() > Some(0), "{stats}");
        samples.push(Taken::by(daemon.id()));
    }

    let [resident, files, threads] = [
        least(&samples, |taken| taken.resident_kb),
        least(&samples, |taken| taken.files),
        least(&samples, |taken| taken.threads),
    ];
    say(&format!(
        "soak: {} samples in {} s over {links} links; earlier and later: {resident:?} kB, {files:?} \
         files, {threads:?} threads",
        samples.len(),
        begun.elapsed().as_secs()
    ));
    assert!(resident[1] <= resident[0] + GROWTH_KB, "{resident:?} kB: {samples:?}");
    assert_eq!(files[0], files[1], "{samples:?}");
    assert_eq!(threads[0], threads[1], "{samples:?}");
    assert!(daemon.terminate().success());
}

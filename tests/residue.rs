//! What is left of passers-by whom the real daemon has seen: nothing.
//!
//! * A person who is on no list walks past a camera, which gives JPEG, YUYV or NV12. A few frames
//!   later the daemon's memory, the stacks of its threads among it, is searched for pieces of the
//!   camera's picture as it came, of its decoded rows, of the aligned face and the crop that is
//!   made of it, of the embedding, whatever its scale, of the template, and for the place of the
//!   face and of its landmarks. While the person is followed the embedding and the box must be
//!   found, or the search would prove nothing.
//! * Strangers walk past alone and beside a listed person, while everything is logged that can be.
//!   Then all that the daemon wrote, logged, sent and gives as figures is searched as well. The
//!   listed person must be found there.
//! * Whatever is planted is found: each kind by itself in the memory of a process that holds
//!   nothing else, and all of it in a text. `tests/independent/leaks.py` makes the daemon itself
//!   keep one kind after the other, and sees these tests fail.
//!
//! Not looked at: what the kernel holds of a pipe or a camera's buffers, and registers.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use image::ImageEncoder;
use serde_json::Value;
use support::desk::{Daemon, Desk, PORTRAITS, ok};
use support::memory::memory;
use support::traces::{Shot, Traces, Written, files_written_by};
use support::{Mosquitto, Subscriber, free_port, metrics, say, wait_for};
use watchpost::frame::PixelFormat;

/// Frames after which nothing of a picture may be left: one is looked at, one waits, one is on its
/// way.
const FRAMES: usize = 3;

fn blank() -> Vec<u8> {
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 60)
        .write_image(&[10; 160 * 120 * 3], 160, 120, image::ExtendedColorType::Rgb8)
        .expect("a picture");
    jpeg
}

/// The latest counts that the daemon has published.
struct Counts<'a> {
    listener: &'a Subscriber,
    latest: Value,
}

impl Counts<'_> {
    fn of(&mut self, name: &str) -> u64 {
        for message in self.listener.so_far() {
            if message.topic.ends_with(b"/stats") {
                self.latest = serde_json::from_slice(&message.payload).expect("JSON");
            }
        }
        self.latest["data"]["counts"][name].as_u64().unwrap_or(0)
    }

    fn reach(&mut self, name: &str, least: u64) {
        wait_for(&format!("{name} to reach {least}"), || (self.of(name) >= least).then_some(()));
    }
}

fn portrait(name: &str) -> Vec<u8> {
    std::fs::read(format!("{PORTRAITS}/{name}.jpg")).expect("a bundled portrait")
}

/// Two portraits side by side, as one picture of a camera.
fn both(left: &str, right: &str) -> Vec<u8> {
    let [left, right] = [left, right]
        .map(|name| image::load_from_memory(&portrait(name)).expect("a picture").to_rgb8());
    let (width, height) = (left.width() + right.width(), left.height().max(right.height()));
    let mut whole = image::RgbImage::from_pixel(width, height, image::Rgb([10; 3]));
    image::imageops::replace(&mut whole, &left, 0, 0);
    image::imageops::replace(&mut whole, &right, left.width().into(), 0);
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 92)
        .encode_image(&whole)
        .expect("a picture");
    jpeg
}

/// Has the desk's daemon read JPEG pictures from the pipe whose path is returned. `more` are
/// further sections.
fn camera(desk: &Desk, port: u16, more: &str) -> std::path::PathBuf {
    camera_of(desk, port, more, "format = \"mjpeg\"\n")
}

/// The same, of pictures as `format` says, which are settings of the pipe.
fn camera_of(desk: &Desk, port: u16, more: &str, format: &str) -> std::path::PathBuf {
    let fifo = desk.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().is_ok_and(|s| s.success()));
    desk.configure(port, "");
    let file = desk.path("watchpost.toml");
    let text = std::fs::read_to_string(&file).expect("text");
    let (rest, _) = text.split_once("[source]").expect("a source");
    let text = format!(
        "{}{more}[source]\nkind = \"pipe\"\n[source.pipe]\npath = \"{}\"\n{format}",
        rest.replace("[broker]\n", "[broker]\nstats_interval_s = 1\n"),
        fifo.display()
    );
    std::fs::write(&file, text).expect("writes");
    fifo
}

/// Whether the memory of other processes may be read; with `CI=true` it must be.
fn reads_memory(daemon: &Daemon) -> bool {
    let readable = memory(daemon.id()).is_some();
    assert!(
        readable || std::env::var_os("CI").is_none_or(|v| v != "true"),
        "CI=true and the daemon's memory cannot be read: run the tests as root"
    );
    if !readable {
        say("residue: the daemon's memory was NOT searched: reading it takes root.");
    }
    readable
}

#[test]
fn nothing_of_a_passer_by_is_left_in_memory_a_few_frames_later() {
    let shot = Shot::jpeg(&portrait("collins"));
    a_passer_by(&shot, Some(&blank()), "format = \"mjpeg\"\n");
}

#[test]
fn nothing_of_a_passer_by_is_left_in_memory_once_the_camera_is_silent() {
    let shot = Shot::jpeg(&portrait("collins"));
    a_passer_by(&shot, None, "format = \"mjpeg\"\n");
}

#[test]
fn nothing_of_a_passer_by_is_left_where_the_camera_gives_raw_samples() {
    let picture = image::load_from_memory(&portrait("collins")).expect("a picture").to_rgb8();
    let (width, height) = picture.dimensions();
    let nobody = image::RgbImage::from_pixel(width, height, image::Rgb([10; 3]));
    for format in [PixelFormat::Yuyv, PixelFormat::Nv12] {
        let [shot, nobody] = [&picture, &nobody].map(|picture| Shot::raw(format, picture));
        let name = format.name();
        let settings =
            format!("format = \"{name}\"\nwidth = {width}\nheight = {height}\nrange = \"full\"\n");
        a_passer_by(&shot, Some(&nobody.bytes), &settings);
    }
}

/// Says to a process of this test that it is to hold what it is given.
const HOLDS: &str = "WATCHPOST_TEST_HOLDS";

/// A process that holds some bytes, and ends when this goes.
struct Holder(Child);

impl Holder {
    fn of(bytes: &[u8]) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["--exact", "a_process_holds_what_it_is_given", "--nocapture"])
            .env(HOLDS, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs again");
        child.stdin.take().expect("a pipe").write_all(bytes).expect("it reads");
        let mut said = child.stdout.take().expect("a pipe");
        let mut word = Vec::new();
        while !word.ends_with(b"held") {
            let mut byte = [0];
            said.read_exact(&mut byte).expect("it says so");
            word.push(byte[0]);
        }
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_holds_what_it_is_given() {
    if std::env::var_os(HOLDS).is_none() {
        return;
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).expect("a pipe");
    std::hint::black_box(&bytes);
    std::io::stdout().write_all(b"held").and_then(|()| std::io::stdout().flush()).expect("a pipe");
    loop {
        std::thread::park();
    }
}

#[test]
fn each_kind_is_found_in_the_memory_of_a_process_that_holds_it_and_of_no_other() {
    let picture = image::load_from_memory(&portrait("collins")).expect("a picture").to_rgb8();
    let found_in = |traces: &Traces, bytes: &[u8]| {
        let holder = Holder::of(bytes);
        let found = traces.found(&memory(holder.0.id()).expect("a process of this test"));
        found.into_keys().collect::<Vec<_>>()
    };
    let jpeg = Traces::of_each(&both("obama-2010", "collins")).pop().expect("the right one");
    let raw = Traces::of_shot(&Shot::raw(PixelFormat::Yuyv, &picture)).pop().expect("one");
    for (traces, only) in [(jpeg, None), (raw, Some("row of samples"))] {
        assert!(found_in(&traces, b"nothing").is_empty());
        let mut planted = traces.planted_alone();
        planted.retain(|(what, _)| only.is_none_or(|only| only == *what));
        assert!(!planted.is_empty());
        for (what, bytes) in planted {
            assert_eq!(found_in(&traces, &bytes), [what]);
        }
    }
}

/// Shows `stranger` to the daemon, then `nobody` or no picture at all, and searches its memory for
/// what is left.
fn a_passer_by(stranger: &Shot, nobody: Option<&[u8]>, format: &str) {
    let Some(broker) = Mosquitto::running() else { return };
    let desk = Desk::new();
    desk.list();
    let fifo = camera_of(&desk, broker.port, "", format);
    let traces = Traces::of_shot(stranger).pop().expect("one face that passes the gate");

    let listener = Subscriber::new(broker.port, "site/#");
    let mut counts = Counts { listener: &listener, latest: Value::Null };
    let daemon = Daemon::start(&desk);
    let mut camera = File::options().write(true).open(&fifo).expect("the daemon opens it");
    let shown = AtomicBool::new(false);
    if !reads_memory(&daemon) {
        return;
    }
    let (while_followed, written) = std::thread::scope(|s| {
        let camera = &mut camera;
        let feeding = s.spawn(|| {
            let mut written = 0;
            while !shown.load(Ordering::SeqCst) {
                camera.write_all(&stranger.bytes).expect("the daemon reads");
                written += 1;
                std::thread::park_timeout(Duration::from_millis(100));
            }
            written
        });
        counts.reach("pipeline.decision.compared", 2);
        let while_followed = traces.found(&memory(daemon.id()).expect("as before"));
        shown.store(true, Ordering::SeqCst);
        (while_followed, feeding.join().expect("no panic"))
    });
    for kind in ["embedding", "box"] {
        assert!(while_followed.contains_key(kind), "found while it is used: {while_followed:?}");
    }

    let after = nobody.map_or(0, |_| FRAMES);
    for nobody in nobody.iter().cycle().take(after) {
        camera.write_all(nobody).expect("the daemon reads");
    }
    counts.reach("source.frames", written + after as u64);
    // The track ends, though no frame comes any more.
    let left = wait_for("the track to end, and its embedding with it", || {
        let left = traces.found(&memory(daemon.id()).expect("as before"));
        (!left.contains_key("embedding")).then_some(left)
    });
    assert!(left.is_empty(), "{left:?}");
}

/// A count of the daemon in its metrics.
fn counted(port: u16, sample: &str) -> u64 {
    let text = metrics(port).unwrap_or_default();
    let value = text.lines().find_map(|l| l.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or(0)
}

/// Shows a picture until so many more faces were compared.
fn show(camera: &mut File, picture: &[u8], port: u16, more: u64) {
    const COMPARED: &str = "watchpost_pipeline_total{what=\"decision.compared\"}";
    let least = counted(port, COMPARED) + more;
    wait_for("faces to be compared", || {
        camera.write_all(picture).expect("the daemon reads");
        std::thread::park_timeout(Duration::from_millis(100));
        (counted(port, COMPARED) >= least).then_some(())
    });
}

/// Each regular file below `folder`.
fn written_below(folder: &Path, into: &mut Vec<(String, Written)>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            written_below(&path, into);
        } else if path.is_file() {
            let bytes = std::fs::read(&path).expect("a file of this test");
            into.push((path.display().to_string(), Written::new(&bytes)));
        }
    }
}

/// Everything that a subscriber to everything got.
fn written_on_the_wire(listener: &Subscriber, into: &mut Vec<(String, Written)>) {
    for message in listener.so_far() {
        let properties = format!("{:?}", message.properties);
        let parts = [&message.topic[..], b"\n", &message.payload, b"\n", properties.as_bytes()];
        let topic = String::from_utf8_lossy(&message.topic).into_owned();
        into.push((topic, Written::new(&parts.concat())));
    }
}

/// Shows nobody, until the buffers of frames were used again.
fn show_nobody(camera: &mut File, port: u16) {
    const LOOKED_AT: &str = "watchpost_pipeline_total{what=\"frames\"}";
    let least = counted(port, LOOKED_AT) + FRAMES as u64;
    wait_for("empty frames to be looked at", || {
        camera.write_all(&blank()).expect("the daemon reads");
        std::thread::park_timeout(Duration::from_millis(50));
        (counted(port, LOOKED_AT) >= least).then_some(())
    });
}

/// What is searched for in what was written, in the order of the alphabet.
const WRITTEN_KINDS: [&str; 15] = [
    "aligned face",
    "box",
    "box in decimals",
    "box in whole numbers",
    "crop",
    "decoded row",
    "embedding",
    "embedding in decimals",
    "input of the embedder",
    "int8 embedding",
    "int8 embedding in decimals",
    "jpeg",
    "landmarks",
    "picture of the face",
    "row of luma",
];

#[test]
fn nothing_of_strangers_is_written_logged_sent_counted_or_kept_whatever_is_logged() {
    let Some(mut broker) = Mosquitto::installed() else { return };
    broker.start_persistent("allow_anonymous true\n");
    let desk = Desk::new();
    desk.list();
    ok(&["key", "identity", &desk.arg("identity.key")]);
    let port = free_port();
    let more = format!(
        "[audit]\nidentity = \"{}\"\nlog = \"{}\"\n[metrics]\nlisten = \"127.0.0.1:{port}\"\n",
        desk.arg("identity.key"),
        desk.arg("audit")
    );
    let fifo = camera(&desk, broker.port, &more);
    let together = both("obama-2010", "hopper");
    let mut of_both = Traces::of_each(&together);
    assert_eq!(of_both.len(), 2, "two faces in one picture");
    let beside = of_both.pop().expect("the right one");
    let listed = of_both.pop().expect("the left one");
    let alone = ["collins", "biden-2010"].map(portrait);
    let strangers: Vec<Traces> =
        alone.iter().map(|jpeg| Traces::of(jpeg)).chain([beside]).collect();
    for (picture, traces) in alone.iter().chain([&together]).zip(&strangers) {
        let found = traces.found_in(&Written::new(&traces.planted(picture)));
        let kinds: Vec<_> = found.keys().copied().collect();
        assert_eq!(kinds, WRITTEN_KINDS, "what is planted is found");
    }

    let listener = Subscriber::new(broker.port, "#");
    let daemon = Daemon::start_with(&desk, &[("WATCHPOST_LOG", "trace")]);
    if !reads_memory(&daemon) {
        return;
    }
    let mut camera = File::options().write(true).open(&fifo).expect("the daemon opens it");
    let mut wire = Vec::new();
    for picture in &alone {
        show(&mut camera, picture, port, 4);
        show_nobody(&mut camera, port);
    }
    wait_for("a candidate of the listed person", || {
        show(&mut camera, &together, port, 1);
        written_on_the_wire(&listener, &mut wire);
        wire.iter().any(|(topic, _)| topic == "site/v1/gate-1/candidate").then_some(())
    });
    show_nobody(&mut camera, port);

    let left = |traces: &Traces| traces.found(&memory(daemon.id()).expect("as before"));
    for stranger in &strangers {
        let left = wait_for("the tracks to end, and their embeddings with them", || {
            Some(left(stranger)).filter(|left| !left.contains_key("embedding"))
        });
        assert!(left.is_empty(), "in memory: {left:?}");
    }
    for file in files_written_by(daemon.id()) {
        let known = [desk.path(""), broker.path("")];
        assert!(known.iter().any(|folder| file.starts_with(folder)), "{}", file.display());
    }
    let mut all =
        vec![("metrics".to_owned(), Written::new(metrics(port).expect("given").as_bytes()))];
    written_below(&desk.path(""), &mut all);
    assert!(daemon.terminate().success());
    broker.stop();
    written_on_the_wire(&listener, &mut wire);
    written_below(&desk.path(""), &mut all);
    written_below(&broker.path(""), &mut all);

    let of_listed = |kind: &str| wire.iter().any(|(_, w)| listed.found_in(w).contains_key(kind));
    for kind in ["box in decimals", "picture of the face"] {
        assert!(of_listed(kind), "the candidate has the listed person's {kind}");
    }
    let log = all.iter().find(|(name, _)| *name == desk.arg("log")).expect("a log");
    assert!(log.1.mentions(" DEBUG "), "all is logged that is written at any level");
    let audited = |(_, w): &(String, Written)| w.mentions("watchpost audit log v1");
    assert!(all.iter().any(audited), "an audit log is kept");
    for (place, written) in all.iter().chain(&wire) {
        for stranger in &strangers {
            let found = stranger.found_in(written);
            assert!(found.is_empty(), "{place}: {found:?}");
        }
        for picture in &written.pictures {
            assert!(listed.shows(picture), "{place}: a picture of somebody else");
        }
    }
}

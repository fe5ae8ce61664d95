//! What is left of passers-by whom the real daemon has seen: nothing.
//!
//! * A person who is on no list walks past a camera, which gives JPEG, YUYV or NV12. A few frames
//!   later the daemon's memory is searched for pieces of the camera's picture as it came, of its
//!   decoded rows, of the aligned face, and of the embedding, whatever its scale. While the person
//!   is followed the embedding must be found, or the search would prove nothing.
//! * Strangers walk past alone and beside a listed person, while everything is logged that can be.
//!   Then all that the daemon wrote, logged, sent and gives as figures is searched as well, also
//!   for the place of a face in the picture. The listed person must be found there, and so must
//!   whatever is planted.
//!
//! Not looked at: what the kernel holds of a pipe or a camera's buffers.

mod support;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
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
    a_passer_by(&shot, &blank(), "format = \"mjpeg\"\n", 7);
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
        a_passer_by(&shot, &nobody.bytes, &settings, 5);
    }
}

/// Shows `stranger` to the daemon, then `nobody`, and searches its memory for `kinds` kinds of
/// traces.
fn a_passer_by(stranger: &Shot, nobody: &[u8], format: &str, kinds: usize) {
    let Some(broker) = Mosquitto::running() else { return };
    let desk = Desk::new();
    desk.list();
    let fifo = camera_of(&desk, broker.port, "", format);
    let traces = Traces::of_shot(stranger).pop().expect("one face that passes the gate");
    let own = memory(std::process::id()).expect("a process may read itself");
    let known = traces.found(&own);
    assert_eq!(known.len(), kinds, "each is found where it is: {known:?}");
    drop(own);

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
    assert!(while_followed.contains_key("embedding"), "found while it is used: {while_followed:?}");

    for _ in 0..FRAMES {
        camera.write_all(nobody).expect("the daemon reads");
    }
    counts.reach("source.frames", written + FRAMES as u64);
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
const WRITTEN_KINDS: [&str; 11] = [
    "aligned face",
    "box",
    "decoded row",
    "embedding",
    "embedding in decimals",
    "input of the embedder",
    "int8 embedding",
    "int8 embedding in decimals",
    "jpeg",
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
    for kind in ["box", "picture of the face"] {
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

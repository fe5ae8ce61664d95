use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use time::OffsetDateTime;

use super::*;
use crate::daemon::stop::Reason;

fn stats() -> Stats {
    Stats {
        since: OffsetDateTime::from_unix_timestamp(1_795_000_000).expect("a date"),
        counts: [
            ("source.frames", 7),
            ("source.missed", 0),
            ("source.short", 1),
            ("pipeline.vision.tracks", 3),
        ]
        .map(|(name, n)| (name.to_owned(), n))
        .into(),
        drops: [("pipeline.vision.too_poor.blurred".to_owned(), 2)].into(),
        gauges: [
            ("delivery.outbox_events".to_owned(), 4.0),
            ("delivery.outbox_oldest_seconds".to_owned(), 12.0),
            ("board.temperature_celsius".to_owned(), 48.5),
            ("board.temperature_celsius.cpu_thermal".to_owned(), 48.5),
        ]
        .into(),
    }
}

#[test]
fn the_text_has_every_figure_once_with_its_type_and_ends_as_open_metrics_asks() {
    let text = render(&stats());
    for line in [
        "# TYPE watchpost_source counter",
        "watchpost_source_total{what=\"frames\"} 7",
        "watchpost_pipeline_total{what=\"vision.tracks\"} 3",
        "watchpost_dropped_total{reason=\"pipeline.vision.too_poor.blurred\"} 2",
        "# TYPE watchpost_delivery_outbox_events gauge",
        "watchpost_delivery_outbox_events 4.0",
        "# UNIT watchpost_delivery_outbox_oldest_seconds seconds",
        "watchpost_delivery_outbox_oldest_seconds 12.0",
        "watchpost_board_temperature_celsius{zone=\"cpu_thermal\"} 48.5",
    ] {
        assert_eq!(text.lines().filter(|l| *l == line).count(), 1, "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(text, render(&stats()));
}

/// The rules of OpenMetrics 1.0 that a parser trips over, by hand.
#[test]
fn the_text_keeps_the_rules_of_the_format() {
    let text = render(&stats());
    let mut family = String::new();
    let mut seen = std::collections::BTreeSet::new();
    for line in text.lines().take_while(|l| *l != "# EOF") {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (keyword, name) = (words.next().expect("a keyword"), words.next().expect("a name"));
            assert!(["HELP", "TYPE", "UNIT"].contains(&keyword), "{line}");
            if name != family {
                assert!(seen.insert(name.to_owned()), "the lines of {name} stand together");
                family = name.to_owned();
            }
            if keyword == "UNIT" {
                let unit = words.next().expect("a unit");
                assert!(name.ends_with(&format!("_{unit}")), "{line}");
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect("a sample has a value");
        value.parse::<f64>().expect("a number");
        let name = sample.split('{').next().expect("a name");
        assert!(name == family || name == format!("{family}_total"), "{line} belongs to {family}");
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{line}");
    }
}

/// Serves until dropped.
struct Running {
    stop: Arc<Stop>,
    thread: Option<std::thread::JoinHandle<()>>,
    address: Option<SocketAddr>,
}

impl Running {
    fn on(listen: &str) -> Self {
        let config = MetricsConfig { listen: listen.to_owned(), ..MetricsConfig::default() };
        let server = Server::bind(&config).expect("it is free").expect("it is asked for");
        let address = server.address();
        let stop = Arc::new(Stop::default());
        let asked = stop.clone();
        let thread = Some(std::thread::spawn(move || server.serve(&asked, stats)));
        Self { stop, thread, address }
    }

    fn ask(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address.expect("TCP")).expect("it listens");
        stream.write_all(request).expect("it reads");
        let mut answer = String::new();
        // What is not read of an overlong request ends the connection with a reset, after the
        // answer.
        let _ = stream.read_to_string(&mut answer);
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.request(Reason::Signal);
        self.thread.take().expect("taken here only").join().expect("it does not panic");
    }
}

#[test]
fn a_get_of_the_metrics_is_answered_and_nothing_else() {
    let server = Running::on("127.0.0.1:0");
    let answer = server.ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains(OPEN_METRICS), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    assert_eq!(body, render(&stats()));
    assert!(server.ask(b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(server.ask(b"POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(server.ask(b"\x16\x03\x01\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(server.ask(&[b'x'; MAX_REQUEST]).starts_with("HTTP/1.1 431 "));
    assert!(server.ask(b"GET /metrics?x=y HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

#[test]
fn readers_that_say_nothing_keep_nobody_waiting() {
    let server = Running::on("127.0.0.1:0");
    let address = server.address.expect("TCP");
    let silent: Vec<_> =
        (0..MOST).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    let began = Instant::now();
    for _ in 0..3 {
        assert!(server.ask(b"GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
    }
    // One after the other they would have had their time each.
    assert!(began.elapsed() < TIMEOUT * MOST as u32 / 2, "{:?}", began.elapsed());
    drop(silent);
}

#[test]
fn a_place_that_cannot_be_had_ends_nothing_and_is_had_as_soon_as_it_is_free() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("missing/metrics");
    let config =
        MetricsConfig { listen: format!("unix:{}", path.display()), ..MetricsConfig::default() };
    let stop = Stop::default();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let given = scope.spawn(|| give(&config, &stop, stats, |problem| drop(tell.send(problem))));
        let problem = told.recv().expect("told").expect("a problem");
        assert!(problem.contains("metrics.listen"), "{problem}");
        std::fs::create_dir(path.parent().expect("a folder")).expect("writable");
        while told.recv().expect("told").is_some() {}
        assert!(UnixStream::connect(&path).is_ok());
        stop.request(Reason::Signal);
        given.join().expect("it does not panic");
    });
}

#[test]
fn a_unix_socket_is_made_for_owner_and_group_replaces_a_dead_one_and_goes_with_the_server() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("metrics");
    drop(UnixListener::bind(&path).expect("a socket that nobody listens to any more"));
    let server = Running::on(&format!("unix:{}", path.display()));
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o660);
    let mut stream = UnixStream::connect(&path).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.ends_with("# EOF\n"));
    let taken =
        MetricsConfig { listen: format!("unix:{}", path.display()), ..MetricsConfig::default() };
    assert!(Server::bind(&taken).is_err(), "one that answers is not replaced");
    drop(server);
    assert!(!path.exists());
    std::fs::write(&path, "mine").expect("writable");
    assert!(Server::bind(&taken).is_err(), "a file is not replaced");
}

#[test]
fn other_machines_read_it_only_where_that_is_said_in_so_many_words() {
    let problems = |listen: &str, beyond_loopback: bool| {
        let mut out = Vec::new();
        MetricsConfig { listen: listen.to_owned(), beyond_loopback }.problems(&mut out);
        out.len()
    };
    for good in ["", "127.0.0.1:9464", "[::1]:9464", "unix:/run/watchpost/metrics"] {
        assert_eq!(problems(good, false), 0, "{good}");
    }
    for bad in ["0.0.0.0:9464", "9464", "localhost:9464", "unix:metrics", "http://127.0.0.1:9464"] {
        assert_eq!(problems(bad, false), 1, "{bad}");
    }
    assert_eq!(problems("0.0.0.0:9464", true), 0);
    assert!(Server::bind(&MetricsConfig::default()).expect("nothing to do").is_none());
}

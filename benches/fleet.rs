//! A fleet on one machine: many devices with real sockets and disk outboxes against a real broker
//! that goes down again and again. All candidates must arrive, each device's in order.
//!
//! `cargo bench --bench fleet -- [mosquitto|ejabberd] [DEVICES] [OUTAGES]`; 1,000 devices and 3
//! outages where nothing is said. Each device is a delivery of its own with its thread; half of its
//! candidates are decided while the broker is there, half while it is not. Needs the Debian package
//! of the broker, and some 8 descriptors a device.
#![allow(clippy::print_stdout, reason = "its output is the result")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Link, Subscriber};
use watchpost::clock::Clock;
use watchpost::delivery::event::{CloudEvent, EventId};
use watchpost::delivery::{self, BrokerConfig, Delivery, DeviceId};

/// Candidates that a device decides in each phase.
const CANDIDATES: u64 = 5;
/// How long everything of one phase may take to arrive: devices wait up to a minute between two
/// attempts.
const PATIENCE: Duration = Duration::from_secs(180);

/// A broker as its package brings it, in a folder of its own.
struct Broker {
    name: &'static str,
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Broker {
    fn new(name: &str) -> Self {
        let name = match name {
            "mosquitto" => "mosquitto",
            "ejabberd" => "ejabberd",
            other => panic!("{other} is neither mosquitto nor ejabberd"),
        };
        let folder =
            tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        Self { name, folder, port: support::free_port(), child: None }
    }

    /// The user's name: ejabberd knows users of a host only.
    fn user(&self, name: &str) -> String {
        if self.name == "ejabberd" { format!("{name}@localhost") } else { String::new() }
    }

    fn start(&mut self) {
        let mut command = match self.name {
            "mosquitto" => self.mosquitto(),
            _ => self.ejabberd(),
        };
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a new file");
        self.child = Some(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("it is installed"),
        );
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "{} does not listen", self.name);
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn mosquitto(&self) -> Command {
        let file = self.folder.path().join("mosquitto.conf");
        let user = if is_root() { "user root\n" } else { "" };
        let text = format!(
            "{user}listener {} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages \
             0\nmax_queued_messages 0\n",
            self.port
        );
        std::fs::write(&file, text).expect("a new file");
        let mut command =
            Command::new(support::find_mosquitto().expect("the Debian package mosquitto"));
        command.arg("-c").arg(file);
        command
    }

    /// Without its `ejabberdctl`, which changes to a user of its own.
    fn ejabberd(&self) -> Command {
        let at = |name: &str| self.folder.path().join(name);
        let text = format!(
            "hosts: [localhost]\nloglevel: warning\nauth_method: anonymous\nanonymous_protocol: \
             login_anon\nallow_multiple_connections: true\nlisten:\n  -\n    port: {}\n    \
             ip: \"127.0.0.1\"\n    module: mod_mqtt\n    backlog: 4096\n    max_payload_size: \
             262144\nmodules:\n  mod_mqtt:\n    max_queue: infinity\n    queue_type: ram\n",
            self.port
        );
        std::fs::write(at("ejabberd.yml"), text).expect("a new file");
        let mut command = Command::new("erl");
        let spool = format!("\"{}\"", at("spool").display());
        command
            .args([
                "-noinput", "-mnesia", "dir", &spool, "-s", "ejabberd", "+P", "250000", "+Q",
                "65536",
            ])
            .env("EJABBERD_CONFIG_PATH", at("ejabberd.yml"))
            .env("EJABBERD_LOG_PATH", at("ejabberd.log"))
            .env("HOME", self.folder.path())
            .env("ERL_LIBS", erlang_libraries())
            .env("ERL_CRASH_DUMP", "/dev/null")
            .current_dir(self.folder.path());
        command
    }

    /// SIGKILL.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian's folder of Erlang applications for this architecture.
fn erlang_libraries() -> PathBuf {
    let found =
        std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|e| e.path()).find(
            |path| {
                std::fs::read_dir(path).into_iter().flatten().flatten().any(|e| {
                    e.file_name().to_string_lossy().starts_with("ejabberd-")
                        && e.path().join("ebin").is_dir()
                })
            },
        );
    found.expect("the Debian package ejabberd")
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"))
}

fn device(broker: &Broker, port: u16, folder: &Path, number: usize) -> Delivery {
    let id = DeviceId::new(&format!("cam-{number}")).expect("plain");
    let password = folder.join("password");
    std::fs::write(&password, "any\n").expect("writable");
    let username = broker.user(id.as_str());
    let config = BrokerConfig {
        url: format!("mqtt://127.0.0.1:{port}"),
        root: "fleet".to_owned(),
        password_file: (!username.is_empty()).then_some(password),
        username,
        outbox: Some(folder.join(id.as_str())),
        outbox_events: 256,
        ..BrokerConfig::default()
    };
    let store = delivery::store(&config).expect("nobody else has the folder");
    Delivery::start_with(&config, &id, support::event::status(), Clock::default(), store)
        .expect("a good configuration")
}

/// What each device has decided and what of it has arrived.
#[derive(Default)]
struct Book {
    decided: HashMap<String, Vec<EventId>>,
    arrived: HashMap<String, Vec<EventId>>,
    seen: std::collections::HashSet<EventId>,
    repetitions: u64,
    owed: usize,
}

impl Book {
    fn decide(&mut self, devices: &[Delivery], first: u64) {
        for n in first..first + CANDIDATES {
            for (number, device) in devices.iter().enumerate() {
                let mut candidate = support::event::candidate(n, 0);
                candidate.crop = None;
                let id = device
                    .publish_candidate(candidate, Clock::default().now())
                    .expect("there is room");
                self.decided.entry(format!("cam-{number}")).or_default().push(id);
                self.owed += 1;
            }
        }
    }

    fn hear(&mut self, payload: &[u8]) {
        let event: CloudEvent<serde_json::Value> =
            serde_json::from_slice(payload).expect("an event");
        if self.seen.insert(event.id) {
            self.arrived.entry(event.source).or_default().push(event.id);
        } else {
            self.repetitions += 1;
        }
    }

    fn await_all(&mut self, subscriber: &Subscriber, devices: &[Delivery], what: &str) {
        let began = Instant::now();
        while self.seen.len() < self.owed {
            let more = subscriber.so_far();
            more.iter().for_each(|m| self.hear(&m.payload));
            if more.is_empty() {
                assert!(
                    began.elapsed() < PATIENCE,
                    "{what}: {} of {} arrived; the first device: {:?}",
                    self.seen.len(),
                    self.owed,
                    devices[0].snapshot()
                );
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
        println!(
            "{what}: all {} arrived, after {:.1} s.",
            self.owed,
            began.elapsed().as_secs_f64()
        );
    }
}

fn main() {
    // `cargo bench` appends `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if std::env::var_os("WATCHPOST_FLEET").is_none() {
        // A shell raises the bound of descriptors, for the broker as well.
        let status = Command::new("sh")
            .args([
                "-c",
                "ulimit -n \"$(ulimit -Hn)\" 2>/dev/null || ulimit -n 65536 2>/dev/null; \
                exec \"$0\" \"$@\"",
            ])
            .arg(std::env::current_exe().expect("this program"))
            .args(&arguments)
            .env("WATCHPOST_FLEET", "1")
            .status()
            .expect("a shell");
        std::process::exit(status.code().unwrap_or(1));
    }
    let argument =
        |n: usize, default: &str| arguments.get(n).map_or(default, String::as_str).to_owned();
    let (devices, outages): (usize, u64) = (
        argument(1, "1000").parse().expect("a number of devices"),
        argument(2, "3").parse().expect("a number of outages"),
    );
    let mut broker = Broker::new(&argument(0, "mosquitto"));
    broker.start();
    let link = Link::to(broker.port);
    let user = broker.user("reader");
    let subscriber = Subscriber::with(broker.port, "fleet/v1/+/candidate", |o| {
        if !user.is_empty() {
            o.set_credentials(&user, "any");
        }
    });
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let began = Instant::now();
    link.open();
    let fleet: Vec<Delivery> =
        (0..devices).map(|n| device(&broker, link.port, folder.path(), n)).collect();
    let connected = || fleet.iter().filter(|d| d.snapshot().connected).count();
    while connected() < devices {
        assert!(
            began.elapsed() < PATIENCE,
            "{} of {devices} connected: {:?}",
            connected(),
            fleet[0].snapshot()
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
    println!(
        "{devices} devices connected to {} in {:.1} s.",
        broker.name,
        began.elapsed().as_secs_f64()
    );
    let mut book = Book::default();
    let mut number = 0;
    for outage in 1..=outages {
        book.decide(&fleet, number);
        book.await_all(&subscriber, &fleet, &format!("before outage {outage}"));
        broker.kill();
        link.cut();
        book.decide(&fleet, number + CANDIDATES);
        broker.start();
        subscriber.ready();
        link.open();
        book.await_all(&subscriber, &fleet, &format!("after outage {outage}"));
        number += 2 * CANDIDATES;
    }
    for (device, decided) in &book.decided {
        assert_eq!(book.arrived.get(device), Some(decided), "{device}: everything, in order");
    }
    let mut refusals = 0;
    let mut unheard = 0;
    for device in &fleet {
        let snapshot = device.snapshot();
        refusals += snapshot.outbox.refusals;
        unheard += snapshot.outbox.unheard;
    }
    println!(
        "{}: {devices} devices, {outages} kills of the broker, {} candidates decided, {} arrived, \
         0 lost, 0 out of order, {} repetitions, {refusals} refusals, {unheard} met nobody.",
        broker.name,
        book.owed,
        book.seen.len(),
        book.repetitions
    );
    // Each would wait for `stopped`; here the fleet just goes.
    drop(fleet);
}

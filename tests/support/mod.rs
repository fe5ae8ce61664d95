//! Counterparts of delivery: real brokers on free loopback ports, a subscriber, and a link that can
//! be cut.
//!
//! Waiting is always for a condition, with a deadline that only a failing test reaches.

#![allow(dead_code)]

pub mod authority;
pub mod desk;
pub mod disk;
pub mod event;
pub mod field;
#[cfg(feature = "desk")]
pub mod listener;
pub mod manifests;
pub mod memory;
pub mod people;
pub mod places;
#[cfg(feature = "desk")]
pub mod receiving;
pub mod reviewed;
pub mod traces;
pub mod trials;
pub mod wire;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{Client, Event, MqttOptions};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives something.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A line that the test harness does not swallow.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A port that nobody has at this moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    listener.local_addr().expect("it is bound").port()
}

/// The daemon's figures as a monitoring system reads them.
pub fn metrics(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

fn wait_for_port(port: u16) {
    wait_for("the broker to listen", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
}

pub fn find_mosquitto() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(extra).map(|d| d.join("mosquitto")).find(|p| p.is_file())
}

/// A real mosquitto with its own directory. Killed when dropped.
pub struct Mosquitto {
    program: PathBuf,
    pub directory: tempfile::TempDir,
    pub port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    /// `None` where it is not installed, which is a failure with `CI=true`.
    pub fn installed() -> Option<Self> {
        static SAID: Once = Once::new();
        let Some(program) = find_mosquitto() else {
            assert!(
                std::env::var_os("CI").is_none_or(|v| v != "true"),
                "CI=true and no mosquitto: install the Debian package mosquitto"
            );
            SAID.call_once(|| {
                say("delivery: no mosquitto installed; its promises were NOT checked against one.")
            });
            return None;
        };
        SAID.call_once(|| say(&format!("delivery: checked against {}.", program.display())));
        let directory = tempfile::tempdir().expect("a temporary directory");
        Some(Self { program, directory, port: free_port(), child: None })
    }

    /// Installed and running with anonymous clients and no persistence.
    pub fn running() -> Option<Self> {
        let mut broker = Self::installed()?;
        broker.start("allow_anonymous true\n");
        Some(broker)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("the temporary directory is writable");
        path
    }

    /// Starts on the same port each time. `settings` follow the listener. An `openssl.cnf` in the
    /// directory is its library's.
    pub fn start(&mut self, settings: &str) {
        let user = if is_root() { "user root\n" } else { "" };
        let text = format!("{user}listener {} 127.0.0.1\n{settings}", self.port);
        let config = self.write("mosquitto.conf", &text);
        let log = std::fs::File::create(self.path("mosquitto.log"))
            .expect("the temporary directory is writable");
        let mut command = Command::new(&self.program);
        let openssl = self.path("openssl.cnf");
        if openssl.exists() {
            command.env("OPENSSL_CONF", openssl);
        }
        let child = command.arg("-c").arg(config).stdout(Stdio::null()).stderr(log).spawn();
        self.child = Some(child.expect("mosquitto starts"));
        wait_for_port(self.port);
    }

    /// The same, and what subscribers that are away have not got survives [`Mosquitto::stop`].
    pub fn start_persistent(&mut self, settings: &str) {
        let place = format!(
            "persistence true\npersistence_location {}/\n",
            self.directory.path().display()
        );
        self.start(&format!("{settings}{place}"));
    }

    /// SIGTERM: it saves what it is configured to save.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let id = child.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &id]).status().is_ok_and(|s| s.success()));
            child.wait().expect("it ends");
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP: connections stay open, and nothing is read or answered.
    pub fn freeze(&self) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-STOP", &id]).status().is_ok_and(|s| s.success()));
    }

    /// SIGHUP: reads passwords and access lists again.
    pub fn reload(&self) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().is_ok_and(|s| s.success()));
    }

    pub fn add_password(&self, user: &str, password: &str) -> PathBuf {
        let file = self.path("passwords");
        let mut command = Command::new("mosquitto_passwd");
        command.arg("-b");
        if !file.exists() {
            command.arg("-c");
        }
        assert!(
            command
                .arg(&file)
                .args([user, password])
                .status()
                .expect("comes with mosquitto")
                .success()
        );
        file
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"))
}

/// The broker of `watchpost demo`, in this process; returns its port. It cannot be ended; each test
/// has its own.
#[cfg(feature = "demo-broker")]
pub fn embedded_broker() -> u16 {
    static SAID: Once = Once::new();
    let broker = watchpost::demo::broker::Broker::start().expect("a port on loopback");
    SAID.call_once(|| say("delivery: checked against the embedded broker."));
    broker.address().port()
}

/// What a subscriber saw.
pub struct Subscriber {
    messages: Receiver<Publish>,
    subscribed: Receiver<()>,
    client: Client,
    /// Its thread is to end instead of coming back: a second client of its id would take its place
    /// and its messages.
    ended: Arc<AtomicBool>,
}

impl Subscriber {
    /// Subscribes to `filter` at QoS 1 and returns once the broker has agreed. Comes back after
    /// each loss of the link.
    pub fn new(port: u16, filter: &str) -> Self {
        Self::with(port, filter, |_| {})
    }

    pub fn with(port: u16, filter: &str, adjust: impl FnOnce(&mut MqttOptions)) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let id = format!("subscriber-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_max_packet_size(Some(1 << 20));
        adjust(&mut options);
        let (client, mut connection) = Client::new(options, 10);
        let (message, messages) = mpsc::channel();
        let (agreed, subscribed) = mpsc::channel();
        let (again, filter) = (client.clone(), filter.to_owned());
        let ended = Arc::new(AtomicBool::new(false));
        let done = ended.clone();
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    _ if done.load(Ordering::SeqCst) => return,
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        let _ = again.try_subscribe(filter.as_str(), QoS::AtLeastOnce);
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => drop(agreed.send(())),
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        if message.send(publish).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    // The broker is away; not so fast.
                    Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
                }
            }
        });
        let subscriber = Self { messages, subscribed, client, ended };
        subscriber.ready();
        subscriber
    }

    /// Waits for the next agreement of the broker to the subscription: after a restart of it.
    pub fn ready(&self) {
        self.subscribed.recv_timeout(PATIENCE).expect("the broker agrees to the subscription");
    }

    pub fn next(&self) -> Publish {
        self.messages.recv_timeout(PATIENCE).expect("a message")
    }

    /// Publishes at QoS 1.
    pub fn publish(&self, topic: &str, retain: bool, payload: impl Into<Vec<u8>>) {
        self.client
            .publish(topic, QoS::AtLeastOnce, retain, payload.into())
            .expect("the client takes it");
    }

    /// The same with properties.
    pub fn publish_with(
        &self,
        topic: &str,
        payload: impl Into<Vec<u8>>,
        properties: PublishProperties,
    ) {
        let payload = payload.into();
        self.client
            .publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties)
            .expect("the client takes it");
    }

    /// What came and was not taken yet.
    pub fn so_far(&self) -> Vec<Publish> {
        self.messages.try_iter().collect()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = self.client.try_disconnect();
    }
}

/// Some thousand messages a second at QoS 0, until it is dropped.
pub struct Flood(Arc<AtomicBool>);

impl Flood {
    /// `message` gives the payload of each by its number.
    pub fn start(
        port: u16,
        topic: String,
        message: impl Fn(usize) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let (client, mut connection) =
            Client::new(MqttOptions::new("flood", "127.0.0.1", port), 100);
        std::thread::spawn(move || while connection.iter().all(|event| event.is_ok()) {});
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        std::thread::spawn(move || {
            for n in 0.. {
                if stopped.load(Ordering::SeqCst)
                    || client.publish(&topic, QoS::AtMostOnce, false, message(n)).is_err()
                {
                    let _ = client.try_disconnect();
                    return;
                }
                if n % 50 == 0 {
                    std::thread::park_timeout(Duration::from_millis(10));
                }
            }
        });
        Self(stop)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A link between a device and a broker that can be closed, cut, and deafened.
pub struct Link {
    pub port: u16,
    state: Arc<LinkState>,
}

#[derive(Default)]
struct LinkState {
    open: AtomicBool,
    /// What the broker says does not arrive.
    deaf: AtomicBool,
    /// Nor does what the device says: the link is dead, and nobody is told.
    dead: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Link {
    /// To the broker at `target`; closed at first.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::new(LinkState::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for device in listener.incoming().flatten() {
                if !shared.open.load(Ordering::SeqCst) {
                    continue;
                }
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
                let Ok(broker) = TcpStream::connect(address) else { continue };
                let copies =
                    [device.try_clone(), broker.try_clone()].map(|s| s.expect("a descriptor"));
                shared.streams.lock().expect("no panic").extend(copies);
                let [from_device, from_broker] =
                    [device.try_clone(), broker.try_clone()].map(|s| s.expect("one more"));
                let (up, down) = (shared.clone(), shared.clone());
                std::thread::spawn(move || {
                    pump(from_device, broker, || up.dead.load(Ordering::SeqCst))
                });
                std::thread::spawn(move || {
                    pump(from_broker, device, || {
                        down.deaf.load(Ordering::SeqCst) || down.dead.load(Ordering::SeqCst)
                    });
                });
            }
        });
        Self { port, state }
    }

    pub fn open(&self) {
        self.state.deaf.store(false, Ordering::SeqCst);
        self.state.dead.store(false, Ordering::SeqCst);
        self.state.open.store(true, Ordering::SeqCst);
    }

    /// From now on nothing of the broker's arrives at the device.
    pub fn deafen(&self) {
        self.state.deaf.store(true, Ordering::SeqCst);
    }

    /// From now on nothing arrives at either end, and neither is told: as where a router has
    /// forgotten the connection. New connections are not taken.
    pub fn die(&self) {
        self.state.open.store(false, Ordering::SeqCst);
        self.state.dead.store(true, Ordering::SeqCst);
    }

    /// Ends all connections and takes no new ones.
    pub fn cut(&self) {
        self.state.open.store(false, Ordering::SeqCst);
        for stream in self.state.streams.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, lost: impl Fn() -> bool) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if !lost() && to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

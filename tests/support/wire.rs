//! MQTT 5 by hand, where a client library would do too much.

use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// One packet: its first byte, and what follows the length.
pub fn packet(stream: &mut impl Read) -> std::io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let (first, mut length, mut shift) = (byte[0], 0, 0);
    loop {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7F) << shift;
        shift += 7;
        if byte[0] < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).map(|()| (first, body))
}

/// A subscriber at QoS 1 that reads whatever came to its socket before it notices that the broker
/// is gone. A client library that fails to write its acknowledgement first throws the rest away,
/// and what the broker had handed over would look lost.
pub struct Listener {
    payloads: Receiver<Vec<u8>>,
}

impl Listener {
    /// Returns once the broker has agreed. Comes back after each loss of the broker, with nothing
    /// kept for it meanwhile.
    pub fn new(port: u16, topic: &'static str) -> Self {
        let (payload, payloads) = mpsc::channel();
        let (agreed, ready) = mpsc::channel();
        std::thread::spawn(move || {
            loop {
                if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                    // Ends with the broker, or with the test.
                    if listen(stream, topic, &agreed, &payload) == Some(()) {
                        return;
                    }
                }
                // Now before a device is back, now behind it.
                let random = u64::from(getrandom::u32().expect("the system has randomness"));
                std::thread::park_timeout(Duration::from_millis(random % 400));
            }
        });
        ready.recv_timeout(PATIENCE).expect("the broker agrees to the subscription");
        Self { payloads }
    }

    /// What came and was not taken yet.
    pub fn so_far(&self) -> Vec<Vec<u8>> {
        self.payloads.try_iter().collect()
    }
}

/// `Some` where nobody listens to the listener any more.
fn listen(
    stream: TcpStream,
    topic: &str,
    agreed: &mpsc::Sender<()>,
    payloads: &mpsc::Sender<Vec<u8>>,
) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    let mut from = std::io::BufReader::new(stream);
    // CONNECT: clean start, no keep-alive, an id of the broker's choice. SUBSCRIBE: packet 1, QoS
    // 1.
    out.write_all(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 0b10, 0, 0, 0, 0, 0]).ok()?;
    let length = topic.len() as u8;
    let subscribe = [&[0x82, length + 6, 0, 1, 0, 0, length], topic.as_bytes(), &[1]].concat();
    out.write_all(&subscribe).ok()?;
    while let Ok((first, body)) = packet(&mut from) {
        match first >> 4 {
            9 => drop(agreed.send(())),
            3 => {
                let after_topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                let id = &body[after_topic..after_topic + 2];
                // Properties are short: their length is one or two bytes.
                let mut at = after_topic + 2;
                let mut properties = usize::from(body[at] & 0x7F);
                if body[at] >= 0x80 {
                    at += 1;
                    properties |= usize::from(body[at]) << 7;
                }
                if payloads.send(body[at + 1 + properties..].to_vec()).is_err() {
                    return Some(());
                }
                // Where that fails, what is still in the socket is read all the same.
                let _ = out.write_all(&[0x40, 2, id[0], id[1]]);
            }
            _ => {}
        }
    }
    None
}

/// Kinds of packets.
pub mod packets {
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const SUBACK: u8 = 9;
}

/// Stands between one client and its broker, and measures how long the client takes to acknowledge.
pub struct Tap {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    kinds: BTreeSet<u8>,
    /// Packets at QoS 1 that the broker has sent and the client has not acknowledged.
    open: HashMap<[u8; 2], Instant>,
    /// In microseconds.
    took: Vec<u64>,
}

impl Seen {
    fn note(&mut self, first: u8, body: &[u8]) {
        self.kinds.insert(first >> 4);
        match first >> 4 {
            packets::PUBLISH if first & 0b110 != 0 => {
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                self.open.insert([body[2 + topic], body[3 + topic]], Instant::now());
            }
            packets::PUBACK => {
                let began = self.open.remove(&[body[0], body[1]]);
                self.took.extend(began.map(|at| at.elapsed().as_micros() as u64));
            }
            _ => {}
        }
    }
}

impl Tap {
    /// Before the broker at `port`, for clients that connect to its own.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let own = listener.local_addr().expect("it is bound").port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(broker) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                // What the broker sends is noted, and of what the client sends what it
                // acknowledges: each gives the other's packets other names.
                let [from, to] = [&client, &broker].map(|s| s.try_clone().expect("a descriptor"));
                let by_client = |first: u8| first >> 4 == packets::PUBACK;
                carry(from, to, Arc::clone(&noted), by_client);
                carry(broker, client, Arc::clone(&noted), |first| first >> 4 != packets::PUBACK);
            }
        });
        Self { port: own, seen }
    }

    pub fn has_seen(&self, kind: u8) -> bool {
        self.seen.lock().expect("no panic").kinds.contains(&kind)
    }

    /// How long each acknowledgement took, in microseconds.
    pub fn acknowledged(&self) -> Vec<u64> {
        self.seen.lock().expect("no panic").took.clone()
    }
}

/// Carries packets over, and notes those that are `wanted`.
fn carry(
    from: TcpStream,
    mut to: TcpStream,
    seen: Arc<Mutex<Seen>>,
    wanted: impl Fn(u8) -> bool + Send + 'static,
) {
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    std::thread::spawn(move || {
        let mut from = std::io::BufReader::with_capacity(1 << 18, from);
        while let Ok((first, body)) = packet(&mut from) {
            if wanted(first) {
                seen.lock().expect("no panic").note(first, &body);
            }
            if to.write_all(&framed(first, &body)).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// A packet as it is sent.
fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let more = if length > 0x7F { 0x80 } else { 0 };
        bytes.push((length & 0x7F) as u8 | more);
        length >>= 7;
        if more == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

//! MQTT 5 by hand, where a client library would do too much.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

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

//! Answers several connections at a time in one thread; none waits for another.
//!
//! * Nothing blocks: a connection that is not ready is tried again in the next round.
//! * Each has [`TIMEOUT`] from its first byte to its last, and [`MAX_REQUEST`] bytes of request.
//! * At most [`MOST`] at a time: one more takes the place of the one that has been there longest.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use super::{MAX_REQUEST, TIMEOUT};

/// Readers that are answered at a time.
pub const MOST: usize = 16;

/// A connection that never waits.
pub trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// One reader.
struct Reader {
    stream: Box<dyn Stream>,
    request: Vec<u8>,
    /// Empty until the request is whole.
    reply: Vec<u8>,
    sent: usize,
    until: Instant,
}

/// What came of looking at a reader.
#[derive(PartialEq, Eq)]
enum RequestSeen {
    /// It has its answer, or is gone.
    Done,
    /// Something was read or written.
    Moved,
    Waits,
}

/// All that are connected.
#[derive(Default)]
pub struct Readers {
    all: VecDeque<Reader>,
}

impl Readers {
    /// One more; the oldest makes room.
    pub fn add(&mut self, stream: Box<dyn Stream>, now: Instant) {
        if self.all.len() >= MOST {
            self.all.pop_front();
        }
        let request = Vec::with_capacity(MAX_REQUEST);
        let until = now + TIMEOUT;
        self.all.push_back(Reader { stream, request, reply: Vec::new(), sent: 0, until });
    }

    /// Reads and writes what can be, and answers whole requests; whether anything moved.
    pub fn look(&mut self, now: Instant, answer: &dyn Fn(&[u8]) -> Vec<u8>) -> bool {
        let mut moved = false;
        self.all.retain_mut(|reader| match reader.look(now, answer) {
            Ok(looked) => {
                moved |= looked == RequestSeen::Moved;
                looked != RequestSeen::Done
            }
            Err(e) => {
                log::debug!("A reader of the metrics was left: error={e}.");
                false
            }
        });
        moved
    }
}

impl Reader {
    fn look(&mut self, now: Instant, answer: &dyn Fn(&[u8]) -> Vec<u8>) -> io::Result<RequestSeen> {
        if now >= self.until {
            return Err(ErrorKind::TimedOut.into());
        }
        if self.reply.is_empty() {
            let mut piece = [0; 1024];
            let room = (MAX_REQUEST - self.request.len()).min(piece.len());
            match self.stream.read(&mut piece[..room]) {
                Ok(0) if room > 0 => return Ok(RequestSeen::Done),
                Ok(n) => self.request.extend_from_slice(&piece[..n]),
                Err(e) if waits(&e) => return Ok(RequestSeen::Waits),
                Err(e) => return Err(e),
            }
            let whole = self.request.windows(4).any(|w| w == b"\r\n\r\n");
            if whole || self.request.len() >= MAX_REQUEST {
                self.reply = answer(&self.request);
            }
            return Ok(RequestSeen::Moved);
        }
        match self.stream.write(&self.reply[self.sent..]) {
            Ok(0) => Ok(RequestSeen::Done),
            Ok(n) => {
                self.sent += n;
                let all = self.sent == self.reply.len();
                Ok(if all { RequestSeen::Done } else { RequestSeen::Moved })
            }
            Err(e) if waits(&e) => Ok(RequestSeen::Waits),
            Err(e) => Err(e),
        }
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

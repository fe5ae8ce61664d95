//! Several readers over HTTP at a time, in one thread: none waits for another.
//!
//! * Nothing blocks: a reader that sends or takes nothing is passed over.
//! * Each has so much time from its first byte to its last, and so many bytes of request.
//! * At most so many at a time: one more takes the place of the one that has been there longest.
//!
//! What a request is, and what is answered, is for those who use it: the metrics, a witness.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// What readers may take.
#[derive(Debug, Clone, Copy)]
pub struct ReaderLimits {
    /// Bytes of a request.
    pub bytes: usize,
    /// For one connection from its first byte to its last.
    pub time: Duration,
    /// Readers that are answered at a time.
    pub most: usize,
    /// Whether a request has come as a whole.
    pub whole: fn(&[u8]) -> bool,
}

/// Whether the head of a request has ended.
pub fn has_head(request: &[u8]) -> bool {
    request.windows(4).any(|w| w == b"\r\n\r\n")
}

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
pub struct Readers {
    all: VecDeque<Reader>,
    limits: ReaderLimits,
}

impl Readers {
    /// None yet.
    pub fn new(limits: ReaderLimits) -> Self {
        Self { all: VecDeque::new(), limits }
    }

    /// One more; the oldest makes room.
    pub fn add(&mut self, stream: Box<dyn Stream>, now: Instant) {
        if self.all.len() >= self.limits.most {
            self.all.pop_front();
        }
        let request = Vec::new();
        let until = now + self.limits.time;
        self.all.push_back(Reader { stream, request, reply: Vec::new(), sent: 0, until });
    }

    /// Reads and writes what can be, and answers whole requests; whether anything moved.
    pub fn look(&mut self, now: Instant, answer: &dyn Fn(&[u8]) -> Vec<u8>) -> bool {
        let (mut moved, limits) = (false, self.limits);
        self.all.retain_mut(|reader| match reader.look(now, limits, answer) {
            Ok(looked) => {
                moved |= looked == RequestSeen::Moved;
                looked != RequestSeen::Done
            }
            Err(e) => {
                log::debug!("A reader was left: error={e}.");
                false
            }
        });
        moved
    }
}

impl Reader {
    fn look(
        &mut self,
        now: Instant,
        limits: ReaderLimits,
        answer: &dyn Fn(&[u8]) -> Vec<u8>,
    ) -> io::Result<RequestSeen> {
        if now >= self.until {
            return Err(ErrorKind::TimedOut.into());
        }
        if self.reply.is_empty() {
            let mut piece = [0; 1024];
            let room = (limits.bytes - self.request.len()).min(piece.len());
            match self.stream.read(&mut piece[..room]) {
                Ok(0) if room > 0 => return Ok(RequestSeen::Done),
                Ok(n) => self.request.extend_from_slice(&piece[..n]),
                Err(e) if waits(&e) => return Ok(RequestSeen::Waits),
                Err(e) => return Err(e),
            }
            if (limits.whole)(&self.request) || self.request.len() >= limits.bytes {
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

//! C2SP `tlog-witness` over HTTP: `add-checkpoint`, served.
//!
//! * Plain HTTP/1.1, one request a connection: TLS, and whatever more the internet asks for, is a
//!   proxy's work. It listens on loopback unless somebody says otherwise.
//! * The answers are those of the format: 200 with cosignatures, 400, 403, 404, 409 with the size
//!   that was cosigned last, 422. What cannot be remembered is a 500.
//! * Requests are bounded in bytes and time, readers in number, and none waits for another.
//! * Anybody may submit. A checkpoint that does not follow says nothing of the log: whoever sends
//!   it makes the proof. Two signed checkpoints of one size do, and are reported.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::fleet::WitnessOutput;
use super::post::{Elsewhere, SharedWitness, lock};
use crate::audit::proof::MAX_TEXT;
use crate::audit::witness::{WitnessFinding, WitnessMemory};
use crate::readers::{ReaderLimits, Readers};

/// Most bytes of a request's head.
const MAX_HEAD: usize = 8 * 1024;
/// For one request from its first byte to the last of its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Requests at a time.
const MOST: usize = 64;
/// How often it looks for a connection and for the end.
const ROUND: Duration = Duration::from_millis(20);

const LIMITS: ReaderLimits =
    ReaderLimits { bytes: MAX_HEAD + MAX_TEXT, time: TIMEOUT, most: MOST, whole: is_whole };

/// A request, as far as it is looked at.
#[derive(Debug, PartialEq, Eq)]
struct HttpRequest<'a> {
    method: &'a str,
    path: &'a str,
    /// Bytes that its head announces.
    length: Option<usize>,
    chunked: bool,
    body: &'a [u8],
}

/// Reads a head and what follows it; `None` where the head has no end yet, or is none.
fn parse(bytes: &[u8]) -> Option<HttpRequest<'_>> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, path, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !version.starts_with("HTTP/1.") {
        return None;
    }
    let (mut length, mut chunked) = (None, false);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" if length.is_some() => return None,
            "content-length" => {
                let digits = value.trim();
                if !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                length = Some(digits.parse().ok()?);
            }
            "transfer-encoding" => chunked = true,
            _ => {}
        }
    }
    Some(HttpRequest { method, path, length, chunked, body: &bytes[end + 4..] })
}

/// Whether all of a request has come, or enough to refuse it.
fn is_whole(bytes: &[u8]) -> bool {
    let ended = bytes.windows(4).any(|w| w == b"\r\n\r\n");
    match parse(bytes) {
        None => ended || bytes.len() > MAX_HEAD,
        Some(request) => {
            let wanted = request.length.unwrap_or(0);
            request.chunked || wanted > MAX_TEXT || request.body.len() >= wanted
        }
    }
}

fn respond(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: \
         close\r\n\r\n{body}"
    )
    .into_bytes()
}

fn in_words(status: u16) -> &'static str {
    match status {
        200 => "200 OK",
        400 => "400 Bad Request",
        403 => "403 Forbidden",
        404 => "404 Not Found",
        409 => "409 Conflict",
        422 => "422 Unprocessable Entity",
        _ => "500 Internal Server Error",
    }
}

/// The size that was cosigned last, which a conflict tells.
fn size_of(finding: &WitnessFinding) -> Option<u64> {
    match finding {
        WitnessFinding::Gap { had, .. }
        | WitnessFinding::Rollback { had, .. }
        | WitnessFinding::Truncation { had, .. }
        | WitnessFinding::Fork { size: had, .. } => Some(*had),
        _ => None,
    }
}

/// The answer to a request, and what else follows from it.
fn answer<M: WitnessMemory>(
    witness: &SharedWitness<M>,
    bytes: &[u8],
    now: OffsetDateTime,
) -> (Vec<u8>, WitnessOutput) {
    let plain = |status: &str, text: &str| {
        (respond(status, "text/plain; charset=utf-8", text), WitnessOutput::default())
    };
    let Some(request) = parse(bytes) else {
        return plain("400 Bad Request", "This is no HTTP/1.1 request.\n");
    };
    let path = request.path.split('?').next().unwrap_or_default();
    if path != "/add-checkpoint" {
        return plain("404 Not Found", "Only /add-checkpoint is here.\n");
    }
    if request.method != "POST" {
        return plain("405 Method Not Allowed", "Only POST is answered.\n");
    }
    let Some(length) = request.length.filter(|_| !request.chunked) else {
        return plain("411 Length Required", "Send the body with a Content-Length.\n");
    };
    if length > MAX_TEXT || request.body.len() < length {
        return plain("413 Content Too Large", "No submission is so large.\n");
    }
    let Ok(text) = std::str::from_utf8(&request.body[..length]) else {
        return plain("400 Bad Request", "The body is no text.\n");
    };
    let mut output = WitnessOutput::default();
    let reply = match lock(witness).submit(text, now, &mut output) {
        Ok(cosigned) => respond("200 OK", "text/plain; charset=utf-8", &cosigned.line),
        Err(finding) => {
            let status = in_words(finding.status());
            match size_of(&finding) {
                Some(size) => respond(status, "text/x.tlog.size", &format!("{size}\n")),
                None => respond(status, "text/plain; charset=utf-8", &format!("{finding}\n")),
            }
        }
    };
    (reply, output)
}

/// Answers on `listener` until `over`; what else follows goes to `elsewhere`.
///
/// # Errors
/// Where the listener cannot be used.
pub fn serve<M: WitnessMemory>(
    listener: &TcpListener,
    witness: &SharedWitness<M>,
    elsewhere: &Sender<Elsewhere>,
    over: &AtomicBool,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut readers = Readers::new(LIMITS);
    let answer = |request: &[u8]| {
        let (reply, output) = answer(witness, request, OffsetDateTime::now_utc());
        // Where nobody takes it, the witness is ending.
        let _ = elsewhere.send(Elsewhere::Output(output));
        reply
    };
    while !over.load(Ordering::Relaxed) {
        let mut moved = false;
        while let Ok((stream, _)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                readers.add(Box::new(stream), Instant::now());
                moved = true;
            }
        }
        if !(readers.look(Instant::now(), &answer) | moved) {
            std::thread::park_timeout(ROUND);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

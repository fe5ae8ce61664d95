//! Calls witnesses of others: C2SP `add-checkpoint` over plain HTTP/1.1.
//!
//! Where they speak HTTPS, a proxy on this machine does, too. Answers are bounded in bytes and
//! time.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Most bytes of an answer: cosignatures and a head.
const MAX_ANSWER: usize = 64 * 1024;
/// To connect, and then for all of the rest: whoever answers a byte at a time holds up nobody.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a witness of others takes submissions: `http://HOST[:PORT][/PREFIX]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmissionUrl {
    host: String,
    port: u16,
    prefix: String,
}

/// Not such an address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is no address of a witness; write http://HOST[:PORT][/PREFIX], and have a proxy on this \
     machine speak HTTPS where the witness does"
)]
pub struct SubmissionUrlError(String);

impl FromStr for SubmissionUrl {
    type Err = SubmissionUrlError;

    fn from_str(text: &str) -> Result<Self, SubmissionUrlError> {
        let parse = || {
            let rest = text.strip_prefix("http://")?;
            let (place, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let (host, port) = match place.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
                None => (place, 80),
            };
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
            let good = !host.is_empty() && host.chars().all(allowed);
            let plain = prefix.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#');
            let prefix = prefix.trim_end_matches('/').to_owned();
            (good && plain).then(|| Self { host: host.to_owned(), port, prefix })
        };
        parse().ok_or_else(|| SubmissionUrlError(text.chars().take(200).collect()))
    }
}

impl fmt::Display for SubmissionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.prefix)
    }
}

/// Submits to a witness of others; the status and the body of its answer.
///
/// # Errors
/// Where there is no answer, or one that cannot be read.
pub fn submit(url: &SubmissionUrl, submission: &str) -> std::io::Result<(u16, String)> {
    submit_within(TIMEOUT, url, submission)
}

fn submit_within(
    time: Duration,
    url: &SubmissionUrl,
    submission: &str,
) -> std::io::Result<(u16, String)> {
    let no = |what: &str| std::io::Error::other(what.to_owned());
    let mut addresses = (url.host.as_str(), url.port).to_socket_addrs()?;
    let address = addresses.next().ok_or_else(|| no("the host has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, time)?;
    let end = Instant::now() + time;
    stream.set_write_timeout(Some(time))?;
    let head = format!(
        "POST {}/add-checkpoint HTTP/1.1\r\nHost: {}:{}\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        url.prefix,
        url.host,
        url.port,
        submission.len()
    );
    stream.write_all(&[head.as_bytes(), submission.as_bytes()].concat())?;
    let reply = read_until(end, &mut stream)?;
    parse_reply(&reply).ok_or_else(|| no("this is no answer of an HTTP server"))
}

/// All that comes before the other side closes.
fn read_until(end: Instant, stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let (mut reply, mut piece) = (Vec::new(), [0; 4096]);
    while reply.len() < MAX_ANSWER {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => break,
            read => reply.extend_from_slice(&piece[..read]),
        }
    }
    Ok(reply)
}

/// The status and the body of an answer.
fn parse_reply(bytes: &[u8]) -> Option<(u16, String)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let (mut body, lines) = (&bytes[end + 4..], head.split("\r\n").collect::<Vec<_>>());
    let status = lines.first()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let value = |wanted: &str| {
        lines.iter().skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let joined;
    if value("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        joined = unchunked(body)?;
        body = &joined;
    } else if let Some(length) = value("content-length") {
        body = body.get(..length.parse().ok()?)?;
    }
    Some((status, String::from_utf8(body.to_vec()).ok()?))
}

/// The body that came in chunks.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size.checked_add(2)?..)?;
    }
}

#[cfg(test)]
mod tests;

//! The daemon's figures as OpenMetrics text, for Prometheus and its like. Off by default.
//!
//! * The same names and numbers as the `stats` message.
//! * Nothing about a person, a list's entry or a track, and no label that an outsider can multiply.
//! * Listens on loopback or a UNIX socket unless the configuration says otherwise in so many words.
//! * One connection at a time, each for at most [`TIMEOUT`], at most [`MAX_REQUEST`] bytes of it
//!   read. Answers `GET /metrics` only.
//! * It can neither slow down vision nor end the daemon.
//!
//! Metrics: `watchpost_<stage>_total{what}`, `watchpost_dropped_total{reason}`, and gauges of the
//! names in `stats.gauges` with `_` for each dot; temperatures are
//! `watchpost_board_temperature_celsius{zone}`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::stop::Stop;
use crate::config::{ListenAddress, MetricsConfig};
use crate::delivery::event::Stats;

/// For one connection from its first byte to its last.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// Most bytes of a request.
pub const MAX_REQUEST: usize = 4096;
/// How often it looks for a connection and for the request to stop.
const ROUND: Duration = Duration::from_millis(50);
/// Before the zone's name, in the gauges of `stats`.
pub const TEMPERATURE: &str = "board.temperature_celsius.";

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Nowhere to listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "{metrics_listen} = {place:?}: {source}; is another program there, or the folder missing?",
    metrics_listen = setting!(metrics.listen)
)]
pub struct MetricsError {
    place: String,
    #[source]
    source: io::Error,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Where the text is given. A UNIX socket is removed with it.
pub struct Server(Listener);

trait Stream: Read + Write {
    fn set_timeouts(&self, time: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn set_timeouts(&self, time: Duration) -> io::Result<()> {
        self.set_nonblocking(false)?;
        self.set_read_timeout(Some(time)).and_then(|()| self.set_write_timeout(Some(time)))
    }
}

impl Stream for UnixStream {
    fn set_timeouts(&self, time: Duration) -> io::Result<()> {
        self.set_nonblocking(false)?;
        self.set_read_timeout(Some(time)).and_then(|()| self.set_write_timeout(Some(time)))
    }
}

impl Server {
    /// Listens; `None` where the configuration says nowhere.
    ///
    /// # Errors
    /// Where the place cannot be had.
    pub fn bind(config: &MetricsConfig) -> Result<Option<Self>, MetricsError> {
        if config.listen.is_empty() {
            return Ok(None);
        }
        let place = config.listen.parse().map_err(|()| ErrorKind::InvalidInput.into());
        let listener = place.and_then(|place| match place {
            ListenAddress::Tcp(address) => TcpListener::bind(address)
                .and_then(|l| l.set_nonblocking(true).map(|()| l))
                .map(Listener::Tcp),
            ListenAddress::Unix(path) => bind_unix(&path).map(|l| Listener::Unix(l, path)),
        });
        let listener =
            listener.map_err(|source| MetricsError { place: config.listen.clone(), source })?;
        log::info!("OpenMetrics are given: listen={}.", config.listen);
        Ok(Some(Self(listener)))
    }

    #[cfg(test)]
    /// Where it listens, for tests with port 0.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        match &self.0 {
            Listener::Tcp(l) => l.local_addr().ok(),
            Listener::Unix(..) => None,
        }
    }

    /// Answers until the daemon stops.
    pub fn serve(&self, stop: &Stop, stats: impl Fn() -> Stats) {
        while stop.reason().is_none() {
            let stream: io::Result<Box<dyn Stream>> = match &self.0 {
                Listener::Tcp(l) => l.accept().map(|(s, _)| Box::new(s) as _),
                Listener::Unix(l, _) => l.accept().map(|(s, _)| Box::new(s) as _),
            };
            match stream {
                Ok(mut stream) => {
                    if let Err(e) = answer(&mut *stream, &stats) {
                        log::debug!("A reader of the metrics was left: error={e}.");
                    }
                }
                // Whatever is wrong, such as no descriptor left, is not mended by trying at once.
                Err(_) => drop(stop.wait(ROUND)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A socket that a killed process left is replaced; one that answers, and any other file, is not.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn answer(stream: &mut dyn Stream, stats: &dyn Fn() -> Stats) -> io::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    let mut request = [0; MAX_REQUEST];
    let mut length = 0;
    let ended = |bytes: &[u8]| bytes.windows(4).any(|w| w == b"\r\n\r\n");
    while !ended(&request[..length]) {
        // A reader that sends a byte now and then does not get more time for it.
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || length == request.len() {
            let status = if left.is_zero() {
                "408 Request Timeout"
            } else {
                "431 Request Header Fields Too Large"
            };
            return respond(stream, status, "text/plain", "");
        }
        stream.set_timeouts(left)?;
        match stream.read(&mut request[length..])? {
            0 => return Ok(()),
            n => length += n,
        }
    }
    stream.set_timeouts(TIMEOUT)?;
    let line = request[..length].split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let (method, path, version) = (words.next(), words.next(), words.next());
    let path = path.map(|p| p.split(|b| *b == b'?').next().unwrap_or_default());
    if !version.is_some_and(|v| v.starts_with(b"HTTP/1.")) {
        return respond(stream, "400 Bad Request", "text/plain", "This is an HTTP/1.1 server.\n");
    }
    match (method, path) {
        (Some(b"GET"), Some(b"/metrics")) => {
            respond(stream, "200 OK", OPEN_METRICS, &render(&stats()))
        }
        (Some(b"GET"), _) => {
            respond(stream, "404 Not Found", "text/plain", "Only /metrics is here.\n")
        }
        _ => respond(stream, "405 Method Not Allowed", "text/plain", "Only GET is answered.\n"),
    }
}

fn respond(stream: &mut dyn Stream, status: &str, kind: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: \
         no-store\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// The text. Two runs over the same figures give the same bytes.
pub fn render(stats: &Stats) -> String {
    let mut registry = Registry::with_prefix("watchpost");
    registry.register_collector(Box::new(Figures(stats.clone())));
    let mut text = String::new();
    // A String takes everything.
    let _ = encode(&mut text, &registry);
    text
}

/// In the order of their names, which a [`prometheus_client::metrics::family::Family`] does not
/// keep.
#[derive(Debug)]
struct Figures(Stats);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Stats { since, counts, drops, gauges } = &self.0;
        let mut stages: BTreeMap<&str, Vec<(&str, u64)>> = BTreeMap::new();
        for (name, value) in counts {
            let (stage, what) = name.split_once('.').unwrap_or(("other", name));
            stages.entry(stage).or_default().push((what, *value));
        }
        for (stage, counts) in stages {
            let help = format!("Counts of {stage} since the start.");
            counters(&mut encoder, stage, &help, "what", counts.into_iter())?;
        }
        let help = "What was lost or turned away since the start, by reason.";
        counters(
            &mut encoder,
            "dropped",
            help,
            "reason",
            drops.iter().map(|(n, v)| (n.as_str(), *v)),
        )?;
        let zones: Vec<_> =
            gauges.iter().filter_map(|(n, v)| Some((n.strip_prefix(TEMPERATURE)?, v))).collect();
        if !zones.is_empty() {
            let help = "What the board's thermal zones tell.";
            let mut family = encoder.encode_descriptor(
                "board_temperature",
                help,
                Some(&Unit::Celsius),
                MetricType::Gauge,
            )?;
            for (zone, value) in zones {
                family.encode_family(&[("zone", zone)])?.encode_gauge(value)?;
            }
        }
        for (name, value) in
            gauges.iter().filter(|(name, _)| !name.starts_with(TEMPERATURE.trim_end_matches('.')))
        {
            let plain: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            let (plain, unit) = match plain.strip_suffix("_seconds") {
                Some(plain) => (plain, Some(&Unit::Seconds)),
                None => (plain.as_str(), None),
            };
            let help = format!("The momentary value of {name}, as in stats.");
            encoder
                .encode_descriptor(plain, &help, unit, MetricType::Gauge)?
                .encode_gauge(value)?;
        }
        let help = "When counting began, since 1970 in UTC.";
        let start = since.unix_timestamp_nanos() as f64 / 1e9;
        encoder
            .encode_descriptor("start_time", help, Some(&Unit::Seconds), MetricType::Gauge)?
            .encode_gauge(&start)?;
        encoder
            .encode_descriptor("build_info", "The program's version.", None, MetricType::Gauge)?
            .encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?
            .encode_gauge(&1_i64)
    }
}

fn counters<'a>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    label: &str,
    values: impl Iterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value_of, value) in values {
        family
            .encode_family(&[(label, value_of)])?
            .encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

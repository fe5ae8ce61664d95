//! The daemon's figures as OpenMetrics text, for Prometheus and its like. Off by default.
//!
//! * The same names and numbers as the `stats` message.
//! * Nothing about a person, a list's entry or a track, and no label that an outsider can multiply.
//! * Listens on loopback or a UNIX socket unless the configuration says otherwise in so many words.
//! * Several readers at a time, none of which waits for another ([`crate::readers`]). Answers `GET
//!   /metrics` only.
//! * It can neither slow down vision nor end the daemon: a place that cannot be had is logged, is
//!   in the status, and is tried again.
//!
//! Metrics: `watchpost_<stage>_total{what}`, `watchpost_dropped_total{reason}`, and gauges of the
//! names in `stats.gauges` with `_` for each dot; temperatures are
//! `watchpost_board_temperature_celsius{zone}`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
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
use crate::backoff::Recurring;
use crate::config::{ListenAddress, MetricsConfig};
use crate::delivery::event::Stats;
use crate::readers::{ReaderLimits, Readers, Stream, has_head};

/// For one connection from its first byte to its last.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// Most bytes of a request.
pub const MAX_REQUEST: usize = 4096;
/// Readers that are answered at a time.
pub const MOST: usize = 16;
const LIMITS: ReaderLimits =
    ReaderLimits { bytes: MAX_REQUEST, time: TIMEOUT, most: MOST, whole: has_head };
/// How often it looks for a connection and for the request to stop.
const ROUND: Duration = Duration::from_millis(20);
/// Before a place that could not be had is tried again.
const RETRY: Duration = Duration::from_secs(5);
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
        let mut readers = Readers::new(LIMITS);
        let answer = |request: &[u8]| answer(request, &stats);
        while stop.reason().is_none() {
            let mut moved = false;
            // Whatever is wrong, such as no descriptor left, is not mended by trying at once.
            while let Ok(stream) = self.accept() {
                readers.add(stream, Instant::now());
                moved = true;
            }
            if !(readers.look(Instant::now(), &answer) | moved) {
                stop.wait(ROUND);
            }
        }
    }

    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.0 {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Box::new(stream)
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Box::new(stream)
            }
        })
    }
}

/// Gives the figures where the configuration says, until the daemon stops. A place that cannot be
/// had is tried again; `problem` is told why, and when it is over.
pub fn give(
    config: &MetricsConfig,
    stop: &Stop,
    stats: impl Fn() -> Stats,
    problem: impl Fn(Option<String>),
) {
    let began = Instant::now();
    let mut said = Recurring::new(Duration::from_secs(60), Duration::from_secs(3600));
    while stop.reason().is_none() {
        match Server::bind(config) {
            Ok(None) => return,
            Ok(Some(server)) => {
                problem(None);
                return server.serve(stop, stats);
            }
            Err(error) => {
                if let Some(times) = said.happened(began.elapsed()) {
                    log::error!("The metrics are not given: times={times} error={error}.");
                }
                problem(Some(format!("the metrics are not given: {error}")));
                stop.wait(RETRY);
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

/// The answer to a request, whole or too long.
fn answer(request: &[u8], stats: &dyn Fn() -> Stats) -> Vec<u8> {
    if !has_head(request) {
        return respond("431 Request Header Fields Too Large", "text/plain", "");
    }
    let line = request.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let (method, path, version) = (words.next(), words.next(), words.next());
    let path = path.map(|p| p.split(|b| *b == b'?').next().unwrap_or_default());
    if !version.is_some_and(|v| v.starts_with(b"HTTP/1.")) {
        return respond("400 Bad Request", "text/plain", "This is an HTTP/1.1 server.\n");
    }
    match (method, path) {
        (Some(b"GET"), Some(b"/metrics")) => respond("200 OK", OPEN_METRICS, &render(&stats())),
        (Some(b"GET"), _) => respond("404 Not Found", "text/plain", "Only /metrics is here.\n"),
        _ => respond("405 Method Not Allowed", "text/plain", "Only GET is answered.\n"),
    }
}

fn respond(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: \
         no-store\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), body.as_bytes()].concat()
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

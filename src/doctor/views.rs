//! Whether the running daemon sees faces well enough to find anybody.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{CheckResult, Configured};
use crate::config::ListenAddress;
use crate::geometry::Turn;
use crate::vision::{HardlyAble, ViewCounts};

/// For each step of asking the daemon.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most bytes of an answer.
const MAX_ANSWER: u64 = 1 << 20;

/// Counts since the daemon's start, from its own figures.
pub(super) fn views(configured: &Configured<'_>) -> CheckResult {
    let listen = &configured.config.metrics.listen;
    if listen.is_empty() {
        return CheckResult::skipped(format!(
            "the daemon's figures are not given here ({}); `status` says `degraded` where most \
             views are hardly able to match",
            setting!(metrics.listen)
        ));
    }
    match ask(listen) {
        Ok(text) => judge(&counts(&text)),
        Err(error) => CheckResult::skipped(format!(
            "no daemon gives its figures at {} = {listen:?}: {error}",
            setting!(metrics.listen)
        )),
    }
}

fn judge(counts: &ViewCounts) -> CheckResult {
    let of = |reason: HardlyAble| counts.hardly_able[reason as usize];
    let reasons: Vec<String> =
        HardlyAble::ALL.iter().map(|r| format!("{} {}", of(*r), r.name())).collect();
    let detail = format!(
        "of {} views compared since the daemon's start, these are hardly able to match: {}; {} \
         faces that passed were compared, {} score better turned",
        counts.embedded,
        reasons.join(", "),
        counts.viewed_tracks,
        counts.lying_tracks
    );
    match counts.judge() {
        Some(poor) => CheckResult::warning(detail, poor.remedy()),
        None => CheckResult::ok(detail),
    }
}

fn ask(listen: &str) -> std::io::Result<String> {
    match listen.parse() {
        Ok(ListenAddress::Tcp(address)) => {
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            fetch(stream)
        }
        Ok(ListenAddress::Unix(path)) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            fetch(stream)
        }
        Err(()) => Err(std::io::ErrorKind::InvalidInput.into()),
    }
}

fn fetch(mut stream: impl Read + Write) -> std::io::Result<String> {
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The views in OpenMetrics `text`; what is not there is zero.
fn counts(text: &str) -> ViewCounts {
    let value = |what: &str| {
        let line = format!("watchpost_pipeline_total{{what=\"vision.{what}\"}} ");
        let found = text.lines().find_map(|l| l.strip_prefix(line.as_str()));
        found.and_then(|v| v.trim().parse().ok()).unwrap_or(0)
    };
    ViewCounts {
        embedded: value("embedded"),
        hardly_able: HardlyAble::ALL.map(|r| value(&format!("hardly_able.{}", r.name()))),
        viewed_tracks: value("viewed_tracks"),
        lying_tracks: value("lying_tracks"),
        upright_if_rotated: Turn::ALL
            .map(|turn| value(&format!("upright_if_rotated.{}", turn.degrees()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(embedded: u64, dark: u64) -> String {
        format!(
            "HTTP/1.1 200 OK\r\n\r\n# TYPE watchpost_pipeline counter\n\
             watchpost_pipeline_total{{what=\"vision.embedded\"}} {embedded}\n\
             watchpost_pipeline_total{{what=\"vision.hardly_able.blurred\"}} 2\n\
             watchpost_pipeline_total{{what=\"vision.hardly_able.dark\"}} {dark}\n# EOF\n"
        )
    }

    #[test]
    fn a_daemon_that_sees_in_the_dark_is_warned_of_with_the_remedy() {
        let result = judge(&counts(&text(100, 90)));
        let CheckResult::Warning { detail, remedy } = &result else { panic!("{result:?}") };
        assert!(detail.contains("100 views") && detail.contains("90 dark"), "{detail}");
        assert!(remedy.contains("light"), "{remedy}");
        assert!(matches!(judge(&counts(&text(100, 3))), CheckResult::Ok { .. }));
        let turned = "watchpost_pipeline_total{what=\"vision.viewed_tracks\"} 2\n\
                      watchpost_pipeline_total{what=\"vision.lying_tracks\"} 12\n\
                      watchpost_pipeline_total{what=\"vision.upright_if_rotated.270\"} 11\n";
        let CheckResult::Warning { detail, remedy } = judge(&counts(turned)) else { panic!() };
        assert!(detail.contains("12 score better turned"), "{detail}");
        assert!(remedy.contains("source.rotate = 270"), "{remedy}");
        assert!(matches!(judge(&counts("")), CheckResult::Ok { .. }));
    }

    #[test]
    fn the_figures_are_those_that_the_daemon_gives() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            let n = stream.read(&mut request).unwrap();
            assert!(request[..n].starts_with(b"GET /metrics HTTP/1.1\r\n"));
            stream.write_all(text(40, 30).as_bytes()).unwrap();
        });
        assert_eq!(counts(&ask(&address).unwrap()).hardly_able, [2, 0, 30]);
        answering.join().unwrap();
        assert!(ask(&address).is_err(), "nobody listens any more");
    }
}

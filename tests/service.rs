//! What the daemon promises to a service manager, and doctor to whoever installs it.

mod support;

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::desk::{Daemon, Desk, PORTRAITS, ok, watchpost};
use support::field::{Field, TOPIC};
use support::{Mosquitto, Subscriber, wait_for};

/// A service manager's end of the notification socket.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn at(desk: &Desk) -> Self {
        let socket = UnixDatagram::bind(desk.path("notify")).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
        Self { socket, heard: Vec::new() }
    }

    /// Starts the daemon as its own, with a watchdog of so many microseconds.
    fn start(&self, desk: &Desk, watchdog: &str) -> Child {
        let mut command = desk.command("run");
        command
            .env("NOTIFY_SOCKET", desk.path("notify"))
            .env("WATCHDOG_USEC", watchdog)
            .stderr(Stdio::null());
        command.spawn().expect("the binary runs")
    }

    /// Reads until a line begins with `wanted`, and returns it.
    fn hear(&mut self, wanted: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self
                .socket
                .recv(&mut buffer)
                .unwrap_or_else(|e| panic!("no {wanted}: {e}; {:?}", self.heard));
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            self.heard.extend(text.lines().map(ToOwned::to_owned));
            if let Some(line) = text.lines().find(|line| line.starts_with(wanted)) {
                return line.to_owned();
            }
        }
    }
}

#[test]
fn the_service_manager_hears_of_the_start_of_every_condition_of_life_and_of_the_stop() {
    let Some(field) = Field::new() else { return };
    let mut manager = Manager::at(&field.desk);
    let mut daemon = manager.start(&field.desk, "1000000");
    manager.hear("READY=1");
    let status = manager.hear("STATUS=matching");
    assert!(status.contains("broker"), "{status}");
    for _ in 0..3 {
        manager.hear("WATCHDOG=1");
    }
    Command::new("kill").arg(daemon.id().to_string()).status().expect("kill runs");
    manager.hear("STOPPING=1");
    assert!(daemon.wait().expect("it ends").success());
}

#[test]
fn a_camera_that_is_away_keeps_the_watchdog_fed_and_is_in_the_status_line() {
    let Some(field) = Field::new() else { return };
    let file = field.desk.path("watchpost.toml");
    let text = std::fs::read_to_string(&file).expect("text");
    let text = text.replace(
        "kind = \"images\"",
        "kind = \"v4l2\"\n[source.v4l2]\ndevice = \"/nonexistent/camera\"",
    );
    std::fs::write(&file, text).expect("writes");
    let mut manager = Manager::at(&field.desk);
    let mut daemon = manager.start(&field.desk, "500000");
    manager.hear("READY=1");
    let status = manager.hear("STATUS=blind");
    assert!(status.contains("/nonexistent/camera"), "{status}");
    manager.hear("WATCHDOG=1");
    manager.hear("WATCHDOG=1");
    daemon.kill().expect("it runs");
    daemon.wait().expect("it ends");
}

#[test]
fn sighup_puts_in_force_what_the_file_holds_and_nothing_where_it_holds_no_list() {
    let Some(field) = Field::new() else { return };
    let daemon = Daemon::start(&field.desk);
    field.await_online();
    let list = field.desk.path("list.cose");
    let good = std::fs::read(&list).expect("a list");
    std::fs::write(&list, b"not a list").expect("writes");
    daemon.hang_up();
    field.await_("watchlist/state", "refused", |s| s["last_change"]["what"] == "reload-refused");
    field.await_("status", "blind", |s| s["matching"] == false && s["state"] == "blind");
    std::fs::write(&list, good).expect("writes");
    daemon.hang_up();
    field.await_("watchlist/state", "reloaded", |s| s["last_change"]["what"] == "reloaded");
    field.await_online();
}

/// A number in a log line.
fn figure(line: &str, name: &str) -> u64 {
    let value = line.split(&format!(" {name}=")).nth(1).expect("it is there");
    value
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a number")
}

#[test]
fn with_a_frozen_broker_all_waits_of_a_stop_together_have_one_deadline() {
    let Some(field) = Field::new() else { return };
    let daemon = Daemon::start(&field.desk);
    field.await_online();
    field.broker.freeze();
    assert!(daemon.terminate().success());
    let log = log_of(&field);
    let at = |what: &str| log.find(what).unwrap_or_else(|| panic!("no {what}: {log}"));
    assert!(
        at("Stopping: signal=15") < at("Delivery ends") && at("Delivery ends") < at("Stopped: ")
    );
    assert!(log.contains("stopped_published=false"), "{log}");
    // What the threads took is taken from what delivery has: how busy this machine is changes
    // nothing about the sum, until so little is left that only `stopped` could be said.
    let line = &log[at("Delivery ends")..];
    let line = line.lines().next().expect("a line");
    let (after, within) = (figure(line, "after_ms"), figure(line, "within_ms"));
    if after < 4500 {
        assert!((4998..=5000).contains(&(after + within)), "{line}");
    } else {
        assert_eq!(within, 500, "{line}");
    }
}

/// Doctor's findings by check, and its exit code. The draft's one person, and `others` that nobody
/// is, within a budget that so long a list can keep.
fn lengthen(desk: &Desk, others: u64) {
    use base64::Engine;
    let text = std::fs::read_to_string(desk.path("draft.json")).expect("a draft");
    let mut draft: Value = serde_json::from_str(&text).expect("JSON");
    let allowed = &mut draft["authorisation"];
    allowed["most_entries"] = (others + 1).into();
    allowed["expected_faces_per_day"] = 10.into();
    allowed["false_alerts_per_day"] = 2.into();
    let first = draft["entries"][0].clone();
    let entries = draft["entries"].as_array_mut().expect("entries");
    // Xorshift: faces that are like no other, and compress as badly as true ones.
    let mut state = 1u64;
    entries.extend((0..others).map(|n| {
        let template: Vec<u8> = (0..512)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 24) as u8
            })
            .collect();
        let mut entry = first.clone();
        entry["reference"] = format!("nobody-{n}").into();
        entry["templates"][0]["template"] =
            base64::engine::general_purpose::STANDARD.encode(template).into();
        entry
    }));
    std::fs::write(desk.path("draft.json"), draft.to_string()).expect("writes");
}

#[test]
fn with_a_list_of_a_thousand_it_needs_at_most_64_megabytes() {
    let desk = Desk::new();
    desk.draft();
    lengthen(&desk, 999);
    desk.sign("draft.json", "alice.key");
    desk.sign("list.cose", "bob.key");
    desk.pictures(&["biden-2010.jpg", "obama-2010.jpg"]);
    // Nobody listens there: what is decided waits on the disk.
    desk.configure(1, "repeat = 0\n");
    let mut daemon = desk.command("run").stderr(Stdio::piped()).spawn().expect("the binary runs");
    let log = std::io::BufReader::new(daemon.stderr.take().expect("piped"));
    // By then it has detected, aligned, embedded, compared with all and made an event.
    let decided = std::io::BufRead::lines(log)
        .map_while(Result::ok)
        .any(|line| line.contains("Candidate decided"));
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("it still runs");
    daemon.kill().and_then(|()| daemon.wait()).expect("it can be ended");
    assert!(decided, "it compares");
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel says so");
    let kilobytes: u64 = peak.trim().trim_end_matches("kB").trim().parse().expect("a number");
    eprintln!("{kilobytes} kB at most");
    assert!(kilobytes <= 64 << 10, "{status}");
}

fn doctor(desk: &Desk, more: &[&str]) -> (Vec<Value>, i32) {
    let config = desk.arg("watchpost.toml");
    let output = watchpost(&[&["doctor", "--config", &config, "--json"][..], more].concat());
    let text = String::from_utf8(output.stdout).expect("text");
    let findings =
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    (findings, output.status.code().expect("no signal"))
}

#[test]
fn where_all_is_well_doctor_finds_nothing_wrong_and_changes_nothing() {
    let Some(broker) = Mosquitto::running() else { return };
    let desk = Desk::new();
    desk.list();
    desk.pictures(&["hopper.jpg"]);
    desk.configure(broker.port, "");
    let before = desk.files();
    let (findings, code) =
        doctor(&desk, &["--skip", "cameras", "--skip", "temperature", "--skip", "swap"]);
    let wrong: Vec<_> = findings.iter().filter(|f| f["outcome"] == "failed").collect();
    assert!(wrong.is_empty() && code == 0, "{findings:#?}");
    for check in [
        "models",
        "trust",
        "clock",
        "watchlist",
        "source",
        "state",
        "outbox",
        "broker-files",
        "broker",
    ] {
        assert!(
            findings.iter().any(|f| f["check"] == check && f["outcome"] == "ok"),
            "{check}: {findings:#?}"
        );
    }
    assert_eq!(desk.files(), before);
}

#[test]
fn where_everything_is_wrong_every_failure_has_a_remedy_and_the_exit_code_says_so() {
    let desk = Desk::new();
    desk.configure(support::free_port(), "");
    let (findings, code) = doctor(&desk, &[]);
    assert_eq!(code, 1);
    for check in ["trust", "watchlist", "source", "broker"] {
        assert!(
            findings.iter().any(|f| f["check"] == check && f["outcome"] == "failed"),
            "{check}: {findings:#?}"
        );
    }
    for finding in findings.iter().filter(|f| f["outcome"] == "failed" || f["outcome"] == "warning")
    {
        assert!(finding["remedy"].as_str().is_some_and(|r| !r.is_empty()), "{finding}");
    }
    std::fs::write(desk.path("watchpost.toml"), "[source]\nkidn = 3\n").expect("writes");
    assert_eq!(doctor(&desk, &[]).1, 78);
    let listed = ok(&["doctor", "--list"]);
    assert_eq!(listed.lines().count(), findings.len());
    let unknown = watchpost(&["doctor", "--only", "nothing"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("the checks are"));
}

#[test]
fn the_packaged_units_keep_their_exposure_low() {
    for unit in ["watchpost.service", "watchpost-desk.service"] {
        let unit = format!("{}/config/{unit}", env!("CARGO_MANIFEST_DIR"));
        let Ok(output) = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=20", &unit])
            .output()
        else {
            let ci = std::env::var_os("CI").is_some_and(|v| v == "true");
            assert!(!ci, "CI=true and no systemd-analyze: install the Debian package systemd");
            support::say("service: no systemd-analyze; the units' exposure was NOT checked.");
            return;
        };
        assert!(output.status.success(), "{unit}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

/// Standard output of a tool that succeeds; `None` where it is not installed.
fn tool(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let (said, errors) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {said}{errors}");
    Some(said)
}

#[test]
fn the_desks_package_brings_its_unit_off_its_configuration_and_nothing_that_others_may_read() {
    if tool("dpkg-deb", &["--version"]).is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI and no dpkg-deb: install dpkg");
        support::say("service: no dpkg-deb; the desk's package was NOT checked.");
        return;
    }
    let root = env!("CARGO_MANIFEST_DIR");
    let folder = tempfile::tempdir().expect("a folder");
    let make = format!("{root}/cross/package/desk");
    let make = || tool(&make, &[&folder.path().display().to_string()]).expect("bash");
    let package = make().trim().to_owned();
    let bytes = std::fs::read(&package).expect("a package");
    make();
    assert_eq!(std::fs::read(&package).expect("a package"), bytes, "the same again");

    let tree = folder.path().join("tree").display().to_string();
    tool("dpkg-deb", &["--raw-extract", &package, &tree]);
    let read = |file: &str| {
        std::fs::read_to_string(format!("{tree}/{file}")).unwrap_or_else(|e| panic!("{file}: {e}"))
    };
    let ours = |file: &str| std::fs::read_to_string(format!("{root}/{file}")).expect("a file");
    let unit = read("lib/systemd/system/watchpost-desk.service");
    assert_eq!(unit, ours("config/watchpost-desk.service"));
    let settings = read("etc/watchpost-desk/desk.toml");
    assert_eq!(settings, ours("config/desk.toml"));
    assert_eq!(read("DEBIAN/conffiles"), "/etc/watchpost-desk/desk.toml\n");
    // Package, unit and configuration agree on who it is, and where.
    let postinst = read("DEBIAN/postinst");
    for line in ["User=watchpost-desk", "StateDirectory=watchpost-desk"] {
        assert!(unit.contains(line), "{line}");
    }
    assert!(unit.contains("--config /etc/watchpost-desk/desk.toml"));
    assert!(settings.contains("/var/lib/watchpost-desk/desk.sqlite"));
    assert!(postinst.contains("adduser --system --group"));
    assert!(
        postinst.contains("-o watchpost-desk -g watchpost-desk -m 0700 /var/lib/watchpost-desk")
    );
    assert!(postinst.contains("chmod 0750 /etc/watchpost-desk"));
    let switched_on = postinst.split("debian-installed").next().expect("text");
    assert!(!switched_on.contains("deb-systemd-helper enable"), "nor switches it on");
    for starts in ["deb-systemd-invoke start", "systemctl start"] {
        assert!(!postinst.contains(starts), "installing starts nothing");
    }
    let purge = read("DEBIAN/postrm");
    assert!(purge.contains("rm -rf /var/lib/watchpost-desk /etc/watchpost-desk"));
    let control = read("DEBIAN/control");
    let version = env!("CARGO_PKG_VERSION");
    assert!(control.contains(&format!("Depends: watchpost (= {version}-1), adduser")), "{control}");
    let listed = tool("dpkg-deb", &["--contents", &package]).expect("dpkg-deb");
    for line in listed.lines() {
        assert!(line.contains(" root/root "), "{line}");
        assert!(!line.starts_with("-rwxr-xr-x") && !line.contains("/bin/"), "no program: {line}");
    }
    for script in ["postinst", "prerm", "postrm"] {
        tool("sh", &["-n", &format!("{tree}/DEBIAN/{script}")]);
    }
    let judged = ["--allow-root", "--fail-on", "error,warning", &package];
    if tool("lintian", &["--version"]).and_then(|_| tool("lintian", &judged)).is_none() {
        support::say("service: no lintian; the desk's package was NOT judged by it.");
    }
}

/// Signs a revocation of the whole list and returns its bytes and its id.
fn revocation(field: &Field) -> (Vec<u8>, String) {
    let out = field.desk.arg("revoke.cose");
    let key = field.desk.arg("alice.key");
    let said =
        ok(&["watchlist", "revoke", "--list", "promises", "--key", &key, "--out", &out, "--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let id = said["order"].as_str().expect("an id").to_owned();
    (std::fs::read(out).expect("an order"), id)
}

fn log_of(field: &Field) -> String {
    std::fs::read_to_string(field.desk.path("log")).expect("a log")
}

#[test]
fn nobody_is_matched_before_the_orders_that_the_broker_keeps_are_heard() {
    let Some(mut field) = Field::new() else { return };
    field.broker.kill();
    field.broker.start_persistent("allow_anonymous true\n");
    field.listener.ready();
    let (order, id) = revocation(&field);
    field.listener.publish(&format!("{TOPIC}/revoke/{id}"), true, order);
    Subscriber::new(field.broker.port, &format!("{TOPIC}/revoke/{id}")).next();
    field.broker.stop();

    // The broker is away; the pictures show somebody who is on the list.
    std::fs::copy(
        format!("{PORTRAITS}/obama-2010.jpg"),
        field.desk.path("pictures/obama-2010.jpg"),
    )
    .expect("a portrait");
    let _daemon = Daemon::start(&field.desk);
    wait_for("a second try to connect", || {
        (log_of(&field).matches("No connection to the broker").count() >= 3).then_some(())
    });
    let log = log_of(&field);
    assert!(log.contains("reason=orders-awaited"), "{log}");
    field.broker.start_persistent("allow_anonymous true\n");
    field.listener.ready();
    field.await_("watchlist/state", "the answer", |s| s["last_change"]["detail"] == id);
    field.await_blind("(revoked)");
    let log = log_of(&field);
    assert!(!log.contains("Candidate decided"), "{log}");
}

#[test]
fn a_broker_that_stays_away_is_waited_for_no_longer_than_is_configured() {
    let Some(mut field) = Field::with("await_orders_s = 2", Desk::list) else { return };
    field.broker.kill();
    let _daemon = Daemon::start(&field.desk);
    wait_for("it to compare", || {
        log_of(&field).contains("Faces are compared with the watch list").then_some(())
    });
    assert!(log_of(&field).contains("reason=orders-awaited"));
    field.broker.start("allow_anonymous true\n");
    field.listener.ready();
    field.await_("status", "a word about it", |s| {
        s["degraded"].as_str().is_some_and(|d| d.contains("not heard since the start"))
    });
    field.await_("status", "all heard", |s| s["matching"] == true && s["degraded"].is_null());
}

#[test]
fn what_the_configuration_weakens_is_published_and_check_prints_the_same() {
    let Some(field) = Field::with("require_locked_memory = false", Desk::list) else { return };
    let _daemon = Daemon::start(&field.desk);
    let status = field.await_("status", "promises", |s| s["promises"].is_object());
    let promises = status["promises"].as_object().expect("an object");
    let weak: Vec<(&str, &Value)> = promises
        .iter()
        .filter(|(_, p)| p["kept"] == false)
        .map(|(name, p)| (name.as_str(), &p["weakened_by"]))
        .collect();
    let by = |key: &str| serde_json::json!([key]);
    assert_eq!(
        weak,
        [
            ("audited", &by("audit.identity")),
            ("locked-memory", &by("watchlist.require_locked_memory")),
            ("sealed-list", &by("watchlist.device_key")),
            ("trusted-clock", &by("watchlist.require_synchronised_clock")),
        ]
    );
    let output = field.desk.command("check").output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find(|line| line.contains("promises")).expect("the check");
    for (name, by) in weak {
        let by = by[0].as_str().expect("a key");
        assert!(line.contains(&format!("{name} (by {by})")), "{line}");
    }
}

#[test]
fn what_ends_within_thirty_days_is_told_everywhere() {
    let metrics = support::free_port();
    let Some(field) = Field::with("", |desk| {
        desk.list();
        let [one, two] = ["alice.key", "bob.key"]
            .map(|key| ok(&["key", "show", &desk.arg(key)]).trim().to_owned());
        std::fs::remove_file(desk.path("trust.toml")).expect("it is there");
        ok(&["key", "trust", &one, &two, "--days", "20", "--out", &desk.arg("trust.toml")]);
    }) else {
        return;
    };
    let file = field.desk.path("watchpost.toml");
    let text = std::fs::read_to_string(&file).expect("text");
    let text = format!("{text}\n[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n");
    std::fs::write(&file, text).expect("writes");
    let (findings, code) = doctor(&field.desk, &["--only", "trust"]);
    assert_eq!((findings[0]["outcome"].as_str(), code), (Some("warning"), 0));
    assert!(
        findings[0]["detail"].as_str().is_some_and(|d| d.contains("in 19 days")),
        "{findings:?}"
    );

    let _daemon = Daemon::start(&field.desk);
    let status = field.await_("status", "ends", |s| s["ends_soon"].is_array());
    let what: Vec<_> =
        status["ends_soon"].as_array().expect("some").iter().map(|e| &e["what"]).collect();
    // A list ends with the keys that it rests on.
    assert_eq!(what, ["list", "trust-file"]);
    let stats = field
        .await_("stats", "when", |s| s["gauges"]["trust.expires_timestamp_seconds"].is_number());
    let ends = stats["gauges"]["trust.expires_timestamp_seconds"].as_f64().expect("a time");
    let days = (ends - time::OffsetDateTime::now_utc().unix_timestamp() as f64) / 86_400.0;
    assert!((19.0..=20.0).contains(&days), "{days}");
    let text = support::metrics(metrics).expect("the metrics");
    assert!(text.contains("\nwatchpost_trust_expires_timestamp_seconds "), "{text}");
}

#[test]
fn the_unit_for_several_cameras_is_that_for_one_with_places_of_its_own() {
    let unit = |name: &str| {
        let path = format!("{}/config/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("a unit");
        let settings = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
        settings.map(str::to_owned).collect::<Vec<_>>()
    };
    let one = unit("watchpost.service");
    let mut several = unit("watchpost@.service");
    several.retain(|line| !line.starts_with("Environment=WATCHPOST__"));
    let plain = several.iter().map(|line| {
        let line = line.replace("from the camera %i", "from a camera");
        line.replace("/etc/watchpost/%i.toml", "/etc/watchpost/watchpost.toml").replace("/%i", "")
    });
    assert_eq!(plain.collect::<Vec<_>>(), one);
    assert_ne!(several, one);
}

#[test]
fn a_stop_with_a_broker_that_says_nothing_is_over_in_time_for_a_container() {
    let desk = Desk::new();
    desk.list();
    desk.pictures(&["obama-2010.jpg"]);
    // It takes connections and never answers.
    let hole = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    desk.configure(hole.local_addr().expect("bound").port(), "repeat = 0\n");
    let daemon = Daemon::start(&desk);
    wait_for("a connection", || hole.accept().ok());
    let began = std::time::Instant::now();
    assert!(daemon.terminate().success());
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}

//! A camera that another program reads, with the program's own command line: an RTSP server on
//! loopback, the command that `config/watchpost-camera.service` has for it, a FIFO, the daemon.
//!
//! `.ci/rtsp` installs what it needs and runs this.

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::desk::{Daemon, Desk, PORTRAITS};
use support::field::Field;
use support::{free_port, wait_for};

const USER: &str = "gate";
const PASSWORD: &str = "s3cret-word";

/// The IP camera.
struct Camera {
    server: Child,
    port: u16,
}

impl Camera {
    fn on(port: u16) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/independent/rtsp_server.py");
        // Debian's python: its packages are not in others.
        let mut server = Command::new("/usr/bin/python3")
            .args([script, &port.to_string(), &format!("{PORTRAITS}/obama-2010.jpg")])
            .args([USER, PASSWORD])
            .stdout(Stdio::piped())
            .spawn()
            .expect("/usr/bin/python3 is there");
        let mut line = String::new();
        let out = server.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("it speaks");
        assert_eq!(line.trim(), "ready", "GStreamer's RTSP server runs");
        Self { server, port }
    }

    /// As when its power goes.
    fn die(self) -> u16 {
        self.port
    }
}

impl Drop for Camera {
    /// SIGKILL.
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The unit's command for RTSP, as its shell gets it, with a folder in place of /run.
fn command(folder: &Path) -> String {
    let unit = include_str!("../config/watchpost-camera.service");
    let line =
        unit.lines().find(|l| l.contains("-f concat") && l.contains("ExecStart=")).expect("it");
    let script =
        line.split_once("/bin/sh -c '").expect("a shell").1.strip_suffix('\'').expect("its end");
    script.replace("$$", "$").replace("/run/watchpost-camera", &folder.display().to_string())
}

/// What the service manager does: starts the command, and again after it ended.
struct Unit {
    child: Child,
    folder: PathBuf,
}

impl Unit {
    fn start(folder: &Path) -> Self {
        Self { child: Self::spawn(folder), folder: folder.to_owned() }
    }

    fn spawn(folder: &Path) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log"));
        Command::new("/bin/sh")
            .args(["-c", &command(folder)])
            .env("CREDENTIALS_DIRECTORY", folder)
            .stdin(Stdio::null())
            .stderr(log.expect("a log"))
            .spawn()
            .expect("a shell")
    }

    /// `Restart=always`.
    fn keep_running(&mut self) {
        if self.child.try_wait().expect("it can be asked").is_some() {
            self.child = Self::spawn(&self.folder);
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // The shell's pipeline ends with its writer, which ends with the FIFO's reader.
        let folder = self.folder.display().to_string();
        for process in command_lines().into_iter().filter(|(_, line)| line.contains(&folder)) {
            let _ = Command::new("kill").arg(process.0.to_string()).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `ps` shows: each process's number and command line.
fn command_lines() -> Vec<(u32, String)> {
    let read = |entry: std::fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some((number, String::from_utf8_lossy(&line).replace('\0', " ")))
    };
    std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(read).collect()
}

fn credential(folder: &Path, port: u16, password: &str) {
    let text = format!(
        "ffconcat version 1.0\nfile rtsp://{USER}:{password}@127.0.0.1:{port}/camera\noption \
         rtsp_transport tcp\noption timeout 5000000\n"
    );
    std::fs::write(folder.join("watchpost-camera"), text).expect("writes");
}

/// The daemon reads the FIFO in place of photographs.
fn read_from_the_pipe(desk: &Desk) -> PathBuf {
    let folder = desk.path("camera");
    std::fs::create_dir(&folder).expect("a folder");
    let fifo = folder.join("frames");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let file = desk.path("watchpost.toml");
    let text = std::fs::read_to_string(&file).expect("text");
    let pipe = format!(
        "kind = \"pipe\"\n[source.pipe]\npath = \"{}\"\nformat = \"y4m\"\n",
        fifo.display()
    );
    std::fs::write(&file, text.replace("kind = \"images\"\n", &pipe)).expect("writes");
    folder
}

/// Waits until the device says all of `wanted` on a topic, and keeps the unit running meanwhile.
fn hears(field: &Field, unit: &mut Unit, topic: &str, wanted: &[&str]) {
    wait_for(topic, || {
        unit.keep_running();
        let messages = field.listener.so_far();
        let says = messages.iter().any(|m| {
            let text = String::from_utf8_lossy(&m.payload);
            m.topic.ends_with(topic.as_bytes()) && wanted.iter().all(|w| text.contains(w))
        });
        says.then_some(())
    });
}

#[test]
#[ignore = "needs ffmpeg and GStreamer's RTSP server: .ci/rtsp"]
fn an_ip_camera_is_read_lost_and_found_again_and_its_password_is_nowhere() {
    // Frames of this size are more than a test's process may lock.
    let settings = "require_locked_memory = false";
    let Some(field) = Field::with(settings, Desk::list) else { return };
    let folder = read_from_the_pipe(&field.desk);
    let daemon = Daemon::start(&field.desk);
    field.await_blind("nobody writes");

    // A wrong password first: a reason in the log, without the password.
    let camera = Camera::on(free_port());
    credential(&folder, camera.port, "wr0ng-word");
    let mut unit = Unit::start(&folder);
    let log = wait_for("a reason", || {
        unit.keep_running();
        std::fs::read_to_string(folder.join("log"))
            .ok()
            .filter(|l| l.contains("Impossible to open"))
    });
    assert!(log.contains("401") && !log.contains("wr0ng-word"), "{log}");

    credential(&folder, camera.port, PASSWORD);
    hears(&field, &mut unit, "/candidate", &["case-1"]);
    for (_, line) in command_lines().iter().filter(|(_, l)| l.starts_with("ffmpeg")) {
        assert!(!line.contains(PASSWORD), "{line}");
    }

    // The camera loses its power; ffmpeg ends, and is started again until the camera is back.
    let port = camera.die();
    field.forget();
    hears(&field, &mut unit, "/status", &["\"blind\"", "nobody writes frames"]);
    let _camera = Camera::on(port);
    hears(&field, &mut unit, "/status", &["\"online\""]);
    let log = std::fs::read_to_string(folder.join("log")).expect("the unit's log");
    assert!(!log.contains(PASSWORD), "{log}");
    drop(unit);
    assert!(daemon.terminate().success());
}

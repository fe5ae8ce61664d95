//! A workstation's folder and a daemon that runs from it: the built binary with its real networks.

#![allow(dead_code)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

pub const PORTRAITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/demo/portraits");

/// A folder with keys, a list and a configuration, as the README has them made.
pub struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A draft with one person on it, enrolled from the photograph of 2012, and two keys that the
    /// trust file pins.
    pub fn draft(&self) {
        self.draft_for(&[]);
    }

    /// [`Desk::draft`] for other networks: `networks` says which.
    pub fn draft_for(&self, networks: &[&str]) {
        for key in ["alice.key", "bob.key"] {
            ok(&["key", "new", &self.arg(key), "--no-passphrase"]);
        }
        let public =
            ["alice.key", "bob.key"].map(|k| ok(&["key", "show", &self.arg(k)]).trim().to_owned());
        ok(&["key", "trust", &public[0], &public[1], "--out", &self.arg("trust.toml")]);
        let draft = self.arg("draft.json");
        let new = [
            "watchlist",
            "new",
            &draft,
            "--id",
            "promises",
            "--authority",
            "a test",
            "--decision",
            "1/26",
            "--aim",
            "consent",
            "--device",
            "gate-1",
            "--most-entries",
            "2",
            "--faces-per-day",
            "1000",
            "--false-alerts-per-day",
            "0.2",
            "--expires",
            "2099-01-01T00:00:00Z",
        ];
        ok(&[&new[..], networks].concat());
        let photograph = format!("{PORTRAITS}/obama-2012.jpg");
        let entry =
            ["--reference", "case-1", "--legal-basis", "order 1/26", "--purpose", "a promise kept"];
        ok(&[&["watchlist", "add", &draft, &photograph][..], &entry[..], networks].concat());
    }

    pub fn sign(&self, from: &str, key: &str) {
        self.sign_for(from, key, &[]);
    }

    /// [`Desk::sign`] for other networks: `networks` says which.
    pub fn sign_for(&self, from: &str, key: &str, networks: &[&str]) {
        let [from, key, out] = [from, key, "list.cose"].map(|name| self.arg(name));
        let sign = ["watchlist", "sign", &from, "--key", &key, "--out", &out, "--yes"];
        ok(&[&sign[..], networks].concat());
    }

    /// The public half of a key.
    pub fn public(&self, key: &str) -> String {
        ok(&["key", "show", &self.arg(key)]).trim().to_owned()
    }

    /// Seals the list to the device's key, in its place.
    pub fn seal_list(&self) {
        let (list, sealed) = (self.arg("list.cose"), self.arg("list.age"));
        let to = self.public("device.key");
        ok(&["watchlist", "seal", &list, "--to", &to, "--out", &sealed]);
        std::fs::rename(&sealed, &list).expect("a sealed list");
    }

    /// Signs the file `from` into the file `out`.
    pub fn sign_into(&self, from: &str, key: &str, out: &str) {
        ok(&["watchlist", "sign", from, "--key", &self.arg(key), "--out", out, "--yes"]);
    }

    /// [`Desk::draft`], signed by both.
    pub fn list(&self) {
        self.draft();
        self.sign("draft.json", "alice.key");
        self.sign("list.cose", "bob.key");
    }

    /// Copies bundled portraits into the folder that is played.
    pub fn pictures(&self, names: &[&str]) {
        std::fs::create_dir(self.path("pictures")).expect("a folder");
        for name in names {
            std::fs::copy(format!("{PORTRAITS}/{name}"), self.path("pictures").join(name))
                .expect("a bundled portrait");
        }
    }

    /// Writes a configuration that plays the pictures; `more` is appended to `[source.images]`.
    pub fn configure(&self, port: u16, more: &str) {
        let [list, trust, state, outbox, pictures] =
            ["list.cose", "trust.toml", "state.json", "outbox", "pictures"]
                .map(|name| self.arg(name));
        // Nobody listens on port 1.
        let wait = if port == 1 { "await_orders_s = 0\n" } else { "" };
        let text = format!(
            "[device]\nid = \"gate-1\"\n[watchlist]\n{wait}list = \"{list}\"\ntrust \
             = \"{trust}\"\nstate = \"{state}\"\nrequire_synchronised_clock = \
             false\n[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\nroot = \"site\"\noutbox \
             = \"{outbox}\"\n[source]\nkind = \"images\"\n[source.images]\npath \
             = \"{pictures}\"\nfps = 0.0\n{more}"
        );
        std::fs::write(self.path("watchpost.toml"), text).expect("writes");
    }

    pub fn command(&self, what: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watchpost"));
        command.args([what, "--config"]).arg(self.path("watchpost.toml")).stdin(Stdio::null());
        command
    }

    pub fn run(&self) -> Output {
        self.command("run").output().expect("the binary runs")
    }

    pub fn files(&self) -> BTreeSet<PathBuf> {
        fn walk(folder: &Path, into: &mut BTreeSet<PathBuf>) {
            for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
                if entry.path().is_dir() {
                    walk(&entry.path(), into);
                } else {
                    into.insert(entry.path());
                }
            }
        }
        let mut files = BTreeSet::new();
        walk(self.folder.path(), &mut files);
        files
    }
}

/// A daemon that is ended with the test.
pub struct Daemon(Child);

impl Daemon {
    pub fn start(desk: &Desk) -> Self {
        Self::start_with(desk, &[])
    }

    /// With these variables in its environment.
    pub fn start_with(desk: &Desk, variables: &[(&str, &str)]) -> Self {
        let log = std::fs::File::create(desk.path("log")).expect("a log file");
        let out = log.try_clone().expect("a descriptor");
        let mut command = desk.command("run");
        command.envs(variables.iter().copied()).stdout(out).stderr(log);
        Self(command.spawn().expect("the binary runs"))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// SIGHUP: reads the list and the trust file again.
    pub fn hang_up(&self) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().is_ok_and(|s| s.success()));
    }

    /// SIGKILL, as a power cut does it.
    pub fn kill(mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    pub fn terminate(mut self) -> std::process::ExitStatus {
        Command::new("kill").arg(self.0.id().to_string()).status().expect("kill runs");
        self.0.wait().expect("it ends")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

pub fn watchpost(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_watchpost"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

/// Standard output of a command that succeeds.
pub fn ok(args: &[&str]) -> String {
    let output = watchpost(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Exit code and standard error of a command that fails.
pub fn fails(args: &[&str]) -> (i32, String) {
    let output = watchpost(args);
    assert!(!output.status.success(), "{args:?} succeeded");
    (output.status.code().expect("no signal"), String::from_utf8_lossy(&output.stderr).into_owned())
}

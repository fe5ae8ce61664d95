//! `watchpost desk` as a process, and a browser without a picture: HTTP/1.1 on loopback.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use watchpost::delivery::event::EventId;
use watchpost::watchlist::keys::SecretKey;

use super::{PATIENCE, free_port, wait_for};

/// A desk of its own, killed when dropped.
pub struct ReceivingDesk {
    folder: PathBuf,
    pub port: u16,
    child: Option<Child>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header, its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        self.head.lines().find(line)?.split_once(':').map(|(_, value)| value.trim())
    }
}

impl ReceivingDesk {
    /// Writes the configuration: the trust file and `more` are given, the rest lies in `folder`.
    pub fn new(folder: &Path, broker: u16, trust: &Path, more: &str) -> Self {
        let port = free_port();
        let key = folder.join("receiving.key");
        if !key.exists() {
            SecretKey::generate().expect("a key").create_file(&key).expect("writes");
        }
        let text = format!(
            "trust = {trust:?}\nkey = {key:?}\n[broker]\nurl = \"mqtt://127.0.0.1:{broker}\"\nroot \
             = \"site\"\n[store]\npath = {store:?}\n[http]\nlisten = \"127.0.0.1:{port}\"\n{more}",
            store = folder.join("desk.sqlite"),
        );
        std::fs::write(folder.join("desk.toml"), text).expect("writes");
        Self::configured(folder, port)
    }

    /// One whose configuration, `desk.toml` in `folder`, has it listen on `port`.
    pub fn configured(folder: &Path, port: u16) -> Self {
        Self { folder: folder.to_owned(), port, child: None }
    }

    pub fn config(&self) -> String {
        self.folder.join("desk.toml").display().to_string()
    }

    pub fn store(&self) -> PathBuf {
        self.folder.join("desk.sqlite")
    }

    pub fn key(&self) -> SecretKey {
        SecretKey::open_file(&self.folder.join("receiving.key")).expect("a key")
    }

    pub fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it, and waits until its pages are there.
    pub fn start(&mut self) {
        self.spawn();
        wait_for("the desk", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    /// Starts it, and waits for nothing.
    pub fn spawn(&mut self) {
        let log = self.folder.join("desk.log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_watchpost"));
        command.args(["desk", "--config", &self.config()]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("the binary runs"));
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Resident memory in KiB.
    pub fn memory(&self) -> u64 {
        let Some(child) = &self.child else { return 0 };
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|l| l.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("desk.log")).unwrap_or_default()
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the desk listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: desk\r\nConnection: close\r\nContent-Length: \
             {}\r\n{headers}\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("writes");
        // A desk that refuses a body need not read all of it.
        let _ = stream.write_all(body);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }

    pub fn post(&self, path: &str, headers: &str, body: &Value) -> Answer {
        let headers = format!("Content-Type: application/json\r\n{headers}");
        self.ask("POST", path, &headers, body.to_string().as_bytes())
    }

    /// Signs in with a key, as its browser does.
    pub fn sign_in<'a>(&'a self, key: &SecretKey) -> Visitor<'a> {
        let answer = self.try_to_sign_in(key);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let cookie = answer.header("set-cookie").expect("a cookie");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        let cookie = cookie.split(';').next().expect("a pair").to_owned();
        let csrf = answer.json()["csrf"].as_str().expect("a token").to_owned();
        Visitor { desk: self, cookie, csrf }
    }

    pub fn try_to_sign_in(&self, key: &SecretKey) -> Answer {
        let public = key.public().to_string();
        let challenge = self.post("/api/challenge", "", &json!({ "key": public }));
        let challenge = challenge.json()["challenge"].as_str().expect("a challenge").to_owned();
        let text = format!("watchpost desk sign-in v1\n{}\n{challenge}", self.origin());
        let signature = URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()));
        let body = json!({ "key": public, "challenge": challenge, "signature": signature });
        self.post("/api/session", "", &body)
    }
}

impl Drop for ReceivingDesk {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Somebody who is signed in.
pub struct Visitor<'a> {
    desk: &'a ReceivingDesk,
    pub cookie: String,
    pub csrf: String,
}

impl Visitor<'_> {
    pub fn get(&self, path: &str) -> Answer {
        self.desk.ask("GET", path, &format!("Cookie: {}\r\n", self.cookie), b"")
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        let headers = format!(
            "Cookie: {}\r\nX-Csrf: {}\r\nContent-Type: application/octet-stream\r\n",
            self.cookie, self.csrf
        );
        self.desk.ask("POST", path, &headers, body)
    }

    /// The ids of candidates in the queue, by their links.
    pub fn queue(&self) -> Vec<String> {
        let page = self.get("/queue").text();
        let mut found: Vec<String> = page
            .split("/pair/")
            .skip(1)
            .filter_map(|rest| rest.get(..36))
            .map(str::to_owned)
            .collect();
        found.dedup();
        found
    }

    /// Listens to server-sent events, and reads no more than the head of the answer.
    pub fn events(&self) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.desk.port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let head = format!(
            "GET /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: {}\r\n\r\n",
            self.cookie
        );
        stream.write_all(head.as_bytes()).expect("writes");
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
        stream
    }

    /// Waits for server-sent events until one is named `name`; returns all that came, as text.
    pub fn listen(&self, name: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.desk.port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
        let head = format!("GET /events HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", self.cookie);
        stream.write_all(head.as_bytes()).expect("writes");
        let mut text = String::new();
        wait_for(name, || {
            let mut bytes = [0; 4096];
            if let Ok(n) = stream.read(&mut bytes) {
                text.push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
            text.contains(&format!("event: {name}")).then(|| text.clone())
        })
    }
}

/// The events of candidates in a desk's store, and how often each is there.
pub fn stored(store: &Path) -> BTreeMap<EventId, usize> {
    use sqlx::{ConnectOptions as _, Row as _};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let rows = runtime.expect("a runtime").block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(store);
        let options = options.busy_timeout(PATIENCE).disable_statement_logging();
        let mut database = options.connect().await.expect("a database");
        let ids = sqlx::query("SELECT id FROM event WHERE kind = 'candidate'");
        ids.fetch_all(&mut database).await.expect("reads")
    });
    let mut found = BTreeMap::new();
    for row in rows {
        let id: Vec<u8> = row.get(0);
        let id = u128::from_be_bytes(id.try_into().expect("an id of 16 bytes"));
        *found.entry(EventId::from_u128(id)).or_default() += 1;
    }
    found
}

/// What a question to a desk's store counts.
pub fn count(store: &Path, what: &str) -> i64 {
    use sqlx::{ConnectOptions as _, Row as _};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(store);
        let mut database = options.busy_timeout(PATIENCE).connect().await.expect("a database");
        sqlx::query(what).fetch_one(&mut database).await.expect("reads").get(0)
    })
}

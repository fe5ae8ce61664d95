//! Whoever is told that a candidate waits: a web server, and a mail server.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, Once};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::sync::watch;
use watchpost::desk::config::HttpConfig;
use watchpost::desk::http::serve;

use super::{say, wait_for};

/// One request.
#[derive(Debug, Clone)]
pub struct Told {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// All of it, as text.
    pub fn text(&self) -> String {
        format!("{} {:?} {}", self.path, self.headers, String::from_utf8_lossy(&self.body))
    }
}

#[derive(Default)]
struct Heard {
    told: Mutex<Vec<Told>>,
    /// What is answered; never, where 0.
    answer: AtomicU16,
}

/// A web server that takes anything, and ends when dropped.
pub struct HookServer {
    pub port: u16,
    heard: Arc<Heard>,
    runtime: Option<tokio::runtime::Runtime>,
    /// Kept for as long as it serves.
    _stop: watch::Sender<bool>,
}

impl HookServer {
    /// On this port, with the certificate `localhost.pem` of a folder where one is given.
    pub fn start(port: u16, certificates: Option<&Path>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let http = HttpConfig {
            listen: ([127, 0, 0, 1], port).into(),
            certificate: certificates.map(|folder| folder.join("localhost.pem")),
            key: certificates.map(|folder| folder.join("localhost.key")),
            ..HttpConfig::default()
        };
        let heard = Arc::new(Heard { answer: 204.into(), ..Heard::default() });
        let router = Router::new().fallback(take).with_state(Arc::clone(&heard));
        let tls = serve::tls(&http).expect("a certificate");
        let listener = runtime.block_on(serve::listen(&http)).expect("a free port");
        let (stop, stopping) = watch::channel(false);
        runtime.spawn(serve::serve(listener, tls, router, stopping));
        Self { port, heard, runtime: Some(runtime), _stop: stop }
    }

    pub fn answers(&self, status: u16) {
        self.heard.answer.store(status, Ordering::SeqCst);
    }

    pub fn told(&self) -> Vec<Told> {
        self.heard.told.lock().expect("no panic").clone()
    }

    /// The `n`th request, from 0.
    pub fn wait(&self, n: usize) -> Told {
        wait_for("a notification", || self.told().get(n).cloned())
    }
}

impl Drop for HookServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn take(
    State(heard): State<Arc<Heard>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let told = Told { path: uri.to_string(), headers, body: body.to_vec() };
    heard.told.lock().expect("no panic").push(told);
    match heard.answer.load(Ordering::SeqCst) {
        0 => std::future::pending().await,
        status => {
            let status = StatusCode::from_u16(status).expect("a status");
            let elsewhere = [(header::LOCATION, "/elsewhere")];
            // More than anybody should read.
            (status, elsewhere, vec![b'x'; 1 << 20]).into_response()
        }
    }
}

/// `tests/independent/mail_server.py`, killed when dropped.
pub struct MailServer {
    pub port: u16,
    file: PathBuf,
    child: Child,
}

impl MailServer {
    /// `None` where there is no aiosmtpd, which is a failure with `CI=true`.
    pub fn start(port: u16, folder: &Path, more: &[&str]) -> Option<Self> {
        static SAID: Once = Once::new();
        let python = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
            let mut import = Command::new(python);
            import.args(["-c", "import aiosmtpd"]).stderr(Stdio::null());
            import.status().is_ok_and(|status| status.success())
        });
        let Some(python) = python else {
            assert!(
                std::env::var_os("CI").is_none_or(|v| v != "true"),
                "CI=true and no aiosmtpd: install the Debian package python3-aiosmtpd"
            );
            SAID.call_once(|| say("desk: no aiosmtpd; its mail was NOT checked against a server."));
            return None;
        };
        let file = folder.join("mail.jsonl");
        let script =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/independent/mail_server.py").to_owned();
        let mut child = Command::new(python)
            .args([&script, &port.to_string(), &file.display().to_string()])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it speaks");
        assert_eq!(line, "ready\n");
        Some(Self { port, file, child })
    }

    /// What came, one object a message.
    pub fn messages(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

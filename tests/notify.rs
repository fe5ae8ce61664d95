//! The desk tells people who are elsewhere that a candidate waits, and nothing of a person.

mod support;

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use support::authority::Authority;
use support::listener::{HookServer, MailServer, Told};
use support::receiving::{ReceivingDesk, stored};
use support::{Mosquitto, Subscriber, event, free_port, trials, wait_for};
use time::OffsetDateTime;
use watchpost::clock::Now;
use watchpost::delivery::DeviceId;
use watchpost::delivery::event::{CloudEvent, EventId};
use watchpost::desk::store::{DeskStore, KeptNotifications};
use watchpost::watchlist::keys::SecretKey;
use watchpost::watchlist::trust::{Role, render};

/// What the desk and the receiver share.
const SECRET: &[u8] = b"thirty-two bytes of one receiver";

/// A broker, a desk that tells somebody, and whoever publishes as a device.
struct Station {
    desk: ReceivingDesk,
    broker: Mosquitto,
    folder: tempfile::TempDir,
}

impl Station {
    /// `settings` follow `[notify]`; in them FOLDER is the folder. `None` without mosquitto.
    fn open(settings: &str) -> Option<Self> {
        let mut broker = Mosquitto::installed()?;
        broker.start(trials::MOSQUITTO);
        let folder = tempfile::tempdir().expect("a folder");
        let secret = format!("whsec_{}\n", STANDARD.encode(SECRET));
        private(&folder.path().join("secret"), &secret);
        private(&folder.path().join("password"), "a word\n");
        Authority::new(folder.path(), "ca").issue("localhost", "localhost", 2);
        Authority::new(folder.path(), "other");
        let trust = folder.path().join("trust.toml");
        let settings = settings.replace("FOLDER", &folder.path().display().to_string());
        let more = format!("origin = \"https://desk.example\"\n[notify]\n{settings}");
        let desk = ReceivingDesk::new(folder.path(), broker.port, &trust, &more);
        let now = OffsetDateTime::now_utc();
        let key = |n: u8| SecretKey::from_seed(&[n; 32]).public();
        let keys = [
            (key(1), "signer", &[Role::Signer, Role::Revoker][..]),
            (key(2), "signer", &[Role::Signer, Role::Revoker][..]),
            (key(3), "reviewer", &[Role::Reviewer][..]),
        ];
        let day = time::Duration::DAY;
        let text = render(1, 2, now - day, now + 9 * day, &keys);
        std::fs::write(&trust, text).expect("writes");
        Some(Self { desk, broker, folder })
    }

    /// Publishes candidate `number`, and waits until it is stored. Its ids.
    fn candidate(&self, number: u64) -> [String; 2] {
        let now = Now { wall: OffsetDateTime::now_utc(), monotonic: Duration::ZERO };
        let (id, device) = (EventId::new(now), DeviceId::new("cam-7").expect("a plain id"));
        let mut candidate = event::candidate(number, 3000);
        candidate.place = Some("the north gate".to_owned());
        let candidate_id = candidate.candidate.to_string();
        let event = CloudEvent::new(id, &device, now, candidate);
        let bytes = serde_json::to_vec(&event).expect("JSON");
        let publisher = Subscriber::new(self.broker.port, "nothing/here");
        wait_for("the candidate to be stored", || {
            publisher.publish("site/v1/cam-7/candidate", false, bytes.clone());
            std::thread::park_timeout(Duration::from_millis(20));
            stored(&self.desk.store()).contains_key(&id).then_some(())
        });
        [id.to_string(), candidate_id]
    }

    /// What is kept of the only destination, or of the one of this name.
    fn kept(&self, name: &str) -> KeptNotifications {
        let all = read(&self.desk.store(), async |s| s.notifications().await.expect("reads"));
        all.into_iter().find(|kept| kept.destination == name).expect("it is configured")
    }

    /// Neither what was told nor the log says more than that something waits.
    fn says_nothing_of_a_person(&self, told: &str, ids: &[String; 2]) {
        let crop = STANDARD.encode(vec![0x55; 3000]);
        let all = format!("{told}\n{}", self.desk.log());
        let ids = ids.iter().flat_map(|id| [id.clone(), id.replace('-', "")]);
        let words = ["E-0042", "L-42", "cam-7", "front", "north gate", "north%20gate", &crop[..40]];
        for word in words.map(str::to_owned).into_iter().chain(ids) {
            assert!(!all.contains(&word), "{word}: {all}");
        }
    }
}

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).expect("writes");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
}

fn read<T>(store: &Path, ask: impl AsyncFnOnce(DeskStore) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .expect("a runtime")
        .block_on(async { ask(DeskStore::open(store).await.expect("a database")).await })
}

fn webhook(url: &str) -> String {
    format!(
        "[[notify.webhook]]\nname = \"duty\"\nurl = \"{url}\"\nsecret_file = \"FOLDER/secret\"\n"
    )
}

/// As a receiver's library verifies it.
fn verifies(told: &Told) -> bool {
    let (id, timestamp) = (told.header("webhook-id"), told.header("webhook-timestamp"));
    let body = std::str::from_utf8(&told.body).expect("text");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = told.header("webhook-signature").strip_prefix("v1,").unwrap_or_default();
    let signature = STANDARD.decode(signature).unwrap_or_default();
    let age = OffsetDateTime::now_utc().unix_timestamp() - timestamp.parse::<i64>().unwrap_or(0);
    hmac::verify(&key, format!("{id}.{timestamp}.{body}").as_bytes(), &signature).is_ok()
        && (-5..300).contains(&age)
}

#[test]
fn a_webhook_over_tls_is_signed_and_says_only_that_a_candidate_waits_and_where() {
    let port = free_port();
    let hook = webhook(&format!("https://localhost:{port}/hook?for=desk"));
    let other = hook.replace("duty", "stranger") + "ca_file = \"FOLDER/other.pem\"\n";
    let Some(mut station) = Station::open(&format!("{hook}ca_file = \"FOLDER/ca.pem\"\n{other}"))
    else {
        return;
    };
    let server = HookServer::start(port, Some(station.folder.path()));
    station.desk.start();
    let ids = station.candidate(42);
    let told = server.wait(0);
    let body = told.json();
    let object = body.as_object().expect("an object");
    assert_eq!(object.len(), 3, "{body}");
    assert_eq!(body["what"], "candidate-waits");
    assert_eq!(body["link"], "https://desk.example/queue");
    assert_eq!(body["id"], told.header("webhook-id"));
    assert_eq!(told.path, "/hook?for=desk");
    assert!(verifies(&told), "{told:?}");
    let mut altered = told.clone();
    altered.body.push(b' ');
    assert!(!verifies(&altered));
    let mut names: Vec<&str> = told.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let expected = ["content-length", "content-type", "host", "user-agent"];
    let signed = ["webhook-id", "webhook-signature", "webhook-timestamp"];
    assert_eq!(names, [&expected[..], &signed].concat());
    // The one that does not believe the server's authority has told it nothing.
    wait_for("an attempt to fail", || {
        (station.kept("webhook-stranger").counts.failed > 0).then_some(())
    });
    wait_for("it to count", || (station.kept("webhook-duty").counts.delivered == 1).then_some(()));
    assert_eq!(server.told().len(), 1);
    station.says_nothing_of_a_person(&told.text(), &ids);
    assert!(station.desk.log().contains("destination=webhook-stranger"), "the failure is said");
    assert!(!station.desk.log().contains("for=desk"), "an address may be a secret");
}

#[test]
fn a_kill_between_store_and_send_loses_no_notification_and_a_repeat_carries_its_id() {
    let port = free_port();
    let Some(mut station) = Station::open(&webhook(&format!("http://127.0.0.1:{port}/"))) else {
        return;
    };
    // Nobody listens: it is stored, and not sent.
    station.desk.start();
    station.candidate(42);
    let open = wait_for("it to be kept", || station.kept("webhook-duty").open);
    station.desk.kill();
    assert_eq!(station.kept("webhook-duty").open.expect("it is kept").id, open.id);
    // The answer never comes, and the desk is killed while it waits.
    let server = HookServer::start(port, None);
    server.answers(0);
    station.desk.spawn();
    let first = server.wait(0);
    station.desk.kill();
    server.answers(204);
    station.desk.spawn();
    let second = server.wait(1);
    for told in [&first, &second] {
        assert_eq!(told.json()["id"], open.id.to_string());
        assert!(verifies(told));
    }
    wait_for("it to count", || (station.kept("webhook-duty").counts.delivered == 1).then_some(()));
    let kept = station.kept("webhook-duty");
    assert_eq!((kept.open, kept.unsaid), (None, 0));
    // Nothing is owed: another start says nothing.
    station.desk.kill();
    station.desk.start();
    let ids = station.candidate(43);
    wait_for("the next to be owed", || (station.kept("webhook-duty").unsaid == 1).then_some(()));
    assert_eq!(server.told().len(), 2, "within the interval: {ids:?}");
}

#[test]
fn a_flood_of_candidates_is_one_notification_and_one_more_after_the_interval() {
    let port = free_port();
    let hooks = webhook(&format!("http://127.0.0.1:{port}/"));
    let Some(mut station) = Station::open(&format!("at_most_every_s = 86400\n{hooks}")) else {
        return;
    };
    let server = HookServer::start(port, None);
    station.desk.start();
    for number in 0..30 {
        station.candidate(number);
    }
    let kept = station.kept("webhook-duty");
    assert_eq!(kept.counts.delivered, 1, "{kept:?}");
    assert!(kept.unsaid > 20 && kept.open.is_none(), "{kept:?}");
    assert_eq!(server.told().len(), 1);
    // With a shorter interval those are told, once, under another id.
    station.desk.kill();
    let file = station.desk.config();
    let text = std::fs::read_to_string(&file).expect("a configuration").replace("86400", "1");
    std::fs::write(&file, text).expect("writes");
    station.desk.start();
    let second = server.wait(1);
    assert_ne!(second.json()["id"], server.told()[0].json()["id"]);
    wait_for("all to be told", || (station.kept("webhook-duty").unsaid == 0).then_some(()));
    assert_eq!(server.told().len(), 2);
}

#[test]
fn a_redirect_is_a_failure_that_is_counted_and_is_followed_nowhere() {
    let port = free_port();
    let Some(mut station) = Station::open(&webhook(&format!("http://127.0.0.1:{port}/hook")))
    else {
        return;
    };
    let server = HookServer::start(port, None);
    server.answers(307);
    station.desk.start();
    let ids = station.candidate(42);
    let told = server.wait(0);
    wait_for("it to count", || (station.kept("webhook-duty").counts.failed == 1).then_some(()));
    server.answers(500);
    let again = server.wait(1);
    assert_eq!(again.json()["id"], told.json()["id"]);
    assert!(server.told().iter().all(|told| told.path == "/hook"));
    assert!(station.desk.log().contains("it answered 307"), "{}", station.desk.log());
    station.says_nothing_of_a_person(&again.text(), &ids);
    // Whoever supervises sees it.
    assert!(station.kept("webhook-duty").open.is_some());
}

#[test]
fn mail_goes_over_tls_to_each_address_apart_and_one_refused_holds_up_nobody() {
    let port = free_port();
    let mail = format!(
        "[notify.mail]\nserver = \"smtp://localhost:{port}\"\nfrom = \"desk@city.example\"\nto = \
         [\"gone@city.example\", \"duty@city.example\"]\nusername = \"desk\"\npassword_file = \
         \"FOLDER/password\"\nca_file = \"FOLDER/ca.pem\"\n"
    );
    let Some(mut station) = Station::open(&mail) else { return };
    let [certificate, key] = ["localhost.pem", "localhost.key"]
        .map(|name| station.folder.path().join(name).display().to_string());
    let tls = ["--certificate", &certificate, "--key", &key, "--refuse", "gone@city.example"];
    let Some(server) = MailServer::start(port, station.folder.path(), &tls) else { return };
    station.desk.start();
    let ids = station.candidate(42);
    wait_for("mail", || server.messages().first().cloned());
    wait_for("it to count", || (station.kept("mail-2").counts.delivered == 1).then_some(()));
    wait_for("the other to fail", || (station.kept("mail-1").counts.failed > 0).then_some(()));
    let [message] = &server.messages()[..] else { panic!("{:?}", server.messages()) };
    assert_eq!(message["tls"], true);
    assert_eq!(message["user"], true);
    assert_eq!(message["from"], "desk@city.example");
    assert_eq!(message["to"], serde_json::json!(["duty@city.example"]));
    let text = message["text"].as_str().expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert_eq!(body, "A candidate waits at https://desk.example/queue\r\n");
    assert!(head.contains("Subject: A candidate waits\r\n"), "{head}");
    assert!(!text.contains("gone@"), "none sees another");
    station.says_nothing_of_a_person(&message.to_string(), &ids);
    let log = station.desk.log();
    assert!(log.contains("it answered 550 destination=mail-1"), "{log}");
    assert!(!log.contains("@city.example") && !log.contains("a word"), "{log}");
}

#[test]
fn a_mail_server_without_tls_gets_nothing() {
    let port = free_port();
    let mail = format!(
        "[notify.mail]\nserver = \"smtp://localhost:{port}\"\nfrom = \"desk@city.example\"\nto = \
         [\"duty@city.example\"]\nca_file = \"FOLDER/ca.pem\"\n"
    );
    let Some(mut station) = Station::open(&mail) else { return };
    let Some(server) = MailServer::start(port, station.folder.path(), &[]) else { return };
    station.desk.start();
    station.candidate(42);
    wait_for("an attempt to fail", || (station.kept("mail-1").counts.failed > 0).then_some(()));
    assert!(server.messages().is_empty(), "{:?}", server.messages());
    // On this machine it may.
    station.desk.kill();
    let file = station.desk.config();
    let text = std::fs::read_to_string(&file).expect("a configuration");
    std::fs::write(&file, text.replace("smtp://localhost", "smtp://127.0.0.1")).expect("writes");
    station.desk.start();
    let message = wait_for("mail", || server.messages().first().cloned());
    assert_eq!(message["tls"], false);
    assert_ne!(message["user"], true);
}

#[test]
fn a_secret_that_others_may_read_stops_the_start_and_the_key_is_named() {
    let Some(station) = Station::open(&webhook("http://127.0.0.1:1/")) else { return };
    let secret = station.folder.path().join("secret");
    use std::os::unix::fs::PermissionsExt as _;
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&secret, open).expect("it is ours");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_watchpost"))
        .args(["desk", "--config", &station.desk.config()])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("notify.webhook.secret_file") && said.contains("chmod 600"), "{said}");
}

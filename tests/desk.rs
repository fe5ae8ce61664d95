//! The receiving end: with the real daemon, a real broker, and browsers without a picture.
//!
//! `WATCHPOST_DESK_TRIALS=500 cargo test --test desk -- --nocapture whatever` makes the trials
//! long.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::desk::{Daemon, Desk, PORTRAITS, ok, watchpost};
use support::field::Field;
use support::receiving::{ReceivingDesk, Visitor, count, stored};
use support::wire::{Tap, packets};
use support::{Mosquitto, PATIENCE, event, say, trials, wait_for};
use time::OffsetDateTime;
use watchpost::audit::{detached, receipt};
use watchpost::clock::{Clock, Now};
use watchpost::delivery::event::{CloudEvent, EventId, ReviewStage, ReviewState};
use watchpost::delivery::{
    self, BrokerConfig, Delivery, DeviceId, InboundKind, ReceiptRule, ReceiptedEvent, Screen,
    Screened,
};
use watchpost::desk::DeskConfig;
use watchpost::desk::intake::{AboutWhat, ArrivedEvent, CandidateEvent, Intaken};
use watchpost::desk::store::{Arrival, DeskStore, KeepingRules, OwnVerdict};
use watchpost::judgement::{Confidence, Opinion, Outcome};
use watchpost::review::docket::{Docket, Judged, NewCase, NotCounted, Notice};
use watchpost::review::verdict::{self, CandidateId, Verdict};
use watchpost::watchlist::keys::SecretKey;
use watchpost::watchlist::rotation;
use watchpost::watchlist::seal::{DeviceKey, Recipient};
use watchpost::watchlist::trust::{Role, Trust, naming, render};

/// Keys of people, by number.
fn person(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// A trust file with two signers, these reviewers, and the desk as receiver.
fn pin(path: &Path, serial: u64, reviewers: &[&SecretKey], receiver: &SecretKey) -> Trust {
    let now = OffsetDateTime::now_utc();
    let mut keys = vec![
        (person(1).public(), "signer", &[Role::Signer, Role::Revoker][..]),
        (person(2).public(), "signer", &[Role::Signer, Role::Revoker][..]),
        (receiver.public(), "desk", &[Role::Receiver][..]),
    ];
    keys.extend(reviewers.iter().map(|key| (key.public(), "reviewer", &[Role::Reviewer][..])));
    let day = time::Duration::DAY;
    let text = render(serial, 2, now - day, now + 9 * day, &keys);
    let text = reviewers.iter().zip(1..).fold(text, |text, (key, n)| {
        naming(&text, &key.public(), &format!("p-{n}").parse().expect("a name"))
    });
    std::fs::write(path, &text).expect("writes");
    Trust::parse(&text).expect("a trust file")
}

/// A broker, a desk, and whoever publishes as a device.
struct Bureau {
    desk: ReceivingDesk,
    /// To which verdicts are sealed.
    device_key: DeviceKey,
    publisher: support::Subscriber,
    folder: tempfile::TempDir,
    /// Ends with it.
    _broker: Mosquitto,
}

impl Bureau {
    /// `None` where no mosquitto is installed.
    fn open() -> Option<Self> {
        let mut broker = Mosquitto::installed()?;
        broker.start(trials::MOSQUITTO);
        let folder = tempfile::tempdir().expect("a folder");
        let device_key = DeviceKey::generate().expect("a key");
        let identity = person(9).public();
        let device = format!(
            "[people]\nsupervisors = [\"{}\"]\n[[device]]\nid = \"cam-7\"\nkey \
             = \"{}\"\n[[device]]\nid = \"signing\"\nkey = \"{}\"\nidentity = \"{identity}\"\n",
            person(8).public(),
            device_key.recipient(),
            device_key.recipient()
        );
        let trust = folder.path().join("trust.toml");
        let mut desk = ReceivingDesk::new(folder.path(), broker.port, &trust, &device);
        pin(&trust, 1, &[&person(3), &person(4)], &desk.key());
        desk.start();
        let publisher = support::Subscriber::new(broker.port, "site/#");
        let bureau = Self { desk, device_key, publisher, folder, _broker: broker };
        // The desk hears once its subscription stands.
        let at = bureau.probe();
        wait_for("the desk to hear", || bureau.stored().contains_key(&at).then_some(()));
        Some(bureau)
    }

    fn trust(&self) -> PathBuf {
        self.folder.path().join("trust.toml")
    }

    /// Publishes until one arrives.
    fn probe(&self) -> EventId {
        let (id, bytes) = made(1, |_| {});
        wait_for("an event to arrive", || {
            self.publisher.publish("site/v1/cam-7/candidate", false, bytes.clone());
            std::thread::park_timeout(Duration::from_millis(50));
            self.stored().contains_key(&id).then_some(())
        });
        id
    }

    /// Ids and sequences of all candidates' events in the store.
    fn stored(&self) -> BTreeMap<EventId, usize> {
        stored(&self.desk.store())
    }

    /// Publishes candidate `number`, and waits until it is stored. What the device remembers of it.
    fn candidate(&self, number: u64) -> Docket {
        let (id, bytes) = made(number, |_| {});
        let mut docket = Docket::default();
        docket
            .add(NewCase {
                candidate: CandidateId(u128::from(number).to_be_bytes()),
                payloads: vec![Sha256::digest(&bytes).into()],
                list: "L-42".parse().expect("a reference"),
                version: 3,
                entry: format!("E-{number:04}").parse().expect("a reference"),
                until: OffsetDateTime::now_utc() + time::Duration::HOUR,
            })
            .expect("there is room");
        self.publisher.publish("site/v1/cam-7/candidate", false, bytes);
        wait_for("the candidate", || self.stored().contains_key(&id).then_some(()));
        docket
    }

    /// What the device makes of an envelope.
    fn counts(&self, docket: &mut Docket, envelope: &[u8]) -> Judged {
        let trust = Trust::open(&self.trust()).expect("a trust file");
        let verdict = verdict::open(envelope, &trust, "cam-7", &self.device_key);
        docket.judge(&verdict.expect("a verdict"), &trust, OffsetDateTime::now_utc())
    }

    /// The next verdict that the desk publishes.
    fn next_verdict(&self) -> Vec<u8> {
        loop {
            let message = self.publisher.next();
            if message.topic == "site/v1/cam-7/review" {
                return message.payload.to_vec();
            }
        }
    }

    fn set_aside(&self) -> BTreeMap<String, u64> {
        read(&self.desk.store(), async |store| {
            store.set_aside().await.expect("reads").into_iter().collect()
        })
    }
}

fn read<T>(store: &Path, ask: impl AsyncFnOnce(DeskStore) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .expect("a runtime")
        .block_on(async { ask(DeskStore::open(store).await.expect("a database")).await })
}

/// An event of cam-7 about candidate `number`, changed by `change`.
fn made(number: u64, change: impl FnOnce(&mut Value)) -> (EventId, Vec<u8>) {
    let candidate = event::candidate(number, 3000);
    let now = Now { wall: OffsetDateTime::now_utc(), monotonic: Duration::ZERO };
    let id = EventId::new(now);
    let device = DeviceId::new("cam-7").expect("a plain id");
    let event = CloudEvent::new(id, &device, now, candidate);
    let mut event = serde_json::to_value(event).expect("JSON");
    change(&mut event);
    (id, serde_json::to_vec(&event).expect("JSON"))
}

/// What somebody says of a candidate, as their browser signs and seals it.
fn envelope(visitor: &Visitor<'_>, candidate: &str, key: &SecretKey, opinion: Opinion) -> Vec<u8> {
    envelope_at(OffsetDateTime::now_utc(), visitor, candidate, key, opinion)
}

/// The same where their clock says `judged_at`.
fn envelope_at(
    judged_at: OffsetDateTime,
    visitor: &Visitor<'_>,
    candidate: &str,
    key: &SecretKey,
    opinion: Opinion,
) -> Vec<u8> {
    let binds = visitor.get(&format!("/api/pair/{candidate}"));
    assert_eq!(binds.status, 200, "{}", binds.text());
    let binds = binds.json();
    let text = |name: &str| binds[name].as_str().expect("text").to_owned();
    let digest = text("payload_sha256");
    let byte = |at: usize| u8::from_str_radix(&digest[2 * at..2 * at + 2], 16).expect("hex");
    let id: EventId = serde_json::from_value(binds["candidate"].clone()).expect("an id");
    let verdict = Verdict {
        candidate: CandidateId(id.as_u128().to_be_bytes()),
        payload: std::array::from_fn(byte),
        list: text("list").parse().expect("a reference"),
        version: binds["version"].as_u64().expect("a number"),
        device: text("device").parse().expect("a reference"),
        opinion,
        confidence: Confidence::High,
        judged_at,
    };
    let to: Recipient = text("device_key").parse().expect("a key");
    verdict::give(&verdict, key, &to).expect("a verdict")
}

/// A device with a key, an identity and a log, that waits for receipts.
fn field(reviewers: [&str; 2]) -> Option<Field> {
    let field = Field::with("device_key = \"DESK/device.key\"", |desk| {
        desk.list();
        ok(&["key", "device", &desk.arg("device.key")]);
        ok(&["key", "identity", &desk.arg("identity.key")]);
        ok(&["key", "identity", &desk.arg("receiving.key")]);
        desk.seal_list();
        for key in reviewers {
            ok(&["key", "new", &desk.arg(key), "--no-passphrase"]);
        }
        let show = |key: &str| desk.public(key);
        let [alice, bob] = ["alice.key", "bob.key"].map(show);
        let ([dora, emil], receiver) = (reviewers.map(show), show("receiving.key"));
        let trust = desk.arg("trust.toml");
        let [dora, emil] = [format!("p-1={dora}"), format!("p-2={emil}")];
        let pins = ["--reviewer", &dora, "--reviewer", &emil, "--receiver", &receiver];
        ok(&[&["key", "trust", &alice, &bob][..], &pins, &["--out", &trust]].concat());
    })?;
    let file = field.desk.path("watchpost.toml");
    let text = std::fs::read_to_string(&file).expect("a configuration");
    let mut text = text.replace("[broker]\n", "[broker]\nreceipt = \"required\"\n");
    let [identity, log, docket] =
        ["identity.key", "audit", "reviews.cbor"].map(|name| field.desk.arg(name));
    text += &format!(
        "[audit]\nidentity = \"{identity}\"\nlog = \"{log}\"\n[review]\ndocket = \"{docket}\"\n"
    );
    std::fs::write(&file, text).expect("writes");
    Some(field)
}

#[test]
fn two_people_judge_at_the_desk_and_neither_sees_what_the_other_said_before_the_outcome() {
    let Some(field) = field(["dora.key", "emil.key"]) else { return };
    let of = |key: &str| field.desk.public(key);
    let device = format!(
        "[people]\nsupervisors = [\"{}\"]\n[[device]]\nid = \"gate-1\"\nkey = \"{}\"\nidentity \
         = \"{}\"\n",
        person(8).public(),
        of("device.key"),
        of("identity.key")
    );
    let trust = field.desk.path("trust.toml");
    let folder = field.desk.path("");
    let mut desk = ReceivingDesk::new(&folder, field.broker.port, &trust, &device);
    desk.start();

    // Enrolment by a one-time link.
    let invited = ok(&["desk", "invite", "dora", "--config", &desk.config(), "--json"]);
    let link = serde_json::from_str::<Value>(&invited).expect("JSON")["link"].clone();
    let token = link.as_str().expect("a link").rsplit('/').next().expect("a token").to_owned();
    assert_eq!(desk.ask("GET", &format!("/enrol/{token}"), "", b"").status, 200);
    let reading = DeviceKey::generate().expect("a key").recipient().to_string();
    let enrols = |holder: &str| {
        let text = format!("watchpost desk enrolment v1\n{}\n{token}\n{reading}", desk.origin());
        let holder = SecretKey::open_file(&field.desk.path(holder)).expect("a key");
        let signature = URL_SAFE_NO_PAD.encode(holder.sign(text.as_bytes()));
        let body = json!({
            "token": token,
            "key": of("dora.key"),
            "reading_key": reading,
            "signature": signature,
        });
        desk.post("/api/enrol", "", &body).status
    };
    assert_eq!(enrols("emil.key"), 403, "nobody enrols another's key");
    assert_eq!(enrols("dora.key"), 201);
    assert_eq!(enrols("dora.key"), 410, "it is spent");

    let portrait = "obama-2010.jpg";
    let pictures = field.desk.path("pictures").join(portrait);
    std::fs::copy(format!("{PORTRAITS}/{portrait}"), pictures).expect("a portrait");
    let _daemon = Daemon::start(&field.desk);
    let [dora, emil] = ["dora.key", "emil.key"]
        .map(|key| SecretKey::open_file(&field.desk.path(key)).expect("a key"));
    let (of_dora, of_emil) = (desk.sign_in(&dora), desk.sign_in(&emil));
    let candidate = wait_for("a candidate", || of_dora.queue().into_iter().next());
    // The device retires it by the desk's receipt.
    field.await_("stats", "a receipt", |s| {
        s["counts"]["delivery.outbox.delivered"].as_u64() >= Some(1)
            && s["gauges"]["delivery.outbox_events"] == 0.0
    });

    let pair = format!("/pair/{candidate}");
    let hidden = |visitor: &Visitor<'_>| {
        let page = visitor.get(&pair).text();
        let binds = visitor.get(&format!("/api{pair}")).text();
        for word in ["score", "threshold", "alternatives", "legal_basis", "0.6", "0.7"] {
            assert!(!binds.contains(word), "{word}: {binds}");
        }
        assert!(!page.contains("order 1/26") && !page.contains("a promise kept"), "{page}");
    };
    // What he sees before she has judged.
    let undated = |page: &str| -> String {
        page.split("<time")
            .map(|part| part.split_once("</time>").map_or(part, |(_, r)| r))
            .collect()
    };
    let looks = |visitor: &Visitor<'_>, path: &str| undated(&visitor.get(path).text());
    let before = looks(&of_emil, &pair);
    let devices = looks(&of_emil, "/fleet");
    assert!(!devices.contains("Audit log"), "{devices}");
    hidden(&of_dora);
    let crop = of_dora.get(&format!("{pair}/crop"));
    assert_eq!((crop.status, crop.header("content-type")), (200, Some("image/jpeg")));
    assert_eq!(crop.header("cache-control"), Some("no-store"));
    assert!(
        crop.header("content-security-policy").is_some_and(|p| p.contains("default-src 'none'"))
    );

    let said = envelope(&of_dora, &candidate, &dora, Opinion::Same);
    let verdict = format!("/api/verdict/{candidate}");
    assert_eq!(of_dora.post(&verdict, &said).status, 202);
    assert_eq!(of_dora.post(&verdict, &said).status, 202, "the same again is the same");
    field.await_("review/state", "the device's answer", |s| s["state"] == "pending");
    wait_for("her queue to be empty", || of_dora.queue().is_empty().then_some(()));
    // She may know who judges next: what the device went by is for nobody yet.
    let hers = of_dora.get(&format!("/outcome/{candidate}"));
    assert!(hers.status == 200 && !hers.text().contains("Similarity"), "{}", hers.text());
    hidden(&of_emil);
    assert_eq!(looks(&of_emil, &pair), before, "nothing tells that somebody has judged");
    assert!(!looks(&of_emil, "/fleet").contains("Audit log"));
    assert_eq!(of_emil.queue(), std::slice::from_ref(&candidate));
    let outcome = of_emil.get(&format!("/outcome/{candidate}")).status;
    assert!([303, 404].contains(&outcome), "nothing to see yet: {outcome}");
    // Killed between: nothing is lost, and he signs in anew.
    desk.kill();
    desk.start();
    let of_emil = desk.sign_in(&emil);
    let said = envelope(&of_emil, &candidate, &emil, Opinion::Same);
    assert_eq!(of_emil.post(&verdict, &said).status, 202);
    field.await_("review/state", "the outcome", |s| s["state"] == "confirmed");
    let outcome = wait_for("the outcome's page", || {
        let answer = of_emil.get(&format!("/outcome/{candidate}"));
        (answer.status == 200).then(|| answer.text()).filter(|page| page.contains("Confirmed"))
    });
    assert!(!outcome.contains("on its way") && outcome.contains("Similarity"), "{outcome}");
    let log = ok(&["audit", "show", "--log", &field.desk.arg("audit")]);
    assert_eq!(log.matches("  verdict on ").count(), 2, "counted once each: {log}");
    its_log_tells_the_supervisor_what_the_audit_report_tells(&desk, &of_emil, &field.desk);
    its_case_is_verified_offline(&desk, &candidate, &field.desk);
    // A copy that was made while it ran, put in its place as the documentation says.
    let copy = field.desk.path("copy.sqlite");
    let to = copy.display().to_string();
    ok(&["desk", "backup", &to, "--config", &desk.config()]);
    let again = watchpost(&["desk", "backup", &to, "--config", &desk.config()]);
    assert!(!again.status.success(), "a copy that is there is not overwritten");
    let mode = std::fs::metadata(&copy).expect("a copy").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    desk.kill();
    let store = desk.store().display().to_string();
    for file in [store.clone(), format!("{store}-wal"), format!("{store}-shm")] {
        let _ = std::fs::remove_file(file);
    }
    ok(&["desk", "restore", &to, "--config", &desk.config()]);
    desk.start();
    let of_emil = desk.sign_in(&emil);
    let restored = of_emil.get(&format!("/outcome/{candidate}"));
    assert!(restored.status == 200 && restored.text().contains("Confirmed"), "{restored:?}");
    let verdicts = "SELECT count(*) FROM verdict WHERE answer = 'counted'";
    assert_eq!(count(&desk.store(), verdicts), 2);
    for command in ["export", "backup", "restore"] {
        let recorded = format!("SELECT count(*) FROM access WHERE what = '{command}'");
        assert!(count(&desk.store(), &recorded) >= 1, "{command} is recorded");
    }
}

/// Each command that the folder of an exported case names succeeds, and fails once what it is about
/// is changed.
fn its_case_is_verified_offline(desk: &ReceivingDesk, candidate: &str, device: &Desk) {
    let folder = device.path("case");
    // With the proof, once the desk has all that the newest checkpoint covers.
    let told = wait_for("the proof", || {
        let _ = std::fs::remove_dir_all(&folder);
        ok(&["desk", "export", candidate, &device.arg("case"), "--config", &desk.config()]);
        let told = std::fs::read_to_string(folder.join("README.txt")).expect("what is in it");
        told.contains(".proof").then_some(told)
    });
    let commands: Vec<&str> =
        told.lines().map(str::trim).filter(|l| l.starts_with("watchpost audit verify")).collect();
    // The candidate's signature and its record in the log, and the states of its review.
    assert!(commands.len() >= 4 && commands[1].contains(".proof"), "{told}");
    let succeeds = |command: &str| {
        let with_path = command.replacen("watchpost", env!("CARGO_BIN_EXE_watchpost"), 1);
        let mut shell = std::process::Command::new("sh");
        let output = shell.args(["-c", &with_path]).current_dir(&folder).output();
        output.expect("sh runs").status.success()
    };
    for command in &commands {
        assert!(succeeds(command), "{command}");
        let name = command.split("--candidate ").nth(1).and_then(|rest| rest.split(' ').next());
        let file = folder.join(name.expect("a file"));
        let bytes = std::fs::read(&file).expect("a file");
        let mut changed = bytes.clone();
        *changed.last_mut().expect("bytes") ^= 1;
        std::fs::write(&file, changed).expect("writes");
        assert!(!succeeds(command), "{command} of other bytes");
        std::fs::write(&file, bytes).expect("writes");
    }
}

/// The desk's page of a device, made of what came over the broker, against the report of the log.
fn its_log_tells_the_supervisor_what_the_audit_report_tells(
    desk: &ReceivingDesk,
    reviewer: &Visitor<'_>,
    device: &Desk,
) {
    let path = "/reports/device?id=gate-1";
    assert_eq!(reviewer.get(path).status, 403);
    let supervisor = desk.sign_in(&person(8));
    assert!(supervisor.get("/reports").text().contains("href=\"/reports/device?id=gate-1\""));
    let confirmed = "<dt>Confirmed</dt><dd>1</dd>";
    let page = wait_for("the outcome in the report", || {
        Some(supervisor.get(path))
            .filter(|a| a.status == 200)
            .map(|a| a.text())
            .filter(|page| page.contains(confirmed))
    });
    assert!(page.contains("The device has signed "), "{page}");
    let key = device.public("identity.key");
    let told = ok(&["audit", "report", "--log", &device.arg("audit"), "--key", &key, "--json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["reviews"]["confirmed"], 1, "{told}");
    let list = &told["lists"][0];
    for shown in [
        format!("<dt>Place</dt><dd>{}", told["places"][0].as_str().unwrap_or("missing")),
        format!("{} version {}", list["id"].as_str().expect("an id"), list["version"]),
        format!(
            "{}, {}",
            list["authority"].as_str().expect("who"),
            list["decision"].as_str().expect("what")
        ),
        format!("<dt>Entries</dt><dd>{}</dd>", list["entries"]),
        format!(
            "<dt>Threshold</dt><dd>{:.4}</dd>",
            list["threshold"].as_f64().expect("a number") / 1e6
        ),
    ] {
        assert!(page.contains(&shown), "{shown}: {page}");
    }
    // Nothing is known of a day before the log; and what is no day is refused.
    let before = supervisor.get(&format!("{path}&from=2001-01-01&to=2001-01-01")).text();
    assert!(before.contains("the log does not reach back so far"), "{before}");
    for (wrong, status) in [("&from=never", 400), ("&from=2026-01-02&to=2026-01-01", 400)] {
        assert_eq!(supervisor.get(&format!("{path}{wrong}")).status, status, "{wrong}");
    }
    assert_eq!(supervisor.get("/reports/device?id=gate-9").status, 404);
    let recorded =
        "SELECT count(*) FROM access WHERE what = 'device-report' AND detail LIKE 'gate-1 %'";
    assert!(count(&desk.store(), recorded) >= 2, "who looked is recorded");
}

#[test]
fn hostile_messages_and_visitors_are_told_no_and_nothing_is_lost() {
    let Some(bureau) = Bureau::open() else { return };
    let desk = &bureau.desk;
    let publish = |topic: &str, payload: Vec<u8>| {
        bureau.publisher.publish(&format!("site/v1/{topic}"), false, payload);
    };
    // Of another device; no event; without the pinned signature; too large for anybody.
    publish("cam-8/candidate", made(2, |_| {}).1);
    publish("cam-7/candidate", b"{\"no\":\"event\"}".to_vec());
    let (_, unsigned) = made(3, |event| {
        event["source"] = "signing".into();
        event["data"]["device"] = "signing".into();
    });
    publish("signing/candidate", unsigned.clone());
    publish("cam-7/candidate", made(4, |event| event["data"]["entry"] = "../../etc".into()).1);
    publish("cam-7/candidate", vec![b'x'; 10 << 20]);
    let html = "<img src=x onerror=alert(1)>";
    let (id, markup) = made(5, |event| {
        event["data"]["camera"] = html.into();
        event["data"]["place"] = html.into();
    });
    publish("cam-7/candidate", markup);
    wait_for("the last of them", || bureau.stored().contains_key(&id).then_some(()));
    let aside = bureau.set_aside();
    assert_eq!(aside.get("other_device"), Some(&1), "{aside:?}");
    assert_eq!(aside.get("not_an_event"), Some(&2), "{aside:?}");
    assert_eq!(aside.get("unsigned"), Some(&1), "{aside:?}");
    assert_eq!(bureau.stored().len(), 2, "the probe and the markup");
    let signature = detached::sign(&unsigned, &person(9));
    let properties = PublishProperties {
        user_properties: vec![("signature".to_owned(), signature)],
        ..PublishProperties::default()
    };
    bureau.publisher.publish_with("site/v1/signing/candidate", unsigned, properties);
    wait_for("the signed one", || (bureau.stored().len() == 3).then_some(()));

    // Nobody is let in without a key that is pinned, or keeps the way in.
    assert_eq!(desk.try_to_sign_in(&person(5)).status, 403);
    for path in ["/queue", "/people", "/pair/x", "/api/pair/x", "/events", "/fleet"] {
        assert_eq!(desk.ask("GET", path, "", b"").status, 401, "{path}");
    }
    let dora = desk.sign_in(&person(3));
    let pages: String =
        dora.queue().iter().map(|c| dora.get(&format!("/pair/{c}")).text()).collect();
    assert!(!dora.get("/queue").text().contains("<img src=x") && !pages.contains("<img src=x"));
    for path in ["/pair/..%2f..%2fdesk.toml", "/pair/%00", "/../desk.toml", "/pair/x/photograph/-1"]
    {
        assert!([400, 404].contains(&dora.get(path).status), "{path}");
    }
    assert_eq!(dora.get("/people").status, 403);
    let supervisor = desk.sign_in(&person(8));
    assert_eq!([supervisor.get("/people").status, supervisor.get("/queue").status], [200, 403]);

    // Verdicts: forged, of somebody else, for something else, too large, without the token.
    let candidate = EventId::from_u128(5).to_string();
    let verdict = format!("/api/verdict/{candidate}");
    let good = envelope(&dora, &candidate, &person(3), Opinion::Same);
    let of_emil = envelope(&dora, &candidate, &person(4), Opinion::Same);
    let mut altered = good.clone();
    *altered.last_mut().expect("bytes") ^= 1;
    for bad in [&of_emil, &altered, &b"junk".to_vec()] {
        assert_eq!(dora.post(&verdict, bad).status, 400);
    }
    let other = format!("/api/verdict/{}", EventId::from_u128(1));
    assert_eq!(dora.post(&other, &good).status, 400, "about another candidate");
    assert_eq!(dora.post(&verdict, &vec![0; 1 << 16]).status, 413);
    let cookie = format!("Cookie: {}\r\n", dora.cookie);
    assert_eq!(desk.ask("POST", &verdict, &cookie, &good).status, 403, "without the token");
    let elsewhere = format!("{cookie}X-Csrf: {}\r\nOrigin: https://evil.example\r\n", dora.csrf);
    assert_eq!(desk.ask("POST", &verdict, &elsewhere, &good).status, 403, "of another site");
    assert_eq!(dora.post(&verdict, &good).status, 202);
    let again = envelope(&dora, &candidate, &person(3), Opinion::NotSame);
    assert_eq!(dora.post(&verdict, &again).status, 409, "a verdict stands");

    // A thousand attempts of one address, and it can still be reached.
    let mut told = BTreeSet::new();
    for n in 0..1000u32 {
        let body = json!({
            "key": person(3).public().to_string(),
            "challenge": "AAAA",
            "signature": "A".repeat(86),
        });
        // The first twenty count; a thousand connections of one test would only be slow.
        let from = format!("X-Forwarded-For: 10.0.0.1, 10.0.0.{}\r\n", 1 + n / 1000);
        told.insert(desk.post("/api/session", &from, &body).status);
    }
    assert_eq!(told, BTreeSet::from([401, 429]));
    let emil = desk.sign_in(&person(4));

    // A reviewer who is rotated out is signed out, and hears nothing more.
    let mut heard = emil.events();
    pin(&bureau.trust(), 2, &[&person(3)], &desk.key());
    std::io::Read::read_to_end(&mut heard, &mut Vec::new()).expect("his stream ends");
    wait_for("he is signed out", || (emil.get("/queue").status == 401).then_some(()));
    assert_eq!(desk.try_to_sign_in(&person(4)).status, 403);
    assert_eq!(dora.get("/queue").status, 200, "others stay");
}

#[test]
fn whoever_is_rotated_out_at_the_devices_is_out_at_the_desk_over_a_restart() {
    let Some(mut bureau) = Bureau::open() else { return };
    let next = bureau.folder.path().join("next.toml");
    pin(&next, 2, &[&person(3)], &bureau.desk.key());
    let text = std::fs::read_to_string(&next).expect("a trust file");
    let one = rotation::sign(&text, &person(1)).expect("signs");
    let both = rotation::cosign(&one, &person(2)).expect("signs");
    let offer = |bytes: &[u8]| {
        bureau.publisher.publish("site/v1/cam-7/watchlist/offer", false, bytes.to_vec())
    };
    let [dora, emil] = [person(3), person(4)].map(|key| bureau.desk.sign_in(&key));
    // By one alone, and a list, which is none of its business.
    offer(&one);
    offer(b"age-encryption.org/v1 of somebody");
    offer(&both);
    wait_for("he is signed out", || (emil.get("/queue").status == 401).then_some(()));
    assert_eq!(dora.get("/queue").status, 200, "others stay");
    assert!(!std::fs::read_to_string(bureau.trust()).expect("reads").contains("serial = 2"));
    drop((dora, emil));
    bureau.desk.kill();
    bureau.desk.start();
    assert_eq!(bureau.desk.try_to_sign_in(&person(4)).status, 403, "over a restart");
    assert_eq!(bureau.desk.sign_in(&person(3)).get("/queue").status, 200);
}

#[test]
fn what_is_revoked_is_erased_at_once_and_a_new_candidate_is_told_without_reload() {
    let Some(bureau) = Bureau::open() else { return };
    let dora = bureau.desk.sign_in(&person(3));
    let told = std::thread::scope(|scope| {
        let listening = scope.spawn(|| dora.listen("candidate"));
        let (_, bytes) = made(7, |event| event["data"]["entry"] = "case-7".into());
        let end = std::time::Instant::now() + PATIENCE;
        while !listening.is_finished() && std::time::Instant::now() < end {
            // Each one is new until somebody listens.
            let (_, bytes) = made(7 + u64::from(getrandom::u32().expect("random")), |event| {
                event["data"]["entry"] = "case-7".into();
            });
            bureau.publisher.publish("site/v1/cam-7/candidate", false, bytes);
            std::thread::park_timeout(Duration::from_millis(100));
        }
        bureau.publisher.publish("site/v1/cam-7/candidate", false, bytes);
        listening.join().expect("no panic")
    });
    assert!(told.contains("event: candidate"), "{told}");
    let candidate = EventId::from_u128(7).to_string();
    let crop = format!("/pair/{candidate}/crop");
    wait_for("the candidate", || dora.queue().contains(&candidate).then_some(()));
    let list = ["--list", "L-42", "--entry", "case-7"];
    let folder = tempfile::tempdir().expect("a folder");
    let (key, out) = (folder.path().join("1.key"), folder.path().join("order.cose"));
    person(1).create_file(&key).expect("writes");
    let [key, out] = [key, out].map(|p| p.display().to_string());
    ok(&[&["watchlist", "revoke", "--key", &key, "--out", &out][..], &list].concat());
    let order = std::fs::read(&out).expect("an order");
    bureau.publisher.publish("site/v1/cam-7/revoke/01", true, order);
    wait_for("it to be erased", || (dora.get(&crop).status == 410).then_some(()));
    assert!(!dora.queue().contains(&candidate));
}

#[test]
fn a_revocation_by_a_key_that_is_pinned_only_later_is_followed_then() {
    let Some(bureau) = Bureau::open() else { return };
    let dora = bureau.desk.sign_in(&person(3));
    let _docket = bureau.candidate(7);
    let candidate = EventId::from_u128(7).to_string();
    let entry = read(&bureau.desk.store(), async |store| store.case(EventId::from_u128(7)).await);
    let entry = entry.expect("reads").expect("it is there");
    let [key, out] = ["6.key", "order.cose"].map(|n| bureau.folder.path().join(n));
    person(6).create_file(&key).expect("writes");
    let [key, out] = [key, out].map(|p| p.display().to_string());
    let list = ["--list", &entry.list, "--entry", &entry.entry];
    ok(&[&["watchlist", "revoke", "--key", &key, "--out", &out][..], &list].concat());
    let order = std::fs::read(&out).expect("an order");
    bureau.publisher.publish("site/v1/cam-7/revoke/06", true, order);
    // What comes after it on the same link is stored: it was looked at, and set aside.
    let after = bureau.probe();
    wait_for("the desk to hear", || bureau.stored().contains_key(&after).then_some(()));
    assert!(dora.queue().contains(&candidate));

    let (now, day) = (OffsetDateTime::now_utc(), time::Duration::DAY);
    let keys = [
        (person(1).public(), "signer", &[Role::Signer, Role::Revoker][..]),
        (person(6).public(), "signer", &[Role::Signer, Role::Revoker][..]),
        (bureau.desk.key().public(), "desk", &[Role::Receiver][..]),
        (person(3).public(), "reviewer", &[Role::Reviewer][..]),
    ];
    let text = render(2, 2, now - day, now + 9 * day, &keys);
    std::fs::write(bureau.trust(), text).expect("writes");
    let crop = format!("/pair/{candidate}/crop");
    wait_for("it to be erased", || (dora.get(&crop).status == 410).then_some(()));
    assert!(!dora.queue().contains(&candidate));
}

#[test]
fn two_tabs_of_one_reviewer_give_one_verdict_and_the_other_tab_is_told() {
    let Some(bureau) = Bureau::open() else { return };
    let mut docket = bureau.candidate(7);
    let dora = bureau.desk.sign_in(&person(3));
    let candidate = EventId::from_u128(7).to_string();
    let path = format!("/api/verdict/{candidate}");
    // Both pages were open before either was sent.
    let tabs = [Opinion::Same, Opinion::NotSame]
        .map(|opinion| envelope(&dora, &candidate, &person(3), opinion));
    let answers = std::thread::scope(|scope| {
        let sent = tabs.each_ref().map(|tab| scope.spawn(|| dora.post(&path, tab)));
        sent.map(|answer| answer.join().expect("no panic"))
    });
    let taken = answers.iter().position(|answer| answer.status == 202).expect("one is taken");
    let other = &answers[1 - taken];
    assert_eq!(other.status, 409);
    assert!(other.text().contains("You have judged this candidate."), "{}", other.text());
    let kept = read(&bureau.desk.store(), async |store| store.due_verdicts(10).await);
    let kept: Vec<_> = kept.expect("reads").into_iter().map(|due| due.envelope).collect();
    assert_eq!(kept, [tabs[taken].clone()]);
    // The device counts it once, whichever it were.
    let published = bureau.next_verdict();
    assert_eq!(published, tabs[taken]);
    let first = bureau.counts(&mut docket, &published);
    let waits = matches!(&first, Judged::Counts(Notice::Pending(waiting)) if waiting.verdicts == 1);
    assert!(waits, "{first:?}");
    let second = bureau.counts(&mut docket, &tabs[1 - taken]);
    assert!(matches!(second, Judged::Not { why: NotCounted::SamePerson, .. }), "{second:?}");
    // From a second browser it is no other.
    assert_eq!(bureau.desk.sign_in(&person(3)).post(&path, &tabs[1 - taken]).status, 409);
}

#[test]
fn phones_whose_clocks_are_a_day_off_sign_in_and_their_verdicts_count() {
    let Some(bureau) = Bureau::open() else { return };
    let mut docket = bureau.candidate(7);
    let candidate = EventId::from_u128(7).to_string();
    for (who, hours, over) in [(3, 24, false), (4, -24, true)] {
        let visitor = bureau.desk.sign_in(&person(who));
        assert!(visitor.queue().contains(&candidate));
        let clock = OffsetDateTime::now_utc() + time::Duration::hours(hours);
        let said = envelope_at(clock, &visitor, &candidate, &person(who), Opinion::Same);
        let answer = visitor.post(&format!("/api/verdict/{candidate}"), &said);
        assert_eq!(answer.status, 202, "{}", answer.text());
        let judged = bureau.counts(&mut docket, &bureau.next_verdict());
        let Judged::Counts(notice) = judged else { panic!("{judged:?}") };
        assert_eq!(matches!(notice, Notice::Over { outcome: Outcome::Confirmed, .. }), over);
    }
}

/// Believes the receipts of the desk of the test.
struct Believes(Trust);

impl Screen for Believes {
    fn screen(&mut self, _: InboundKind, _: &[u8]) -> Screened {
        Screened::Malformed
    }

    fn receipt(&mut self, payload: &[u8]) -> Vec<ReceiptedEvent> {
        let events = receipt::open(payload, &self.0, "cam-7").unwrap_or_default();
        let event = |e: receipt::ReceivedEvent| ReceiptedEvent {
            id: EventId::from_u128(u128::from_be_bytes(e.id)),
            digest: e.digest,
        };
        events.into_iter().map(event).collect()
    }
}

fn device(port: u16, outbox: &Path, trust: Trust) -> Delivery {
    let config =
        BrokerConfig { receipt: ReceiptRule::Required, ..trials::config(port, outbox, 1_000_000) };
    let store = delivery::store(&config).expect("nobody else has the folder");
    let device = DeviceId::new("cam-7").expect("a plain id");
    let screen = Box::new(Believes(trust));
    Delivery::start_screened(
        &config,
        &device,
        event::status(),
        Clock::default(),
        store,
        screen,
        None,
    )
    .expect("a good configuration")
}

fn random(below: u64) -> u64 {
    u64::from(getrandom::u32().expect("the system has randomness")) % below
}

#[test]
fn whatever_is_killed_each_candidate_is_in_the_store_once_before_its_device_forgets_it() {
    let trials: u64 =
        std::env::var("WATCHPOST_DESK_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let Some(mut broker) = Mosquitto::installed() else { return };
    broker.start(trials::MOSQUITTO);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let trust_file = folder.path().join("trust.toml");
    let mut desk = ReceivingDesk::new(folder.path(), broker.port, &trust_file, "");
    let trust = pin(&trust_file, 1, &[&person(3), &person(4)], &desk.key());
    let delivery = device(broker.port, &folder.path().join("outbox"), trust);
    desk.spawn();
    let (mut decided, mut kills) = (Vec::new(), [0u64; 2]);
    for trial in 0..trials {
        for n in 0..20 {
            let candidate = event::candidate(trial * 100 + n, 3000);
            let now = Clock::default().now();
            decided.push(delivery.publish_candidate(candidate, now).expect("there is room"));
            std::thread::park_timeout(Duration::from_millis(random(4)));
        }
        std::thread::park_timeout(Duration::from_millis(random(120)));
        if random(3) != 0 {
            desk.kill();
            kills[0] += 1;
        }
        if random(2) == 0 {
            broker.kill();
            kills[1] += 1;
            std::thread::park_timeout(Duration::from_millis(random(100)));
            broker.start(trials::MOSQUITTO);
        }
        desk.kill();
        desk.spawn();
    }
    let end = std::time::Instant::now() + Duration::from_secs(180);
    while delivery.snapshot().outbox_events > 0 {
        let snapshot = delivery.snapshot();
        assert!(std::time::Instant::now() < end, "{snapshot:?}\n{}", desk.log());
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let outcome = delivery.stop(PATIENCE);
    desk.kill();
    let kept = stored(&desk.store());
    let lost = decided.iter().filter(|id| !kept.contains_key(id)).count();
    let twice = kept.values().filter(|n| **n > 1).count();
    say(&format!(
        "desk: {trials} trials, {} kills of the desk, {} of the broker; {} decided, {} stored, \
         {lost} lost, {twice} twice, {} sent again.",
        trials + kills[0],
        kills[1],
        decided.len(),
        kept.len(),
        outcome.snapshot.outbox.repeated
    ));
    assert_eq!((lost, twice, kept.len()), (0, 0, decided.len()));
}

#[test]
fn a_device_keeps_what_no_pinned_desk_has_stored_and_a_forged_receipt_retires_nothing() {
    let Some(mut broker) = Mosquitto::installed() else { return };
    broker.start(trials::MOSQUITTO);
    let folder = tempfile::tempdir().expect("a folder");
    let desk_key = person(7);
    let trust = pin(&folder.path().join("trust.toml"), 1, &[], &desk_key);
    let delivery = device(broker.port, &folder.path().join("outbox"), trust);
    let listener = support::Subscriber::new(broker.port, "site/v1/cam-7/candidate");
    let now = Clock::default().now();
    let id = delivery.publish_candidate(event::candidate(1, 3000), now).expect("there is room");
    let payload = listener.next().payload.to_vec();
    let digest: [u8; 32] = Sha256::digest(&payload).into();
    let of = |digest| receipt::ReceivedEvent { id: id.as_u128().to_be_bytes(), digest };
    let topic = "site/v1/cam-7/receipt";
    for (device, event, key) in [
        ("cam-7", of(digest), person(6)),
        ("cam-8", of(digest), person(7)),
        ("cam-7", of([0; 32]), person(7)),
    ] {
        listener.publish(topic, false, receipt::give(device, &[event], &key));
    }
    // One after those is followed, so that they were seen by then.
    let second = delivery.publish_candidate(event::candidate(2, 3000), now).expect("room");
    let payload = listener.next().payload.to_vec();
    let seen = receipt::ReceivedEvent {
        id: second.as_u128().to_be_bytes(),
        digest: Sha256::digest(&payload).into(),
    };
    listener.publish(topic, false, receipt::give("cam-7", &[seen], &desk_key));
    wait_for("the second to be retired", || {
        (delivery.snapshot().outbox.delivered == 1).then_some(())
    });
    assert_eq!(delivery.snapshot().outbox_events, 1, "the first waits for its receipt");
    listener.publish(topic, false, receipt::give("cam-7", &[of(digest)], &desk_key));
    wait_for("both", || (delivery.snapshot().outbox_events == 0).then_some(()));
    let _ = delivery.stop(PATIENCE);
}

/// Fills a database with candidates that wait, a tenth of them of one entry at one device, of which
/// one reviewer has judged the oldest thousand.
async fn fill(database: &Path, candidates: u64) {
    let store = DeskStore::open(database).await.expect("a database");
    let rules = KeepingRules { retention: DeskConfig::default().retention, at_most_alike: 6 };
    let (id, template) = made(0, |_| {});
    let template = String::from_utf8(template).expect("JSON");
    let now = OffsetDateTime::now_utc();
    let arrival = |id: u64, device: &str, payload: Vec<u8>, about| Arrival {
        topic: format!("site/v1/{device}/candidate"),
        what: Intaken::Event(Box::new(ArrivedEvent {
            id: EventId::from_u128(id.into()),
            device: device.to_owned(),
            digest: Sha256::digest(&payload).into(),
            signature: None,
            about,
        })),
        payload,
    };
    let device = |n: u64| if n.is_multiple_of(10) { 0 } else { n % 10_000 };
    let candidate = |n: u64| {
        let name = EventId::from_u128(n.into());
        let device = format!("cam-{}", device(n));
        let payload = template.replace(&id.to_string(), &name.to_string()).into_bytes();
        let about = AboutWhat::Candidate(CandidateEvent {
            candidate: name,
            sequence: 1,
            camera: "front".to_owned(),
            place: None,
            decided: now - time::Duration::seconds((candidates - n) as i64),
            list: "L-42".to_owned(),
            version: 3,
            entry: format!("E-{:04}", if n.is_multiple_of(10) { 0 } else { n % 97 }),
        });
        arrival(n, &device, payload, about)
    };
    let numbers: Vec<u64> = (1..=candidates).collect();
    for some in numbers.chunks(10_000) {
        let batch: Vec<_> = some.iter().map(|n| candidate(*n)).collect();
        store.keep(&batch, &rules, now).await.expect("stores");
    }
    let mut counted = Vec::new();
    for n in 1..=1000 {
        let device = format!("cam-{}", device(n));
        let own = OwnVerdict {
            candidate: EventId::from_u128(n.into()),
            reviewer: person(3).public().id().to_bytes(),
            device: &device,
            envelope: b"sealed",
        };
        store.take_verdict(own, now).await.expect("stores");
        let state = ReviewState {
            candidate: EventId::from_u128(n.into()),
            state: ReviewStage::Pending,
            given: 1,
            until: None,
            reviewer: Some(person(3).public().id().to_string()),
            envelope: None,
            refused: None,
            verdicts: Vec::new(),
        };
        let about = AboutWhat::Review(state);
        counted.push(arrival(candidates + n, &device, b"{}".to_vec(), about));
    }
    store.keep(&counted, &rules, now).await.expect("stores");
}

/// `WATCHPOST_DESK_CANDIDATES=1000000 cargo test --test desk -- --ignored --nocapture a_million`
#[test]
#[ignore = "a measurement, which fills a database of two gigabytes"]
fn the_queue_of_a_million_candidates_is_shown_within_a_tenth_of_a_second() {
    let number = std::env::var("WATCHPOST_DESK_CANDIDATES").ok().and_then(|n| n.parse().ok());
    let candidates: u64 = number.unwrap_or(1_000_000);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let trust_file = folder.path().join("trust.toml");
    let mut desk = ReceivingDesk::new(folder.path(), support::free_port(), &trust_file, "");
    pin(&trust_file, 1, &[&person(3), &person(4)], &desk.key());
    let began = std::time::Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(fill(&desk.store(), candidates));
    let bytes = std::fs::metadata(desk.store()).expect("a database").len();
    say(&format!(
        "desk: {candidates} candidates were stored in {:.0} s; the database has {} MiB.",
        began.elapsed().as_secs_f64(),
        bytes >> 20
    ));
    desk.start();
    let mut slowest = 0.0f64;
    for (who, name) in [(3, "who has judged a thousand"), (4, "who has judged none")] {
        let visitor = desk.sign_in(&person(who));
        let behind = visitor.get("/queue").text();
        let behind = behind.split("href=\"/queue/").nth(1).expect("a burst");
        let burst = format!("/queue/{}", &behind[..36]);
        for path in ["/queue", &burst] {
            let mut took: Vec<f64> = (0..20)
                .map(|_| {
                    let asked = std::time::Instant::now();
                    assert_eq!(visitor.get(path).status, 200);
                    asked.elapsed().as_secs_f64() * 1000.0
                })
                .collect();
            took.sort_by(f64::total_cmp);
            say(&format!(
                "desk: {path} of a reviewer {name}: median {:.1} ms, longest {:.1} ms.",
                took[10], took[19]
            ));
            slowest = slowest.max(took[10]);
        }
    }
    assert!(slowest <= 100.0, "{slowest} ms");
}

/// `WATCHPOST_DESK_SECONDS=600 WATCHPOST_DESK_RATE=1000 cargo test --test desk -- --ignored \
/// --nocapture events_of_ten_thousand_devices`
#[test]
#[ignore = "a measurement, which takes as long as it is told"]
fn events_of_ten_thousand_devices_are_stored_and_answered() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
    };
    let (seconds, rate) =
        (number("WATCHPOST_DESK_SECONDS", 30), number("WATCHPOST_DESK_RATE", 1000));
    let Some(mut broker) = Mosquitto::installed() else { return };
    broker.start(trials::MOSQUITTO);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let trust_file = folder.path().join("trust.toml");
    // All devices sign, with one key: the desk verifies each event.
    let (identity, devices) = (person(9), 10_000);
    let pinned =
        |n| format!("[[device]]\nid = \"cam-{n}\"\nidentity = \"{}\"\n", identity.public());
    let pinned: String = (0..devices).map(pinned).collect();
    let tap = Tap::before(broker.port);
    let mut desk = ReceivingDesk::new(folder.path(), tap.port, &trust_file, &pinned);
    let trust = pin(&trust_file, 1, &[&person(3), &person(4)], &desk.key());
    desk.start();
    wait_for("the desk to subscribe", || tap.has_seen(packets::SUBACK).then_some(()));
    let began = std::time::Instant::now();
    let since = move || began.elapsed().as_micros() as u64;
    let receipts = support::Subscriber::new(broker.port, "site/v1/+/receipt");
    let sent = std::sync::Mutex::new(BTreeMap::<u128, u64>::new());
    let total = seconds * rate;
    let mut waits = Vec::with_capacity(total as usize);
    let (mut most, mut looked) = (0, Duration::ZERO);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let template = String::from_utf8(made(1, |_| {}).1).expect("JSON");
            let value: Value = serde_json::from_str(&template).expect("JSON");
            let text =
                |at: &str| value.pointer(at).and_then(Value::as_str).expect("text").to_owned();
            let (id, candidate) = (text("/id"), text("/data/candidate"));
            let entry = text("/data/entry");
            let publisher = support::Subscriber::new(broker.port, "nothing/here");
            for n in 0..total {
                let due = Duration::from_micros(n * 1_000_000 / rate);
                std::thread::park_timeout(due.saturating_sub(began.elapsed()));
                let event = EventId::new(Clock::default().now());
                // A tenth is of one entry at one device, as if a photograph were held there.
                let held = n.is_multiple_of(10);
                let (other, others) = (n - n / 10 - u64::from(!held), devices - 1);
                let device = format!("cam-{}", if held { 0 } else { 1 + other % others });
                let seen = if held { 0 } else { 1 + other / others % 97 };
                let payload = template
                    .replace(&format!("\"{entry}\""), &format!("\"E-{seen:04}\""))
                    .replace(&id, &event.to_string())
                    .replace(&candidate, &event.to_string())
                    .replace("cam-7", &device)
                    .into_bytes();
                let signature = detached::sign(&payload, &identity);
                let properties = PublishProperties {
                    user_properties: vec![("signature".to_owned(), signature)],
                    ..PublishProperties::default()
                };
                sent.lock().expect("no panic").insert(event.as_u128(), since());
                let topic = format!("site/v1/{device}/candidate");
                publisher.publish_with(&topic, payload, properties);
            }
        });
        let end = Duration::from_secs(seconds + 60);
        while (waits.len() as u64) < total && began.elapsed() < end {
            for message in receipts.so_far() {
                let topic = String::from_utf8_lossy(&message.topic).into_owned();
                let device = topic.split('/').nth(2).expect("a device");
                let events = receipt::open(&message.payload, &trust, device).expect("a receipt");
                let mut sent = sent.lock().expect("no panic");
                for event in events {
                    if let Some(at) = sent.remove(&u128::from_be_bytes(event.id)) {
                        waits.push(since() - at);
                    }
                }
            }
            if began.elapsed() - looked > Duration::from_millis(200) {
                looked = began.elapsed();
                most = most.max(desk.memory());
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    });
    let took = began.elapsed();
    let lost = total - waits.len() as u64;
    let figures = |mut waits: Vec<u64>| {
        waits.sort_unstable();
        let share = |p: f64| waits[((waits.len() - 1) as f64 * p) as usize] as f64 / 1000.0;
        format!("p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms", share(0.5), share(0.99), share(1.0))
    };
    let kept = stored(&desk.store());
    say(&format!(
        "desk: {total} signed events of {devices} devices at {rate} a second in {:.1} s, {} \
         stored, {lost} without a receipt; resident memory of the desk at most {} MiB.",
        took.as_secs_f64(),
        kept.len(),
        most / 1024
    ));
    say(&format!(
        "desk: from the broker's PUBLISH to the desk's PUBACK {}.",
        figures(tap.acknowledged())
    ));
    say(&format!("desk: from the device's publish to the desk's receipt {}.", figures(waits)));
    // The page that a reviewer sees, with all of them waiting.
    let dora = desk.sign_in(&person(3));
    let asked = std::time::Instant::now();
    assert_eq!(dora.get("/queue").status, 200);
    say(&format!("desk: the queue's page took {:.1} ms.", asked.elapsed().as_secs_f64() * 1000.0));
    assert_eq!((lost, kept.len() as u64), (0, total));
    assert!(kept.values().all(|n| *n == 1), "each once");
}

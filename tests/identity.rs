//! Who the device and the broker are to each other: certificates, passwords, and what an access
//! list then allows, against a real mosquitto.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use support::authority::Authority;
use support::event::{candidate, status};
use support::{Mosquitto, Subscriber, wait_for};
use watchpost::clock::Clock;
use watchpost::delivery::{
    self, AuditSaying, BrokerConfig, Delivery, DeviceId, Inbound, InboundKind, ListState, Screen,
    Screened, Topics,
};

const DEADLINE: Duration = Duration::from_secs(20);

const ACL: &str = include_str!("../config/mosquitto/acl");
const SAMPLE_2_0: &str = include_str!("../config/mosquitto/mosquitto.conf");
const SAMPLE_2_1: &str = include_str!("../config/mosquitto/mosquitto-2.1.conf");

/// What mosquitto 2.1 reads access lists with, where that is installed.
fn acl_plugin() -> Option<String> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let found = [PathBuf::from("/usr/lib")]
        .into_iter()
        .chain(folders)
        .map(|folder| folder.join("mosquitto_acl_file.so"))
        .find(|file| file.is_file())?;
    Some(found.display().to_string())
}

/// The settings of a sample, without comments.
fn settings_of(sample: &str) -> Vec<&str> {
    sample.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// A broker with certificates in its directory.
struct Site {
    broker: Mosquitto,
    authority: Authority,
}

impl Site {
    fn new() -> Option<Self> {
        let broker = Mosquitto::installed()?;
        let authority = Authority::new(broker.directory.path(), "ca");
        authority.issue("server", "localhost", 2);
        Some(Self { broker, authority })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.broker.path(name)
    }

    fn listener(&self, certificate: &str) -> String {
        format!(
            "allow_anonymous true\ncafile {}\ncertfile {}\nkeyfile {}\n",
            self.at("ca.pem").display(),
            self.at(&format!("{certificate}.pem")).display(),
            self.at(&format!("{certificate}.key")).display()
        )
    }

    /// As the sample files for the installed version say, but for the places of certificates and
    /// plugins, the port, and persistence.
    fn sample(&mut self) {
        self.broker.write("acl", ACL);
        let directory = self.broker.directory.path().display().to_string();
        let sample = match acl_plugin() {
            None => SAMPLE_2_0.to_owned(),
            Some(plugin) => SAMPLE_2_1.replace("/usr/lib/mosquitto_acl_file.so", &plugin),
        };
        let settings: String = sample
            .replace("/etc/mosquitto/certs", &directory)
            .replace("/etc/mosquitto", &directory)
            .lines()
            .filter(|l| {
                !["listener", "persistence", "autosave"].iter().any(|own| l.starts_with(own))
            })
            .map(|l| format!("{l}\n"))
            .collect();
        self.broker.start(&settings);
    }

    fn config(&self) -> BrokerConfig {
        BrokerConfig {
            url: format!("mqtts://localhost:{}", self.broker.port),
            ca_file: Some(self.at("ca.pem")),
            // There is no subscriber where only the acknowledgement counts.
            keep_unheard: false,
            ..BrokerConfig::default()
        }
    }

    /// A device that shows the certificate of that name.
    fn showing(&self, certificate: &str) -> BrokerConfig {
        BrokerConfig {
            client_cert: Some(self.at(&format!("{certificate}.pem"))),
            client_key: Some(self.at(&format!("{certificate}.key"))),
            ..self.config()
        }
    }

    /// Whether the broker takes a connection of this version of TLS, which shows the certificate of
    /// that name.
    fn speaks(
        &self,
        version: &'static rustls::SupportedProtocolVersion,
        certificate: &str,
    ) -> bool {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let read = |name: &str| std::fs::read(self.at(name)).expect("issued");
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&read("ca.pem")).expect("PEM"))
            .expect("an authority");
        let certificates = vec![
            CertificateDer::from_pem_slice(&read(&format!("{certificate}.pem"))).expect("PEM"),
        ];
        let key = PrivateKeyDer::from_pem_slice(&read(&format!("{certificate}.key"))).expect("PEM");
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates, key)
            .expect("they belong together");
        let name = "localhost".try_into().expect("a host name");
        let mut tls = rustls::ClientConnection::new(config.into(), name).expect("a client");
        let mut socket =
            std::net::TcpStream::connect(("127.0.0.1", self.broker.port)).expect("it listens");
        while tls.is_handshaking() {
            if tls.complete_io(&mut socket).is_err() {
                return false;
            }
        }
        true
    }

    /// A subscriber that shows the certificate of that name.
    fn subscriber(&self, certificate: &str, filter: &str) -> Subscriber {
        let read = |path: &Path| std::fs::read(path).expect("issued");
        let (ca, cert, key) = (
            read(&self.at("ca.pem")),
            read(&self.at(&format!("{certificate}.pem"))),
            read(&self.at(&format!("{certificate}.key"))),
        );
        let mut roots = rustls::RootCertStore::empty();
        let der = |pem: &[u8]| {
            use rustls::pki_types::pem::PemObject;
            rustls::pki_types::CertificateDer::from_pem_slice(pem).expect("PEM")
        };
        roots.add(der(&ca)).expect("an authority");
        let key = {
            use rustls::pki_types::pem::PemObject;
            rustls::pki_types::PrivateKeyDer::from_pem_slice(&key).expect("PEM")
        };
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![der(&cert)], key)
            .expect("they belong together");
        Subscriber::with(self.broker.port, filter, |o| {
            // By name, as the certificate says.
            *o = rumqttc::v5::MqttOptions::new(
                format!("reader-{certificate}"),
                "localhost",
                self.broker.port,
            );
            o.set_transport(rumqttc::Transport::tls_with_config(
                rumqttc::TlsConfiguration::Rustls(tls.into()),
            ));
        })
    }
}

fn start(config: &BrokerConfig) -> Delivery {
    let _ = env_logger::builder().is_test(true).try_init();
    let device = DeviceId::new("cam-7").expect("a plain id");
    Delivery::start(config, &device, status(), Clock::default()).expect("a good configuration")
}

/// Takes every message for genuine: here only the broker's access list is asked.
struct TakesAll;

impl Screen for TakesAll {
    fn screen(&mut self, _: InboundKind, _: &[u8]) -> Screened {
        Screened::Genuine
    }
}

/// One that hears what the broker lets through.
fn listen(config: &BrokerConfig) -> Delivery {
    let _ = env_logger::builder().is_test(true).try_init();
    let device = DeviceId::new("cam-7").expect("a plain id");
    let config = &BrokerConfig { outbox: Some(PathBuf::new()), ..config.clone() };
    let store = delivery::store(config).expect("memory");
    let screen = Box::new(TakesAll);
    Delivery::start_screened(config, &device, status(), Clock::default(), store, screen, None)
        .expect("a good configuration")
}

/// The next message, which is acknowledged.
fn heard(delivery: &Delivery) -> Option<Inbound> {
    let message = delivery.inbound()?;
    delivery.acknowledge(message.receipts.clone());
    Some(message)
}

fn publish(delivery: &Delivery) {
    delivery
        .publish_candidate(candidate(1, 3000), Clock::default().now())
        .expect("delivery takes it");
}

fn delivers(delivery: Delivery) {
    publish(&delivery);
    wait_for("the acknowledgement", || (delivery.snapshot().outbox.delivered == 1).then_some(()));
    let outcome = delivery.stop(DEADLINE);
    assert!(outcome.stopped_published && outcome.undelivered == 0, "{outcome:?}");
}

#[test]
fn a_broker_s_certificate_is_checked_by_authority_name_and_date_and_the_failure_says_what_to_do() {
    let Some(mut site) = Site::new() else { return };
    Authority::new(site.broker.directory.path(), "stranger").issue("forged", "localhost", 2);
    site.authority.issue("elsewhere", "broker.example", 2);
    site.authority.issue("old", "localhost", -1);
    for (certificate, remedy) in
        [("forged", "broker.ca_file"), ("elsewhere", "for another host"), ("old", "has expired")]
    {
        let settings = site.listener(certificate);
        site.broker.start(&settings);
        let delivery = start(&site.config());
        let failure = wait_for("the refusal", || delivery.snapshot().last_failure);
        assert!(failure.contains(remedy), "{certificate}: {failure}");
        assert_eq!(delivery.stop(DEADLINE).snapshot.connections, 0);
        site.broker.kill();
    }
}

#[test]
fn a_device_shows_its_certificate_and_a_renewed_one_is_used_without_a_restart() {
    let Some(mut site) = Site::new() else { return };
    let settings = format!("{}require_certificate true\n", site.listener("server"));
    site.broker.start(&settings);
    let without = start(&site.config());
    let failure = wait_for("the refusal", || without.snapshot().last_failure);
    assert!(failure.contains("broker.client_cert"), "{failure}");
    without.stop(DEADLINE);

    site.authority.issue("device", "cam-7", -1);
    let delivery = start(&site.showing("device"));
    let failure = wait_for("the refusal", || delivery.snapshot().last_failure);
    assert!(failure.contains("broker.client_cert"), "{failure}");
    assert_eq!(delivery.snapshot().connections, 0);
    // As a certificate manager does it: the files are replaced and nobody is told.
    site.authority.issue("device", "cam-7", 2);
    delivers(delivery);
}

#[test]
fn a_broker_of_tls_1_2_alone_or_of_tls_1_3_alone_is_delivered_to_and_its_refusals_are_told() {
    let Some(mut site) = Site::new() else { return };
    let (old, new) = (&rustls::version::TLS12, &rustls::version::TLS13);
    site.authority.issue("device", "cam-7", 2);
    // mosquitto's own setting is the oldest version that it takes; the newest is its library's
    // affair.
    let most = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMaxProtocol = ";
    for (setting, most_version, spoken, other) in
        [("tlsv1.2", "TLSv1.2", old, new), ("tlsv1.3", "TLSv1.3", new, old)]
    {
        site.broker.write("openssl.cnf", &format!("{most}{most_version}\n"));
        let settings =
            format!("{}require_certificate true\ntls_version {setting}\n", site.listener("server"));
        site.broker.start(&settings);
        assert!(
            site.speaks(spoken, "device") && !site.speaks(other, "device"),
            "the broker is what it is to be"
        );
        delivers(start(&site.showing("device")));
        let without = start(&site.config());
        let failure = wait_for("the refusal", || without.snapshot().last_failure);
        assert!(failure.contains("broker.client_cert"), "{setting}: {failure}");
        without.stop(DEADLINE);
        site.broker.kill();
    }
}

#[test]
fn with_the_sample_configuration_a_device_writes_its_own_topics_only() {
    let Some(mut site) = Site::new() else { return };
    site.authority.issue("own", "cam-7", 2);
    site.authority.issue("other", "cam-8", 2);
    site.sample();
    delivers(start(&BrokerConfig { client_id: "own".to_owned(), ..site.showing("own") }));

    // Both say that they are cam-7; this one's certificate says cam-8.
    let intruder = start(&BrokerConfig { client_id: "other".to_owned(), ..site.showing("other") });
    publish(&intruder);
    let refused =
        wait_for("the refusal", || Some(intruder.snapshot()).filter(|s| s.outbox.refusals > 0));
    assert_eq!(refused.outbox.delivered, 0);
    assert!(intruder.stop(Duration::from_millis(200)).undelivered > 0);
}

#[test]
fn with_the_sample_configuration_a_device_hears_its_own_orders_and_no_others() {
    let Some(mut site) = Site::new() else { return };
    for (name, user) in
        [("own", "cam-7"), ("other", "cam-8"), ("operator", "operator"), ("reviewer", "reviewer")]
    {
        site.authority.issue(name, user, 2);
    }
    site.authority.issue("third", "cam-9", 2);
    site.sample();
    let own = listen(&BrokerConfig { client_id: "own".to_owned(), ..site.showing("own") });
    // It listens to what is for cam-7, and its certificate says cam-8.
    let intruder = listen(&BrokerConfig { client_id: "other".to_owned(), ..site.showing("other") });
    wait_for("both connections", || {
        (own.snapshot().connected && intruder.snapshot().connected).then_some(())
    });
    let operator = site.subscriber("operator", "watchpost/v1/+/watchlist/state");
    // Each connection's subscription comes behind its status; an order that came before it would be
    // missed, as it is not retained here.
    let order = wait_for("the order", || {
        operator.publish("watchpost/v1/cam-7/revoke", false, b"an order".to_vec());
        heard(&own)
    });
    assert_eq!((order.kind, &order.payload[..]), (InboundKind::Revoke, &b"an order"[..]));
    assert_eq!(intruder.inbound(), None);

    // A device is not believed about orders, not even about its own; a reviewer writes nothing.
    let reviewer = site.subscriber("reviewer", "watchpost/v1/#");
    let device = site.subscriber("third", "watchpost/v1/+/suspend");
    for stranger in [&reviewer, &device] {
        for device in ["cam-7", "cam-9"] {
            let topic = format!("watchpost/v1/{device}/suspend");
            stranger.publish(&topic, false, b"forged".to_vec());
        }
    }
    // Larger than what the sample of before took, and dropped without a word.
    let large = vec![b'x'; 300 << 10];
    operator.publish("watchpost/v1/cam-7/watchlist/offer", false, large.clone());
    let offer = wait_for("the offer", || heard(&own).filter(|i| i.kind == InboundKind::Offer));
    assert_eq!(offer.payload.len(), large.len());
    operator.publish("watchpost/v1/cam-7/suspend", false, b"true".to_vec());
    let suspended =
        wait_for("the other order", || heard(&own).filter(|i| i.kind == InboundKind::Suspend));
    assert_eq!(&suspended.payload[..], b"true");

    // The reviewer reads what devices publish and no order and no list; the operator the answers.
    own.set_list_state(ListState { entries: 7, ..ListState::default() });
    assert!(String::from_utf8_lossy(&operator.next().payload).contains("\"entries\":7"));
    let read = std::iter::repeat_with(|| reviewer.next().topic)
        .map(|topic| String::from_utf8_lossy(&topic).into_owned())
        .take_while(|topic| !topic.ends_with("cam-7/watchlist/state"));
    let allowed = ["candidate", "status", "stats", "watchlist/state"];
    for topic in read {
        assert!(allowed.iter().any(|a| topic.ends_with(&format!("/{a}"))), "{topic}");
    }
    assert_eq!(device.so_far().len(), 0, "not even about itself");
    own.stop(DEADLINE);
    intruder.stop(DEADLINE);
}

#[test]
fn with_the_sample_configuration_nobody_takes_another_devices_session() {
    let Some(mut site) = Site::new() else { return };
    for (name, user) in [("own", "cam-7"), ("other", "cam-8"), ("operator", "operator")] {
        site.authority.issue(name, user, 2);
    }
    site.sample();
    let own = listen(&site.showing("own"));
    wait_for("the connection", || own.snapshot().connected.then_some(()));
    // With the client id of cam-7 and a certificate of its own.
    let thief = listen(&site.showing("other"));
    wait_for("the other connection", || thief.snapshot().connected.then_some(()));
    let operator = site.subscriber("operator", "nothing");
    let order = wait_for("the order", || {
        operator.publish("watchpost/v1/cam-7/revoke", false, b"an order".to_vec());
        heard(&own)
    });
    assert_eq!(&order.payload[..], b"an order");
    assert_eq!(thief.inbound(), None);
    assert_eq!((own.snapshot().connections, thief.snapshot().connections), (1, 1));
    own.stop(DEADLINE);
    thief.stop(DEADLINE);
}

#[test]
fn the_two_samples_say_the_same_and_the_access_list_names_only_topics_that_are_used() {
    let by_plugin = settings_of(SAMPLE_2_1);
    for line in settings_of(SAMPLE_2_0) {
        let there = match line.split_once(' ') {
            Some(("acl_file", path)) => format!("plugin_opt_acl_file {path}"),
            Some(("allow_anonymous", value)) => format!("listener_allow_anonymous {value}"),
            _ => line.to_owned(),
        };
        assert!(by_plugin.contains(&there.as_str()), "{line}");
    }
    assert_eq!(by_plugin.len(), settings_of(SAMPLE_2_0).len() + 1, "the plugin itself");

    let topics = Topics::new("watchpost", &DeviceId::new("X").expect("an id")).expect("a root");
    let mut used: Vec<String> =
        vec![topics.candidate(), topics.status(), topics.stats(), topics.watchlist_state()];
    used.extend([topics.audit_entry(), topics.audit_checkpoint(), topics.review_state()]);
    used.push(topics.control_answer());
    used.extend([AuditSaying::Consistency, AuditSaying::Challenge].map(|s| topics.audit_saying(s)));
    let written = used.clone();
    used.extend(topics.inbound().map(|(topic, _)| topic));
    for topic in &used {
        let how = match written.contains(topic) {
            // What the broker kept of it is compared with the log.
            true if *topic == topics.audit_checkpoint() => "readwrite",
            true => "write",
            false => "read",
        };
        let line = format!("pattern {how} {}", topic.replace("/X/", "/%u/"));
        assert!(ACL.lines().any(|l| l == line), "{line}");
    }
    for line in ACL.lines().filter(|line| line.starts_with("topic") || line.starts_with("pattern"))
    {
        let topic = line.split(' ').nth(2).expect("what, how, where");
        // The level of the device.
        let named = topic.replacen("%u", "X", 1).replacen("v1/+/", "v1/X/", 1);
        // What a witness finds is for people.
        let for_others =
            topic.starts_with("homeassistant/") || line.ends_with("/v1/+/audit/finding");
        assert!(used.contains(&named) || for_others, "{line}");
    }
}

/// Runs `command` in the site's folder, as it stands in a remedy.
fn openssl(site: &Site, command: &str) {
    let output = std::process::Command::new("sh")
        .args(["-ec", command])
        .current_dir(site.broker.directory.path())
        .output()
        .expect("sh runs");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn for_a_certificate_that_was_made_wrongly_the_failure_has_the_command_that_makes_a_right_one() {
    let Some(mut site) = Site::new() else { return };
    if std::process::Command::new("openssl").arg("version").output().is_err() {
        support::say("identity: no openssl installed; its commands were NOT run.");
        return;
    }
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost";
    openssl(
        &site,
        &format!(
            "openssl req -x509 {key} -keyout ca.key -out ca.pem -days 9 -subj /CN=an-authority; \
         openssl req {key} -keyout v1.key -out v1.csr; \
         openssl x509 -req -in v1.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out v1.pem; \
         openssl req -x509 -CA ca.pem -CAkey ca.key {key} -keyout cn.key -out cn.pem -days 9 \
         -addext basicConstraints=CA:FALSE; \
         openssl req -x509 {key} -keyout own.key -out own.pem -days 9 \
         -addext subjectAltName=DNS:localhost"
        ),
    );
    for (certificate, authority, what) in [
        ("v1", "ca", "X.509 version 1"),
        ("cn", "ca", "common name only"),
        ("own", "own", "an authority (CA:TRUE)"),
    ] {
        let listener = site.listener(certificate);
        site.broker.start(&listener);
        let config =
            BrokerConfig { ca_file: Some(site.at(&format!("{authority}.pem"))), ..site.config() };
        let refused = start(&config);
        let failure = wait_for("the refusal", || refused.snapshot().last_failure);
        assert!(failure.contains(what), "{certificate}: {failure}");
        refused.stop(DEADLINE);
        site.broker.kill();

        openssl(&site, failure.split('`').nth(1).expect("a command"));
        let listener = site.listener("server");
        site.broker.start(&listener);
        let named = failure.contains("name server.pem by broker.ca_file");
        let ca_file = if named { site.at("server.pem") } else { site.at("ca.pem") };
        delivers(start(&BrokerConfig { ca_file: Some(ca_file), ..config }));
        site.broker.kill();
    }
}

#[cfg(feature = "author")]
#[test]
fn what_fleet_init_makes_is_what_the_sample_broker_takes_and_nothing_is_replaced() {
    let Some(mut site) = Site::new() else { return };
    let folder = site.at("pki");
    let init = |device: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_watchpost"))
            .args(["fleet", "init"])
            .arg(&folder)
            .args(["--broker", "localhost", "--device", device, "--json"])
            .output()
            .expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").lines().count()
    };
    assert_eq!(init("cam-7"), 4, "broker, device, operator, reviewer");
    let read = |name: &str| std::fs::read(folder.join(name)).expect("made");
    let before = ["ca.pem", "ca.key", "server.pem", "cam-7.pem"].map(read);
    assert_eq!([init("cam-7"), init("cam-8")], [0, 1]);
    assert_eq!(["ca.pem", "ca.key", "server.pem", "cam-7.pem"].map(read), before);
    // Where only the authority's certificate is missing it is made again; what it has signed
    // stays valid, as the broker shows below.
    std::fs::remove_file(folder.join("ca.pem")).expect("it was there");
    assert_eq!(init("cam-7"), 0);
    assert_eq!(["ca.key", "server.pem", "cam-7.pem"].map(read), before[1..]);
    use std::os::unix::fs::PermissionsExt;
    for file in std::fs::read_dir(&folder).expect("a folder").flatten() {
        let mode = file.metadata().expect("there").permissions().mode() & 0o777;
        let secret = file.path().extension().is_some_and(|e| e == "key");
        assert_eq!(mode, if secret { 0o600 } else { 0o644 }, "{:?}", file.path());
        std::fs::copy(file.path(), site.at(&file.file_name().to_string_lossy())).expect("copies");
    }
    site.sample();
    for device in ["cam-7", "cam-8"] {
        let delivery = start(&site.showing(device));
        wait_for("the connection", || delivery.snapshot().connected.then_some(()));
        delivery.stop(DEADLINE);
    }
    delivers(start(&site.showing("cam-7")));
    // A device's certificate is none of a broker.
    let listener = site.listener("cam-7");
    site.broker.kill();
    site.broker.start(&listener);
    let refused = start(&site.config());
    wait_for("the refusal", || refused.snapshot().last_failure);
    assert_eq!(refused.stop(DEADLINE).snapshot.connections, 0);
}

//! `watchpost demo --desk`: the scene with the real pages on loopback.
//!
//! The reviewers' keys come from the page. The demonstration waits until two people have enrolled,
//! has its throw-away trust file name them, and starts the device then: nobody is pinned whose key
//! was made anywhere but in a browser. Elsewhere two signers decide who reviews; here nobody does.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;

use super::{CliError, DEVICE, REFERENCE};
use crate::config::Config;
use crate::demo::ENROLMENT_PHOTOGRAPH;
use crate::desk::DeskConfig;
use crate::desk::config::{DeskDevice, HttpConfig, StoreConfig};
use crate::desk::service::{self, RunningDesk};
use crate::desk::store::{DeskStore, KeptPhotograph, KnownPerson};
use crate::watchlist::keys::{PublicKey, SecretKey};
use crate::watchlist::seal::{self, DeviceKey, Recipient};
use crate::watchlist::trust::{Role, Trust, naming, render};

use sha2::{Digest as _, Sha256};

/// How often it is looked whether somebody has enrolled.
const ROUND: Duration = Duration::from_millis(500);

/// A desk in this process.
pub struct DemoDesk {
    runtime: tokio::runtime::Runtime,
    desk: Option<RunningDesk>,
    store: std::path::PathBuf,
    /// Where its pages are.
    pub origin: String,
}

impl DemoDesk {
    /// Starts the desk of `config`'s device, in `work`; gives the device what it needs for reviews.
    pub fn start(config: &mut Config, work: &Path) -> Result<Self, CliError> {
        let identity = work.join("identity.key");
        let (device, key) = (SecretKey::generate()?, SecretKey::generate()?);
        device.create_file(&identity)?;
        key.create_file(&work.join("desk.key"))?;
        config.audit.identity = Some(identity);
        config.audit.log = work.join("audit");
        config.review.docket = work.join("reviews.cbor");
        let sealed_to = match &config.watchlist.device_key {
            Some(file) => Some(DeviceKey::open_file(file)?.recipient().to_string()),
            None => None,
        };
        let store = work.join("desk.sqlite");
        let mut broker = config.broker.clone();
        (broker.client_id, broker.outbox) = ("desk".to_owned(), None);
        let desk = DeskConfig {
            trust: config.watchlist.trust.clone(),
            key: work.join("desk.key"),
            broker,
            store: StoreConfig { path: store.clone() },
            http: HttpConfig { listen: ([127, 0, 0, 1], 0).into(), ..HttpConfig::default() },
            device: vec![DeskDevice {
                id: DEVICE.to_owned(),
                key: sealed_to,
                identity: Some(device.public().to_string()),
            }],
            ..DeskConfig::default()
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let mut desk = runtime.block_on(service::start(desk))?;
        runtime.block_on(desk.is_connected(super::PATIENCE));
        let origin = format!("http://{}", desk.address);
        Ok(Self { runtime, desk: Some(desk), store, origin })
    }

    /// A link by which one person enrols.
    pub fn invite(&self, label: &str) -> Result<String, CliError> {
        let mut random = [0; 24];
        getrandom::fill(&mut random)?;
        let token = URL_SAFE_NO_PAD.encode(random);
        let until = OffsetDateTime::now_utc() + time::Duration::DAY;
        self.runtime.block_on(async {
            DeskStore::open(&self.store).await?.invite(&token, label, until).await
        })?;
        Ok(format!("{}/enrol/{token}", self.origin))
    }

    /// Waits until two people have enrolled; pins them in the trust file, and seals the enrolled
    /// person's photograph to them.
    pub fn await_reviewers(&self, config: &Config) -> Result<(), CliError> {
        let people = self.runtime.block_on(async {
            let store = DeskStore::open(&self.store).await?;
            loop {
                let people = store.people().await?;
                if people.len() >= 2 {
                    return Ok::<Vec<KnownPerson>, CliError>(people);
                }
                tokio::time::sleep(ROUND).await;
            }
        })?;
        self.pin(config, &people)?;
        let to: Vec<Recipient> =
            people.iter().filter_map(|person| person.reading_key.parse().ok()).collect();
        let photograph = KeptPhotograph {
            list: "demonstration".to_owned(),
            version: 1,
            entry: REFERENCE.to_owned(),
            n: 0,
            digest: Sha256::digest(ENROLMENT_PHOTOGRAPH).into(),
            eyes: None,
            sealed: seal::seal(&[ENROLMENT_PHOTOGRAPH], &to)?,
            until: OffsetDateTime::now_utc() + time::Duration::DAY,
        };
        self.runtime.block_on(async {
            DeskStore::open(&self.store).await?.put_photographs(&[photograph]).await
        })?;
        // The desk notices the file within this time.
        std::thread::sleep(service::TRUST_EVERY + ROUND);
        Ok(())
    }

    fn pin(&self, config: &Config, people: &[KnownPerson]) -> Result<(), CliError> {
        let trust = Trust::open(&config.watchlist.trust)?;
        let reviewers: Vec<PublicKey> = people.iter().filter_map(|p| p.key.parse().ok()).collect();
        let signers = trust.keys().iter().map(|key| (key.public, "signer", key.roles()));
        let pinned = reviewers.iter().map(|key| (*key, "reviewer", &[Role::Reviewer][..]));
        let keys: Vec<_> = signers.chain(pinned).collect();
        let text = render(
            trust.serial() + 1,
            trust.signers_needed(),
            trust.valid_from(),
            trust.valid_until(),
            &keys,
        );
        // They enrolled by two links, and are two people as far as a demonstration can tell.
        let text = reviewers.iter().zip(1..).try_fold(text, |text, (key, n)| {
            Ok::<_, CliError>(naming(&text, key, &format!("p-{n}").parse()?))
        })?;
        Trust::parse(&text)?;
        Ok(crate::files::replace(&config.watchlist.trust, text.as_bytes())?)
    }
}

impl Drop for DemoDesk {
    fn drop(&mut self) {
        if let Some(desk) = self.desk.take() {
            self.runtime.block_on(desk.stop());
        }
    }
}

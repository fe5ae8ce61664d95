//! Starts all of the desk, and ends it.
//!
//! * A trust file that changes, or a rotation of it that was followed, counts within
//!   [`TRUST_EVERY`]: whoever is no longer pinned is signed out, and what they listen to ends. One
//!   that cannot be read leaves the keys that were read last.
//! * On the end what was taken is stored, within some seconds; what is not acknowledged comes
//!   again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio::task::JoinSet;

use super::access::Access;
use super::config::DeskConfig;
use super::directory::Directory;
use super::http::{self, DeskState, serve};
use super::intake::Intake;
use super::notify::{self, Notifier};
use super::receiver::Receiver;
use super::retention;
use super::store::{DeskNotice, DeskStore, DeskStoreError, KeepingRules};
use super::trust::{DeskTrust, DeskTrustError, ReadFiles};
use crate::delivery::broker::{BrokerUrl, UrlError};
use crate::problem::Problem;
use crate::watchlist::keys::{KeyError, PublicKey, SecretKey};

/// How often it is looked whether the trust file has changed.
pub const TRUST_EVERY: Duration = Duration::from_secs(5);
/// What happens while nobody reads it is kept so long for each who looks.
const NOTICES: usize = 1024;

/// Why the desk does not start.
#[derive(Debug, thiserror::Error)]
pub enum DeskStartError {
    /// The trust file.
    #[error(transparent)]
    Trust(#[from] DeskTrustError),
    /// The desk's key.
    #[error("the desk's key: {0}")]
    Key(#[from] KeyError),
    /// The store.
    #[error(transparent)]
    Store(#[from] DeskStoreError),
    /// The broker's address.
    #[error("the broker's url: {0}")]
    Url(#[from] UrlError),
    /// Files of those who are told that a candidate waits.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Notify(Vec<Problem>),
    /// The pages.
    #[error(transparent)]
    Serve(#[from] serve::ServeError),
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

/// A desk that runs.
#[derive(Debug)]
pub struct RunningDesk {
    /// Where its pages are.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Whether the broker is connected.
    connected: watch::Receiver<bool>,
}

impl RunningDesk {
    /// Waits until the broker is connected, or `patience` is over. Whether it is.
    pub async fn is_connected(&mut self, patience: Duration) -> bool {
        let wait = self.connected.wait_for(|connected| *connected);
        tokio::time::timeout(patience, wait).await.is_ok_and(|connected| connected.is_ok())
    }

    /// Ends it.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(8), all).await;
    }
}

/// Starts a desk on the runtime of the moment.
///
/// # Errors
/// Where something that it needs is not there.
pub async fn start(config: DeskConfig) -> Result<RunningDesk, DeskStartError> {
    // Before it is read: what is written in between is noticed as a change.
    let keys = config.keys();
    let known = keys.files();
    let trust = keys.current()?;
    let key = SecretKey::open_file(&config.key)?;
    let _: BrokerUrl = config.broker.url.parse()?;
    let identity = |device: &super::config::DeskDevice| {
        Some((device.id.clone(), device.identity.as_ref()?.parse::<PublicKey>().ok()?))
    };
    let identities: BTreeMap<_, _> = config.device.iter().filter_map(identity).collect();
    let unpinned = config.device.iter().filter(|d| d.identity.is_none()).count();
    if unpinned > 0 {
        log::warn!(
            "The identities of some devices are not pinned, and the broker alone vouches for what \
             they publish: devices={unpinned}."
        );
    }
    let problems = notify::file_problems(&config.notify);
    if !problems.is_empty() {
        return Err(DeskStartError::Notify(problems));
    }
    let store = Arc::new(DeskStore::open(&config.store.path).await?);
    let origin = config.http.origin();
    let notifier = Notifier::new(Arc::clone(&store), &config.notify, &origin).await?;
    let intake = Intake::new(&config.broker.root, identities, trust.clone());
    let intake = Arc::new(RwLock::new(intake));
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(DeskStartError::Random)?;
    let (notices, _) = broadcast::channel(NOTICES);
    let (stop, stopping) = watch::channel(false);
    let (connected, is_connected) = watch::channel(false);
    let verdict = Arc::new(Notify::new());
    let listener = serve::listen(&config.http).await?;
    let address = listener.local_addr().unwrap_or(config.http.listen);
    let mut config = config;
    // Where the port was left to the system.
    config.http.listen = address;
    let tls = serve::tls(&config.http)?;
    let state = Arc::new(DeskState {
        store: Arc::clone(&store),
        access: Mutex::new(Access::new(&config.http.origin(), secret)),
        directory: RwLock::new(Directory::new(&config, trust)),
        config: config.clone(),
        notices: notices.clone(),
        verdict: Arc::clone(&verdict),
        began: Instant::now(),
        reporting: Arc::new(Semaphore::new(1)),
    });
    let receiver = Receiver {
        broker: config.broker.clone(),
        share: config.share.clone(),
        store: Arc::clone(&store),
        intake: Arc::clone(&intake),
        trust: keys.clone(),
        key: Arc::new(key),
        rules: KeepingRules {
            retention: config.retention.clone(),
            at_most_alike: config.review.at_most_per_entry_an_hour,
        },
        notices: notices.clone(),
        verdict,
        connected,
    };
    let mut tasks = JoinSet::new();
    let stopped = stopping.clone();
    tasks.spawn(async move {
        if let Err(error) = receiver.run(stopped).await {
            log::error!("Nothing is received: {error}.");
        }
    });
    tasks.spawn(serve::serve(listener, tls, http::router(Arc::clone(&state)), stopping.clone()));
    tasks.spawn(notifier.run(notices.clone(), stopping.clone()));
    let (shortened, mut ending) = (Arc::clone(&store), stopping.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = shortened.keep_log_short() => {}
            _ = ending.changed() => {}
        }
    });
    let erasing =
        retention::keep(store, config.retention.clone(), notices.subscribe(), stopping.clone());
    tasks.spawn(erasing);
    tasks.spawn(follow_trust(keys, known, state, intake, stopping));
    Ok(RunningDesk { address, stop, tasks, connected: is_connected })
}

/// Reads the trust file and its rotations again where they are not those of `known` any more, and
/// tells those who look.
async fn follow_trust(
    keys: DeskTrust,
    mut known: ReadFiles,
    state: Arc<DeskState>,
    intake: Arc<RwLock<Intake>>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TRUST_EVERY) => {}
            _ = stop.changed() => return,
        }
        let now = keys.files();
        if now == known {
            continue;
        }
        known = now;
        match keys.current() {
            Ok(trust) => {
                log::info!("The trust file has changed: serial={}.", trust.serial());
                let mut directory = state.directory.write().unwrap_or_else(PoisonError::into_inner);
                directory.set_trust(trust.clone());
                drop(directory);
                intake.write().unwrap_or_else(PoisonError::into_inner).set_trust(trust);
                // Nobody looks: then nobody is told.
                let _ = state.notices.send(DeskNotice::TrustChanged);
            }
            Err(error) => {
                log::error!("The trust file cannot be used, and the keys before it count: {error}.")
            }
        }
    }
}

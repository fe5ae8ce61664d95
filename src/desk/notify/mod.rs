//! Tells people who are elsewhere that a candidate waits: webhooks, and mail.
//!
//! Promises:
//! * What is said is that a candidate waits, and where the queue is. No picture, no reference, no
//!   entry, list, device or event: whoever reads it learns nothing of a person.
//! * It is owed from the transaction that stores the candidate, and kept before it is sent: no kill
//!   loses one. One that is repeated carries the same id.
//! * At most one for each destination in `notify.at_most_every_s`, however many candidates come.
//! * Nothing leaves this machine in the clear. Redirects are not followed. Each attempt ends in
//!   [`PATIENCE`]; one destination does not hold up another.
//! * One that nobody takes is given up after `notify.give_up_after_s`. How each one ended is
//!   counted, in the store.
//!
//! Not promised: that a receiver gets one only once (it may have taken one whose answer was lost),
//! or that somebody reads it. The queue's page is what says what waits.
//!
//! | file | one job |
//! |---|---|
//! | this | one task for each destination; failures |
//! | `schedule` | what is due; sans-IO |
//! | `secret` | files of secrets, the signature |
//! | `webhook` | one POST |
//! | `mail` | one message |
//!
//! Why so little is said, and by which means: `decisions/003-a-notification-says-that-something-
//! waits.md`.

mod mail;
mod schedule;
mod secret;
mod webhook;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::mail::Mail;
use self::schedule::{AfterFailure, NotifySchedule, NotifyStep};
use self::secret::{NotifySecretError, WebhookSecret};
use self::webhook::Webhook;
use super::config::NotifyConfig;
use super::store::{DeskNotice, DeskStore, DeskStoreError, NotificationEnd, OpenNotification};
use crate::backoff::Recurring;
use crate::clock::Now;
use crate::delivery::event::EventId;
use crate::delivery::tls::{self, CredentialError};
use crate::problem::Problem;

/// For one attempt, from the name's address to the answer.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked for what is due where nothing is heard.
const LOOK: Duration = Duration::from_secs(60);
/// After the store has failed.
const AGAIN: Duration = Duration::from_secs(1);
/// A failure that goes on is logged so often.
const SAID: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

/// Why a notification was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotifyFailure {
    /// A file of a secret.
    #[error(transparent)]
    Secret(#[from] NotifySecretError),
    /// A file of certificates.
    #[error(transparent)]
    Certificates(#[from] CredentialError),
    /// Nobody vouches for anybody.
    #[error("there are no certificate authorities; install ca-certificates or set ca_file")]
    NoAuthorities,
    /// The address cannot be used.
    #[error("its address cannot be used")]
    Address,
    /// No connection.
    #[error("it cannot be reached: {0}")]
    Reach(std::io::Error),
    /// No TLS.
    #[error("no TLS with it: {0}")]
    Tls(std::io::Error),
    /// No HTTP.
    #[error("no answer in HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// Another answer than "taken".
    #[error("it answered {0}")]
    Answer(u16),
    /// Neither.
    #[error("it said nothing for too long")]
    TimedOut,
    /// The mail server.
    #[error("no mail: {0}")]
    Mail(String),
}

impl From<lettre::transport::smtp::Error> for NotifyFailure {
    fn from(error: lettre::transport::smtp::Error) -> Self {
        match error.status() {
            // What a server writes beside the code may repeat what it was told.
            Some(code) => Self::Answer(code.into()),
            None if error.is_timeout() => Self::TimedOut,
            None => Self::Mail(error.to_string()),
        }
    }
}

/// The authorities in a file, or the system's.
fn certificates(path: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, NotifyFailure> {
    match path {
        Some(path) => Ok(tls::certificates(path)?),
        None => Ok(rustls_native_certs::load_native_certs().certs),
    }
}

/// What is wrong with the files that the configuration names.
pub fn file_problems(config: &NotifyConfig) -> Vec<Problem> {
    let mut out = Vec::new();
    let mut add = |key: &str, path: &Path, result: Result<(), NotifyFailure>| {
        if let Err(error) = result {
            let (value, remedy) = (path.display().to_string(), error.to_string());
            out.push(Problem { key: key.to_owned(), value, remedy });
        }
    };
    for webhook in &config.webhook {
        let path = &webhook.secret_file;
        let secret = WebhookSecret::open(path).map(drop).map_err(Into::into);
        add("notify.webhook.secret_file", path, secret);
        if let Some(path) = &webhook.ca_file {
            add("notify.webhook.ca_file", path, certificates(Some(path)).map(drop));
        }
    }
    if let Some(mail) = &config.mail {
        if let Some(path) = &mail.password_file {
            let password = secret::first_line(path).map(drop).map_err(Into::into);
            add("notify.mail.password_file", path, password);
        }
        if let Some(path) = &mail.ca_file {
            add("notify.mail.ca_file", path, certificates(Some(path)).map(drop));
        }
    }
    out
}

/// How a destination is told.
enum NotifyMeans {
    Webhook(Webhook),
    Mail(Mail),
}

/// One destination.
struct Destination {
    /// In the store, logs and pages.
    name: String,
    means: NotifyMeans,
}

/// All that is configured, each under its name.
fn destinations(config: &NotifyConfig) -> Vec<Destination> {
    let webhooks = config.webhook.iter().filter_map(|webhook| {
        let name = format!("webhook-{}", webhook.name);
        Some(Destination { name, means: NotifyMeans::Webhook(Webhook::new(webhook)?) })
    });
    let mail = config.mail.iter().flat_map(|mail| {
        // By number: an address is a person's.
        mail.to.iter().zip(1..).filter_map(|(to, n)| {
            let name = format!("mail-{n}");
            Some(Destination { name, means: NotifyMeans::Mail(Mail::new(mail, to)?) })
        })
    });
    webhooks.chain(mail).collect()
}

/// Tells whoever is to be told.
pub struct Notifier {
    store: Arc<DeskStore>,
    schedule: NotifySchedule,
    link: Arc<str>,
    destinations: Vec<Destination>,
}

impl Notifier {
    /// From now on candidates are counted for the configured destinations. `origin` is the desk's.
    ///
    /// # Errors
    /// Where that cannot be stored.
    pub async fn new(
        store: Arc<DeskStore>,
        config: &NotifyConfig,
        origin: &str,
    ) -> Result<Self, DeskStoreError> {
        let destinations = destinations(config);
        let names: Vec<String> = destinations.iter().map(|d| d.name.clone()).collect();
        store.notify_only(&names).await?;
        let link = format!("{}/queue", origin.trim_end_matches('/')).into();
        Ok(Self { store, schedule: NotifySchedule::new(config), link, destinations })
    }

    /// Until `stop` says so.
    pub async fn run(self, notices: broadcast::Sender<DeskNotice>, stop: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        for destination in self.destinations {
            let teller = Teller {
                store: Arc::clone(&self.store),
                schedule: self.schedule,
                link: Arc::clone(&self.link),
                destination,
                failures: Recurring::new(SAID.0, SAID.1),
                began: Instant::now(),
            };
            tasks.spawn(teller.run(notices.subscribe(), stop.clone()));
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// For how long there is nothing to do.
#[derive(Debug, Clone, Copy)]
enum Rest {
    /// So long, whatever comes: a flood of candidates wakes nobody.
    For(Duration),
    /// Until a candidate comes.
    UntilOneComes,
}

/// Tells one destination.
struct Teller {
    store: Arc<DeskStore>,
    schedule: NotifySchedule,
    link: Arc<str>,
    destination: Destination,
    failures: Recurring,
    began: Instant,
}

impl Teller {
    async fn run(
        mut self,
        mut notices: broadcast::Receiver<DeskNotice>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let rest = tokio::select! {
                turned = self.turn() => turned.unwrap_or_else(|error| {
                    log::error!("It cannot be kept who was told of candidates: {error}.");
                    Rest::For(AGAIN)
                }),
                // What is half done is done again, under its id.
                _ = stop.changed() => return,
            };
            let over = async {
                match rest {
                    Rest::For(wait) => tokio::time::sleep(wait).await,
                    Rest::UntilOneComes => {
                        let _ = tokio::time::timeout(LOOK, came(&mut notices)).await;
                    }
                }
            };
            tokio::select! {
                () = over => {}
                _ = stop.changed() => return,
            }
        }
    }

    /// Does all that is due, and says for how long nothing is.
    async fn turn(&mut self) -> Result<Rest, DeskStoreError> {
        loop {
            // In this order: a candidate that comes in between is owed, and waits.
            let mut all = self.store.notifications().await?.into_iter();
            let kept = all.find(|kept| kept.destination == self.destination.name);
            let Some(kept) = kept else { return Ok(Rest::UntilOneComes) };
            let waits = self.store.waiting(1).await? > 0;
            let now = OffsetDateTime::now_utc();
            let name = &self.destination.name;
            match self.schedule.step(&kept, waits, now) {
                NotifyStep::Idle => return Ok(Rest::UntilOneComes),
                NotifyStep::Wait(until) => {
                    let wait = Duration::try_from(until - now).unwrap_or_default();
                    return Ok(Rest::For(wait.min(LOOK)));
                }
                NotifyStep::Open => {
                    let id = EventId::new(Now { wall: now, monotonic: self.began.elapsed() });
                    self.store.open_notification(name, id, now).await?;
                }
                NotifyStep::Drop => {
                    let end = NotificationEnd::Overtaken;
                    self.store.end_notification(name, end, kept.unsaid, now).await?;
                }
                NotifyStep::Send(open) => self.send(open, kept.unsaid).await?,
            }
        }
    }

    async fn send(&mut self, open: OpenNotification, covered: u64) -> Result<(), DeskStoreError> {
        let hand = async {
            match &self.destination.means {
                NotifyMeans::Webhook(webhook) => webhook.hand(open.id, &self.link).await,
                NotifyMeans::Mail(mail) => mail.hand(open.id, open.opened, &self.link).await,
            }
        };
        let handed = tokio::time::timeout(PATIENCE, hand).await;
        let now = OffsetDateTime::now_utc();
        let name = &self.destination.name;
        let failure = match handed.unwrap_or(Err(NotifyFailure::TimedOut)) {
            Ok(()) => {
                self.failures.over();
                let end = NotificationEnd::Delivered;
                return self.store.end_notification(name, end, covered, now).await;
            }
            Err(failure) => failure,
        };
        let jitter = getrandom::u32().unwrap_or(u32::MAX / 2);
        match self.schedule.failed(&open, now, jitter) {
            AfterFailure::Again(due) => {
                if let Some(times) = self.failures.happened(self.began.elapsed()) {
                    log::warn!(
                        "A notification is not taken, and it is tried again: {failure} \
                         destination={name} times={times}."
                    );
                }
                self.store.notification_failed(name, due).await
            }
            AfterFailure::GivenUp => {
                log::error!("A notification is given up: {failure} destination={name}.");
                let end = NotificationEnd::GivenUp;
                self.store.end_notification(name, end, covered, now).await
            }
        }
    }
}

/// Until a candidate comes, or may have come.
async fn came(notices: &mut broadcast::Receiver<DeskNotice>) {
    loop {
        match notices.recv().await {
            Ok(DeskNotice::Candidate(_)) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

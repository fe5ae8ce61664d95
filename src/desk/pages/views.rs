//! What pages show, as plain values.

use time::OffsetDateTime;

use crate::delivery::event::{ReviewStage, ReviewVerdict};
use crate::desk::device_log::{LogProof, LogReport};

/// What a person may do at the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeskRole {
    /// Judges candidates: pinned as a reviewer by the trust file.
    Reviewer,
    /// Sees outcomes, people and reports.
    Supervisor,
    /// Sees the devices, and no candidate.
    Operator,
}

/// What every signed-in page says of its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// For `<meta name="csrf">`.
    pub csrf: String,
    /// Id of their key, hexadecimal.
    pub who: String,
    /// What they may do.
    pub role: DeskRole,
}

/// The page to sign in on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInView {
    /// What is signed.
    pub origin: String,
}

/// The page to enrol on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolView {
    /// What is signed.
    pub origin: String,
    /// Spent by enrolling.
    pub token: String,
    /// For whom the invitation was made.
    pub label: String,
}

/// How far the reader is with a candidate. It does not tell what others have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnStanding {
    /// The reader has not judged it.
    Open,
    /// Their verdict is stored here, and the device has not answered.
    Sent,
    /// The device has counted their verdict.
    Counted,
    /// The device has refused their verdict; they may judge again.
    Refused,
}

/// How far those behind one line of the queue are counted.
pub const COUNTED_ALIKE: u32 = 100;

/// One line of the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueItem {
    /// The candidate's id.
    pub candidate: String,
    /// The device that decided.
    pub device: String,
    /// Its camera.
    pub camera: String,
    /// What people call the place.
    pub place: Option<String>,
    /// When the device decided.
    pub decided_at: OffsetDateTime,
    /// How far the reader is with it.
    pub standing: OwnStanding,
    /// How many wait behind this line, with it; counted up to [`COUNTED_ALIKE`].
    pub alike: u32,
}

/// `/queue`: what waits, oldest first; `/queue/{candidate}`: what is like that candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueView {
    /// The reader.
    pub me: SignedIn,
    /// Now.
    pub now: OffsetDateTime,
    /// What waits.
    pub items: Vec<QueueItem>,
    /// How many wait in all; absent where only those that are alike are shown.
    pub waiting: Option<u64>,
}

/// What is shown to nobody before it is decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Revealed {
    /// Similarity of the best view, -1 to 1.
    pub score: f32,
    /// The least that makes a candidate, -1 to 1.
    pub threshold: f32,
    /// References of entries that are as similar.
    pub alternatives: Vec<String>,
    /// The law or order.
    pub legal_basis: Option<String>,
    /// Why the entry is looked for.
    pub purpose: Option<String>,
    /// What the list may be used for.
    pub aim: Option<String>,
}

/// One reference photograph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhotographView {
    /// Where both eyes are, in px: `x,y,x,y`. It is shown whole where nobody knows.
    pub eyes: Option<String>,
}

/// What went wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorView {
    /// The reader, where they are signed in.
    pub me: Option<SignedIn>,
    /// A sentence.
    pub error: String,
    /// Another.
    pub remedy: String,
}

/// `/pair/{candidate}`: one candidate, beside the reference photographs.
#[derive(Debug, Clone, PartialEq)]
pub struct PairView {
    /// The reader.
    pub me: SignedIn,
    /// Now.
    pub now: OffsetDateTime,
    /// The candidate's id.
    pub candidate: String,
    /// SHA-256 of the newest published bytes, hexadecimal: what is shown is what is signed.
    pub payload: String,
    /// The device that decided.
    pub device: String,
    /// Its camera.
    pub camera: String,
    /// What people call the place.
    pub place: Option<String>,
    /// When the device decided.
    pub decided_at: OffsetDateTime,
    /// Whether `/pair/{candidate}/crop` has a picture.
    pub crop: bool,
    /// `/pair/{candidate}/photograph/{n}`, n from 0.
    pub photographs: Vec<PhotographView>,
    /// Whether the desk knows the device's key: without it no verdict can be sealed.
    pub can_judge: bool,
    /// How far the reader is with it.
    pub standing: OwnStanding,
    /// Why the device refused their verdict.
    pub refused: Option<String>,
}

/// `/outcome/{candidate}`: what two people have decided.
#[derive(Debug, Clone, PartialEq)]
pub struct OutcomeView {
    /// The reader.
    pub me: SignedIn,
    /// Now.
    pub now: OffsetDateTime,
    /// The candidate's id.
    pub candidate: String,
    /// The device that decided.
    pub device: String,
    /// Its camera.
    pub camera: String,
    /// What people call the place.
    pub place: Option<String>,
    /// When the device decided.
    pub decided_at: OffsetDateTime,
    /// How far it is.
    pub state: ReviewStage,
    /// How far the reader is with it.
    pub own: OwnStanding,
    /// When the device said so.
    pub ended_at: Option<OffsetDateTime>,
    /// What each said; empty before two people have decided.
    pub verdicts: Vec<ReviewVerdict>,
    /// Absent until it is over.
    pub revealed: Option<Revealed>,
    /// When the candidate and its pictures are erased.
    pub erased_at: Option<OffsetDateTime>,
    /// Whether its pictures are gone.
    pub erased: bool,
}

/// One device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceRow {
    /// Its id.
    pub id: String,
    /// `online`, `offline`, `stopped`, `blind`; `unknown` before it has said anything.
    pub state: String,
    /// Since when.
    pub since: Option<OffsetDateTime>,
    /// Whether faces are compared.
    pub matching: bool,
    /// Why not, or what does not work as it should.
    pub reason: Option<String>,
    /// The list, its version, and when it ends.
    pub list: Option<(String, u64, OffsetDateTime)>,
    /// Entries that can be matched.
    pub entries: Option<u64>,
    /// Events that wait in its outbox.
    pub outbox: Option<u64>,
    /// Of the board, in degrees Celsius.
    pub temperature: Option<f64>,
    /// Size of its audit log, by the newest checkpoint.
    pub audit_size: Option<u64>,
    /// When the desk heard of it last.
    pub heard: Option<OffsetDateTime>,
    /// Whether its identity is pinned here, so that what it publishes is checked.
    pub identity_pinned: bool,
}

/// `/fleet`.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetView {
    /// The reader.
    pub me: SignedIn,
    /// Now.
    pub now: OffsetDateTime,
    /// By id.
    pub devices: Vec<DeviceRow>,
}

/// One enrolled person.
#[derive(Debug, Clone, PartialEq)]
pub struct PersonRow {
    /// Id of their key, hexadecimal.
    pub id: String,
    /// `watchpost-ed25519:...`
    pub key: String,
    /// `age1...`, to which case sheets are sealed.
    pub reading_key: String,
    /// For whom the invitation was made.
    pub label: String,
    /// What they may do; none where neither trust file nor configuration names them.
    pub role: Option<DeskRole>,
    /// When they enrolled.
    pub enrolled_at: OffsetDateTime,
}

/// `/people`.
#[derive(Debug, Clone, PartialEq)]
pub struct PeopleView {
    /// The reader.
    pub me: SignedIn,
    /// Now.
    pub now: OffsetDateTime,
    /// By the time of their enrolment.
    pub people: Vec<PersonRow>,
    /// Invitations that are not spent.
    pub invitations: u64,
}

/// `/reports`: counts.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportsView {
    /// The reader.
    pub me: SignedIn,
    /// Now.
    pub now: OffsetDateTime,
    /// Candidates by state.
    pub states: Vec<(ReviewStage, u64)>,
    /// What was not stored, by reason.
    pub set_aside: Vec<(String, u64)>,
    /// Who has looked at most pictures: key's id, pictures, last.
    pub accesses: Vec<(String, u64, OffsetDateTime)>,
    /// Devices of whose audit logs records came, by id.
    pub logged: Vec<String>,
    /// Who is told that a candidate waits, and how that went.
    pub notified: Vec<NotifiedRow>,
}

/// `/reports/device`: what the log of one device says of a period.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceReportView {
    /// The reader.
    pub me: SignedIn,
    /// The device's id.
    pub device: String,
    /// The first day, as in the form; empty where none was asked for.
    pub from: String,
    /// The last one.
    pub to: String,
    /// Whose the records are.
    pub proof: LogProof,
    /// Records that came.
    pub records: u64,
    /// What came and is none.
    pub unreadable: u64,
    /// Logs that the device kept before this one.
    pub earlier: u64,
    /// Whether older records came than were looked at.
    pub cut: bool,
    /// What they say; none where they support nothing.
    pub told: Option<LogReport>,
}

/// One destination of notifications.
#[derive(Debug, Clone, PartialEq)]
pub struct NotifiedRow {
    /// Its name.
    pub destination: String,
    /// Notifications that were taken.
    pub delivered: u64,
    /// Nobody took them in time.
    pub given_up: u64,
    /// Nothing waited any more when they were to be sent.
    pub overtaken: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Since when one is on its way.
    pub open_since: Option<OffsetDateTime>,
}

//! What waits for a reviewer: candidates one by one, and those of a burst as one line.
//!
//! * A *burst* are the candidates of one entry by one device within one hour, once more of them
//!   wait than are shown one by one: a photograph that is held to a camera makes hundreds.
//! * Only what is shown is put together. Each candidate is stored, judged and erased by itself, and
//!   [`DeskStore::alike`] has all of a burst.
//! * However many wait, a page of them is read by an index.

use std::collections::{HashMap, HashSet};

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use time::OffsetDateTime;

use super::columns::{event_id, id_bytes, own_standing, parts};
use super::{DeskStore, DeskStoreError, millis, time_of};
use crate::delivery::event::EventId;
use crate::desk::intake::CandidateEvent;
use crate::desk::pages::views::{COUNTED_ALIKE, OwnStanding};

const HOUR_MS: i64 = 3_600_000;

/// One line of the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueRow {
    /// The candidate.
    pub candidate: EventId,
    /// Its device.
    pub device: String,
    /// Its camera.
    pub camera: String,
    /// What people call the place.
    pub place: Option<String>,
    /// When the device decided.
    pub decided: OffsetDateTime,
    /// How far the reader is with it.
    pub own: OwnStanding,
    /// How many wait behind this line, with it: 1 where it is no burst, [`COUNTED_ALIKE`] where
    /// they are that many or more.
    pub alike: u32,
}

/// Those that wait alone, oldest first.
const ALONE: &str = "SELECT c.id, c.device, c.camera, c.place, c.decided,
        v.candidate IS NOT NULL, v.answer, 1
    FROM candidate c LEFT JOIN verdict v ON v.candidate = c.id AND v.reviewer = ?1
    WHERE c.ended IS NULL AND c.burst IS NULL AND (v.answer IS NULL OR v.answer = 'refused')
    ORDER BY c.decided LIMIT ?2";

/// The oldest of each burst that the reader has not judged, oldest burst first.
const FIRST_OF_BURSTS: &str = "SELECT c.id, c.device, c.camera, c.place, c.decided,
        v.candidate IS NOT NULL, v.answer,
        (SELECT count(*) FROM (SELECT 1 FROM candidate m
            LEFT JOIN verdict w ON w.candidate = m.id AND w.reviewer = ?1
            WHERE m.burst = b.id AND m.ended IS NULL
            AND (w.answer IS NULL OR w.answer = 'refused') LIMIT ?3))
    FROM burst b CROSS JOIN candidate c ON c.id = (SELECT m.id FROM candidate m
            LEFT JOIN verdict w ON w.candidate = m.id AND w.reviewer = ?1
            WHERE m.burst = b.id AND m.ended IS NULL
            AND (w.answer IS NULL OR w.answer = 'refused') ORDER BY m.decided LIMIT 1)
    LEFT JOIN verdict v ON v.candidate = c.id AND v.reviewer = ?1
    ORDER BY b.hour LIMIT ?2";

/// All of one burst, oldest first.
const OF_BURST: &str = "SELECT c.id, c.device, c.camera, c.place, c.decided,
        v.candidate IS NOT NULL, v.answer, 1
    FROM candidate c LEFT JOIN verdict v ON v.candidate = c.id AND v.reviewer = ?1
    WHERE c.burst = (SELECT burst FROM candidate WHERE id = ?3) AND c.ended IS NULL
    AND (v.answer IS NULL OR v.answer = 'refused')
    ORDER BY c.decided LIMIT ?2";

/// Those that wait, alone and in bursts, each counted up to a number.
const WAITING: &str = "SELECT
    (SELECT count(*) FROM
        (SELECT 1 FROM candidate WHERE ended IS NULL AND burst IS NULL LIMIT ?1)) +
    (SELECT count(*) FROM
        (SELECT 1 FROM candidate WHERE ended IS NULL AND burst IS NOT NULL LIMIT ?1))";

/// How many wait one by one that are of one entry, device and span, up to a number.
const COUNT_ALIKE: &str = "SELECT count(*) FROM (SELECT 1 FROM candidate
    WHERE device = ? AND list = ? AND entry = ? AND decided >= ? AND decided < ?
    AND ended IS NULL AND burst IS NULL LIMIT ?)";

/// Candidates that wait alone and of which more are alike than a number, which stands for `MOST`.
const THOSE_ALIKE: &str = "SELECT c.id FROM candidate c WHERE c.id IN (PLACES) AND
    (SELECT count(*) FROM (SELECT 1 FROM candidate m
        WHERE m.device = c.device AND m.list = c.list AND m.entry = c.entry
        AND m.decided >= c.decided - (c.decided % 3600000 + 3600000) % 3600000
        AND m.decided < c.decided - (c.decided % 3600000 + 3600000) % 3600000 + 3600000
        AND m.ended IS NULL AND m.burst IS NULL LIMIT MOST + 1)) > MOST";

/// Bursts that are there, of the candidates in `ROWS`.
const BURSTS_OF: &str = "WITH wanted (candidate, device, list, entry, hour) AS (VALUES ROWS)
    SELECT w.candidate, b.id FROM wanted w CROSS JOIN burst b
    ON b.device = w.device AND b.list = w.list AND b.entry = w.entry AND b.hour = w.hour";

/// They are a burst.
const JOIN_ALIKE: &str = "UPDATE candidate SET burst = ?
    WHERE device = ? AND list = ? AND entry = ? AND decided >= ? AND decided < ?
    AND ended IS NULL AND burst IS NULL";

fn queue_row(row: &SqliteRow) -> Result<QueueRow, sqlx::Error> {
    let answer: Option<String> = row.try_get(6)?;
    Ok(QueueRow {
        candidate: event_id(row.try_get(0)?)?,
        device: row.try_get(1)?,
        camera: row.try_get(2)?,
        place: row.try_get(3)?,
        decided: time_of(row.try_get(4)?),
        own: own_standing(row.try_get(5)?, answer.as_deref()),
        alike: row.try_get(7)?,
    })
}

impl DeskStore {
    /// What waits and `reviewer` has not judged, oldest first, `most` lines at most; a burst is one
    /// line.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn queue(
        &self,
        reviewer: [u8; 8],
        most: u32,
    ) -> Result<Vec<QueueRow>, DeskStoreError> {
        let alone = sqlx::query(ALONE).bind(&reviewer[..]).bind(most);
        let alone = alone.fetch_all(&self.readers).await?;
        let bursts = sqlx::query(FIRST_OF_BURSTS).bind(&reviewer[..]).bind(most);
        let bursts = bursts.bind(COUNTED_ALIKE).fetch_all(&self.readers).await?;
        let rows = alone.iter().chain(&bursts).map(queue_row);
        let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
        rows.sort_by_key(|row| (row.decided, row.candidate));
        rows.truncate(most as usize);
        Ok(rows)
    }

    /// What waits in the burst of `candidate` and `reviewer` has not judged, oldest first, `most`
    /// at most. Nothing where it is in none.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn alike(
        &self,
        candidate: EventId,
        reviewer: [u8; 8],
        most: u32,
    ) -> Result<Vec<QueueRow>, DeskStoreError> {
        let rows = sqlx::query(OF_BURST).bind(&reviewer[..]).bind(most).bind(id_bytes(candidate));
        let rows = rows.fetch_all(&self.readers).await?;
        Ok(rows.iter().map(queue_row).collect::<Result<_, _>>()?)
    }

    /// How many wait, counted up to `most` alone and as many in bursts.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn waiting(&self, most: u32) -> Result<u64, DeskStoreError> {
        let row = sqlx::query(WAITING).bind(most).fetch_one(&self.readers).await?;
        Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0))
    }
}

/// Hours since 1970.
pub(super) fn hour_of(at: OffsetDateTime) -> i64 {
    millis(at).div_euclid(HOUR_MS)
}

/// Puts a candidate that is stored, new, and waits with those that are like it, where more than
/// `at_most` of them wait. Whether they were a burst before it came.
pub(super) async fn put_together(
    on: &mut SqliteConnection,
    device: &str,
    c: &CandidateEvent,
    at_most: u32,
) -> Result<bool, sqlx::Error> {
    let hour = hour_of(c.decided);
    let burst = sqlx::query(
        "SELECT id FROM burst WHERE device = ? AND list = ? AND entry = ? AND hour = ?",
    );
    let burst = burst.bind(device).bind(&c.list).bind(&c.entry).bind(hour);
    if let Some(row) = burst.fetch_optional(&mut *on).await? {
        let burst: i64 = row.try_get(0)?;
        let joins = sqlx::query("UPDATE candidate SET burst = ? WHERE id = ?");
        joins.bind(burst).bind(id_bytes(c.candidate)).execute(on).await?;
        return Ok(true);
    }
    let (from, to) = (hour.saturating_mul(HOUR_MS), (hour + 1).saturating_mul(HOUR_MS));
    let alike = sqlx::query(COUNT_ALIKE).bind(device).bind(&c.list).bind(&c.entry);
    let alike = alike.bind(from).bind(to);
    let alike: i64 = alike.bind(i64::from(at_most) + 1).fetch_one(&mut *on).await?.try_get(0)?;
    if alike <= i64::from(at_most) {
        return Ok(false);
    }
    let burst = sqlx::query("INSERT INTO burst (device, list, entry, hour) VALUES (?, ?, ?, ?)");
    let burst = burst.bind(device).bind(&c.list).bind(&c.entry).bind(hour);
    let burst = burst.execute(&mut *on).await?.last_insert_rowid();
    let join = sqlx::query(JOIN_ALIKE).bind(burst).bind(device).bind(&c.list).bind(&c.entry);
    join.bind(from).bind(to).execute(on).await?;
    Ok(false)
}

/// [`THOSE_ALIKE`] of `rows` candidates.
fn alike_among(rows: usize, at_most: u32) -> String {
    let places = vec!["?"; rows].join(", ");
    THOSE_ALIKE.replace("PLACES", &places).replace("MOST", &at_most.to_string())
}

/// [`BURSTS_OF`] so many candidates.
fn bursts_among(rows: usize) -> String {
    BURSTS_OF.replace("ROWS", &vec!["(?, ?, ?, ?, ?)"; rows].join(", "))
}

/// The bursts that are there before `candidates` of devices are stored, of those that join one.
pub(super) async fn bursts_of(
    on: &mut SqliteConnection,
    candidates: &[(&str, &CandidateEvent)],
) -> Result<HashMap<EventId, i64>, sqlx::Error> {
    let mut found = HashMap::new();
    for part in parts(candidates) {
        let what = bursts_among(part.len());
        let query = part.iter().fold(sqlx::query(&what), |query, (device, c)| {
            let query = query.bind(id_bytes(c.candidate)).bind(*device);
            query.bind(&c.list).bind(&c.entry).bind(hour_of(c.decided))
        });
        for row in query.fetch_all(&mut *on).await? {
            found.insert(event_id(row.try_get(0)?)?, row.try_get(1)?);
        }
    }
    Ok(found)
}

/// Those of `candidates`, which are stored and in no burst, that [`put_together`] has to look at:
/// all others stand alone.
pub(super) async fn those_alike(
    on: &mut SqliteConnection,
    candidates: &[EventId],
    at_most: u32,
) -> Result<HashSet<EventId>, sqlx::Error> {
    let mut found = HashSet::new();
    for part in parts(candidates) {
        let what = alike_among(part.len(), at_most);
        let query = part.iter().fold(sqlx::query(&what), |q, id| q.bind(id_bytes(*id)));
        for row in query.fetch_all(&mut *on).await? {
            found.insert(event_id(row.try_get(0)?)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_of_many_candidates_are_found_by_their_index() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let plan: Vec<String> = runtime.block_on(async {
            let store = DeskStore::open(&folder.path().join("desk.sqlite")).await.unwrap();
            let explained = format!("EXPLAIN QUERY PLAN {}", bursts_among(4));
            let rows = sqlx::query(&explained).fetch_all(&store.readers).await.unwrap();
            rows.iter().map(|row| row.get("detail")).collect()
        });
        let index = "SEARCH b USING COVERING INDEX sqlite_autoindex_burst_1 (device=? AND list=? AND \
                     entry=? AND hour=?)";
        assert!(plan.iter().any(|step| step == index), "{plan:#?}");
    }

    #[test]
    fn a_page_of_the_queue_is_read_by_indexes_and_nothing_is_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let plan = |what: &str| -> Vec<String> {
            runtime.block_on(async {
                let store = DeskStore::open(&folder.path().join("desk.sqlite")).await.unwrap();
                let explained = format!("EXPLAIN QUERY PLAN {what}");
                let rows = sqlx::query(&explained).fetch_all(&store.readers).await.unwrap();
                rows.iter().map(|row| row.get("detail")).collect()
            })
        };
        for (what, index) in [
            (ALONE, "INDEX candidate_alone"),
            (FIRST_OF_BURSTS, "COVERING INDEX burst_hour"),
            (FIRST_OF_BURSTS, "COVERING INDEX candidate_of_burst"),
            (OF_BURST, "INDEX candidate_of_burst"),
            (WAITING, "COVERING INDEX candidate_alone"),
            (WAITING, "COVERING INDEX candidate_of_burst"),
            (COUNT_ALIKE, "INDEX candidate_alike"),
            (JOIN_ALIKE, "INDEX candidate_alike"),
            (&alike_among(4, 6), "INDEX candidate_alike"),
        ] {
            let plan = plan(what);
            assert!(plan.iter().any(|step| step.contains(index)), "{index}: {plan:#?}");
            // One row of constants, and rows that a search inside has found.
            let bounded = |step: &str| {
                step.starts_with("SCAN CONSTANT ROW") || step.starts_with("SCAN (subquery")
            };
            let whole = plan
                .iter()
                .any(|step| step.starts_with("SCAN") && !step.contains("INDEX") && !bounded(step));
            let sorted = plan.iter().any(|step| step.contains("TEMP B-TREE"));
            assert!(!whole && !sorted, "{plan:#?}");
        }
    }
}

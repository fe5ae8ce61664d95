//! Records of the devices' audit logs, as they were published.

use futures_util::TryStreamExt as _;
use sqlx::Row as _;

use super::{DeskStore, DeskStoreError};

/// All that came of one device's log.
const ENTRIES: &str = "SELECT payload FROM event WHERE kind = 'audit-entry' AND device = ?
    AND payload IS NOT NULL ORDER BY rowid";
/// The same, from the newest on.
const NEWEST: &str = "SELECT payload FROM event WHERE kind = 'audit-entry' AND device = ?
    AND payload IS NOT NULL ORDER BY rowid DESC";
/// Devices of which records came: from each to the next one by the index, however many records
/// each has.
const DEVICES: &str = "WITH RECURSIVE known (device) AS (
    SELECT min(device) FROM event WHERE kind = 'audit-entry'
    UNION ALL
    SELECT (SELECT min(device) FROM event WHERE kind = 'audit-entry' AND device > known.device)
        FROM known WHERE known.device IS NOT NULL)
    SELECT device FROM known WHERE device IS NOT NULL LIMIT ?";

/// The newest records of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewestEntries {
    /// As they were published, in the order in which they came.
    pub entries: Vec<Vec<u8>>,
    /// Whether there are older ones.
    pub cut: bool,
}

impl DeskStore {
    /// The records of a device's audit log that came, in the order in which they came.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn audit_entries(&self, device: &str) -> Result<Vec<Vec<u8>>, DeskStoreError> {
        let rows = sqlx::query(ENTRIES).bind(device).fetch_all(&self.readers).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// The newest of them that have `most` bytes together at most.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn newest_entries(
        &self,
        device: &str,
        most: usize,
    ) -> Result<NewestEntries, DeskStoreError> {
        let mut rows = sqlx::query(NEWEST).bind(device).fetch(&self.readers);
        let (mut newest, mut left) = (NewestEntries::default(), most);
        while let Some(row) = rows.try_next().await? {
            let entry: Vec<u8> = row.try_get(0)?;
            let Some(after) = left.checked_sub(entry.len()) else {
                newest.cut = true;
                break;
            };
            left = after;
            newest.entries.push(entry);
        }
        newest.entries.reverse();
        Ok(newest)
    }

    /// Devices of which records came, by id, `most` at most.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn logged_devices(&self, most: u32) -> Result<Vec<String>, DeskStoreError> {
        let rows = sqlx::query(DEVICES).bind(most).fetch_all(&self.readers).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::delivery::event::EventId;
    use crate::desk::config::RetentionConfig;
    use crate::desk::intake::{AboutWhat, ArrivedEvent, Intaken};
    use crate::desk::store::{Arrival, KeepingRules};

    fn arrival(id: u128, device: &str, payload: &[u8]) -> Arrival {
        let event = ArrivedEvent {
            id: EventId::from_u128(id),
            device: device.to_owned(),
            digest: [0; 32],
            signature: None,
            about: AboutWhat::AuditEntry,
        };
        let topic = format!("site/v1/{device}/audit/entry");
        Arrival { topic, payload: payload.to_vec(), what: Intaken::Event(Box::new(event)) }
    }

    #[test]
    fn a_devices_records_are_found_by_an_index_and_the_newest_of_them_fit() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = DeskStore::open(&folder.path().join("desk.sqlite")).await.unwrap();
            let rules = KeepingRules { retention: RetentionConfig::default(), at_most_alike: 6 };
            let batch = [(9, "b", b"one"), (8, "a", b"two"), (7, "b", b"six"), (6, "b", b"ten")]
                .map(|(id, device, payload)| arrival(id, device, payload));
            store.keep(&batch, &rules, OffsetDateTime::UNIX_EPOCH).await.unwrap();
            assert_eq!(store.audit_entries("b").await.unwrap(), [b"one", b"six", b"ten"]);
            let newest = store.newest_entries("b", 7).await.unwrap();
            assert_eq!(
                (newest.entries, newest.cut),
                (vec![b"six".to_vec(), b"ten".to_vec()], true)
            );
            let all = store.newest_entries("b", 9).await.unwrap();
            assert_eq!((all.entries.len(), all.cut), (3, false));
            assert_eq!(store.logged_devices(9).await.unwrap(), ["a", "b"]);
            assert_eq!(store.logged_devices(1).await.unwrap(), ["a"]);
            for what in [ENTRIES, NEWEST, DEVICES] {
                let explained = format!("EXPLAIN QUERY PLAN {what}");
                let plan = sqlx::query(&explained).fetch_all(&store.readers).await.unwrap();
                let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
                assert!(plan.iter().any(|step| step.contains("INDEX event_of_log")), "{plan:#?}");
                let whole = |step: &String| step.starts_with("SCAN event");
                let sorted = |step: &String| step.contains("TEMP B-TREE");
                assert!(!plan.iter().any(|step| whole(step) || sorted(step)), "{plan:#?}");
            }
        });
    }
}

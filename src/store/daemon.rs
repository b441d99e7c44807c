//! What a daemon leaves for other processes to read: a sign of life, and how its last reload ended.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{Result, Store, now, passes::time};

/// How a reload of the configuration ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// When the reload ended.
    pub at: Timestamp,
    /// Whether the new configuration is in force.
    pub done: bool,
    /// What changed, or what is wrong, in lines.
    pub text: String,
}

impl Store {
    /// Writes a sign of life: proof that the database can be written.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn beat(&self) -> Result<()> {
        self.write(|tx, _| {
            tx.prepare_cached(
                "insert into daemon_state (id, beat_at) values (1, ?1) on conflict (id) do update set beat_at = excluded.beat_at",
            )?
            .execute([now()])?;
            Ok(())
        })
        .await
    }

    /// Notes how a reload ended.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn note_reload(&self, reload: Reload) -> Result<()> {
        self.write(move |tx, _| {
            tx.execute(
                "insert into daemon_state (id, beat_at, reload_at, reload_done, reload_text) values (1, ?1, ?1, ?2, ?3)
                 on conflict (id) do update set reload_at = excluded.reload_at, reload_done = excluded.reload_done, reload_text = excluded.reload_text",
                params![reload.at.as_microsecond(), reload.done, reload.text],
            )?;
            Ok(())
        })
        .await
    }

    /// How the last reload ended; `None` when there was none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn last_reload(&self) -> Result<Option<Reload>> {
        let found = self
            .reader()?
            .0
            .query_row("select reload_at, reload_done, reload_text from daemon_state where reload_at is not null", [], |row| {
                Ok((time(row.get(0)?), row.get(1)?, row.get(2)?))
            })
            .optional()?;
        Ok(found.and_then(|(at, done, text)| Some(Reload { at: at?, done, text })))
    }
}

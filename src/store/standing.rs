//! What stands between a connection and its schedule: a pause, a refused credential; and when the credential ends.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{Result, Store, now, passes::time};

/// How a connection stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Since when it is paused.
    pub paused: Option<Timestamp>,
    /// Since when its credential is refused, and the mark of what was refused.
    pub refused: Option<(Timestamp, String)>,
    /// When its credential ends, as the vendor last said.
    pub expires: Option<Timestamp>,
}

impl Store {
    /// How every known connection stands.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn standings(&self) -> Result<BTreeMap<String, Standing>> {
        standings(&self.reader()?)
    }

    /// Pauses a connection's schedule, or resumes it. Returns whether that changed anything.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn pause(&self, name: &str, connector: &str, pause: bool) -> Result<bool> {
        let (name, connector) = (name.to_owned(), connector.to_owned());
        self.write_durably(move |tx| {
            tx.execute(
                "insert into connections (name, connector, created_at) values (?1, ?2, ?3) on conflict (name) do nothing",
                params![name, connector, now()],
            )?;
            let paused: Option<i64> =
                tx.query_row("select paused_at from connections where name = ?1", [&name], |row| row.get(0)).optional()?.flatten();
            // Whoever resumes a connection wants it tried again, a refused credential too.
            tx.execute(
                "update connections set paused_at = case when ?2 then coalesce(paused_at, ?3) end,
                 refused_at = case when ?2 then refused_at end, refused_mark = case when ?2 then refused_mark end where name = ?1",
                params![name, pause, now()],
            )?;
            Ok(paused.is_some() != pause)
        })
        .await
    }

    /// Notes that a connection's credential was refused, or with `None` that it works.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn refuse(&self, name: &str, mark: Option<String>) -> Result<()> {
        let name = name.to_owned();
        self.write(move |tx, _| {
            tx.execute(
                "update connections set refused_at = case when ?2 is null then null else coalesce(refused_at, ?3) end, refused_mark = ?2
                 where name = ?1 and (refused_mark is not null or ?2 is not null)",
                params![name, mark, now()],
            )?;
            Ok(())
        })
        .await
    }

    /// Notes when a connection's credential ends, as the vendor says.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn expires(&self, name: &str, at: Timestamp) -> Result<()> {
        let name = name.to_owned();
        self.write(move |tx, _| {
            tx.execute("update connections set expires_at = ?2 where name = ?1", params![name, at.as_microsecond()])?;
            Ok(())
        })
        .await
    }
}

pub(crate) fn standings(reader: &rusqlite::Connection) -> Result<BTreeMap<String, Standing>> {
    let mut statement = reader.prepare("select name, paused_at, refused_at, refused_mark, expires_at from connections")?;
    let rows = statement.query_map([], |row| {
        let standing = Standing { paused: time(row.get(1)?), refused: time(row.get(2)?).zip(row.get(3)?), expires: time(row.get(4)?) };
        Ok((row.get(0)?, standing))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

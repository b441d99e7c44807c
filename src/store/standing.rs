//! What stands between a connection and its schedule: a pause, a refused credential; and when the credential ends.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::{Result, Store, Trigger, now, passes::time};

/// A refused credential is sent again this long after it was refused first: a tool that starts, or a proxy in front of it, also
/// refuses good ones.
const CONFIRM: SignedDuration = SignedDuration::from_mins(5);
/// A refused credential is sent at most [`MAX_TRIES_PER_WINDOW`] times within this, whoever asks for it, so that no account is locked.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);
const MAX_TRIES_PER_WINDOW: usize = 3;

/// How a connection stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFlags {
    /// Since when it is paused.
    pub paused: Option<Timestamp>,
    /// The credential that the vendor refused last.
    pub refused: Option<Refusal>,
    /// When its credential ends, as the vendor last said.
    pub expires: Option<Timestamp>,
}

/// A credential that the vendor refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// A mark by which the same credential is known again.
    pub mark: String,
    /// Since when it is refused; `None` when a person asked for another try since.
    pub since: Option<Timestamp>,
    /// When it was refused, the last times, the oldest first. None lies in the future.
    pub times: Vec<Timestamp>,
}

impl Refusal {
    /// Whether it was refused again long enough after the first time: it rests until it changes or a person asks.
    pub fn rests(&self) -> bool {
        self.since.zip(self.times.last()).is_some_and(|(first, last)| last.duration_since(first) >= CONFIRM)
    }

    /// From when on an operation with this trigger may send it again; `None`: not before it changes. A person may sooner than the
    /// schedule.
    pub fn again(&self, trigger: Trigger) -> Option<Timestamp> {
        let by_hand = trigger == Trigger::Manual;
        if self.rests() && !by_hand {
            return None;
        }
        let third =
            self.times.len().checked_sub(MAX_TRIES_PER_WINDOW).and_then(|at| self.times.get(at)).and_then(|at| at.checked_add(WINDOW).ok());
        let confirmed = self.since.filter(|_| !by_hand).and_then(|_| self.times.last()?.checked_add(CONFIRM).ok());
        Some(third.max(confirmed).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// The same after another refusal of the credential with this mark.
    fn and_at(self, mark: String, now: Timestamp) -> Refusal {
        if self.mark != mark {
            return Refusal { mark, since: Some(now), times: vec![now] };
        }
        let mut times = self.times;
        times.push(now);
        times.drain(..times.len().saturating_sub(MAX_TRIES_PER_WINDOW));
        Refusal { mark, since: Some(self.since.unwrap_or(now).min(now)), times }
    }
}

impl Store {
    /// How every known connection stands.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn standings(&self) -> Result<BTreeMap<String, ConnectionFlags>> {
        standings(&self.reader()?.0)
    }

    /// Pauses a connection's schedule. Returns whether that changed anything.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn pause(&self, name: &str, connector: &str) -> Result<bool> {
        self.set_paused(name, connector, true).await
    }

    /// Resumes a connection's schedule, also after a refused credential. Returns whether that changed anything.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn resume(&self, name: &str, connector: &str) -> Result<bool> {
        self.set_paused(name, connector, false).await
    }

    async fn set_paused(&self, name: &str, connector: &str, pause: bool) -> Result<bool> {
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
                 refused_at = case when ?2 then refused_at end where name = ?1",
                params![name, pause, now()],
            )?;
            Ok(paused.is_some() != pause)
        })
        .await
    }

    /// Notes that a connection's credential, known by this mark, was refused.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn refuse(&self, name: &str, mark: String) -> Result<()> {
        let name = name.to_owned();
        self.write(move |tx, _| {
            let before = tx
                .query_row("select credential_fingerprint, refused_at, refused_times from connections where name = ?1", [&name], |row| {
                    refusal(row.get(0)?, row.get(1)?, &row.get::<_, String>(2)?)
                })
                .optional()?
                .flatten();
            let after = before.unwrap_or_default().and_at(mark, crate::clock::now());
            let times: Vec<i64> = after.times.iter().map(|at| at.as_microsecond()).collect();
            let times = serde_json::to_string(&times).unwrap_or_default();
            tx.execute(
                "update connections set refused_at = ?2, credential_fingerprint = ?3, refused_times = ?4 where name = ?1",
                params![name, after.since.map(Timestamp::as_microsecond), after.mark, times],
            )?;
            Ok(())
        })
        .await
    }

    /// Forgets a refusal: the connection's credential works, or is another one now.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn clear_refusal(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.write(move |tx, _| {
            tx.execute(
                "update connections set refused_at = null, credential_fingerprint = null, refused_times = '[]'
                 where name = ?1 and credential_fingerprint is not null",
                [name],
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

/// How every known connection stands. A time in the future was written by a wrong clock: what began then begins now.
fn standings(reader: &rusqlite::Connection) -> Result<BTreeMap<String, ConnectionFlags>> {
    let now = crate::clock::now();
    let mut statement =
        reader.prepare("select name, paused_at, credential_fingerprint, refused_at, refused_times, expires_at from connections")?;
    let rows = statement.query_map([], |row| {
        let standing = ConnectionFlags {
            paused: time(row.get(1)?).map(|at| at.min(now)),
            refused: refusal(row.get(2)?, row.get(3)?, &row.get::<_, String>(4)?)?,
            expires: time(row.get(5)?),
        };
        Ok((row.get(0)?, standing))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn refusal(mark: Option<String>, since: Option<i64>, times: &str) -> rusqlite::Result<Option<Refusal>> {
    let now = crate::clock::now();
    let times: Vec<i64> = serde_json::from_str(times).unwrap_or_default();
    let times = times.into_iter().filter_map(|at| time(Some(at))).filter(|at| *at <= now).collect();
    Ok(mark.map(|mark| Refusal { mark, since: time(since).map(|at| at.min(now)), times }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(100_000 + minutes)
    }

    fn refused(minutes: &[i64]) -> Refusal {
        minutes.iter().fold(Refusal::default(), |refusal, minute| refusal.and_at("m".to_owned(), at(*minute)))
    }

    #[test]
    fn a_credential_rests_only_when_it_was_refused_again_five_minutes_later() {
        let once = refused(&[0]);
        assert_eq!((once.rests(), once.again(Trigger::Schedule)), (false, Some(at(5))));
        assert!(once.again(Trigger::Manual).is_some_and(|from| from <= at(0)), "a person may try at once");
        let soon = refused(&[0, 4]);
        assert_eq!(
            (soon.rests(), soon.again(Trigger::Schedule)),
            (false, Some(at(9))),
            "somebody tried by hand: that confirms nothing yet"
        );
        let again = refused(&[0, 5]);
        assert_eq!((again.rests(), again.again(Trigger::Schedule)), (true, None));
        assert!(again.again(Trigger::Manual).is_some_and(|from| from <= at(5)));
    }

    #[test]
    fn nobody_sends_a_refused_credential_more_than_three_times_an_hour() {
        let thrice = refused(&[0, 1, 2]);
        assert_eq!((thrice.again(Trigger::Manual), thrice.again(Trigger::Schedule)), (Some(at(60)), Some(at(60))));
        assert_eq!(refused(&[0, 1, 2, 60]).again(Trigger::Manual), Some(at(61)), "the hour moves on");
        // A person who asks for another try does not get a fourth one.
        let asked = Refusal { since: None, ..refused(&[0, 6, 7]) };
        assert_eq!((asked.rests(), asked.again(Trigger::Schedule)), (false, Some(at(60))));
        let other = refused(&[0, 1, 2]).and_at("n".to_owned(), at(3));
        assert_eq!((other.rests(), other.again(Trigger::Schedule)), (false, Some(at(8))), "another credential has tries of its own");
    }

    #[test]
    fn refusals_of_a_wrong_clock_are_not_believed() {
        let ahead = Refusal { since: Some(at(500_000)), ..refused(&[0]) };
        let after = ahead.and_at("m".to_owned(), at(6));
        assert_eq!((after.since, after.again(Trigger::Schedule)), (Some(at(6)), Some(at(11))), "tried again, and not in a year");
    }
}

//! The lease of a connection: one operation at a time, in whichever process, and a holder that died is found out.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tributary_connectors::model::ItemKind;

use super::{Error, Result, Store, now, things};
use crate::failpoint;

/// How long a lease holds without a sign of life, in microseconds.
const LEASE_TTL_US: i64 = 60_000_000;
/// By how much a clock may be set back without a lease being doubted, in microseconds.
const STEP: i64 = 10_000_000;

/// A held lease. Every commit of the operation checks its fence.
#[derive(Clone, Debug)]
pub struct Lease {
    pub(crate) connection_id: i64,
    pub(crate) fence: i64,
}

impl Store {
    /// Takes the lease of a connection (made known when it is new).
    ///
    /// # Errors
    /// [`Error::LeaseHeld`] while a living process holds it.
    pub async fn lease(&self, name: &str, connector: &str) -> Result<Lease> {
        let (name, connector) = (name.to_owned(), connector.to_owned());
        let taken = self.write(move |tx, _| {
            let connection_id = known(tx, &name, &connector)?;
            let held = tx
                .query_row("select owner, held_until, fence from leases where connection_id = ?1", [connection_id], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
                })
                .optional()?;
            if let Some((owner, until, _)) = &held
                && is_alive(owner, *until)
            {
                return Err(busy(tx, connection_id, owner));
            }
            let fence = held.map_or(1, |(_, _, fence)| fence + 1);
            tx.execute(
                "insert into leases (connection_id, owner, held_until, fence) values (?1, ?2, ?3, ?4)
                 on conflict (connection_id) do update set owner = ?2, held_until = ?3, fence = ?4",
                params![connection_id, owner(), now() + LEASE_TTL_US, fence],
            )?;
            failpoint::pass("lease.taking");
            Ok(Lease { connection_id, fence })
        });
        let lease = taken.await?;
        failpoint::pass("lease.taken");
        Ok(lease)
    }

    /// Shows that the holder lives, and until when it waits for its vendor's quota.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when it was taken over.
    pub async fn keep_lease(&self, lease: &Lease, waiting_until: Option<jiff::Timestamp>) -> Result<()> {
        let lease = lease.clone();
        self.write(move |tx, _| {
            lease.extend(tx)?;
            tx.prepare_cached("update leases set waiting_until = ?2 where connection_id = ?1")?
                .execute(params![lease.connection_id, waiting_until.map(jiff::Timestamp::as_microsecond)])?;
            Ok(())
        })
        .await
    }

    /// Gives the lease back.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn release(&self, lease: Lease) -> Result<()> {
        let released = self.write_or_defer(move |tx| {
            tx.execute(
                "update leases set held_until = 0, waiting_until = null where connection_id = ?1 and fence = ?2",
                params![lease.connection_id, lease.fence],
            )?;
            failpoint::pass("lease.releasing");
            Ok(())
        });
        released.await?;
        failpoint::pass("lease.released");
        Ok(())
    }
}

/// Refuses connections (name and connector) whose name holds what another connector stored in the database at this path. A
/// database that is not there yet, or that this user cannot read, says nothing against them.
///
/// # Errors
/// [`Error::OtherConnector`].
pub fn check_connectors<'a>(database: &Path, connections: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<()> {
    let Ok(reader) = super::open(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY) else { return Ok(()) };
    for (name, connector) in connections {
        let known = reader.query_row("select id, connector from connections where name = ?1", [name], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        });
        if let Ok((id, stored)) = known
            && stored != connector
            && holds_anything(&reader, id).unwrap_or(false)
        {
            return Err(Error::OtherConnector { connection: name.to_owned(), stored, configured: connector.to_owned() });
        }
    }
    Ok(())
}

/// The row of a connection, made when it is new. What one connector stored is never taken for another one's.
fn known(tx: &Transaction<'_>, name: &str, connector: &str) -> Result<i64> {
    tx.prepare_cached("insert into connections (name, connector, created_at) values (?1, ?2, ?3) on conflict (name) do nothing")?
        .execute(params![name, connector, now()])?;
    let (id, stored): (i64, String) =
        tx.query_row("select id, connector from connections where name = ?1", [name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if stored != connector {
        if holds_anything(tx, id)? {
            return Err(Error::OtherConnector { connection: name.to_owned(), stored, configured: connector.to_owned() });
        }
        tx.execute("update connections set connector = ?2 where id = ?1", params![id, connector])?;
    }
    Ok(id)
}

/// Whether records, findings or things of a connection are stored.
fn holds_anything(reader: &Connection, connection_id: i64) -> Result<bool> {
    for kind in ItemKind::ALL {
        let sql = format!("select exists (select 1 from {} where connection_id = ?1)", things::table(*kind));
        if reader.query_row(&sql, [connection_id], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Lease {
    /// Checks the fence and extends the lease, as a part of every commit.
    pub(crate) fn extend(&self, tx: &Transaction<'_>) -> Result<()> {
        let held = tx.prepare_cached("update leases set held_until = ?3 where connection_id = ?1 and fence = ?2")?.execute(params![
            self.connection_id,
            self.fence,
            now() + LEASE_TTL_US
        ])?;
        if held == 1 { Ok(()) } else { Err(Error::LeaseLost) }
    }
}

/// Who runs an operation on any connection now.
pub(super) fn holder(reader: &Connection) -> Result<Option<String>> {
    let mut held = reader.prepare("select owner, held_until from leases")?;
    let held = held.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?.collect::<Result<Vec<_>, _>>()?;
    Ok(held.iter().find(|(owner, until)| is_alive(owner, *until)).map(|(owner, _)| describe(owner)))
}

/// Ends every lease of a copy that nobody works with.
pub(super) fn end_all(connection: &Connection) -> Result<()> {
    connection.execute("update leases set held_until = 0, waiting_until = null", [])?;
    Ok(())
}

/// For what may not happen beside an operation: refused while a living process runs one. A holder that was believed dead, and
/// is not, can store nothing more.
pub(crate) fn none_may_run(tx: &Transaction<'_>, connection_id: i64) -> Result<()> {
    let held: Option<(String, i64)> = tx
        .query_row("select owner, held_until from leases where connection_id = ?1", [connection_id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((owner, until)) = held
        && is_alive(&owner, until)
    {
        return Err(busy(tx, connection_id, &owner));
    }
    tx.execute("update leases set fence = fence + 1, held_until = 0 where connection_id = ?1", [connection_id])?;
    Ok(())
}

/// This process: host, pid and start time, so that a later process with the same pid is not taken for it; and the host's name,
/// for people.
fn owner() -> String {
    let pid = std::process::id();
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} {pid} {} {}", host(), start_of(pid).unwrap_or_default(), name.trim())
}

fn describe(owner: &str) -> String {
    let parts: Vec<&str> = owner.split(' ').collect();
    let of = |at: usize| parts.get(at).copied().filter(|part| !part.is_empty());
    format!("process {} on {}", of(1).unwrap_or("?"), of(3).or(of(0)).unwrap_or("?"))
}

/// That somebody else is at it: who, where, and with which operation.
fn busy(tx: &Transaction<'_>, connection_id: i64, owner: &str) -> Error {
    let running = tx.query_row(
        "select o.id from operations o join connections c on c.name = o.connection
         where c.id = ?1 and o.outcome = 'running' order by o.seq desc limit 1",
        [connection_id],
        |row| row.get::<_, String>(0),
    );
    // Between two operations there is none.
    let operation = running.map(|id| format!(" (operation {id})")).unwrap_or_default();
    Error::LeaseHeld(format!("{}{operation}", describe(owner)))
}

/// Whether a lease is held by a process that lives, as far as can be seen from here. One that ends further ahead than a lease
/// lasts was written by a wrong clock: a living holder writes it anew within seconds, and another one must not block for ever.
pub(crate) fn is_alive(owner: &str, held_until: i64) -> bool {
    let ahead = held_until - now();
    0 < ahead && ahead <= LEASE_TTL_US + STEP && !is_dead(owner)
}

/// Whether the owner was a process of this machine that is no more.
fn is_dead(owner: &str) -> bool {
    let mut parts = owner.split(' ');
    let (Some(on), Some(pid), Some(start)) = (parts.next(), parts.next(), parts.next()) else { return true };
    on == host() && pid.parse().is_ok_and(|pid: u32| start_of(pid).as_deref() != Some(start))
}

/// One start of one machine, and one pid namespace of it: only there can a pid be looked up.
fn host() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let boot: String = boot.trim().chars().take(8).collect();
    format!("{boot}-{}", namespace.display().to_string().trim_matches(|c: char| !c.is_ascii_digit()))
}

/// The start time of a process in clock ticks since boot; `None` when there is no such process.
fn start_of(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command may hold anything, parentheses too; the fields after the last one are plain. A zombie is dead.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if fields.first() == Some(&"Z") { None } else { fields.get(19).map(|start| (*start).to_owned()) }
}

//! The stable codes of errors. Command line, log, API and status page show the same ones; `docs/runbook.md` explains each.

use tributary_connectors::ErrorKind;

use crate::store;

/// Defines the codes as constants, and [`ALL`] of them with their meanings.
macro_rules! codes {
    ($($name:ident = $code:literal: $meaning:literal,)*) => {
        $(#[doc = $meaning] pub(crate) const $name: &str = $code;)*

        /// Every code, with what it means.
        pub const ALL: &[(&str, &str)] = &[$(($code, $meaning)),*];
    };
}

codes! {
    // Of the configuration.
    CONFIGURATION_UNREADABLE = "E0100": "no configuration file, or one that cannot be read",
    INVALID_TOML = "E0101": "not valid TOML",
    UNKNOWN_KEY = "E0102": "unknown key or field",
    WRONG_TYPE = "E0103": "a value of the wrong type",
    INVALID_STORE_URL = "E0104": "`store.url` names no SQLite file",
    INVALID_TIME = "E0105": "not a time",
    INVALID_NAME = "E0106": "a name that is not allowed, or given twice",
    INVALID_SCHEDULE = "E0107": "not a schedule",
    UNKNOWN_TIME_ZONE = "E0108": "unknown time zone",
    UNKNOWN_SEVERITY = "E0109": "unknown severity",
    UNKNOWN_CONNECTOR = "E0110": "no connector, or an unknown one",
    MISSING_FIELD = "E0111": "a required field is missing",
    INVALID_LOCATION = "E0112": "a location that cannot be used",
    INVALID_SECRET = "E0113": "a secret that is empty or no reference",
    INVALID_ADDRESS = "E0114": "an address of `[server]` that cannot be used",
    READABLE_SECRET = "E0115": "a configuration file with a literal secret that everybody can read",
    INVALID_CONCURRENCY = "E0116": "`daemon.concurrency` out of its range",
    NO_CONNECTION = "E0117": "a configuration without a connection",
    RELOAD_REFUSED = "E0120": "a reload was refused",
    // Of vendors.
    CREDENTIAL_REFUSED = "E0201": "the credential was refused",
    PERMISSION_MISSING = "E0202": "a permission is missing",
    UNREACHABLE = "E0203": "the tool cannot be reached",
    NOT_AN_API = "E0204": "the tool's API is not at this location",
    INVALID_SETTINGS = "E0205": "the connection's settings cannot work",
    RATE_LIMITED = "E0206": "the tool limits the rate of requests",
    UNEXPECTED_ANSWER = "E0207": "the tool answered something unexpected",
    VENDOR_FAILED = "E0208": "the tool failed",
    NOT_READY = "E0209": "the tool is not ready",
    CREDENTIAL_EXPIRES = "E0210": "a credential has ended or ends within 30 days",
    // Of operations.
    DEFECT = "E0302": "a defect of this program ended an operation",
    STOPPED = "E0303": "an operation was stopped before it knew what to read",
    // Of commands.
    FAILED = "E0400": "something else failed",
    NOT_FOUND = "E0401": "no such connection, record, product, finding or operation, or no database yet",
    USAGE = "E0402": "the command cannot be meant so",
    DAEMON_RUNS = "E0403": "another daemon runs on this database",
    NO_DAEMON = "E0404": "no daemon runs, or it does not answer",
    // Of the database.
    DATABASE_FAILED = "E0500": "SQLite reports something else",
    DATABASE_DAMAGED = "E0501": "the file is damaged or no database",
    CONNECTION_BUSY = "E0502": "another process runs an operation on this connection",
    DISK_FULL = "E0503": "the disk is full",
    DATABASE_NEWER = "E0504": "a newer version wrote this database",
    DATABASE_UNOPENED = "E0505": "the file cannot be opened or created, or a backup cannot be written",
    LEASE_LOST = "E0506": "an operation lost its lease to another process, or its lists were reset meanwhile",
    DATABASE_LOCKED = "E0507": "another process held the database's lock for longer than a minute",
    DATABASE_REPLACED = "E0508": "the files of the database were deleted or replaced while a process worked with them",
    DATABASE_IN_USE = "E0509": "another program has the database open that is to be replaced",
    NO_BACKUP = "E0510": "what was to be restored is no backup",
    OTHER_CONNECTOR = "E0511": "what is stored under a connection's name came from another connector",
}

/// What a code means, as people read it.
pub(crate) fn meaning(code: &str) -> &'static str {
    ALL.iter().find(|(known, _)| *known == code).map_or("", |(_, meaning)| meaning)
}

/// The code of a vendor's error.
pub(crate) fn of_vendor(error: &tributary_connectors::Error) -> &'static str {
    match error.kind {
        ErrorKind::Unauthorized(_) => CREDENTIAL_REFUSED,
        ErrorKind::Forbidden(_) => PERMISSION_MISSING,
        ErrorKind::Network(_) | ErrorKind::Tls(_) => UNREACHABLE,
        ErrorKind::Redirect(_) | ErrorKind::NotAnApi(_) => NOT_AN_API,
        ErrorKind::Settings(_) => INVALID_SETTINGS,
        ErrorKind::Throttled(_) => RATE_LIMITED,
        ErrorKind::UnexpectedBody { .. } => UNEXPECTED_ANSWER,
        ErrorKind::Pending(_) => NOT_READY,
        _ => VENDOR_FAILED,
    }
}

/// The code of an error of the store.
pub(crate) fn of_store(error: &store::Error) -> &'static str {
    match error {
        error if error.is_damage() => DATABASE_DAMAGED,
        store::Error::LeaseHeld(_) => CONNECTION_BUSY,
        store::Error::Locked => DATABASE_LOCKED,
        store::Error::Full(_) => DISK_FULL,
        store::Error::Newer(_) => DATABASE_NEWER,
        store::Error::Open { .. } | store::Error::Backup { .. } => DATABASE_UNOPENED,
        store::Error::LeaseLost | store::Error::PassLost => LEASE_LOST,
        store::Error::Replaced(_) => DATABASE_REPLACED,
        store::Error::InUse { .. } => DATABASE_IN_USE,
        store::Error::NoBackup { .. } => NO_BACKUP,
        store::Error::OtherConnector { .. } => OTHER_CONNECTOR,
        store::Error::Damaged(_) | store::Error::Sqlite(_) | store::Error::Stopped => DATABASE_FAILED,
    }
}

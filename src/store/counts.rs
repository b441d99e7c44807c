//! What an operation counts. Each count is listed once, here.

use std::fmt;

use rusqlite::{Row, ToSql, Transaction, types::Value};
use uuid::Uuid;

use super::Result;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// What an operation counted. `fetched = created + updated + unchanged + reopened + filtered + rejected` always holds.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64),+
        }

        impl Counts {
            /// The name of each count, which is also its column in `operations`.
            pub const NAMES: &[&str] = &[$(stringify!($name)),+];

            /// Each count with its name, in the order of [`Counts::NAMES`].
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                Self::NAMES.iter().copied().zip([$(self.$name),+])
            }

            /// The counts that `of` gives for their names.
            pub fn of(of: impl Fn(&str) -> u64) -> Self {
                Counts { $($name: of(stringify!($name))),+ }
            }

            /// The counts in a row that has a column for each.
            pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
                Ok(Counts { $($name: row.get::<_, i64>(stringify!($name)).map(|count| u64::try_from(count).unwrap_or(0))?),+ })
            }
        }

        impl std::ops::AddAssign for Counts {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counts! {
    /// Items that the vendor delivered.
    fetched,
    /// Findings that were stored for the first time.
    created,
    /// Rows with a change.
    updated,
    /// Rows without one.
    unchanged,
    /// Rows that were closed and are open again.
    reopened,
    /// Items that are not stored by a rule of ours.
    filtered,
    /// Items that could not be read.
    rejected,
    /// Rows closed because they are no longer listed.
    closed,
    /// Items that could be read without a member that could not. They are counted above, too.
    mended,
    /// Different items that came under one key in one pass, but for the one that is kept. They are counted above, too.
    duplicates,
}

impl Counts {
    /// The changes among them, for an operation's detail.
    pub(crate) fn detail(&self) -> serde_json::Value {
        serde_json::json!({ "created": self.created, "updated": self.updated, "reopened": self.reopened })
    }

    /// Adds a page's counts to its operation's row.
    pub(crate) fn add_to(&self, tx: &Transaction<'_>, operation: Uuid) -> Result<()> {
        let moved: Vec<(&str, u64)> = self.each().filter(|(_, count)| *count > 0).collect();
        if moved.is_empty() {
            return Ok(());
        }
        let sets: Vec<String> = moved.iter().enumerate().map(|(at, (name, _))| format!("{name} = {name} + ?{}", at + 2)).collect();
        let counts = moved.iter().map(|(_, count)| Value::Integer(i64::try_from(*count).unwrap_or(i64::MAX)));
        let values: Vec<Value> = [Value::Text(operation.to_string())].into_iter().chain(counts).collect();
        tx.prepare_cached(&format!("update operations set {} where id = ?1", sets.join(", ")))?
            .execute(&*values.iter().map(|value| value as &dyn ToSql).collect::<Vec<_>>())?;
        Ok(())
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fetched {} = created {} + updated {} + unchanged {} + reopened {} + filtered {} + rejected {} | closed {}",
            self.fetched, self.created, self.updated, self.unchanged, self.reopened, self.filtered, self.rejected, self.closed
        )?;
        for (name, count) in [("mended", self.mended), ("duplicates", self.duplicates)] {
            if count > 0 {
                write!(f, " | {name} {count}")?;
            }
        }
        Ok(())
    }
}

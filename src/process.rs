//! What this process asks of the operating system for itself.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Files that this process may have open where the system lets it choose: sockets, and three for each reader of the database.
const FILES: u64 = 65_536;

/// No core dump, whoever would collect it, and no other process of the same user looks into this one's memory: it holds secrets.
pub(crate) fn keep_secrets_in_memory() {
    // Where either is refused (a sandbox), the other may still hold, and the work goes on.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Takes as many files as the system grants: many shells and managers start a program with 1024 and allow it more.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let granted = limit.maximum.map_or(FILES, |most| most.min(FILES));
    if limit.current.is_some_and(|current| current < granted) {
        // Where it is refused, what there is has to do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(granted), maximum: limit.maximum });
    }
}

/// How many files this process may have open.
pub(crate) fn open_files() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn k2_no_core_is_dumped() {
        keep_secrets_in_memory();
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
    }
}

//! Work that is done on all cores.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

/// Things that one core works on before it is worth asking another one.
const TOGETHER: usize = 128;

/// What `work` makes of each thing, in their order. What it logs stands in the caller's span.
pub fn on_all_cores<T: Send, R: Send>(things: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let span = tracing::Span::current();
    things.into_par_iter().with_min_len(TOGETHER).map(|thing| span.in_scope(|| work(thing))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_made_of_many_things_keeps_their_order() {
        let number = 20 * TOGETHER + 1;
        let made = on_all_cores((0..number).collect(), |thing| (2 * thing, std::thread::current().id()));
        assert!(made.iter().map(|(twice, _)| *twice).eq((0..number).map(|thing| 2 * thing)));
        // Never the caller's own thread, which may have other tasks: at most one thread a core.
        let threads: HashSet<_> = made.iter().map(|(_, thread)| *thread).collect();
        assert!(!threads.contains(&std::thread::current().id()) && threads.len() <= rayon::current_num_threads());
    }
}

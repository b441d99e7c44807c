//! Work that is done on all cores.

use std::sync::{Mutex, PoisonError};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

/// Things that one core works on before it is worth asking another one.
const TOGETHER: usize = 128;
/// Parts for each core, so that one which got the slower things does not keep the others waiting.
const PARTS_A_CORE: usize = 4;

/// Things of a part before the work, and what was made of them after it.
type Part<T, R> = Mutex<(Vec<T>, Vec<R>)>;

/// What `work` makes of each thing, in their order. What it logs stands in the caller's span.
pub fn par_map<T: Send, R: Send>(things: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let (count, cores) = (things.len(), rayon::current_num_threads());
    let length = TOGETHER.max(count.div_ceil(PARTS_A_CORE * cores));
    let mut things = things.into_iter();
    let parts: Vec<Part<T, R>> =
        (0..count.div_ceil(length)).map(|_| Mutex::new((things.by_ref().take(length).collect(), Vec::new()))).collect();
    for_each(parts.len(), &|part| {
        let mut part = parts[part].lock().unwrap_or_else(PoisonError::into_inner);
        part.1 = std::mem::take(&mut part.0).into_iter().map(&work).collect();
    });
    let mut made = Vec::with_capacity(count);
    parts.into_iter().for_each(|part| made.append(&mut part.into_inner().unwrap_or_else(PoisonError::into_inner).1));
    made
}

/// Does work number 0, 1, … on all cores. It knows no types, so that what it takes to do that is compiled once.
fn for_each(count: usize, work: &(dyn Fn(usize) + Sync)) {
    let span = tracing::Span::current();
    (0..count).into_par_iter().for_each(|number| span.in_scope(|| work(number)));
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_made_of_many_things_keeps_their_order() {
        let number = 20 * TOGETHER + 1;
        let made = par_map((0..number).collect(), |thing| (2 * thing, std::thread::current().id()));
        assert!(made.iter().map(|(twice, _)| *twice).eq((0..number).map(|thing| 2 * thing)));
        // Never the caller's own thread, which may have other tasks: at most one thread a core.
        let threads: HashSet<_> = made.iter().map(|(_, thread)| *thread).collect();
        assert!(!threads.contains(&std::thread::current().id()) && threads.len() <= rayon::current_num_threads());
    }
}

//! D6: random sequences of everything that can happen, on the real store and engine, against a small model of what must follow.
//!
//! Read `reference` first: it is the contract. `TRIBUTARY_MODEL_CASES` sets how many sequences are tried; they are the same
//! each time, unless `TRIBUTARY_MODEL_SEED` is set.

mod reference;
mod sequence;
mod tool;
mod world;

use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

use sequence::{Step, steps};
use world::World;

fn number(variable: &str) -> Option<u32> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Tries sequences that follow from a seed.
fn try_sequences(cases: u32, seed: u32) {
    let config = ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::default() };
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sequences = (any::<bool>(), steps());
    let tried = runner.run(&sequences, |(stream, steps)| {
        let mut world = World::new(stream);
        runtime.block_on(async {
            for step in steps {
                let (decided, by_a_person) = (world.decisions(), matches!(step, Step::Triage(..)));
                world.take(step).await;
                // Whatever the model says.
                let kept = world.decisions();
                assert!(by_a_person || decided.iter().all(|one| kept.contains(one)), "a decision was changed: {decided:?} {kept:?}");
                world.compare();
            }
        });
        Ok(())
    });
    if let Err(error) = tried {
        panic!("TRIBUTARY_MODEL_SEED={seed}: {error}");
    }
}

#[test]
fn d6_the_store_does_what_the_model_says() {
    let cases = number("TRIBUTARY_MODEL_CASES").unwrap_or(300);
    let first = number("TRIBUTARY_MODEL_SEED").unwrap_or(2026);
    let threads = u32::try_from(std::thread::available_parallelism().map_or(1, usize::from)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || try_sequences(cases.div_ceil(threads), first + thread));
        }
    });
}

//! What holds for vendors that tell what changed: one line per vendor at the end.

mod common;

use common::{Bench, SIZE, assert_outcome};
use tributary::store::Outcome;
use tributary_simulator::{Change, Running, start};

/// A delta brings every new state, also those that people set and take back; what is no longer there waits for a full pass.
/// (So does what people take back that was closed when first met, unless the connection stores that too.)
async fn a_delta_follows_every_state_but_absence(tool: Running) {
    let bench = Bench::new(tool);
    bench.configure("import_closed = true");
    assert_outcome(&bench.discover().await, Outcome::Success);
    assert_outcome(&bench.sync(false).await, Outcome::Success);
    for step in 1..=4 {
        bench.tool.vendor.step(&Change::ONE_PERCENT);
        assert_outcome(&bench.discover().await, Outcome::Success);
        let report = bench.sync(false).await;
        assert_outcome(&report, Outcome::Success);
        assert_eq!(report.counts.closed, 0, "a delta closes nothing by absence");
        let (stored, oracle) = (bench.stored(), bench.tool.vendor.oracle());
        for (key, truth) in &oracle.findings {
            let held = stored.findings.get(key).map(|held| held.state);
            assert!(truth.state == "gone" || held == Some(truth.state), "step {step}, {key}: {held:?}, not {}", truth.state);
        }
    }
    for _ in 0..2 {
        assert_outcome(&bench.sync(true).await, Outcome::Success);
    }
    let (stored, oracle) = (bench.stored(), bench.tool.vendor.oracle());
    assert!(oracle.findings.iter().all(|(key, truth)| stored.findings.get(key) == Some(truth)), "after a full pass");
}

macro_rules! deltas {
    ($name:ident, $tool:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            a_delta_follows_every_state_but_absence(start($tool, 0).await.unwrap()).await;
        }
    };
}

#[cfg(feature = "aws")]
deltas!(aws_security_hub, tributary_simulator::aws_security_hub::AwsSecurityHub::new(SIZE));

//! AWS Security Hub: what only this tool can do to a sync.

#![cfg(feature = "aws")]

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{SIZE, TestApp, assert_outcome};
use tributary::store::Outcome;
use tributary_simulator::{Change, Size, aws_security_hub::AwsSecurityHub, start};

/// A hub of several accounts and regions.
const FEWER: Size = Size { findings: 600, ..SIZE };

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_that_cannot_be_read_stops_no_sync() {
    for action in ["ListFindingAggregators", "GetFindingAggregator"] {
        let bench = TestApp::new(start(AwsSecurityHub::new(FEWER).all_regions().without_permission(action), 0).await.unwrap());
        let report = bench.discover().await;
        assert_outcome(&report, Outcome::Success);
        let told = format!("allow securityhub:{action}");
        assert!(matches!(&report.warnings[..], [only] if only.contains(&told)), "{:?}", report.warnings);
        for _ in 0..2 {
            assert_outcome(&bench.full_sync().await, Outcome::Success);
            bench.assert_oracle(action);
            bench.tool.vendor.step(&Change::ONE_PERCENT);
            bench.discover().await;
        }
    }
    // Without an aggregator there is one region, and the sync is of that one.
    let bench =
        TestApp::new(start(AwsSecurityHub::new(FEWER).without_aggregator().without_permission("ListFindingAggregators"), 0).await.unwrap());
    assert_outcome(&bench.discover().await, Outcome::Success);
    assert_outcome(&bench.full_sync().await, Outcome::Success);
    bench.assert_oracle("in one region");
}

/// A provider that serves a whole organization gives the findings of several accounts one id.
#[tokio::test(flavor = "multi_thread")]
async fn findings_of_several_accounts_with_one_id_stay_apart() {
    let bench = TestApp::new(start(AwsSecurityHub::new(FEWER), 0).await.unwrap());
    bench.configure("import_closed = true");
    bench.sync().await;
    let behind_the_place = |key: &str| key.split_once('/').unwrap().1.to_owned();
    let mut accounts = BTreeMap::<String, BTreeSet<String>>::new();
    for (key, truth) in bench.tool.vendor.oracle().findings {
        accounts.entry(behind_the_place(&key)).or_default().insert(truth.record);
    }
    assert!(accounts.values().any(|records| records.len() > 1), "the hub has such findings");
    for step in 1..=3 {
        // Some copies are archived, others are not.
        bench.tool.vendor.step(&Change { fixed: 20.0, ..Change::ONE_PERCENT });
        bench.discover().await;
        assert_outcome(&bench.sync().await, Outcome::Success);
        let (stored, oracle) = (bench.snapshot(), bench.tool.vendor.oracle());
        for (key, truth) in oracle.findings.iter().filter(|(_, truth)| truth.state != "gone") {
            assert_eq!(stored.findings.get(key), Some(truth), "step {step}: {key}");
        }
    }
}

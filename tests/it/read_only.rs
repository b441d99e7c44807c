//! O6: a connector sends the read calls that its vendor documents, and nothing else.

use std::collections::BTreeSet;

use crate::common::TestApp;
use tributary_connectors::Context;
use tributary_simulator::{Change, Size, VENDORS, start_any};

fn is(sent: &str, documented: &str) -> bool {
    let (sent, documented): (Vec<_>, Vec<_>) = (sent.split('/').collect(), documented.split('/').collect());
    sent.len() == documented.len()
        && sent.iter().zip(&documented).all(|(sent, wanted)| sent == wanted || (*wanted == "{}" && !sent.is_empty()))
}

#[tokio::test(flavor = "multi_thread")]
async fn o6_only_documented_read_calls_are_sent() {
    for (id, make) in VENDORS {
        let bench = TestApp::new(start_any(make(Size { records: 4, findings: 200, seed: 3 }), 0).await.unwrap());
        let (source, _) = bench.plan();
        source.check(&Context::default()).await.unwrap_or_else(|error| panic!("check of {id}: {error}"));
        for _ in 0..2 {
            bench.discover().await;
            bench.sync().await;
            bench.full_sync().await;
            bench.tool.vendor.step(&Change::ONE_PERCENT);
        }
        let reads = bench.tool.vendor.reads();
        assert!(!reads.is_empty(), "{id} does not say which calls are reads");
        let sent = bench.tool.log().into_iter().map(|request| {
            let path = request.target.split('?').next().unwrap_or_default().to_owned();
            format!("{} {path}", request.method)
        });
        let undocumented: BTreeSet<String> = sent.filter(|sent| !reads.iter().any(|read| is(sent, read))).collect();
        assert!(undocumented.is_empty(), "{id} sends {undocumented:?}");
    }
}

//! What every simulated tool promises, asked over HTTP by a client that knows nothing of the connectors: every page walked
//! raw holds what the oracle says, a bad credential is refused, and each fault of a list shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;
use tributary_simulator::{Change, Fault, Make, Raw, Running, Size, VENDORS, Vendor, start_any, why_not};

use crate::client::ask;

const SIZE: Size = Size { records: 6, findings: 600, seed: 7 };

/// Every tool that says how it is walked, and its variants.
fn tools() -> Vec<(String, Arc<dyn Vendor>)> {
    let mut tools = Vec::new();
    for (id, make) in VENDORS {
        let tool = make(SIZE);
        let variants: Vec<(&str, Make)> = tool.variants().to_vec();
        tools.push(((*id).to_owned(), tool));
        tools.extend(variants.into_iter().map(|(variant, make)| (format!("{id}, {variant}"), make(SIZE))));
    }
    tools.retain(|(_, tool)| tool.raw().is_some());
    tools
}

/// Status and rows of one page.
async fn page(tool: &Running, raw: &Raw, credential: &str, target: &str) -> (u16, Vec<Value>) {
    let header = format!("{}: {credential}\r\nUser-Agent: contract/1.0", raw.credential.0);
    let answer = ask(tool, "GET", target, &header, "").await;
    let rows = serde_json::from_str(&answer.text).ok().and_then(|body: Value| body.pointer(raw.rows)?.as_array().cloned());
    (answer.status, rows.unwrap_or_default())
}

/// All rows of a list, to its end, which is the first page where it comes in one piece.
async fn walk(tool: &Running, raw: &Raw, list: &str, is_whole: bool) -> Vec<Value> {
    let mut all = Vec::new();
    for number in 1.. {
        let (status, rows) = page(tool, raw, &raw.credential.1, &list.replace("{page}", &number.to_string())).await;
        assert!(status == 200 || number > 1, "{list}: {status}");
        let is_last = rows.is_empty() || is_whole;
        all.extend(rows);
        if is_last {
            break;
        }
    }
    all
}

/// The ids of all records, and the key of each finding with how often it is listed.
async fn read(tool: &Running, raw: &Raw) -> (BTreeSet<String>, BTreeMap<String, usize>) {
    let id = |row: &Value| row[raw.record].as_str().map_or_else(|| row[raw.record].to_string(), ToOwned::to_owned);
    let records: BTreeSet<String> = walk(tool, raw, raw.records, false).await.iter().map(id).collect();
    let mut findings = BTreeMap::new();
    for record in &records {
        for row in walk(tool, raw, &raw.findings.replace("{record}", record), raw.is_whole).await {
            *findings.entry((raw.key)(record, &row)).or_default() += 1;
        }
    }
    (records, findings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_walked_raw_holds_what_the_oracle_says() {
    for (name, vendor) in tools() {
        let raw = vendor.raw().unwrap();
        let tool = start_any(vendor, 0).await.unwrap();
        let mut closed = None;
        for step in 0..3 {
            let ((records, listed), oracle) = (read(&tool, &raw).await, tool.vendor.oracle());
            assert!(oracle.records.keys().all(|record| records.contains(record)), "{name}: {records:?}");
            let there: BTreeSet<&String> = oracle.findings.iter().filter(|(_, truth)| truth.state != "gone").map(|(key, _)| key).collect();
            assert!(there.iter().all(|key| listed.contains_key(*key)), "{name}, step {step}: a finding is missing");
            // What is listed and not in the oracle was closed before any client could meet it open.
            let others: Vec<&String> = listed.keys().filter(|key| !there.contains(key)).collect();
            assert!(others.iter().all(|key| !oracle.findings.contains_key(*key)), "{name}, step {step}: a finding is not gone");
            assert_eq!(*closed.get_or_insert(others.len()), others.len(), "{name}, step {step}");
            assert!(raw.is_whole || listed.values().all(|times| *times == 1), "{name}: a finding comes twice");
            let open = |oracle: &tributary_simulator::Oracle| oracle.findings.values().filter(|truth| truth.state == "open").count();
            let before = open(&oracle);
            tool.vendor.step(&Change { fixed: 2.0, changed: 0.0, new: 1.0, vanished: 1.0 });
            let moved = |percent: usize| (before * percent).div_ceil(100);
            assert_eq!(open(&tool.vendor.oracle()), before - moved(2) - moved(1) + moved(1), "{name}, step {step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_credential_is_refused_as_the_tool_refuses_it() {
    for (name, vendor) in tools() {
        let (raw, refused) = (vendor.raw().unwrap(), vendor.refuse(&Fault::Unauthorized).status().as_u16());
        let tool = start_any(vendor, 0).await.unwrap();
        let list = raw.records.replace("{page}", "1");
        let own = &raw.credential.1;
        for (credential, status) in [(own.clone(), 200), (format!("{own}x"), refused), ("nobody".into(), refused), (String::new(), refused)]
        {
            assert_eq!(page(&tool, &raw, &credential, &list).await.0, status, "{name}: `{credential}`");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_list_shows() {
    for (name, vendor) in tools() {
        let raw = vendor.raw().unwrap();
        let tool = start_any(vendor, 0).await.unwrap();
        let oracle = tool.vendor.oracle();
        let count = |record: &&String| oracle.findings.values().filter(|truth| truth.record == **record).count();
        let record = oracle.records.keys().max_by_key(count).unwrap();
        let list = raw.findings.replace("{record}", record);
        let asked = |number: usize| list.replace("{page}", &number.to_string());
        let mut pages = Vec::new();
        for number in [1, 2] {
            pages.push(page(&tool, &raw, &raw.credential.1, &asked(number)).await.1);
        }
        for fault in [Fault::NoRole, Fault::DuplicatePage, Fault::RepeatedCursor, Fault::ShiftedPage, Fault::BadItem, Fault::UnknownEnum] {
            if why_not(&*tool.vendor, &fault).is_some() || (raw.is_whole && fault != Fault::BadItem && fault != Fault::NoRole) {
                continue;
            }
            tool.faults.add("", 0, 1, fault.clone());
            let (_, shown) = page(&tool, &raw, &raw.credential.1, &asked(2)).await;
            tool.faults.clear();
            match &fault {
                Fault::NoRole => assert!(shown.is_empty(), "{name}"),
                Fault::DuplicatePage | Fault::RepeatedCursor => assert!(shown == pages[0], "{name}: {fault:?}"),
                Fault::ShiftedPage => assert!(shown[0] == pages[1][1], "{name}"),
                Fault::BadItem => assert!(shown[0] == serde_json::json!([1, 2]) && shown.len() == pages[1].len(), "{name}"),
                _ => assert_eq!(shown.iter().zip(&pages[1]).filter(|(odd, row)| odd != row).count(), 1, "{name}"),
            }
        }
    }
}

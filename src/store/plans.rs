//! No statement that runs for every page may read a table from end to end, nor one that shows the first page of a list.

use super::*;

/// The statements that a source file prepares once and keeps.
fn statements(source: &str) -> Vec<&str> {
    let kept = source.split("prepare_cached(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
    kept.filter_map(|rest| Some(&rest[..rest.find('"')?])).collect()
}

fn plan(reader: &Connection, sql: &str) -> Vec<String> {
    let mut plan = reader.prepare(&format!("explain query plan {sql}")).unwrap_or_else(|error| panic!("{sql}: {error}"));
    plan.raw_query().mapped(|row| row.get(3)).collect::<rusqlite::Result<_>>().expect("a plan")
}

fn with_store(test: impl FnOnce(&Connection)) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("t.db"), true).expect("a store");
    test(&store.reader().expect("the store").0);
}

#[test]
fn no_statement_of_a_page_scans_a_table() {
    with_store(|reader| {
        let mut all = 0;
        for source in [
            include_str!("merge.rs"),
            include_str!("things/columns.rs"),
            include_str!("lease.rs"),
            include_str!("records.rs"),
            include_str!("quarantine.rs"),
            include_str!("passes.rs"),
            include_str!("merge/rows.rs"),
            include_str!("merge/variants.rs"),
            include_str!("carry.rs"),
            include_str!("history.rs"),
        ] {
            for sql in statements(source) {
                let steps = plan(reader, sql);
                assert!(!steps.iter().any(|step| step.starts_with("SCAN") && step != "SCAN CONSTANT ROW"), "{sql}\n{steps:#?}");
                all += 1;
            }
        }
        assert!(all > 20, "only {all} statements were found: does the test still read them?");
        // The test can see a scan.
        let steps = plan(reader, "select 1 from finding_rows where title = ?1");
        assert!(steps[0].starts_with("SCAN"), "{steps:#?}");
    });
}

#[test]
fn the_first_page_of_a_list_is_read_from_an_index_and_nothing_is_sorted() {
    with_store(|reader| {
        for column in ["connection_id", "record_id"] {
            for severity in ["", " and severity_rank = ?3"] {
                let steps = plan(reader, &list::end_of(column, severity, 50));
                assert!(steps.len() == 1 && steps[0].starts_with("SEARCH finding_rows USING"), "{column}: {steps:#?}");
                assert!(steps[0].contains("finding_rows_of_"), "{column}: {steps:#?}");
            }
        }
        let (condition, _) = FindingFilter { cve: Some("CVE-2026-1".to_owned()), ..FindingFilter::default() }.condition();
        let steps = plan(reader, &format!("select seq from {} where {condition}", list::WITH_CVE));
        assert!(
            steps.iter().any(|step| step.starts_with("SEARCH f USING") && step.contains("(record_id=? AND cve_list_id=?)")),
            "{steps:#?}"
        );
    });
}

//! What is counted, for Prometheus: where things happen (`metrics::counter!`), and here for what ends.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::sync::Report;

/// Every metric, with what it means.
pub const ALL: &[(&str, Sort, &str)] = &[
    ("tributary_build_info", Sort::Gauge, "1, with the version"),
    ("tributary_config_last_reload_successful", Sort::Gauge, "Whether the last reload of the configuration was taken"),
    ("tributary_config_last_reload_success_timestamp_seconds", Sort::Gauge, "When a configuration was last taken"),
    ("tributary_connection_status", Sort::Gauge, "1 for the word that says how a connection stands, 0 for the others"),
    ("tributary_consecutive_failures", Sort::Gauge, "Operations that failed running"),
    ("tributary_last_success_timestamp_seconds", Sort::Gauge, "When an operation last read everything"),
    ("tributary_next_run_timestamp_seconds", Sort::Gauge, "When an operation is due next"),
    ("tributary_overdue_seconds", Sort::Gauge, "For how long an operation should have run by now"),
    ("tributary_operation_running", Sort::Gauge, "Whether an operation runs"),
    ("tributary_operations_total", Sort::Counter, "Operations that ended"),
    ("tributary_operation_duration_seconds", Sort::Histogram, "How long operations took"),
    ("tributary_items_total", Sort::Counter, "Items by kind and what became of them"),
    ("tributary_findings", Sort::Gauge, "Findings that are stored"),
    ("tributary_vendor_reported_items", Sort::Gauge, "Findings of the last sync as the vendor counts them"),
    ("tributary_held_closes", Sort::Gauge, "Closes that wait for an operator"),
    ("tributary_quarantine_items", Sort::Gauge, "Items that could not be read"),
    ("tributary_credential_expiry_timestamp_seconds", Sort::Gauge, "When a credential ends"),
    ("tributary_vendor_requests_total", Sort::Counter, "Requests to vendors by status, `none` without an answer"),
    ("tributary_vendor_request_duration_seconds", Sort::Histogram, "How long vendors took to answer"),
    ("tributary_vendor_retries_total", Sort::Counter, "Requests sent again, and why"),
    ("tributary_rate_limit_wait_seconds_total", Sort::Counter, "Time spent waiting for quota"),
    ("tributary_rate_limit_remaining", Sort::Gauge, "Requests that the vendor still allows in its present window"),
    ("tributary_store_size_bytes", Sort::Gauge, "Size of the database file"),
    ("tributary_store_wal_bytes", Sort::Gauge, "Size of the write-ahead log"),
    ("tributary_store_write_wait_seconds", Sort::Histogram, "How long a transaction waited for its turn"),
    ("tributary_http_requests_total", Sort::Counter, "Requests to this server"),
];

/// What sort of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A count since the start of the process, which only grows.
    Counter,
    /// As it stands.
    Gauge,
    /// Spread over buckets.
    Histogram,
}

/// Makes this process count. Called once.
///
/// # Errors
/// When the process counts already.
pub(crate) fn install() -> anyhow::Result<PrometheusHandle> {
    let buckets = |name: &str| Matcher::Full(name.to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(buckets("tributary_operation_duration_seconds"), &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0])?
        .set_buckets_for_metric(
            buckets("tributary_vendor_request_duration_seconds"),
            &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0],
        )?
        .set_buckets_for_metric(buckets("tributary_store_write_wait_seconds"), &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0])?
        .install_recorder()?;
    describe(|name, about, sort| match sort {
        Sort::Counter => describe_counter!(name, about),
        Sort::Histogram => describe_histogram!(name, about),
        // Gauges that are set where things happen; the others have a recorder of their own for each scrape.
        Sort::Gauge if name == "tributary_rate_limit_remaining" => describe_gauge!(name, about),
        Sort::Gauge => {}
    });
    Ok(handle)
}

/// Gives the name, meaning and sort of every metric.
pub(crate) fn describe(mut each: impl FnMut(&'static str, &'static str, Sort)) {
    ALL.iter().for_each(|(name, sort, about)| each(name, about, *sort));
}

/// Counts an operation that ended.
pub(crate) fn ended(connector: &'static str, report: &Report) {
    let connection = report.connection.clone();
    let (operation, outcome) = (report.kind.as_str(), report.outcome.as_str());
    counter!("tributary_operations_total", "connection" => connection.clone(), "operation" => operation, "outcome" => outcome).increment(1);
    histogram!("tributary_operation_duration_seconds", "connector" => connector, "operation" => operation)
        .record(report.took.as_secs_f64());
    let kind = if operation == "discover" { "record" } else { "finding" };
    for (result, count) in report.counts.each().filter(|(name, _)| *name != "fetched") {
        counter!("tributary_items_total", "connection" => connection.clone(), "kind" => kind, "result" => result).increment(count);
    }
}

//! The metrics as a scraper reads them. How things stand is read from the status when somebody asks, so that a connection that is
//! no longer configured leaves no series behind.

use jiff::Timestamp;
use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::state::AppState;
use crate::{
    metrics::{Sort, describe},
    status::{self, ConnectionState},
    store,
};

/// Everything, in Prometheus' text form.
///
/// # Errors
/// When the store cannot be read.
pub(crate) fn render(state: &AppState) -> store::Result<String> {
    let now = crate::clock::now();
    let connections = status::read(&state.store, &state.config(), now)?;
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        describe(|name, about, sort| {
            if sort == Sort::Gauge {
                describe_gauge!(name, about);
            }
        });
        gauge!("tributary_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let (taken, at) = state.reloaded();
        gauge!("tributary_config_last_reload_successful").set(f64::from(u8::from(taken)));
        gauge!("tributary_config_last_reload_success_timestamp_seconds").set(seconds(at));
        gauge!("tributary_store_size_bytes").set(size(state, ""));
        gauge!("tributary_store_wal_bytes").set(size(state, "-wal"));
        for one in &connections {
            let name = || one.connection.clone();
            for word in ConnectionState::ALL {
                gauge!("tributary_connection_status", "connection" => name(), "connector" => one.connector, "status" => word.as_str())
                    .set(f64::from(u8::from(one.status == word)));
            }
            for (operation, line) in [("discover", &one.discover), ("sync", &one.sync)] {
                let set = |metric: &'static str, value: f64| gauge!(metric, "connection" => name(), "operation" => operation).set(value);
                set("tributary_consecutive_failures", number(line.failures));
                let runs = one.running.as_ref().is_some_and(|running| running.kind == operation);
                set("tributary_operation_running", f64::from(u8::from(runs)));
                if let Some(at) = line.last_success {
                    set("tributary_last_success_timestamp_seconds", seconds(at));
                }
                if let Some(at) = line.next.filter(|_| !matches!(one.status, ConnectionState::Paused | ConnectionState::Disabled)) {
                    set("tributary_next_run_timestamp_seconds", seconds(at));
                    set("tributary_overdue_seconds", number(line.overdue_seconds));
                }
            }
            let set = |metric: &'static str, value: f64| gauge!(metric, "connection" => name()).set(value);
            set("tributary_held_closes", number(one.held_closes));
            set("tributary_quarantine_items", number(one.quarantine));
            if let Some(total) = one.vendor_total {
                set("tributary_vendor_reported_items", number(total));
            }
            if let Some(at) = one.credential_expires {
                set("tributary_credential_expiry_timestamp_seconds", seconds(at));
            }
        }
        for count in state.findings() {
            gauge!("tributary_findings", "connection" => count.connection, "severity" => count.severity, "state" => count.state)
                .set(number(count.findings));
        }
    });
    Ok(recorder.handle().render() + &state.counted())
}

fn size(state: &AppState, suffix: &str) -> f64 {
    let mut path = state.store.path().as_os_str().to_owned();
    path.push(suffix);
    std::fs::metadata(path).map_or(0.0, |file| number(i64::try_from(file.len()).unwrap_or(i64::MAX)))
}

fn seconds(at: Timestamp) -> f64 {
    number(at.as_second())
}

#[expect(clippy::cast_precision_loss, reason = "the format has only floats; these are far below 2^53")]
fn number(count: i64) -> f64 {
    count as f64
}

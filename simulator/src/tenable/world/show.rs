//! Findings and hosts as the exports show them.

use std::fmt::Write;

use super::{BEGINNING, Finding, Modified, PORTS, Plugin, SECOND, SEVERITIES, State, World, iso};

impl World {
    /// Appends a finding as the export shows it: attributes without a value are left out.
    pub(in super::super) fn show_finding(&self, index: usize, software: bool, out: &mut String) {
        let finding = &self.findings[index];
        let (plugin, asset) = (&self.plugins[finding.plugin], &self.assets[finding.asset]);
        let (port, protocol, service) = PORTS[finding.port];
        let _ = write!(out, "{{\"finding_id\":\"{}\",\"asset\":{},\"plugin\":{}", finding.id, asset.brief, plugin.text);
        let _ = write!(out, ",\"port\":{{\"port\":{port},\"protocol\":\"{protocol}\"");
        if let Some(service) = service {
            let _ = write!(out, ",\"service\":\"{service}\"");
        }
        out.push('}');
        self.show_scan(finding, index, out);
        show_output(index, out);
        if software && let Some(text) = &plugin.software {
            let _ = write!(out, ",\"software_vulns\":{text}");
        }
        show_severity(finding, plugin, out);
        show_state(finding, index, out);
    }

    /// The run of the scan that found it last; of one found by listening, half name some scan and half none.
    fn show_scan(&self, finding: &Finding, index: usize, out: &mut String) {
        match finding.scan.map(|scan| &self.scans[scan]) {
            Some(scan) => {
                let (run, began) = &scan.runs[finding.run];
                let _ = write!(
                    out,
                    ",\"scan\":{{\"uuid\":\"{run}\",\"schedule_uuid\":\"{}\",\"started_at\":\"{}\"",
                    scan.schedule,
                    iso((*began).min(finding.last_found - 3600 * SECOND))
                );
                out.push_str(if index.is_multiple_of(3) { ",\"last_scan_target\":\"192.0.2.58\"}" } else { "}" });
            }
            None if index.is_multiple_of(2) => out.push_str(",\"scan\":{\"uuid\":\"7a1c1f80-2d9b-4ac0-b6a3-9df0e8c9a111\"}"),
            None => {}
        }
    }

    /// Appends a host as the export of assets shows it.
    pub(in super::super) fn show_asset(&self, index: usize, out: &mut String) {
        let asset = &self.assets[index];
        let _ = write!(out, "{{\"id\":\"{}\",\"is_licensed\":{}", asset.uuid, asset.licensed);
        if asset.deleted.is_some() {
            out.push_str(",\"is_deleted\":true");
        }
        let (created, updated) = (iso(BEGINNING), iso(asset.updated));
        let _ = write!(
            out,
            ",\"timestamps\":{{\"created_at\":\"{created}\",\"updated_at\":\"{updated}\",\"first_seen\":\"{created}\",\"last_seen\":\"{updated}\""
        );
        for (name, time) in [("deleted_at", asset.deleted), ("terminated_at", asset.terminated)] {
            if let Some(time) = time {
                let _ = write!(out, ",\"{name}\":\"{}\"", iso(time));
            }
        }
        let _ = write!(out, "}},{}", asset.rest);
    }
}

/// What the scanner saw: hostile text, a package with its versions, or nothing.
fn show_output(index: usize, out: &mut String) {
    match index % 12 {
        0 => out.push_str(",\"output\":\"<script>alert('output')</script> & <b>bold</b>\\u0000\\u0007\\u001b[31m \\u202etxt.exe\\n\""),
        1..=8 => {
            let _ = write!(
                out,
                ",\"output\":\"\\n  - Installed package : lib{0}_1.{1}\\n    Fixed package     : lib{0}_1.{2}\\n\"",
                index % 90,
                index % 7,
                index % 7 + 1
            );
        }
        _ => {}
    }
}

/// The severity, and whether a rule of a person changed it.
fn show_severity(finding: &Finding, plugin: &Plugin, out: &mut String) {
    let _ = write!(
        out,
        ",\"severity\":\"{}\",\"severity_id\":{},\"severity_default_id\":{},\"severity_modification_type\":\"{}\"",
        SEVERITIES[finding.severity],
        finding.severity,
        plugin.severity,
        finding.modified.word()
    );
    if finding.modified != Modified::None {
        out.push_str(",\"recast_reason\":\"Not reachable <from outside>\",\"recast_rule_uuid\":\"a6f0ee9e-0000-4000-8000-000000000001\"");
    }
}

/// The state and its times.
fn show_state(finding: &Finding, index: usize, out: &mut String) {
    let _ = write!(
        out,
        ",\"state\":\"{}\",\"first_found\":\"{}\",\"last_found\":\"{}\",\"source\":\"{}\"",
        finding.state.word(),
        iso(finding.first_found),
        iso(finding.last_found),
        finding.source()
    );
    match finding.state {
        State::Fixed if index.is_multiple_of(2) => {
            let _ = write!(out, ",\"last_fixed\":\"{}\",\"time_taken_to_fix\":3045760", iso(finding.last_fixed));
        }
        State::Fixed => {
            let _ = write!(out, ",\"last_fixed\":\"{}\",\"time_taken_to_fix\":\"3045760\"", iso(finding.last_fixed));
        }
        State::Reopened => {
            let _ = write!(out, ",\"resurfaced_date\":\"{}\"", iso(finding.last_found));
        }
        State::Open => {}
    }
    // A text in every recording, a number in the schema.
    if index.is_multiple_of(7) {
        let _ = write!(out, ",\"indexed\":{}}}", finding.indexed / SECOND);
    } else {
        let _ = write!(out, ",\"indexed\":\"{}\"}}", iso(finding.indexed));
    }
}

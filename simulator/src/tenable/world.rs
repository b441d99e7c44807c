//! The data of a simulated container: scans, hosts, plugins, and what was found.
//!
//! A finding is a few numbers; its JSON is put together from the prepared texts of its plugin and host when it is exported.

mod show;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Change, Size,
    seed::{Seed, share, spread},
};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// 2024-03-01: since then things are found.
const BEGINNING: i64 = 1_709_251_200 * SECOND;
/// 2022-06-01: the last that was heard of some hosts.
const LONG_AGO: i64 = 1_654_041_600 * SECOND;

pub(super) const SEVERITIES: [&str; 5] = ["info", "low", "medium", "high", "critical"];
const PORTS: [(u16, &str, Option<&str>); 6] = [
    (0, "TCP", None),
    (443, "TCP", Some("www")),
    (445, "TCP", Some("cifs")),
    (161, "UDP", Some("snmp")),
    (0, "ICMP", None),
    (22, "TCP", Some("ssh")),
];

#[derive(Debug)]
pub(super) struct World {
    seed: u64,
    step: u64,
    pub(super) scans: Vec<Scan>,
    pub(super) plugins: Vec<Plugin>,
    pub(super) assets: Vec<Asset>,
    pub(super) findings: Vec<Finding>,
}

#[derive(Debug)]
pub(super) struct Scan {
    pub(super) schedule: String,
    pub(super) name: String,
    /// Its runs and when each began.
    pub(super) runs: Vec<(String, i64)>,
    /// How long after their end its results are indexed.
    late: i64,
}

#[derive(Debug)]
pub(super) struct Plugin {
    pub(super) id: u64,
    pub(super) family: &'static str,
    severity: usize,
    text: String,
    software: Option<String>,
}

#[derive(Debug)]
pub(super) struct Asset {
    pub(super) uuid: String,
    pub(super) licensed: bool,
    /// As findings show it.
    brief: String,
    /// As the export of assets shows it, but for what moves.
    rest: String,
    pub(super) updated: i64,
    pub(super) deleted: Option<i64>,
    pub(super) terminated: Option<i64>,
    /// Whether a client that synced after every step has met it.
    pub(super) ever_present: bool,
    scan: usize,
    pub(super) findings: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Reopened,
    Fixed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Modified {
    None,
    Recasted,
    Accepted,
}

#[derive(Debug)]
pub(super) struct Finding {
    pub(super) id: String,
    pub(super) asset: usize,
    pub(super) plugin: usize,
    pub(super) scan: Option<usize>,
    run: usize,
    port: usize,
    pub(super) state: State,
    pub(super) severity: usize,
    pub(super) modified: Modified,
    pub(super) first_found: i64,
    pub(super) last_found: i64,
    pub(super) last_fixed: i64,
    pub(super) indexed: i64,
    /// Whether a client that synced after every step has met it open.
    pub(super) ever_open: bool,
    pub(super) listed: bool,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            State::Open => "OPEN",
            State::Reopened => "REOPENED",
            State::Fixed => "FIXED",
        }
    }
}

impl Modified {
    pub(super) fn word(self) -> &'static str {
        match self {
            Modified::None => "NONE",
            Modified::Recasted => "RECASTED",
            Modified::Accepted => "ACCEPTED",
        }
    }
}

impl Finding {
    /// In the words of the normalized store, while it is listed.
    pub(super) fn state(&self) -> &'static str {
        match (self.state, self.modified) {
            (State::Fixed, _) => "fixed",
            (_, Modified::Accepted) => "risk_accepted",
            _ => "open",
        }
    }

    pub(super) fn source(&self) -> &'static str {
        match self.scan {
            None => "NNM",
            Some(scan) if scan % 3 == 2 => "AGENT",
            Some(_) => "NESSUS",
        }
    }
}

impl World {
    pub(super) fn new(size: Size) -> World {
        let mut seed = Seed::of(&[size.seed, 71]);
        let records = size.records.max(3);
        let plugins = (0..400.min(size.findings.max(20))).map(|number| plugin(&mut seed, number)).collect();
        let mut world = World { seed: size.seed, step: 0, scans: Vec::new(), plugins, assets: Vec::new(), findings: Vec::new() };
        let now = Timestamp::now().as_microsecond();
        let hosts = size.findings.min(1200).max(size.findings / 20);
        for (number, findings) in spread(size.findings, records).enumerate() {
            let late = if number + 1 == records { 3 * DAY } else { 600 * SECOND };
            world.scans.push(scan(&mut seed, number, late, now));
            let from = world.assets.len();
            for _ in 0..(findings * hosts / size.findings.max(1)).max(2) {
                world.host(&mut seed, number, now);
            }
            world.fill(number, from, findings, now);
        }
        // Some hosts were deleted, or are no longer there, before any client came.
        for number in 0..4 {
            world.host(&mut seed, number % records, now - 60 * DAY);
            let asset = world.assets.last_mut().expect("just made");
            *(if number.is_multiple_of(2) { &mut asset.deleted } else { &mut asset.terminated }) = Some(now - 40 * DAY);
            asset.ever_present = false;
        }
        world
    }

    fn host(&mut self, seed: &mut Seed, scan: usize, now: i64) {
        let number = self.assets.len();
        let asset = asset(seed, number, scan, now);
        self.assets.push(asset);
    }

    /// Adds this many open findings on the scan's hosts; at the beginning also 8 % that are closed already.
    fn fill(&mut self, scan: usize, first_asset: usize, open: usize, now: i64) {
        let hosts = self.assets.len() - first_asset;
        let closed = if self.step == 0 { open * 8 / 100 } else { 0 };
        for number in 0..open + closed {
            let mut seed = Seed::of(&[self.seed, 72, scan as u64, self.step, number as u64]);
            // The last host of each scan has nothing.
            let asset = first_asset + seed.below(hosts.saturating_sub(1).max(1));
            let plugin = seed.below(self.plugins.len());
            let severity = self.plugins[plugin].severity;
            // What has been found by listening to the network belongs to no scan.
            let scan_of = (!seed.chance(3.0) || number < 5).then_some(scan);
            let late = scan_of.map_or(600 * SECOND, |scan| self.scans[scan].late);
            let age = i64::try_from(seed.below(20 * 86_400)).unwrap_or(0) * SECOND;
            let last_found = match (self.step, number % 25) {
                (0, 11) => LONG_AGO + age,
                (0, 17) => now - 200 * DAY - age,
                (0, _) => now - 3 * DAY - age / 100,
                _ => now - late,
            };
            let first_found = if self.step == 0 { (BEGINNING + 17 * age).min(last_found) } else { last_found };
            let mut finding = Finding {
                id: seed.uuid(),
                asset,
                plugin,
                scan: scan_of,
                run: self.scans[scan].runs.len() - 1,
                port: seed.below(PORTS.len()),
                state: if self.step == 0 && number % 10 == 3 { State::Reopened } else { State::Open },
                severity,
                modified: Modified::None,
                first_found,
                last_found,
                last_fixed: 0,
                indexed: last_found + late,
                ever_open: number < open,
                listed: true,
            };
            if number % 30 == 7 {
                finding.recast();
            }
            if number >= open {
                match number % 4 {
                    0 => finding.modified = Modified::Accepted,
                    1 => {
                        finding.modified = Modified::Accepted;
                        finding.fix(last_found);
                    }
                    _ => finding.fix(last_found),
                }
            }
            self.assets[asset].findings.push(self.findings.len());
            self.findings.push(finding);
        }
    }

    pub(super) fn step(&mut self, change: &Change) {
        self.step += 1;
        let now = Timestamp::now().as_microsecond();
        let mut open: Vec<usize> =
            self.findings.iter().enumerate().filter(|(_, f)| f.listed && f.state() == "open").map(|(index, _)| index).collect();
        let total = open.len();
        let mut seed = Seed::of(&[self.seed, 73, self.step]);
        let share = |percent| share(total, percent);
        self.delete_hosts(&mut open, share(change.vanished), &mut seed, now);
        open.retain(|index| self.findings[*index].listed);
        let mut take = |count| seed.draw(&mut open, count);
        let (fixed, changed) = (take(share(change.fixed)), take(share(change.changed)));
        self.run_scans(now);
        for index in fixed {
            self.findings[index].fix(now);
        }
        self.find_again(now);
        // A rule of a person changes what is shown of a finding; no scan has seen it because of that.
        for (n, index) in changed.into_iter().enumerate() {
            let finding = &mut self.findings[index];
            if n % 2 == 0 { finding.modified = Modified::Accepted } else { finding.recast() }
        }
        let last = self.scans.len() - 1;
        for (scan, count) in [(last - 1, share(change.new) / 3), (last, share(change.new) - share(change.new) / 3)] {
            self.add_hosts(scan, count, now);
        }
    }

    /// Ends as many of the open findings: hosts are deleted, and their findings just stop; where that would be too many, a finding
    /// has aged out alone.
    fn delete_hosts(&mut self, open: &mut Vec<usize>, count: usize, seed: &mut Seed, now: i64) {
        let mut left = count.min(open.len());
        while left > 0 {
            let index = open.swap_remove(seed.below(open.len()));
            if !self.findings[index].listed {
                continue;
            }
            let asset = &mut self.assets[self.findings[index].asset];
            let of_asset = asset.findings.iter().filter(|index| self.findings[**index].listed && self.findings[**index].state() == "open");
            let all = of_asset.count();
            if all <= left && seed.chance(70.0) {
                *(if left.is_multiple_of(2) { &mut asset.deleted } else { &mut asset.terminated }) = Some(now);
                asset.updated = now;
                asset.findings.iter().for_each(|index| self.findings[*index].listed = false);
                left -= all;
            } else {
                self.findings[index].listed = false;
                left -= 1;
            }
        }
    }

    fn run_scans(&mut self, now: i64) {
        for (number, scan) in self.scans.iter_mut().enumerate().skip(1) {
            let run = Seed::of(&[self.seed, 74, number as u64, self.step]).uuid();
            scan.runs.push((long(&run), now - scan.late - 3600 * SECOND));
        }
    }

    /// Every scan finds again what is still there, but on hosts that were switched off.
    fn find_again(&mut self, now: i64) {
        for finding in self.findings.iter_mut().filter(|finding| finding.listed && finding.state != State::Fixed) {
            let Some(scan) = finding.scan.map(|scan| &self.scans[scan]) else { continue };
            if now - finding.last_found < 30 * DAY {
                (finding.run, finding.last_found, finding.indexed) = (scan.runs.len() - 1, now - scan.late, now);
                self.assets[finding.asset].updated = now;
            }
        }
    }

    /// Adds findings of a scan on the first of two new hosts, and on one that has been there.
    fn add_hosts(&mut self, scan: usize, count: usize, now: i64) {
        let old = self.assets.iter().position(|asset| asset.scan == scan && asset.deleted.or(asset.terminated).is_none());
        let from = self.assets.len();
        for _ in 0..2 {
            let number = self.assets.len();
            let asset = asset(&mut Seed::of(&[self.seed, 75, number as u64]), number, scan, now);
            self.assets.push(asset);
        }
        let before = self.findings.len();
        self.fill(scan, from, count, now);
        for index in (before..self.findings.len()).step_by(2) {
            if let Some(old) = old {
                self.assets[from].findings.retain(|other| *other != index);
                self.assets[old].findings.push(index);
                self.findings[index].asset = old;
            }
        }
    }

    /// What was fixed first is there again.
    pub(super) fn reopen(&mut self) -> Option<String> {
        let now = Timestamp::now().as_microsecond();
        let finding =
            self.findings.iter_mut().find(|finding| finding.listed && finding.state() == "fixed" && finding.modified == Modified::None)?;
        (finding.state, finding.ever_open) = (State::Reopened, true);
        (finding.last_found, finding.indexed) = (now, now);
        Some(finding.id.clone())
    }
}

impl Finding {
    fn fix(&mut self, at: i64) {
        (self.state, self.last_fixed, self.indexed) = (State::Fixed, at, at);
    }

    fn recast(&mut self) {
        self.severity = if self.severity > 2 { 1 } else { 3 };
        self.modified = Modified::Recasted;
    }
}

fn iso(micros: i64) -> String {
    Timestamp::from_microsecond(micros).expect("a time of this century").strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Longer than a UUID, as those of scans are.
fn long(uuid: &str) -> String {
    format!("{uuid}{}", &uuid[..13].replace('-', "0"))
}

fn scan(seed: &mut Seed, number: usize, late: i64, now: i64) -> Scan {
    const NAMES: &[&str] = &["DMZ weekly", "R&D <lab>", "Servers nightly", "Workstations", "Linux agents", "Branch offices"];
    let name = format!("{} {}", NAMES[number % NAMES.len()], number / NAMES.len() + 1);
    let (schedule, run) = (long(&seed.uuid()), long(&seed.uuid()));
    // The first was made and never ran.
    let runs = if number == 0 { Vec::new() } else { vec![(run, now - 3 * DAY)] };
    Scan { schedule, name, runs, late }
}

fn asset(seed: &mut Seed, number: usize, scan: usize, now: i64) -> Asset {
    let uuid = seed.uuid();
    let host = format!("{}{number:04}", seed.pick(&["srv", "ws", "db", "web"]));
    let ip = format!("10.{}.{}.{}", scan % 250, number / 250 % 250, number % 250 + 1);
    let mac = format!("00:50:56:{:02x}:{:02x}:{:02x}", scan % 256, number / 256 % 256, number % 256);
    let network = "00000000-0000-0000-0000-000000000000";
    let mut brief = json!({
        "uuid": uuid, "hostname": host, "ipv4": ip, "device_type": "general-purpose", "network_id": network, "tracked": true,
        "operating_system": [seed.pick(&["Microsoft Windows Server 2022 Standard", "Linux Kernel 6.8 on Ubuntu 24.04", "VMware ESXi 8.0"])],
    });
    let mut full = json!({
        "types": ["host"], "has_agent": scan % 3 == 2, "has_plugin_results": true, "system_types": ["general-purpose"],
        "operating_systems": brief["operating_system"],
        "scan": { "first_scan_time": iso(BEGINNING), "last_scan_time": iso(now) },
        "network": { "network_id": network, "network_name": "Default", "ipv4s": [ip], "hostnames": [host], "mac_addresses": [mac] },
        "sources": [{ "name": "NESSUS_SCAN", "first_seen": iso(BEGINNING), "last_seen": iso(now) }],
    });
    if number % 3 != 1 {
        let fqdn = format!("{host}.corp.example");
        brief["fqdn"] = json!(fqdn);
        brief["mac_address"] = json!(mac);
        full["network"]["fqdns"] = json!([fqdn, format!("{host}.mgmt.example")]);
    }
    match number % 8 {
        1 => {
            brief["netbios_name"] = json!(host.to_uppercase());
            brief["netbios_workgroup"] = json!("CORP");
        }
        2 => brief["netbios_workgroup"] = json!(["CORP"]),
        3 => {
            full["cloud"] =
                json!({ "aws": { "ec2_instance_id": format!("i-{number:017x}"), "region": "eu-west-1", "owner_id": "123456789012" } });
        }
        4 => full["ratings"] = json!({ "acr": { "score": 5 }, "aes": { "score": 600 } }),
        5 => {
            full["tags"] = json!([{ "uuid": seed.uuid(), "key": "Environment", "value": "Production <eu>", "added_by": "admin@corp.example", "added_at": iso(BEGINNING) }]);
        }
        6 => {
            brief["ipv6"] = json!(format!("2001:db8::{number:x}"));
            full["network"]["ipv6s"] = json!([format!("2001:db8::{number:x}")]);
        }
        _ => {}
    }
    let mut rest = full.to_string();
    rest.remove(0);
    Asset {
        uuid,
        licensed: number % 20 != 13,
        brief: brief.to_string(),
        rest,
        updated: now,
        deleted: None,
        terminated: None,
        ever_present: true,
        scan,
        findings: Vec::new(),
    }
}

fn plugin(seed: &mut Seed, number: usize) -> Plugin {
    const FAMILIES: &[&str] = &["Windows : Microsoft Bulletins", "Ubuntu Local Security Checks", "CGI abuses", "General", "Settings"];
    let id = 150_000 + 3 * number as u64;
    let family = FAMILIES[number % FAMILIES.len()];
    let severity = *[0, 0, 1, 2, 2, 3, 3, 4].get(number % 8).expect("eight");
    let risk = *["None", "Low", "MEDIUM", "high", "Critical"].get(severity).expect("five");
    let mut body = json!({
        "id": id, "name": format!("Security update for component {number} (November 2026)"), "family": family, "family_id": number % FAMILIES.len(),
        "type": (["local", "remote", "combined"][number % 3]), "synopsis": "The remote host is missing a security update.",
        "description": seed.prose(300), "solution": if severity == 0 { "n/a" } else { "Install the update that the vendor has released." },
        "risk_factor": risk, "has_patch": severity > 0, "has_workaround": false, "exploit_available": number % 6 == 5,
        "exploit_framework_metasploit": number % 18 == 5, "exploited_by_malware": number % 40 == 5, "in_the_news": false, "vendor_unpatched": false,
        "publication_date": "2026-01-12T00:00:00Z", "modification_date": "2026-05-06T00:00:00Z", "version": "1.7",
    });
    if number % 11 == 4 {
        body["description"] = json!(format!("{} <img src=x onerror=alert(1)> & <b>bold</b>\u{0}\u{7}\u{1b}[2J", seed.prose(250)));
    }
    let mut software = None;
    if severity > 0 {
        let cve = format!("CVE-2026-{}", 30_000 + number);
        let many = if number % 50 == 6 { 30 } else { 1 + number % 2 };
        body["cve"] = (0..many).map(|n| if n == 0 { cve.clone() } else { format!("CVE-2025-{}", 1000 + 40 * number + n) }).collect();
        body["cpe"] = json!([format!("cpe:/a:example:component_{number}")]);
        body["see_also"] = json!([format!("https://advisories.example/{cve}")]);
        body["cvss_base_score"] = json!(2.1 + 1.8 * f64::from(u32::try_from(severity).unwrap_or(0)));
        body["cvss_vector"] = json!({ "raw": "AV:N/AC:L/Au:N/C:C/I:C/A:C", "access_vector": "Network" });
        body["epss_score"] = json!(f64::from(u32::try_from(number % 97).unwrap_or(0)) + 0.647);
        body["vpr"] = json!({ "score": 6.7, "drivers": { "age_of_vuln": { "lower_bound": 366 } }, "updated": "2026-11-01T04:02:35Z" });
        body["vuln_publication_date"] = json!("2026-01-11T00:00:00Z");
        body["patch_publication_date"] = json!("2026-01-11T00:00:00Z");
        if number % 9 != 4 {
            body["cvss3_base_score"] = json!(8.8);
            body["cvss3_vector"] = json!({ "raw": "AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "attack_vector": "Network" });
        }
        if number % 4 == 1 {
            body["cvss4_base_score"] = json!(6.9);
            body["cvss4_vector"] = json!({ "raw": "AV:N/AC:L/AT:N/PR:N/UI:N/VC:L/VI:N/VA:N/SC:N/SI:N/SA:N" });
        }
        if number.is_multiple_of(2) {
            body["vpr_v2"] = json!({ "score": 7.1, "vpr_percentile": 91, "vpr_severity": "HIGH", "cve_id": cve, "on_cisa_kev": number % 12 == 4, "exploit_probability": 0.31 });
        }
        // Objects in every recording, texts in the schema.
        body["xrefs"] = if number % 8 == 7 {
            json!(["IAVA:2026-A-0001", "CWE:79"])
        } else {
            json!([{ "type": "MSKB", "id": "5002113" }, { "type": "CWE", "id": "79" }])
        };
        let purl = format!("pkg:deb/ubuntu/component-{number}@1.2.3");
        software = Some(
            json!([{ "identifier": purl, "product": format!("component-{number}"), "product_type": "Package", "version": "1.2.3", "vendor": "ubuntu", "path": "/usr/lib",
                "fix_available": true, "fixes": [{ "fix_type": "version", "value": "1.2.4" }], "vulnerabilities": [cve], "potential": false }])
            .to_string(),
        );
    }
    Plugin { id, family, severity, text: Value::to_string(&body), software }
}

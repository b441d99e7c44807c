//! What the tool holds: projects, branches, files, rules, issues and hotspots, with every list prepared as text.

mod row;
mod rule;
mod spot;

use std::{collections::HashMap, sync::Arc};

use serde_json::{Value, json};

use self::{row::Plan, rule::rules};
use crate::{
    Change, Truth,
    seed::{Seed, share, spread},
};

pub(super) const TYPES: &[&str] = &["CODE_SMELL", "BUG", "VULNERABILITY"];
const VULNERABILITY: u8 = 2;
pub(super) const SEVERITIES: &[&str] = &["INFO", "MINOR", "MAJOR", "CRITICAL", "BLOCKER"];
pub(super) const IMPACT_SEVERITIES: &[&str] = &["INFO", "LOW", "MEDIUM", "HIGH", "BLOCKER"];
/// Our words for both lists of severities.
const WORDS: [&str; 5] = ["info", "low", "medium", "high", "critical"];
pub(super) const QUALITIES: &[&str] = &["MAINTAINABILITY", "RELIABILITY", "SECURITY"];
const SECURITY: u8 = 2;
pub(super) const STATUSES: &[&str] = &["OPEN", "CONFIRMED", "REOPENED", "RESOLVED", "CLOSED"];
pub(super) const RESOLUTIONS: &[&str] = &["FALSE-POSITIVE", "WONTFIX", "FIXED", "REMOVED"];
pub(super) const ISSUE_STATUSES: &[&str] = &["OPEN", "CONFIRMED", "FALSE_POSITIVE", "ACCEPTED", "FIXED"];
pub(super) const SANDBOX: &str = "IN_SANDBOX";
/// The time of the first analysis of a large project: all that it found has this one creation date.
const IMPORT: i64 = 1_763_172_875;
pub(super) const DAY: i64 = 86_400;

/// One state of an issue: `status`, `resolution`, `issueStatus`, and what it means.
pub(super) struct State(pub(super) &'static str, pub(super) &'static str, pub(super) &'static str, &'static str);
pub(super) const STATES: [State; 9] = [
    State("OPEN", "", "OPEN", "open"),
    State("CONFIRMED", "", "CONFIRMED", "open"),
    State("REOPENED", "", "OPEN", "open"),
    State(SANDBOX, "", SANDBOX, "open"),
    State("RESOLVED", "FALSE-POSITIVE", "FALSE_POSITIVE", "false_positive"),
    State("RESOLVED", "WONTFIX", "ACCEPTED", "risk_accepted"),
    // Resolved by hand: no analysis has confirmed it.
    State("RESOLVED", "FIXED", "FIXED", "fixed"),
    State("CLOSED", "FIXED", "FIXED", "fixed"),
    State("CLOSED", "REMOVED", "FIXED", "fixed"),
];
const CONFIRMED: u8 = 1;
const REOPENED: u8 = 2;
const IN_SANDBOX: u8 = 3;
const FALSE_POSITIVE: u8 = 4;
const ACCEPTED: u8 = 5;
const BY_HAND: u8 = 6;
const CLOSED_FIXED: u8 = 7;
const CLOSED_REMOVED: u8 = 8;

/// What kind of SonarQube it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edition {
    pub(super) cloud: bool,
    /// 9.9: no impacts, no issue status, no bearer tokens.
    pub(super) old: bool,
    /// Findings are counted by impact; else by type.
    pub(super) mqr: bool,
    /// Has only the main branch.
    pub(super) community: bool,
    pub(super) hotspots: bool,
}

impl Edition {
    /// Whether an issue can be in the sandbox: commercial servers of 2025 and later.
    pub(super) fn sandbox(&self) -> bool {
        !self.cloud && !self.old && !self.community
    }
}

#[derive(Debug)]
pub(super) struct World {
    seed: u64,
    step: u64,
    edition: Edition,
    pub(super) projects: Vec<Project>,
    pub(super) rules: Vec<Rule>,
    /// What the last few queries found, so that their further pages need no search.
    pub(super) found: HashMap<String, Arc<Vec<(u32, u32)>>>,
    /// How many rules were shown.
    pub(super) rules_shown: u64,
}

#[derive(Debug)]
pub(super) struct Project {
    pub(super) key: String,
    pub(super) name: String,
    /// Whether the token's user lacks Browse on it.
    pub(super) hidden: bool,
    pub(super) analysis: Option<i64>,
    /// The main branch first. The flag tells a pull request.
    pub(super) branches: Vec<(&'static str, bool)>,
    /// The project itself first.
    pub(super) files: Vec<File>,
    pub(super) rows: Vec<Row>,
    /// Numbers of rows, in ascending order of creation and of update.
    pub(super) by_creation: Vec<u32>,
    pub(super) by_update: Vec<u32>,
    pub(super) spots: Vec<Spot>,
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) uuid: String,
    pub(super) path: String,
    pub(super) directory: String,
    pub(super) component: String,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) key: String,
    name: String,
    pub(super) language: &'static str,
    pub(super) cwe: u32,
    kind: u8,
    external: bool,
    /// Category and probability of a rule that finds hotspots.
    hotspot: Option<(&'static str, &'static str)>,
}

/// An issue, with its body as the lists show it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: String,
    pub(super) body: String,
    pub(super) branch: u8,
    pub(super) kind: u8,
    pub(super) severity: u8,
    /// Quality and severity.
    pub(super) impacts: Vec<(u8, u8)>,
    pub(super) state: u8,
    pub(super) created: i64,
    pub(super) updated: i64,
    pub(super) closed: Option<i64>,
    pub(super) rule: u16,
    pub(super) file: u32,
    pub(super) line: u32,
    pub(super) test: bool,
    /// Whether a client that wants security findings of the main branch keeps it.
    wanted: bool,
    ever_open: bool,
    pub(super) listed: bool,
}

/// A security hotspot, with its body as the lists show it.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) key: String,
    pub(super) body: String,
    pub(super) branch: u8,
    pub(super) rule: u16,
    pub(super) file: u32,
    /// Empty while it is to be reviewed.
    pub(super) resolution: &'static str,
    ever_open: bool,
    pub(super) listed: bool,
}

/// As the tool writes a time: the offset has no colon.
pub(super) fn date(second: i64) -> String {
    jiff::Timestamp::from_second(second).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S+0000").to_string()
}

/// When a step was found or closed: the same on every run, unlike the update dates, which clients compare with their clock.
fn day_of(step: u64) -> i64 {
    IMPORT + (50 + i64::try_from(step).unwrap_or(0)) * DAY
}

pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

impl World {
    pub(super) fn new(size: crate::Size, edition: Edition) -> Self {
        let mut world =
            World { seed: size.seed, step: 0, edition, projects: Vec::new(), rules: rules(), found: HashMap::new(), rules_shown: 0 };
        let records = size.records.max(3);
        // After them comes one that the token's user may not browse.
        for (number, findings) in spread(size.findings, records).chain([7]).enumerate() {
            world.projects.push(Project::new(size.seed, number, edition, findings, number == records));
            world.fill(number, findings);
        }
        world
    }

    /// Adds this many open security findings; at the beginning also closed ones, quality issues and other branches' issues.
    fn fill(&mut self, project: usize, open: usize) {
        let (edition, step) = (self.edition, self.step);
        let spots = if edition.hotspots { open * 12 / 100 } else { 0 };
        let issues = open - spots;
        let first = step == 0;
        let others = |percent: usize| if first { issues * percent / 100 } else { 0 };
        let (closed, noise) = (others(4), others(10));
        let branched = if self.projects[project].branches.len() > 1 { others(2).min(40) } else { 0 };
        let now = now();
        for number in 0..issues + closed + noise + branched {
            let mut seed = Seed::of(&[self.seed, 21, project as u64, step, number as u64]);
            // On the main branch the noise is of no interest.
            let wanted = !(issues + closed..issues + closed + noise).contains(&number);
            let state = match number {
                n if n < issues => match n % 40 {
                    7 => CONFIRMED,
                    19 => REOPENED,
                    31 if edition.sandbox() => IN_SANDBOX,
                    _ => 0,
                },
                n if n < issues + closed => FALSE_POSITIVE + u8::try_from(n % 5).unwrap_or(0),
                _ => 0,
            };
            let created = if first && issues > 10_000 && number % 20 < 11 {
                IMPORT
            } else if !first && number % 2 == 0 {
                day_of(step)
            } else {
                // When the line was last touched, long before any analysis.
                1_577_836_800 + i64::try_from(seed.below(2_100)).unwrap_or(0) * DAY + i64::try_from(seed.below(86_400)).unwrap_or(0)
            };
            let updated = if first { created.max(IMPORT) + i64::try_from(seed.below(40 * 86_400)).unwrap_or(0) } else { now };
            let branch = if number < issues + closed + noise { 0 } else { 1 + u8::from(number % 3 == 0) };
            let row = Row::new(
                &mut seed,
                edition,
                &self.projects[project],
                &self.rules,
                &Plan { number, wanted, state, created, updated, branch },
            );
            self.projects[project].rows.push(row);
        }
        let closed = if first { spots.div_ceil(20) } else { 0 };
        for number in 0..spots + closed {
            let mut seed = Seed::of(&[self.seed, 22, project as u64, step, number as u64]);
            let resolution = match number.checked_sub(spots) {
                None => "",
                Some(n) if edition.cloud => ["FIXED", "SAFE"][n % 2],
                Some(n) => ["FIXED", "SAFE", "ACKNOWLEDGED", "EXCEPTION"][n % 4],
            };
            let spot =
                Spot::new(&mut seed, edition, &self.projects[project], &self.rules, resolution, if first { IMPORT } else { day_of(step) });
            self.projects[project].spots.push(spot);
        }
        self.projects[project].sort();
    }

    /// A row by the numbers of its project and of itself.
    pub(super) fn row(&self, (project, row): (u32, u32)) -> (&Project, &Row) {
        let project = &self.projects[project as usize];
        (project, &project.rows[row as usize])
    }

    pub(super) fn step(&mut self, change: &Change) {
        self.step += 1;
        self.found.clear();
        let (edition, step, now) = (self.edition, self.step, now());
        let mut open: Vec<(usize, usize, bool)> = Vec::new();
        for (p, project) in self.projects.iter().enumerate().filter(|(_, project)| !project.hidden) {
            open.extend(project.rows.iter().enumerate().filter(|(_, row)| row.is_open()).map(|(n, _)| (p, n, false)));
            open.extend(project.spots.iter().enumerate().filter(|(_, spot)| spot.is_open()).map(|(n, _)| (p, n, true)));
        }
        let total = open.len();
        let mut seed = Seed::of(&[self.seed, 23, self.step]);
        let share = |percent| share(total, percent);
        let mut take = |count| seed.draw(&mut open, count);
        for (n, (p, index, is_spot)) in take(share(change.fixed)).into_iter().enumerate() {
            let project = &mut self.projects[p];
            project.analysis = Some(day_of(step));
            match is_spot {
                false => {
                    project.rows[index].set(edition, step, |row| row.state = [CLOSED_FIXED, CLOSED_FIXED, CLOSED_REMOVED, BY_HAND][n % 4]);
                }
                true if n % 2 == 0 => project.spots[index].review("FIXED", now),
                // A hotspot whose code is gone is not listed any more.
                true => project.spots[index].listed = false,
            }
        }
        // What a person does moves the issue's update date and not the date of the analysis.
        for (n, (p, index, is_spot)) in take(share(change.changed)).into_iter().enumerate() {
            let project = &mut self.projects[p];
            if is_spot {
                project.spots[index].review(if n % 2 == 0 && !edition.cloud { "ACKNOWLEDGED" } else { "SAFE" }, now);
                continue;
            }
            project.rows[index].set(edition, step, |row| match n % 5 {
                0 => row.state = FALSE_POSITIVE,
                1 => row.state = ACCEPTED,
                2 => row.state = CONFIRMED,
                3 => row.state = REOPENED,
                _ => row.rate(edition),
            });
        }
        for (p, index, is_spot) in take(share(change.vanished)) {
            let project = &mut self.projects[p];
            project.analysis = Some(day_of(step));
            if is_spot { project.spots[index].listed = false } else { project.rows[index].listed = false }
        }
        let last = self.projects.iter().rposition(|project| !project.hidden).unwrap_or(0);
        self.projects[last].analysis = Some(day_of(step));
        self.fill(last, share(change.new));
        self.projects.iter_mut().for_each(Project::sort);
    }

    /// The project with the most issues.
    fn largest(&mut self) -> &mut Project {
        self.found.clear();
        let seen = self.projects.iter_mut().filter(|project| !project.hidden);
        seen.max_by_key(|project| project.rows.len()).expect("a project")
    }

    pub(super) fn analyse(&mut self, percent: f64) {
        let (edition, at) = (self.edition, now() - 3600);
        let project = self.largest();
        project.analysis = Some(at);
        let open = project.rows.iter().filter(|row| row.is_open()).count();
        for row in project.rows.iter_mut().filter(|row| row.is_open()).take(share(open, percent)) {
            row.set(edition, 0, |row| row.rate(edition));
            row.updated = at;
            row.repaint(edition);
        }
        project.sort();
    }

    pub(super) fn make_alike(&mut self, files: usize) {
        let (edition, rules) = (self.edition, rules());
        let rule = rules.iter().position(|rule| rule.kind == VULNERABILITY && rule.hotspot.is_none()).unwrap_or(0);
        let project = self.largest();
        let key = project.key.clone();
        for (number, row) in project.rows.iter_mut().enumerate().filter(|(_, row)| row.wanted && row.branch == 0) {
            // Every hundredth is on the project itself.
            let file = if number % 100 == 99 { 0 } else { 1 + number % files.min(project.files.len() - 1) };
            (row.rule, row.file, row.severity, row.created) =
                (u16::try_from(rule).unwrap_or(0), u32::try_from(file).unwrap_or(0), 2, IMPORT);
            row.impacts = row.impacts.iter().map(|(quality, _)| (*quality, 2)).collect();
            let mut body: Value = serde_json::from_str(&row.body).expect("our own JSON");
            body["rule"] = json!(rules[rule].key);
            body["creationDate"] = json!(date(IMPORT));
            let path = &project.files[file].path;
            body["component"] = json!(if path.is_empty() { key.clone() } else { format!("{key}:{path}") });
            row.body = body.to_string();
            row.repaint(edition);
        }
        project.sort();
    }

    pub(super) fn oracle(&self) -> crate::Oracle {
        let mut oracle = crate::Oracle::default();
        for project in self.projects.iter().filter(|project| !project.hidden) {
            oracle.records.insert(project.key.clone(), project.name.clone());
            for row in project.rows.iter().filter(|row| row.wanted && row.ever_open) {
                let state = if row.listed { STATES[usize::from(row.state)].3 } else { "gone" };
                let truth = Truth { record: project.key.clone(), severity: row.word(self.edition), state };
                oracle.findings.insert(row.key.clone(), truth);
            }
            for spot in project.spots.iter().filter(|spot| spot.branch == 0 && spot.ever_open) {
                let state = match spot.resolution {
                    _ if !spot.listed => "gone",
                    "" => "open",
                    "FIXED" => "fixed",
                    "SAFE" => "false_positive",
                    _ => "risk_accepted",
                };
                let severity = match self.rules[usize::from(spot.rule)].hotspot {
                    Some((_, "HIGH")) => "high",
                    Some((_, "MEDIUM")) => "medium",
                    _ => "low",
                };
                oracle.findings.insert(format!("hotspot:{}", spot.key), Truth { record: project.key.clone(), severity, state });
            }
        }
        oracle
    }
}

impl Project {
    fn new(seed: u64, number: usize, edition: Edition, findings: usize, hidden: bool) -> Self {
        const NAMES: &[&str] = &["shop-api", "billing", "crm", "mobile-gateway", "warehouse", "identity", "reports"];
        let mut seed = Seed::of(&[seed, 20, number as u64]);
        let word = NAMES[number % NAMES.len()];
        // The key of a Maven project has a colon, as the keys of components have.
        let key = if number % 3 == 2 { format!("org.example:{word}-{number}") } else { format!("acme_{word}_{number}") };
        let name = if number % 4 == 3 { format!("Büro & <b>{word}</b> {number}") } else { format!("{word} {number}") };
        let main = if edition.old { "master" } else { "main" };
        let mut branches = vec![(main, false)];
        if !edition.community && number.is_multiple_of(2) {
            branches.extend([("release/1.x", false), ("42", true)]);
        }
        let mut files = vec![File {
            uuid: seed.uuid(),
            path: String::new(),
            directory: String::new(),
            component: json!({ "key": key, "enabled": true, "qualifier": "TRK", "name": name, "longName": name }).to_string(),
        }];
        for file in 0..3 + findings / 20 {
            let (folder, suffix) =
                *[("src/main/java/org/example", "java"), ("web/src/app", "ts"), ("tools", "py"), ("src/test/java", "java")]
                    .get(file % 4)
                    .expect("four");
            let directory = format!("{folder}/{}{}", seed.pick(&["order", "user", "cart", "mail"]), file / 40);
            let name = format!("{}{file}.{suffix}", seed.pick(&["Dao", "Controller", "Client", "Parser"]));
            let path = format!("{directory}/{name}");
            let component = json!({ "key": format!("{key}:{path}"), "enabled": true, "qualifier": if file % 4 == 3 { "UTS" } else { "FIL" },
                "name": name, "longName": path, "path": path });
            files.push(File { uuid: seed.uuid(), path, directory, component: component.to_string() });
        }
        Project {
            key,
            name,
            hidden,
            // The first has been created, and never analysed.
            analysis: (number > 0).then_some(IMPORT + 30 * DAY),
            branches,
            files,
            rows: Vec::new(),
            by_creation: Vec::new(),
            by_update: Vec::new(),
            spots: Vec::new(),
        }
    }

    fn sort(&mut self) {
        let numbers = || (0..u32::try_from(self.rows.len()).unwrap_or(u32::MAX)).collect::<Vec<_>>();
        (self.by_creation, self.by_update) = (numbers(), numbers());
        let row = |number: &u32| &self.rows[*number as usize];
        self.by_creation.sort_by(|a, b| (row(a).created, &row(a).key).cmp(&(row(b).created, &row(b).key)));
        self.by_update.sort_by(|a, b| (row(a).updated, &row(a).key).cmp(&(row(b).updated, &row(b).key)));
    }
}

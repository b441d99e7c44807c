//! A year of the schedule, without waiting for it.

use std::collections::BTreeMap;

use jiff::{ToSpan, civil::Date, tz::TimeZone};

use super::*;
use crate::config::Config;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// Connections with these lines of configuration each.
fn connections(lines: &[(String, String)]) -> Config {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tributary.toml");
    let mut text = "[store]\nurl = \"sqlite:t.db\"\n".to_owned();
    for (name, line) in lines {
        text.push_str(&format!(
            "[connections.{name}]\nconnector = \"dependency_track\"\nlocation = \"https://{name}.example\"\nsecret = {{ env = \"X\" }}\n{line}\n"
        ));
    }
    std::fs::write(&path, text).expect("a file");
    Config::load(&[path]).expect("a configuration")
}

/// The daemon's loop around a timetable, with a clock that jumps to whatever comes next.
struct World {
    config: Config,
    table: Timetable,
    now: Timestamp,
    stored: BTreeMap<(String, &'static str), DueRow>,
    running: BTreeMap<String, (RunningOperation, Timestamp)>,
    starts: Vec<(String, OperationKind, Trigger, Timestamp)>,
    skips: Vec<Timestamp>,
    random: u64,
    /// How long a run takes, in seconds.
    shortest: i64,
    longest: i64,
}

impl World {
    fn new(config: Config, now: Timestamp) -> Self {
        let mut world = World {
            config,
            table: Timetable::default(),
            now,
            stored: BTreeMap::new(),
            running: BTreeMap::new(),
            starts: Vec::new(),
            skips: Vec::new(),
            random: 7,
            shortest: 20,
            longest: 1200,
        };
        world.boot();
        world
    }

    /// A process starts: it knows what was stored, and nothing else.
    fn boot(&mut self) {
        let stored: Vec<DueRow> = self.stored.values().cloned().collect();
        let connections = self.config.connections.iter().map(AsRef::as_ref);
        self.table = Timetable::new(connections, &stored, |_, _| None, self.now, self.now, 8);
        self.running.clear();
        self.store(self.table.rows());
    }

    /// The clock is set to another time: what runs goes on, and what ended stays so.
    fn set_clock(&mut self, to: Timestamp) {
        let by = to.duration_since(self.now);
        self.running.values_mut().for_each(|(_, ends)| *ends += by);
        self.now = to;
    }

    fn store(&mut self, rows: Vec<DueRow>) {
        self.stored.extend(rows.into_iter().map(|row| ((row.connection.clone(), row.kind.as_str()), row)));
    }

    /// How long the next run takes.
    fn duration(&mut self) -> SignedDuration {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        SignedDuration::from_secs(self.shortest + i64::try_from(self.random >> 33).expect("31 bits") % (self.longest - self.shortest))
    }

    fn run_until(&mut self, end: Timestamp) {
        let second = SignedDuration::from_secs(1);
        while self.now < end {
            let now = self.now;
            let rescheduled = self.table.notice(now);
            self.store(rescheduled);
            self.running.retain(|_, (_, ends)| *ends > now);
            let seen = self.running.iter().map(|(name, (running, _))| (name.clone(), running.clone())).collect();
            let tick = self.table.tick(now, &seen, &BTreeMap::new());
            self.skips.extend(tick.skips.iter().map(|_| now));
            let started = !tick.starts.is_empty();
            self.store(tick.rescheduled);
            for (name, kind, trigger) in tick.starts {
                assert!(!self.running.contains_key(&name), "{name} runs twice at {now}");
                let ends = now + self.duration();
                let host = format!("{name}.example:443");
                self.running.insert(name.clone(), (RunningOperation { kind, host, waits: false }, ends));
                self.starts.push((name, kind, trigger, now));
            }
            let next_due = self.table.entries.iter().map(|entry| entry.due).filter(|due| *due > now).min().unwrap_or(end);
            let next_end = self.running.values().map(|(_, ends)| *ends).min().unwrap_or(end);
            // Where the gate holds something up, the next second may let it through; else only a due time or an end changes anything.
            let gate = started || self.table.starts.len() >= MAX_STARTS_PER_WINDOW;
            self.now = if gate { now + second } else { next_due.min(next_end).max(now + second) };
        }
        self.now = end;
    }

    fn assert_gate(&self) {
        for five in self.starts.windows(MAX_STARTS_PER_WINDOW + 1) {
            let (first, last) = (five[0].3, five[MAX_STARTS_PER_WINDOW].3);
            assert!(last.duration_since(first) >= START_WINDOW, "{} starts between {first} and {last}", five.len());
        }
    }

    fn of(&self, name: &str, kind: OperationKind) -> Vec<Timestamp> {
        self.starts.iter().filter(|(of, it, ..)| of == name && *it == kind).map(|(.., at)| *at).collect()
    }
}

#[test]
fn s1_a_year_with_twenty_outages_misses_nothing_and_doubles_nothing() {
    let zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"];
    let mut lines = Vec::new();
    for number in 0..50 {
        let zone = zones[number % zones.len()];
        let sync = match number % 10 {
            0 => "\"0 * * * *\"",
            1 => "{ every = \"90m\" }",
            2 => "\"0 0 * * MON\"",
            _ => "\"30 2 * * *\"",
        };
        lines.push((format!("c{number}"), format!("timezone = \"{zone}\"\ndiscover = \"0 4 * * *\"\nsync = {sync}")));
    }
    let mut world = World::new(connections(&lines), at("2026-01-01T00:00:00Z"));
    // Twenty outages of up to three days, none around a change of the clock in Berlin.
    let mut outages = Vec::new();
    for number in 0..20_i64 {
        let from = at("2026-01-09T05:17:00Z") + SignedDuration::from_hours(24 * 17 * number + 7 * number);
        if ["2026-03-2", "2026-03-3", "2026-10-2"].iter().any(|days| from.to_string().starts_with(days)) {
            continue;
        }
        outages.push((from, from + SignedDuration::from_hours(1 + (number * 11) % 72)));
    }
    assert!(outages.len() >= 17, "{}", outages.len());
    let end = at("2027-01-01T00:00:00Z");
    for (from, to) in outages.iter().filter(|(from, _)| *from < end) {
        world.run_until(*from);
        world.now = *to;
        world.boot();
    }
    world.run_until(end);
    world.assert_gate();
    // No run is longer than its period: only where one was caught up late does the next one find it running.
    let boots: Vec<Timestamp> = outages.iter().map(|(_, to)| *to).chain([at("2026-01-01T00:00:00Z")]).collect();
    let after_outage = |at: &Timestamp| boots.iter().any(|boot| (0..2).contains(&at.duration_since(*boot).as_hours()));
    assert!(world.skips.iter().all(after_outage), "{:?}", world.skips);

    // By hand: a rule of every day runs once on each day of its zone that no outage touches.
    for (name, line) in lines.iter().filter(|(_, line)| line.contains("30 2 * * *")) {
        let zone = line.split('"').nth(1).expect("the zone");
        let zone = TimeZone::get(zone).expect("a zone");
        let mut per_day: BTreeMap<Date, usize> = BTreeMap::new();
        for start in world.of(name, OperationKind::Sync) {
            *per_day.entry(start.to_zoned(zone.clone()).date()).or_default() += 1;
        }
        let mut day = jiff::civil::date(2026, 1, 2);
        let mut checked = 0;
        while day < jiff::civil::date(2026, 12, 31) {
            let begin = day.to_zoned(zone.clone()).expect("a day").timestamp();
            let over = day.tomorrow().expect("a day").to_zoned(zone.clone()).expect("a day").timestamp();
            if outages.iter().all(|(from, to)| *to < begin - 1.hour() || *from > over) {
                assert_eq!(per_day.get(&day).copied().unwrap_or(0), 1, "{name} on {day}");
                checked += 1;
            }
            day = day.tomorrow().expect("a day");
        }
        assert!(checked > 250, "{checked} days were free of outages");
    }
    // Every hour: 8,760 hours less those of the outages, and one catch-up for each of these.
    let down: i64 = outages.iter().map(|(from, to)| to.duration_since(*from).as_hours()).sum();
    let expected = 365 * 24 - down;
    let runs = i64::try_from(world.of("c0", OperationKind::Sync).len()).expect("small");
    let most = i64::try_from(outages.len()).expect("small");
    assert!((runs - expected).abs() <= most + 1, "{runs} runs, {expected} hours");
    let caught_up =
        world.starts.iter().filter(|(name, kind, trigger, _)| name == "c0" && *kind == OperationKind::Sync && *trigger == Trigger::Startup);
    assert!(caught_up.count() <= outages.len(), "at most one catch-up for each outage");
}

#[test]
fn s1_a_rule_runs_once_a_day_through_both_changes_of_the_clock() {
    let line = "timezone = \"Europe/Berlin\"\ndiscover = \"off\"\nsync = \"30 2 * * *\"".to_owned();
    let days = |from: &str, to: &str| {
        let mut world = World::new(connections(&[("c".to_owned(), line.clone())]), at(from));
        world.run_until(at(to));
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        let starts = world.of("c", OperationKind::Sync);
        // The first is the one of a connection that never ran.
        starts[1..].iter().map(|at| at.to_zoned(berlin.clone()).date().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        days("2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z"),
        ["2026-03-28", "2026-03-29", "2026-03-30"],
        "the night without 02:30 runs once too"
    );
    assert_eq!(days("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"), ["2026-10-25", "2026-10-26"], "the night with two 02:30 runs once");
}

#[test]
fn s1_fifty_connections_with_one_rule_do_not_start_together() {
    let lines: Vec<_> = (0..50).map(|n| (format!("c{n}"), "discover = \"off\"\nsync = \"0 0 * * *\"".to_owned())).collect();
    let mut world = World::new(connections(&lines), at("2026-06-01T12:00:00Z"));
    world.longest = 60;
    world.run_until(at("2026-06-01T13:00:00Z"));
    assert_eq!(world.starts.len(), 50, "what never ran runs at once");
    world.assert_gate();
    world.starts.clear();
    world.run_until(at("2026-06-02T12:00:00Z"));
    assert_eq!(world.starts.len(), 50);
    let minutes: BTreeSet<i64> = world.starts.iter().map(|(.., at)| at.as_second() / 60).collect();
    assert!(minutes.len() >= 8, "they start in {} different minutes", minutes.len());
    assert!(world.starts.iter().all(|(.., at)| at.to_string().as_str() < "2026-06-02T01:00:00Z"), "none is late");
    // Down for a week: all of them are overdue, and caught up once each.
    world.starts.clear();
    world.now = at("2026-06-09T12:00:00Z");
    world.boot();
    world.run_until(at("2026-06-09T23:00:00Z"));
    world.assert_gate();
    assert_eq!(world.starts.len(), 50);
    assert!(world.starts.iter().all(|(_, _, trigger, _)| *trigger == Trigger::Startup));
}

#[test]
fn s1_what_is_due_while_it_runs_is_skipped_and_a_discover_waits_for_a_sync() {
    let line = "discover = \"15 * * * *\"\nsync = \"*/10 * * * *\"".to_owned();
    let config = connections(&[("c".to_owned(), line)]);
    let now = at("2026-06-01T12:00:00Z");
    let mut table = Timetable::new(config.connections.iter().map(AsRef::as_ref), &[], |_, _| Some(now), now, now, 8);
    let running = |kind| BTreeMap::from([("c".to_owned(), RunningOperation { kind, host: "c.example:443".to_owned(), waits: false })]);
    let later = at("2026-06-01T12:30:00Z");
    let tick = table.tick(later, &running(OperationKind::Sync), &BTreeMap::new());
    assert_eq!((tick.starts.len(), &tick.skips[..]), (0, &[("c".to_owned(), OperationKind::Sync)][..]));
    let tick = table.tick(later, &BTreeMap::new(), &BTreeMap::new());
    assert_eq!(tick.starts, [("c".to_owned(), OperationKind::Discover, Trigger::Schedule)], "the discover was waiting");
}

#[test]
fn s1_paused_connections_catch_up_once_and_refused_ones_only_move_on() {
    let line = "discover = \"off\"\nsync = \"0 * * * *\"".to_owned();
    let config = connections(&[("p".to_owned(), line.clone()), ("r".to_owned(), line)]);
    let now = at("2026-06-01T12:00:00Z");
    let mut table = Timetable::new(config.connections.iter().map(AsRef::as_ref), &[], |_, _| Some(now), now, now, 8);
    let blocked = BTreeMap::from([("p".to_owned(), Block::Paused), ("r".to_owned(), Block::Refused)]);
    let later = at("2026-06-01T18:30:00Z");
    let tick = table.tick(later, &BTreeMap::new(), &blocked);
    assert_eq!((tick.starts.len(), tick.refused.len()), (0, 1));
    assert!(!table.tick(later, &BTreeMap::new(), &blocked).refused.contains("r"), "until its next due time");
    let tick = table.tick(later, &BTreeMap::new(), &BTreeMap::new());
    assert_eq!(tick.starts, [("p".to_owned(), OperationKind::Sync, Trigger::Schedule)]);
    assert_eq!(table.tick(later, &BTreeMap::new(), &BTreeMap::new()).starts, [], "six hours are caught up by one run");
}

#[test]
fn s1_waiting_for_quota_takes_no_place_and_one_host_gets_two() {
    let lines: Vec<_> = (0..12).map(|n| (format!("c{n}"), "discover = \"off\"\nsync = { every = \"1h\" }".to_owned())).collect();
    let config = connections(&lines);
    let now = at("2026-06-01T12:00:00Z");
    let running = |waits| -> BTreeMap<String, RunningOperation> {
        let one = |n: usize| RunningOperation { kind: OperationKind::Sync, host: format!("{n}"), waits };
        (100..108).map(|n| (format!("x{n}"), one(n))).collect()
    };
    let fresh = || Timetable::new(config.connections.iter().map(AsRef::as_ref), &[], |_, _| None, now, now, 8);
    assert_eq!(fresh().tick(now, &running(false), &BTreeMap::new()).starts.len(), 0, "all places are taken");
    assert_eq!(fresh().tick(now, &running(true), &BTreeMap::new()).starts.len(), MAX_STARTS_PER_WINDOW, "those that wait take none");
    let same_host: BTreeMap<String, RunningOperation> = (0..2)
        .map(|n| (format!("x{n}"), RunningOperation { kind: OperationKind::Sync, host: "c0.example:443".to_owned(), waits: false }))
        .collect();
    let tick = fresh().tick(now, &same_host, &BTreeMap::new());
    assert!(tick.starts.iter().all(|(name, ..)| name != "c0"), "two work on its host already");
}

/// When the entry of a connection is due.
fn due(table: &Timetable, name: &str, kind: OperationKind) -> Timestamp {
    table.entries.iter().find(|entry| entry.connection == name && entry.kind == kind).expect("an entry").due
}

#[test]
fn a_stored_due_time_beyond_its_schedule_is_not_believed() {
    let config = connections(&[
        ("e".to_owned(), "discover = \"15 3 * * *\"\nsync = { every = \"6h\" }".to_owned()),
        ("off".to_owned(), "discover = \"off\"\nsync = \"*/30 * * * *\"".to_owned()),
    ]);
    let now = at("2026-06-01T12:00:00Z");
    let boot = |ahead: SignedDuration| {
        let all = config.connections.iter().map(AsRef::as_ref);
        let rows = Timetable::new(all.clone(), &[], |_, _| None, now, now, 8).rows();
        let stored: Vec<DueRow> = rows.into_iter().map(|row| DueRow { due: now + ahead, ..row }).collect();
        Timetable::new(all, &stored, |_, _| None, now, now, 8)
    };
    // Stored by a process whose clock was a year ahead.
    let table = boot(SignedDuration::from_hours(24 * 365));
    for (name, kind) in [("e", OperationKind::Discover), ("e", OperationKind::Sync), ("off", OperationKind::Sync)] {
        assert_eq!(due(&table, name, kind), now, "{name}: nobody knows when it last ran, so it runs now");
    }
    // What the rules allow is kept.
    let table = boot(SignedDuration::from_hours(5));
    assert_eq!(due(&table, "e", OperationKind::Sync), now + SignedDuration::from_hours(5), "within six hours");
    assert_eq!(due(&table, "e", OperationKind::Discover), now + SignedDuration::from_hours(5), "before the next 03:15");
    assert_eq!(due(&table, "off", OperationKind::Sync), now, "beyond the next half hour");
}

#[test]
fn a_clock_that_is_set_wrong_and_right_again_delays_nothing_beyond_its_period() {
    let lines = ["discover = \"15 3 * * *\"\nsync = { every = \"90m\" }", "discover = \"off\"\nsync = \"*/30 * * * *\""];
    let lines: Vec<_> = lines.iter().enumerate().map(|(n, line)| (format!("c{n}"), (*line).to_owned())).collect();
    for (by, again) in [(24 * 365, -24 * 365), (-2, 2), (-24 * 365, 24 * 365)] {
        let mut world = World::new(connections(&lines), at("2026-06-01T12:00:00Z"));
        world.longest = 60;
        world.run_until(world.now + SignedDuration::from_hours(3));
        for hours in [by, again] {
            world.set_clock(world.now + SignedDuration::from_hours(hours));
            let from = world.now;
            world.starts.clear();
            world.run_until(from + SignedDuration::from_hours(25));
            let of = |name: &str, kind| world.of(name, kind);
            for (name, kind, minutes) in [("c0", OperationKind::Sync, 90), ("c1", OperationKind::Sync, 46)] {
                let starts = of(name, kind);
                let first = starts.first().unwrap_or_else(|| panic!("{name} never ran after {hours} hours"));
                assert!(first.duration_since(from) <= SignedDuration::from_mins(minutes), "{name}: {first} after {hours} hours");
                let runs = 25 * 60 / if name == "c0" { 90 } else { 30 };
                assert!((runs..=runs + 3).contains(&starts.len()), "{name}: {} runs in 25 hours after {hours} hours", starts.len());
            }
            assert!(!of("c0", OperationKind::Discover).is_empty(), "the discover of each day, after {hours} hours");
        }
        // And a process that starts then reads nothing else.
        world.boot();
        let ahead = world.table.rows().iter().map(|row| row.due.duration_since(world.now)).max().expect("rows");
        assert!(ahead <= SignedDuration::from_hours(25), "{ahead:?}");
    }
}

#[test]
fn an_interval_keeps_what_it_still_had_to_wait_when_the_clock_is_set_back() {
    let config = connections(&[("c".to_owned(), "discover = \"off\"\nsync = { every = \"6h\" }".to_owned())]);
    let now = at("2026-06-01T12:00:00Z");
    let mut table = Timetable::new(config.connections.iter().map(AsRef::as_ref), &[], |_, _| None, now, now, 8);
    assert_eq!(table.tick(now, &BTreeMap::new(), &BTreeMap::new()).starts.len(), 1);
    let later = now + SignedDuration::from_hours(5);
    assert_eq!(table.notice(later), []);
    let back = later - SignedDuration::from_hours(2);
    let rescheduled = table.notice(back);
    assert_eq!(rescheduled.iter().map(|row| row.due).collect::<Vec<_>>(), [back + SignedDuration::from_hours(1)], "it had an hour to wait");
}

#[test]
fn three_hundred_connections_of_one_minute_keep_up_and_no_host_is_stormed() {
    let lines: Vec<_> = (0..300).map(|n| (format!("c{n}"), "discover = \"off\"\nsync = { every = \"1m\" }".to_owned())).collect();
    let mut world = World::new(connections(&lines), at("2026-06-01T12:00:00Z"));
    // Syncs of one to three seconds.
    (world.shortest, world.longest) = (1, 3);
    world.table.at_once = 16;
    world.run_until(at("2026-06-01T13:00:00Z"));
    assert_eq!(world.skips, []);
    for n in 0..300 {
        let runs = world.of(&format!("c{n}"), OperationKind::Sync).len();
        assert!((59..=61).contains(&runs), "c{n} ran {runs} times in an hour");
    }
    // All on one host: four starts in ten seconds, whatever the periods ask for.
    let config = connections(&lines);
    let now = at("2026-06-01T12:00:00Z");
    let mut table = Timetable::new(config.connections.iter().map(AsRef::as_ref), &[], |_, _| None, now, now, 16);
    table.entries.iter_mut().for_each(|entry| entry.host = "one.example:443".to_owned());
    let mut starts = 0;
    for second in 0..10 {
        starts += table.tick(now + SignedDuration::from_secs(second), &BTreeMap::new(), &BTreeMap::new()).starts.len();
    }
    assert_eq!(starts, MAX_STARTS_PER_WINDOW);
}

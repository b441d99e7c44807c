//! What the simulated hub holds, and how it moves.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    ACCOUNT, REGIONS, finding,
    finding::{Place, Provider},
    query::{Columns, Listing, Query, Sort, Words},
};
use crate::{
    Change, Size,
    seed::{Seed, share},
};

/// How many listings are remembered; a token of one that is forgotten has expired.
const LISTINGS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct World {
    seed: u64,
    pub(super) step: u64,
    /// What may be a record: an account in a region.
    pub(super) places: Vec<Place>,
    pub(super) rows: Vec<Row>,
    pub(super) words: Words,
    /// Rows by the hash of their `Id`.
    ids: HashMap<u64, Vec<u32>>,
    /// Orders of the rows in this step.
    orders: Vec<(Sort, Arc<Vec<u32>>)>,
    /// The one used last comes last.
    pub(super) listings: Vec<Listing>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) body: String,
    pub(super) columns: Columns,
    pub(super) place: usize,
    provider: Provider,
    pub(super) key: String,
    pub(super) severity: &'static str,
    /// `None` for a sample, which is no finding.
    pub(super) state: Option<&'static str>,
    /// Whether a client that synced fully after every step has met it open.
    pub(super) ever_open: bool,
    pub(super) listed: bool,
}

impl World {
    pub(super) fn new(size: Size) -> Self {
        let mut world = World { seed: size.seed, ..World::default() };
        let records = size.records.max(4);
        let regions = &REGIONS[..(records / 2).clamp(3, REGIONS.len())];
        let accounts =
            (0..).map(|n: u64| (n, if n == 0 { ACCOUNT.to_owned() } else { format!("{:012}", 210_000_000_000 + 1_000_000_007 * n) }));
        let places = accounts.flat_map(|(n, account)| {
            let name = [Some("Security"), Some("Production <EU>"), None][usize::try_from(n % 3).unwrap_or(0)];
            let here = regions.iter().enumerate().filter(move |(r, _)| n == 0 || *r != 2);
            here.map(move |(_, region)| Place { account: account.clone(), name, region })
        });
        world.places = places.take(records).collect();
        let mut left = size.findings;
        for number in 0..records {
            let findings = match number {
                1 => 5.min(left),
                2 => 0,
                n if n + 1 == records => left,
                n => (left / (records - n)).saturating_mul(2 * (n % 2) + 1).div_ceil(2).min(left),
            };
            left -= findings;
            world.fill(number, findings);
        }
        world
    }

    /// Adds this many open findings to a place, and 3 % more that are closed already.
    fn fill(&mut self, place: usize, open: usize) {
        for number in 0..open + open * 3 / 100 {
            self.add(place, number, number >= open, None);
        }
    }

    fn add(&mut self, place: usize, number: usize, is_closed: bool, now: Option<&str>) {
        let mut seed = Seed::of(&[self.seed, 21, place as u64, self.step, number as u64]);
        let (provider, mut body) = finding::finding(&mut seed, &self.places[place], self.step, number);
        if is_closed {
            provider.close_first(&mut body, number / 3);
        }
        if let Some(now) = now {
            body["UpdatedAt"] = json!(now);
        }
        let Place { account, region, .. } = &self.places[place];
        let (product, id) = (body["ProductArn"].as_str().unwrap_or_default(), body["Id"].as_str().unwrap_or_default());
        let key = format!("{account}:{region}/{product}/{id}");
        let (severity, state) = finding::truth(&body);
        let columns = Columns::of(&body, &mut self.words);
        let row = u32::try_from(self.rows.len()).expect("fewer than four billion findings");
        self.ids.entry(hash_of(&columns.id)).or_default().push(row);
        let ever_open = state == Some("open");
        self.rows.push(Row { body: body.to_string(), columns, place, provider, key, severity, state, ever_open, listed: true });
    }

    fn edit(&mut self, row: usize, edit: impl FnOnce(Provider, &mut Value)) {
        let row = &mut self.rows[row];
        let mut body: Value = serde_json::from_str(&row.body).expect("our own JSON");
        edit(row.provider, &mut body);
        (row.severity, row.state) = finding::truth(&body);
        row.ever_open |= row.state == Some("open");
        row.columns = Columns::of(&body, &mut self.words);
        row.body = body.to_string();
    }

    pub(super) fn step(&mut self, change: &Change, sees: impl Fn(&Place) -> bool) {
        self.step += 1;
        self.orders.clear();
        // A provider's time is a little before its update arrives.
        let now = Timestamp::now().saturating_sub(SignedDuration::from_secs(2)).unwrap_or_default();
        let now = now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let seen: Vec<usize> =
            (0..self.rows.len()).filter(|row| self.rows[*row].listed && sees(&self.places[self.rows[*row].place])).collect();
        let mut places: Vec<usize> = seen.iter().map(|row| self.rows[*row].place).collect();
        places.sort_unstable();
        places.dedup();
        let is_put_aside = |row: &Row| {
            matches!(row.state, Some("risk_accepted" | "false_positive"))
                || row.state == Some("fixed") && row.body.contains(r#""Status":"RESOLVED""#)
        };
        let mut aside: Vec<usize> = seen.iter().copied().filter(|row| is_put_aside(&self.rows[*row])).collect();
        let mut open: Vec<usize> = seen.into_iter().filter(|row| self.rows[*row].state == Some("open")).collect();
        let total = open.len();
        let mut seed = Seed::of(&[self.seed, 22, self.step]);
        let share = |percent| share(total, percent);
        let mut take = |from: &mut Vec<usize>, count| seed.draw(from, count);
        for (n, row) in take(&mut open, share(change.fixed)).into_iter().enumerate() {
            self.edit(row, |provider, body| {
                provider.fix(body, n);
                body["UpdatedAt"] = json!(now);
            });
        }
        for n in 0..share(change.changed) {
            match n % 4 {
                1 | 2 => {
                    for row in take(&mut open, 1) {
                        self.edit(row, |_, body| finding::triage(body, n / 4 * 2 + n % 4 - 1, &now));
                    }
                }
                3 if !aside.is_empty() => {
                    for row in take(&mut aside, 1) {
                        self.edit(row, |_, body| finding::take_up(body));
                    }
                }
                _ => {
                    for row in take(&mut open, 1) {
                        self.edit(row, |_, body| {
                            finding::rerate(body);
                            body["UpdatedAt"] = json!(now);
                        });
                    }
                }
            }
        }
        for row in take(&mut open, share(change.vanished)) {
            self.rows[row].listed = false;
        }
        for number in 0..share(change.new).min(if places.is_empty() { 0 } else { usize::MAX }) {
            self.add(places[number % places.len()], number, false, Some(&now));
        }
    }

    /// The listing that a request goes on with, taken out of the list; `None` when its data are of an earlier step and it
    /// has been forgotten.
    pub(super) fn listing(&mut self, query: Query, step: u64, sees: impl Fn(&Place) -> bool) -> Option<Listing> {
        let known = self.listings.iter().position(|listing| listing.generation == step && listing.query.hash == query.hash);
        if let Some(known) = known {
            return Some(self.listings.remove(known));
        }
        if step != self.step {
            return None;
        }
        if self.listings.len() >= LISTINGS {
            self.listings.remove(0);
        }
        let is_seen = |row: &u32| self.rows.get(*row as usize).is_some_and(|row| row.listed && sees(&self.places[row.place]));
        let columns = |row: u32| &self.rows[row as usize].columns;
        let order = if let Some(ids) = query.ids() {
            let mut rows: Vec<u32> = ids.iter().filter_map(|id| self.ids.get(&hash_of(id))).flatten().copied().filter(is_seen).collect();
            rows.sort_unstable();
            rows.dedup();
            query.sort.order(&mut rows, &self.words, columns);
            Arc::new(rows)
        } else if let Some((_, order)) = self.orders.iter().find(|(sort, _)| *sort == query.sort) {
            order.clone()
        } else {
            let all = 0..u32::try_from(self.rows.len()).expect("fewer than four billion findings");
            let mut rows: Vec<u32> = all.filter(is_seen).collect();
            query.sort.order(&mut rows, &self.words, columns);
            let order = Arc::new(rows);
            self.orders.push((query.sort.clone(), order.clone()));
            order
        };
        Some(Listing::new(step, query, order))
    }
}

fn hash_of(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

//! The parameters of `api/issues/search`: read once into typed filters, then compared row by row.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::{
    Params, Refused,
    data::{
        DAY, Edition, IMPACT_SEVERITIES, ISSUE_STATUSES, Project, QUALITIES, RESOLUTIONS, Row, SANDBOX, SEVERITIES, STATES, STATUSES,
        TYPES, World,
    },
};

const FACETS: &[&str] = &[
    "severities",
    "impactSeverities",
    "impactSoftwareQualities",
    "types",
    "statuses",
    "resolutions",
    "issueStatuses",
    "rules",
    "languages",
    "cwe",
    "projects",
    "scopes",
    "files",
    "directories",
    "fileUuids",
];

/// What is asked for. A list that was not given is `None`: everything fits.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// Numbers of projects, each with the path of the folder or file that was asked for ("" = all).
    pub(super) projects: Vec<(usize, String)>,
    branch: Option<String>,
    types: Option<u16>,
    severities: Option<u16>,
    qualities: Option<u16>,
    impact_severities: Option<u16>,
    /// By number of the state.
    statuses: Option<u16>,
    resolutions: Option<u16>,
    issue_statuses: Option<u16>,
    resolved: Option<bool>,
    created_after: Option<i64>,
    created_before: Option<i64>,
    created_at: Option<i64>,
    rules: Option<HashSet<u16>>,
    languages: Option<HashSet<String>>,
    cwe: Option<HashSet<String>>,
    files: Option<HashSet<String>>,
    directories: Option<HashSet<String>>,
    keys: Option<HashSet<String>>,
    is_test: Option<bool>,
    /// Only what is on the components themselves, not on their files.
    own: bool,
}

fn list<'a>(params: &'a Params, name: &str) -> Option<Vec<&'a str>> {
    params.get(name).filter(|text| !text.is_empty()).map(|text| text.split(',').map(str::trim).collect())
}

fn texts(params: &Params, name: &str) -> Option<HashSet<String>> {
    list(params, name).map(|words| words.into_iter().map(str::to_owned).collect())
}

/// Refuses a word that the parameter does not know, in the tool's words.
pub(super) fn known<'a>(name: &str, word: &'a str, known: &[&str]) -> Result<&'a str, Refused> {
    if known.contains(&word) {
        Ok(word)
    } else {
        Err(Refused::bad(format!("Value of parameter '{name}' ({word}) must be one of: [{}]", known.join(", "))))
    }
}

/// The numbers of the words asked for, as bits.
fn bits(params: &Params, name: &str, words: &[&str]) -> Result<Option<u16>, Refused> {
    let Some(asked) = list(params, name) else { return Ok(None) };
    let mut bits = 0;
    for word in asked {
        known(name, word, words)?;
        bits |= 1 << words.iter().position(|known| *known == word).unwrap_or(0);
    }
    Ok(Some(bits))
}

/// The states of which a word was asked for, as bits.
fn states(params: &Params, name: &str, words: &[&str], of: impl Fn(usize) -> &'static str) -> Result<Option<u16>, Refused> {
    let Some(asked) = list(params, name) else { return Ok(None) };
    for word in &asked {
        known(name, word, words)?;
    }
    Ok(Some((0..STATES.len()).filter(|state| asked.contains(&of(*state))).fold(0, |bits, state| bits | 1 << state)))
}

/// A date or a date with time; a date as the end of a span includes its whole day.
fn time(params: &Params, name: &str, is_end: bool) -> Result<Option<i64>, Refused> {
    let Some(text) = params.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    if let Ok(time) = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%z", text).and_then(|parsed| parsed.to_timestamp()) {
        return Ok(Some(time.as_second()));
    }
    let day = jiff::civil::Date::strptime("%Y-%m-%d", text).and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC));
    match day {
        Ok(day) => Ok(Some(day.timestamp().as_second() + if is_end { DAY } else { 0 })),
        Err(_) => Err(Refused::bad(format!("Date '{text}' cannot be parsed as either a date or date+time"))),
    }
}

/// The beginning of `createdInLast`, such as `1m2w` (months of 30 days are near enough here).
fn in_last(text: &str) -> Result<i64, Refused> {
    let (mut seconds, mut digits) = (0, String::new());
    for letter in text.chars() {
        let unit = match letter {
            'y' => 365,
            'm' => 30,
            'w' => 7,
            'd' => 1,
            _ => {
                digits.push(letter);
                continue;
            }
        };
        let number: i64 = digits.parse().map_err(|_| Refused::bad(format!("'{text}' cannot be parsed as a period")))?;
        seconds += number * unit * DAY;
        digits.clear();
    }
    Ok(super::data::now() - seconds)
}

impl Filter {
    pub(super) fn read(params: &Params, edition: Edition, world: &World, sees: impl Fn(&Project) -> bool) -> Result<Self, Refused> {
        let mut filter = Filter {
            branch: params.get("branch").or_else(|| params.get("pullRequest")).cloned(),
            types: bits(params, "types", TYPES)?,
            severities: bits(params, "severities", SEVERITIES)?,
            statuses: states(params, "statuses", STATUSES, |state| STATES[state].0)?,
            resolutions: states(params, "resolutions", RESOLUTIONS, |state| STATES[state].1)?,
            resolved: match list(params, "resolved") {
                Some(word) => Some(matches!(known("resolved", word[0], &["true", "false", "yes", "no"])?, "true" | "yes")),
                None => None,
            },
            created_after: time(params, "createdAfter", false)?,
            created_before: time(params, "createdBefore", true)?,
            created_at: time(params, "createdAt", false)?,
            languages: texts(params, "languages"),
            cwe: texts(params, "cwe"),
            keys: texts(params, "issues"),
            ..Filter::default()
        };
        if !edition.old {
            let mut words = ISSUE_STATUSES.to_vec();
            words.extend(edition.sandbox().then_some(SANDBOX));
            filter.issue_statuses = states(params, "issueStatuses", &words, |state| STATES[state].2)?;
            filter.qualities = bits(params, "impactSoftwareQualities", QUALITIES)?;
            filter.impact_severities = bits(params, "impactSeverities", IMPACT_SEVERITIES)?;
        }
        if !edition.cloud {
            filter.files = texts(params, "files");
            filter.directories = texts(params, "directories");
            filter.own = params.get("onComponentOnly").is_some_and(|word| word == "true");
            filter.is_test = bits(params, "scopes", &["MAIN", "TEST"])?.filter(|bits| *bits < 3).map(|bits| bits == 2);
        }
        if let Some(asked) = list(params, "rules") {
            let rules = (0..).zip(&world.rules).filter(|(_, rule)| asked.contains(&rule.key.as_str()));
            filter.rules = Some(rules.map(|(number, _)| number).collect());
        }
        filter.read_span(params, edition)?;
        filter.read_projects(params, edition, world, sees)?;
        Ok(filter)
    }

    /// Completes and checks the span in which issues were created.
    fn read_span(&mut self, params: &Params, edition: Edition) -> Result<(), Refused> {
        if let Some(period) = params.get("createdInLast") {
            if self.created_after.is_some() {
                return Err(Refused::bad("Parameters createdAfter and createdInLast cannot be set simultaneously"));
            }
            self.created_after = Some(in_last(period)?);
        }
        if self.created_after.is_some_and(|after| after > super::data::now()) {
            return Err(Refused::bad("Start bound cannot be in the future"));
        }
        if self.created_after.zip(self.created_before).is_some_and(|(after, before)| after >= before) {
            return Err(Refused::bad("Start bound cannot be larger or equal to end bound"));
        }
        if edition.cloud {
            // There the end belongs to the span.
            self.created_before = self.created_before.map(|before| before + 1);
        }
        Ok(())
    }

    /// The projects, folders and files whose issues are asked for.
    fn read_projects(&mut self, params: &Params, edition: Edition, world: &World, sees: impl Fn(&Project) -> bool) -> Result<(), Refused> {
        // A parameter that this version does not know is ignored: then the issues of all projects come.
        let components = if edition.old || edition.cloud { None } else { list(params, "components") };
        match components.or_else(|| list(params, "componentKeys")) {
            Some(keys) => {
                self.projects = keys.into_iter().filter_map(|key| find(world, key)).filter(|(n, _)| sees(&world.projects[*n])).collect();
            }
            None => {
                if edition.cloud && !params.contains_key("organization") {
                    return Err(Refused::bad("The 'organization' parameter is missing"));
                }
                let seen = world.projects.iter().enumerate().filter(|(_, project)| sees(project));
                self.projects = seen.map(|(number, _)| (number, String::new())).collect();
            }
        }
        if edition.cloud && params.get("organization").is_some_and(|key| key != super::ORGANIZATION) {
            self.projects.clear();
        }
        if edition.community && self.branch.is_some() {
            self.projects.clear();
        }
        Ok(())
    }

    fn without(&self, facet: &str) -> Filter {
        let mut filter = self.clone();
        match facet {
            "severities" => filter.severities = None,
            "impactSeverities" => filter.impact_severities = None,
            "impactSoftwareQualities" => filter.qualities = None,
            "types" => filter.types = None,
            "statuses" => filter.statuses = None,
            "resolutions" => filter.resolutions = None,
            "issueStatuses" => filter.issue_statuses = None,
            "rules" => filter.rules = None,
            "languages" => filter.languages = None,
            "cwe" => filter.cwe = None,
            "scopes" => filter.is_test = None,
            "files" => filter.files = None,
            "directories" => filter.directories = None,
            _ => {}
        }
        filter
    }

    fn fits(&self, world: &World, project: &Project, branch: u8, path: &str, row: &Row) -> bool {
        let has = |bits: Option<u16>, number: u8| bits.is_none_or(|bits| bits & (1 << number) != 0);
        let has_text = |words: &Option<HashSet<String>>, word: &str| words.as_ref().is_none_or(|words| words.contains(word));
        let rule = &world.rules[usize::from(row.rule)];
        row.listed
            && row.branch == branch
            && has(self.types, row.kind)
            && has(self.severities, row.severity)
            && has(self.statuses, row.state)
            && has(self.resolutions, row.state)
            && has(self.issue_statuses, row.state)
            && self.resolved.is_none_or(|resolved| resolved != STATES[usize::from(row.state)].1.is_empty())
            && ((self.qualities.is_none() && self.impact_severities.is_none())
                || row.impacts.iter().any(|(quality, severity)| has(self.qualities, *quality) && has(self.impact_severities, *severity)))
            && self.created_after.is_none_or(|after| row.created >= after)
            && self.created_before.is_none_or(|before| row.created < before)
            && self.created_at.is_none_or(|at| row.created == at)
            && (!self.own || row.file == 0)
            && self.is_test.is_none_or(|is_test| row.test == is_test)
            && self.rules.as_ref().is_none_or(|rules| rules.contains(&row.rule))
            && has_text(&self.languages, rule.language)
            && (self.cwe.is_none() || has_text(&self.cwe, &rule.cwe.to_string()))
            && has_text(&self.files, &project.files[row.file as usize].path)
            && has_text(&self.directories, &project.files[row.file as usize].directory)
            && has_text(&self.keys, &row.key)
            && (path.is_empty()
                || project.files[row.file as usize].path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// The number of the branch asked for in a project.
    fn branch(&self, project: &Project) -> Option<u8> {
        let Some(name) = &self.branch else { return Some(0) };
        project.branches.iter().position(|(known, _)| known == name).and_then(|number| u8::try_from(number).ok())
    }

    fn of<'a>(&'a self, world: &'a World) -> impl Iterator<Item = (&'a Project, u8, &'a str)> {
        let known = self.projects.iter().map(|(number, path)| (&world.projects[*number], path));
        known.filter_map(|(project, path)| Some((project, self.branch(project)?, path.as_str())))
    }

    /// All that fit, in the order asked for, as numbers of project and row.
    pub(super) fn rows(&self, world: &World, params: &Params) -> Result<Vec<(u32, u32)>, Refused> {
        const SORTS: &[&str] = &["CREATION_DATE", "UPDATE_DATE", "CLOSE_DATE", "SEVERITY", "STATUS", "FILE_LINE", "HOTSPOTS"];
        let sort = match params.get("s") {
            Some(word) => known("s", word, SORTS)?,
            None => "",
        };
        // The newest first unless an order is asked for, which then ascends.
        let ascends = if sort.is_empty() { false } else { params.get("asc").is_none_or(|word| word == "true" || word == "yes") };
        let mut rows = Vec::new();
        for (p, path) in &self.projects {
            let project = &world.projects[*p];
            let Some(branch) = self.branch(project) else { continue };
            let order = if sort == "UPDATE_DATE" { &project.by_update } else { &project.by_creation };
            let p = u32::try_from(*p).unwrap_or(0);
            let fits = |n: &u32| self.fits(world, project, branch, path, &project.rows[*n as usize]).then_some((p, *n));
            if ascends { rows.extend(order.iter().filter_map(fits)) } else { rows.extend(order.iter().rev().filter_map(fits)) }
        }
        let mut order = |compare: fn(&Project, &Row, &Project, &Row) -> std::cmp::Ordering| {
            rows.sort_by(|a, b| {
                let ((p, a), (q, b)) = (world.row(*a), world.row(*b));
                let order = compare(p, a, q, b).then_with(|| a.key.cmp(&b.key));
                if ascends { order } else { order.reverse() }
            });
        };
        match sort {
            "CLOSE_DATE" => order(|_, a, _, b| a.closed.cmp(&b.closed)),
            "SEVERITY" => order(|_, a, _, b| a.severity.cmp(&b.severity)),
            "STATUS" => order(|_, a, _, b| a.state.cmp(&b.state)),
            "FILE_LINE" => order(|p, a, q, b| (&p.key, a.file, a.line).cmp(&(&q.key, b.file, b.line))),
            // The rows of one project are in these orders already.
            _ if self.projects.len() == 1 => {}
            "UPDATE_DATE" => order(|_, a, _, b| a.updated.cmp(&b.updated)),
            _ => order(|_, a, _, b| a.created.cmp(&b.created)),
        }
        Ok(rows)
    }

    /// The facets asked for: each counts as if its own parameter had not been given, and knows a hundred values at most.
    pub(super) fn facets(&self, world: &World, params: &Params, edition: Edition) -> Result<Vec<Value>, Refused> {
        let mut facets = Vec::new();
        let of_version = |facet: &&str| match *facet {
            "files" | "scopes" => !edition.cloud,
            "fileUuids" => edition.cloud,
            "impactSeverities" | "impactSoftwareQualities" | "issueStatuses" => !edition.old,
            _ => true,
        };
        let words: Vec<&str> = FACETS.iter().copied().filter(of_version).collect();
        for facet in list(params, "facets").unwrap_or_default() {
            known("facets", facet, &words)?;
            let of_project = ["files", "directories", "fileUuids"].contains(&facet);
            if of_project && !params.contains_key("componentKeys") && !params.contains_key("components") {
                return Err(Refused::bad(format!("Facet(s) '{facet}' require to also filter by project")));
            }
            let filter = self.without(facet);
            let mut counts: HashMap<String, usize> = HashMap::new();
            for (project, branch, path) in filter.of(world) {
                for row in project.rows.iter().filter(|row| filter.fits(world, project, branch, path, row)) {
                    filter.values(facet, world, project, row, |value| match counts.get_mut(value) {
                        Some(count) => *count += 1,
                        None => _ = counts.insert(value.to_owned(), 1),
                    });
                }
            }
            let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
            counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            counts.truncate(100);
            let values: Vec<Value> = counts.into_iter().map(|(value, count)| json!({ "val": value, "count": count })).collect();
            facets.push(json!({ "property": facet, "values": values }));
        }
        Ok(facets)
    }

    fn values(&self, facet: &str, world: &World, project: &Project, row: &Row, mut count: impl FnMut(&str)) {
        let (state, rule, file) = (&STATES[usize::from(row.state)], &world.rules[usize::from(row.rule)], &project.files[row.file as usize]);
        let has = |bits: Option<u16>, number: u8| bits.is_none_or(|bits| bits & (1 << number) != 0);
        match facet {
            "severities" => count(SEVERITIES[usize::from(row.severity)]),
            "types" => count(TYPES[usize::from(row.kind)]),
            "statuses" => count(state.0),
            "resolutions" => count(state.1),
            "issueStatuses" => count(state.2),
            "rules" => count(&rule.key),
            "languages" => count(rule.language),
            "cwe" if rule.cwe > 0 => count(&rule.cwe.to_string()),
            "projects" => count(&project.key),
            "scopes" => count(if row.test { "TEST" } else { "MAIN" }),
            "files" if row.file > 0 => count(&file.path),
            "directories" if row.file > 0 => count(&file.directory),
            "fileUuids" => count(&file.uuid),
            // An issue counts once for each word, whatever number of its impacts has it.
            "impactSeverities" => {
                let mut words: Vec<u8> = row.impacts.iter().filter(|impact| has(self.qualities, impact.0)).map(|impact| impact.1).collect();
                words.sort_unstable();
                words.dedup();
                words.into_iter().for_each(|word| count(IMPACT_SEVERITIES[usize::from(word)]));
            }
            "impactSoftwareQualities" => {
                let impacts = row.impacts.iter().filter(|impact| has(self.impact_severities, impact.1));
                impacts.for_each(|impact| count(QUALITIES[usize::from(impact.0)]));
            }
            _ => {}
        }
    }
}

/// The project of a component's key, with the path in it; the keys of projects may have colons themselves.
pub(super) fn find(world: &World, key: &str) -> Option<(usize, String)> {
    let exact = world.projects.iter().position(|project| project.key == key);
    let inside = || {
        let rest = |project: &Project| Some(key.strip_prefix(&project.key)?.strip_prefix(':')?.to_owned());
        world.projects.iter().enumerate().find_map(|(number, project)| Some((number, rest(project)?)))
    };
    exact.map(|number| (number, String::new())).or_else(inside)
}

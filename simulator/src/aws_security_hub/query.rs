//! `GetFindings`: its parameters, checked as AWS checks them, and their evaluation over typed columns.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

/// Filters over text with few distinct values, and where the finding has it. Lists are one word, joined by line feeds.
const WORDS: [(&str, &str); 16] = [
    ("ProductArn", "/ProductArn"),
    ("AwsAccountId", "/AwsAccountId"),
    ("AwsAccountName", "/AwsAccountName"),
    ("Region", "/Region"),
    ("GeneratorId", "/GeneratorId"),
    ("Type", "/Types"),
    ("ResourceType", "/Resources"),
    ("SeverityLabel", "/Severity/Label"),
    ("FindingProviderFieldsSeverityLabel", "/FindingProviderFields/Severity/Label"),
    ("ProductName", "/ProductName"),
    ("CompanyName", "/CompanyName"),
    ("ComplianceStatus", "/Compliance/Status"),
    ("ComplianceSecurityControlId", "/Compliance/SecurityControlId"),
    ("WorkflowStatus", "/Workflow/Status"),
    ("RecordState", "/RecordState"),
    ("VerificationState", "/VerificationState"),
];
const DATES: [&str; 5] = ["UpdatedAt", "CreatedAt", "FirstObservedAt", "LastObservedAt", "NoteUpdatedAt"];

/// The distinct words of all columns; number 0 is the absent one.
#[derive(Debug)]
pub(super) struct Words {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Default for Words {
    fn default() -> Self {
        let mut words = Words { texts: Vec::new(), numbers: HashMap::new() };
        words.number("");
        words
    }
}

impl Words {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let (number, text) = (u32::try_from(self.texts.len()).expect("few words"), Arc::<str>::from(text));
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        number
    }
}

/// What filters and sorting need of one finding.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    words: [u32; WORDS.len()],
    /// Microseconds; `None` where the finding has no such time.
    dates: [Option<i64>; DATES.len()],
    normalized: u32,
    sample: bool,
    pub(super) id: Box<str>,
    resources: Box<str>,
}

impl Columns {
    pub(super) fn of(body: &Value, words: &mut Words) -> Self {
        let list = |value: &Value, member: Option<&str>| -> String {
            let texts = value.as_array().into_iter().flatten().filter_map(|item| member.map_or(item, |name| &item[name]).as_str());
            texts.collect::<Vec<_>>().join("\n")
        };
        let columns = WORDS.map(|(name, pointer)| match body.pointer(pointer) {
            Some(value) if name == "ResourceType" => words.number(&list(value, Some("Type"))),
            Some(Value::String(text)) => words.number(text),
            Some(value) => words.number(&list(value, None)),
            None => 0,
        });
        let date = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok()).map(Timestamp::as_microsecond);
        Columns {
            words: columns,
            dates: DATES.map(|name| if name == "NoteUpdatedAt" { date(&body["Note"]["UpdatedAt"]) } else { date(&body[name]) }),
            normalized: body["Severity"]["Normalized"].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0),
            sample: body["Sample"] == Value::Bool(true),
            id: body["Id"].as_str().unwrap_or_default().into(),
            resources: list(&body["Resources"], Some("Id")).into(),
        }
    }
}

/// The comparisons on one text attribute.
#[derive(Clone, Debug, Default)]
struct Texts {
    equals: Vec<String>,
    prefixes: Vec<String>,
    not_equals: Vec<String>,
    not_prefixes: Vec<String>,
}

impl Texts {
    /// A list of values fits when any of them is wanted and none is unwanted. What is absent fits nothing, not even a `NOT_`.
    fn fits(&self, text: &str) -> bool {
        if text.is_empty() {
            return false;
        }
        let wanted = self.equals.is_empty() && self.prefixes.is_empty()
            || text.split('\n').any(|text| {
                self.equals.iter().any(|value| value == text) || self.prefixes.iter().any(|value| text.starts_with(value.as_str()))
            });
        wanted
            && !text.split('\n').any(|text| {
                self.not_equals.iter().any(|value| value == text) || self.not_prefixes.iter().any(|value| text.starts_with(value.as_str()))
            })
    }
}

#[derive(Debug)]
enum Condition {
    /// Column, comparisons, and the verdict over every word known when the query was read.
    Word(usize, Texts, Vec<bool>),
    Id(Texts),
    Resource(Texts),
    /// Column and windows in microseconds, both ends inclusive.
    Date(usize, Vec<(i64, i64)>),
    /// Windows of the normalized severity, both ends inclusive.
    Normalized(Vec<(f64, f64)>),
    Sample(Vec<bool>),
}

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Word(usize),
    Date(usize),
    Normalized,
    Id,
}

/// The sort criteria of a query: its fields, each ascending or descending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sort(Vec<(Field, bool)>);

impl Sort {
    /// Puts row numbers in order; rows that are alike keep the order of their numbers.
    pub(super) fn order<'a>(&self, rows: &mut [u32], words: &Words, columns: impl Fn(u32) -> &'a Columns) {
        rows.sort_by(|left, right| {
            let (a, b) = (columns(*left), columns(*right));
            let mut orders = self.0.iter().map(|(field, ascending)| {
                let order = match *field {
                    Field::Word(n) => words.texts[a.words[n] as usize].cmp(&words.texts[b.words[n] as usize]),
                    Field::Date(n) => a.dates[n].cmp(&b.dates[n]),
                    Field::Normalized => a.normalized.cmp(&b.normalized),
                    Field::Id => a.id.cmp(&b.id),
                };
                if *ascending { order } else { order.reverse() }
            });
            orders.find(|order| order.is_ne()).unwrap_or_else(|| left.cmp(right))
        });
    }
}

/// A checked request.
#[derive(Debug)]
pub(super) struct Query {
    conditions: Vec<Condition>,
    pub(super) sort: Sort,
    pub(super) size: usize,
    pub(super) token: Option<String>,
    /// Of all parameters but the token.
    pub(super) hash: u64,
}

impl Query {
    /// Reads the parameters; the error is AWS's message.
    pub(super) fn read(mut body: Map<String, Value>, words: &Words, now: Timestamp) -> Result<Self, String> {
        let token = match body.remove("NextToken") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => return Err("Invalid parameter 'NextToken'.".to_owned()),
        };
        let mut hasher = DefaultHasher::new();
        Value::Object(body.clone()).to_string().hash(&mut hasher);
        let mut query = Query { conditions: Vec::new(), sort: Sort::default(), size: 10, token, hash: hasher.finish() };
        for (name, value) in body {
            match (name.as_str(), value) {
                ("Filters" | "SortCriteria" | "MaxResults", Value::Null) => {}
                ("Filters", Value::Object(filters)) => query.conditions = conditions(filters, words, now)?,
                ("SortCriteria", Value::Array(criteria)) => {
                    query.sort = Sort(criteria.iter().map(criterion).collect::<Result<_, _>>()?);
                }
                ("MaxResults", value) => {
                    let size = value.as_u64().filter(|size| (1..=100).contains(size)).and_then(|size| usize::try_from(size).ok());
                    query.size = size.ok_or_else(|| format!("Invalid parameter 'MaxResults': {value} is not between 1 and 100."))?;
                }
                (name, _) => return Err(format!("Invalid parameter '{name}'.")),
            }
        }
        Ok(query)
    }

    /// The same question without what narrows it, and not to be confused with it.
    pub(super) fn everything(self) -> Self {
        Query { conditions: Vec::new(), hash: !self.hash, ..self }
    }

    /// Whether every condition holds.
    pub(super) fn fits(&self, columns: &Columns, words: &Words) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Word(n, texts, verdicts) => {
                let word = columns.words[*n] as usize;
                verdicts.get(word).copied().unwrap_or_else(|| texts.fits(&words.texts[word]))
            }
            Condition::Id(texts) => texts.fits(&columns.id),
            Condition::Resource(texts) => texts.fits(&columns.resources),
            Condition::Date(n, windows) => {
                columns.dates[*n].is_some_and(|at| windows.iter().any(|(start, end)| (*start..=*end).contains(&at)))
            }
            Condition::Normalized(windows) => {
                let number = f64::from(columns.normalized);
                windows.iter().any(|(low, high)| (*low..=*high).contains(&number))
            }
            Condition::Sample(values) => values.contains(&columns.sample),
        })
    }

    /// The ids asked for, where the query names whole ids: nothing else has to be looked at.
    pub(super) fn ids(&self) -> Option<&[String]> {
        self.conditions.iter().find_map(|condition| match condition {
            Condition::Id(texts) if !texts.equals.is_empty() && texts.prefixes.is_empty() => Some(texts.equals.as_slice()),
            _ => None,
        })
    }
}

fn criterion(value: &Value) -> Result<(Field, bool), String> {
    let name = value["Field"].as_str().unwrap_or_default();
    let ascending = match value["SortOrder"].as_str() {
        Some("asc") | None => true,
        Some("desc") => false,
        Some(other) => return Err(format!("Invalid parameter 'SortCriteria': SortOrder '{other}' is not one of [asc, desc].")),
    };
    let field = match name {
        "Id" => Some(Field::Id),
        "SeverityNormalized" => Some(Field::Normalized),
        _ => WORDS
            .iter()
            .position(|(known, _)| *known == name)
            .map(Field::Word)
            .or_else(|| DATES.iter().position(|known| *known == name).map(Field::Date)),
    };
    field.map(|field| (field, ascending)).ok_or_else(|| format!("Invalid parameter 'SortCriteria': '{name}' cannot be sorted by."))
}

fn conditions(filters: Map<String, Value>, words: &Words, now: Timestamp) -> Result<Vec<Condition>, String> {
    let filters: Vec<(String, Vec<Value>)> = filters
        .into_iter()
        .filter_map(|(name, value)| match value {
            Value::Null => None,
            Value::Array(values) if values.is_empty() => None,
            Value::Array(values) => Some(Ok((name, values))),
            _ => Some(Err(format!("Invalid parameter 'Filters': '{name}' must be a list."))),
        })
        .collect::<Result<_, _>>()?;
    if filters.len() > 10 {
        return Err("Invalid parameter 'Filters': a maximum of 10 attributes can be specified.".to_owned());
    }
    let mut conditions = Vec::with_capacity(filters.len());
    for (name, values) in &filters {
        if values.len() > 20 {
            return Err(format!("Invalid parameter 'Filters': a maximum of 20 values can be specified for '{name}'."));
        }
        let word = WORDS.iter().position(|(known, _)| known == name);
        let date = DATES.iter().position(|known| known == name);
        conditions.push(match (name.as_str(), word, date) {
            (_, Some(word), _) => {
                let texts = texts(name, values)?;
                let verdicts = words.texts.iter().map(|text| texts.fits(text)).collect();
                Condition::Word(word, texts, verdicts)
            }
            (_, _, Some(date)) => Condition::Date(date, values.iter().map(|value| window(name, value, now)).collect::<Result<_, _>>()?),
            ("Id", ..) => Condition::Id(texts(name, values)?),
            ("ResourceId", ..) => Condition::Resource(texts(name, values)?),
            ("SeverityNormalized", ..) => Condition::Normalized(values.iter().map(|value| range(name, value)).collect::<Result<_, _>>()?),
            ("Sample", ..) => {
                let flag = |value: &Value| value["Value"].as_bool().ok_or_else(|| format!("Invalid parameter 'Filters.{name}'."));
                Condition::Sample(values.iter().map(flag).collect::<Result<_, _>>()?)
            }
            // ProcessedAt among them, which AWS refuses too; the rest nobody has needed here so far.
            _ => return Err(format!("Invalid parameter 'Filters': '{name}' cannot be filtered on.")),
        });
    }
    Ok(conditions)
}

fn texts(name: &str, values: &[Value]) -> Result<Texts, String> {
    let mut texts = Texts::default();
    for value in values {
        let text = value["Value"].as_str().filter(|text| !text.trim().is_empty());
        let Some(text) = text else { return Err(format!("Invalid parameter 'Filters.{name}': Value must not be empty.")) };
        let list = match value["Comparison"].as_str() {
            Some("EQUALS") => &mut texts.equals,
            Some("PREFIX") => &mut texts.prefixes,
            Some("NOT_EQUALS") => &mut texts.not_equals,
            Some("PREFIX_NOT_EQUALS") => &mut texts.not_prefixes,
            other => {
                let other = other.unwrap_or("null");
                return Err(format!("Invalid parameter 'Filters.{name}': Comparison '{other}' is not supported by GetFindings."));
            }
        };
        list.push(text.to_owned());
    }
    if !texts.equals.is_empty() && (!texts.not_equals.is_empty() || !texts.not_prefixes.is_empty()) {
        return Err(format!("Invalid parameter 'Filters.{name}': EQUALS and NOT_EQUALS cannot be combined on one attribute."));
    }
    Ok(texts)
}

fn window(name: &str, value: &Value, now: Timestamp) -> Result<(i64, i64), String> {
    let wrong = |what: &str| format!("Invalid parameter 'Filters.{name}': {what}.");
    let end_of = |member: &str| -> Result<i64, String> {
        let text = value[member].as_str().ok_or_else(|| wrong("both Start and End must be provided"))?;
        text.parse::<Timestamp>().map(Timestamp::as_microsecond).map_err(|_| wrong("not an ISO 8601 time"))
    };
    match &value["DateRange"] {
        Value::Null => Ok((end_of("Start")?, end_of("End")?)),
        _ if value["Start"].is_string() || value["End"].is_string() => Err(wrong("DateRange cannot be combined with Start and End")),
        range => {
            let days = range["Value"].as_i64().filter(|days| (1..36_500).contains(days)).ok_or_else(|| wrong("DateRange needs a Value"))?;
            if range["Unit"].as_str() != Some("DAYS") {
                return Err(wrong("the only Unit of a DateRange is DAYS"));
            }
            let start = now.saturating_sub(SignedDuration::from_hours(24 * days)).map_err(|_| wrong("DateRange is too long"))?;
            Ok((start.as_microsecond(), now.as_microsecond()))
        }
    }
}

fn range(name: &str, value: &Value) -> Result<(f64, f64), String> {
    let number = |member: &str| value[member].as_f64();
    match (number("Eq"), number("Gte"), number("Lte")) {
        (Some(equal), None, None) => Ok((equal, equal)),
        (None, None, None) | (Some(_), ..) => Err(format!("Invalid parameter 'Filters.{name}': give Eq, or Gte and Lte.")),
        (None, low, high) => Ok((low.unwrap_or(f64::MIN), high.unwrap_or(f64::MAX))),
    }
}

/// The rows that fit a query, found as far as somebody has asked for them.
#[derive(Debug)]
pub(super) struct Listing {
    /// State of the data that the order is of: later steps add and move nothing in a walk that has begun.
    pub(super) generation: u64,
    pub(super) query: Query,
    order: Arc<Vec<u32>>,
    looked_at: usize,
    pub(super) found: Vec<u32>,
}

impl Listing {
    pub(super) fn new(generation: u64, query: Query, order: Arc<Vec<u32>>) -> Self {
        Listing { generation, query, order, looked_at: 0, found: Vec::new() }
    }

    /// Finds rows until there are this many, or no more.
    pub(super) fn extend<'a>(&mut self, wanted: usize, words: &Words, columns: impl Fn(u32) -> &'a Columns) {
        while self.found.len() < wanted {
            let Some(row) = self.order.get(self.looked_at) else { return };
            self.looked_at += 1;
            if self.query.fits(columns(*row), words) {
                self.found.push(*row);
            }
        }
    }
}

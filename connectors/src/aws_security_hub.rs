//! AWS Security Hub CSPM, API of 2018-10-26 <https://docs.aws.amazon.com/securityhub/1.0/APIReference/Welcome.html>.
//!
//! An access key with `AWSSecurityHubReadOnlyAccess`, requests signed by the AWS SDK. One list holds the findings of all linked
//! regions and member accounts, paged by a token that dies with any change of the question: so the window of a pass is fixed in
//! the cursor. Changes come by `UpdatedAt`, which is the finding provider's time and does not move when a person sets a workflow
//! status: a delta also lists what people closed, and asks again for what is no longer among it. 3 requests a second.

mod finding;

use std::time::Duration;

use aws_sdk_securityhub::{
    Client,
    types::{AwsSecurityFindingFilters as Filters, DateFilter, SortCriterion, SortOrder, StringFilter, StringFilterComparison as Is},
};
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

use crate::{
    kit::aws::{Aws, Keys},
    prelude::*,
};
use finding::{Key, Wire};

/// Findings per page, and ids per question, at most.
const PAGE: i32 = 100;
const IDS: usize = 20;
/// Values of one filter at most, less the one for the beginning.
const VALUES: usize = 19;
/// `vendor_state` of what a person closed: only these can be reopened without `UpdatedAt` moving.
const CLOSED_BY_PEOPLE: &[&str] = &["RESOLVED", "SUPPRESSED", "SUPPRESSED, BENIGN_POSITIVE", "SUPPRESSED, FALSE_POSITIVE"];

/// The connector.
#[derive(Debug)]
pub struct AwsSecurityHub {
    aws: Aws,
    client: Client,
}

/// Fields of an AWS Security Hub connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Access key id of an IAM user (`AKIA…`), or of temporary credentials (`ASIA…`, with `session_token`).
    access_key: Secret,
    /// The secret access key that belongs to it.
    secret_key: Secret,
    /// Session token of temporary credentials.
    #[serde(default)]
    session_token: Option<Secret>,
    /// Role to assume with the key before anything is read: `arn:aws:iam::123456789012:role/tributary`.
    #[serde(default)]
    role_arn: Option<String>,
    /// External id that the role's trust policy asks for.
    #[serde(default)]
    external_id: Option<String>,
    /// Region, such as `us-east-1`: needed where the host of `location` does not name it (a proxy, a VPC endpoint).
    #[serde(default)]
    region: Option<String>,
}

/// How far a job has come.
#[derive(Debug, Default, Serialize, Deserialize)]
pub enum Cursor {
    /// The beginning.
    #[default]
    Start,
    /// Discover: regions and accounts are being looked for in the findings.
    Seek(Seek),
    /// Sync: a list of findings is being read.
    Walk(Walk),
}

/// What is looked for where: always a value (of a region, or of an account in one region) that is not among those found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Seek {
    /// Regions that are still to be searched for accounts, with the accounts known in each.
    regions: Vec<(String, Vec<String>)>,
    /// Whether regions are looked for; else accounts in the last of `regions`.
    by_region: bool,
    /// Beginnings of values not exhausted yet.
    beginnings: Vec<String>,
    /// Values known under them.
    found: Vec<String>,
    /// Whether all answers could be used.
    whole: bool,
}

/// One list within a pass.
#[derive(Debug, Serialize, Deserialize)]
pub struct Walk {
    stage: Stage,
    /// End of the pass's window, fixed when it began.
    until: String,
    token: Option<String>,
    /// Last key of those asked for again.
    after: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Stage {
    /// What the providers changed since the last pass, whatever its state.
    Changed,
    /// Everything active: the end of a full pass.
    Active,
    /// What people have closed.
    Closed,
    /// What people had closed and no longer have, by id: the end of a delta.
    Reopened,
}

impl Connector for AwsSecurityHub {
    const META: Meta = Meta {
        id: "aws_security_hub",
        title: "AWS Security Hub CSPM",
        docs: "https://docs.aws.amazon.com/securityhub/1.0/APIReference/Welcome.html",
        record: "AWS account and region",
        location_help: "regional endpoint such as https://securityhub.us-east-1.amazonaws.com, or just us-east-1; with cross-region \
                        aggregation that of the home region",
        permissions: &[
            "securityhub:DescribeHub",
            "securityhub:GetFindingAggregator",
            "securityhub:GetFindings",
            "securityhub:ListFindingAggregators",
        ],
        incremental: true,
        rate: Some((3, 6)),
        concurrency: 1,
        overlap: Duration::from_secs(15 * 60),
        // Of functions, containers, build projects and instances: people put passwords there.
        cut: &["Environment", "OptionSettings", "UserData"],
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, link: Link) -> Result<Self> {
        let Settings { access_key, secret_key, session_token, role_arn, external_id, region } = settings;
        let keys = Keys { access_key, secret_key, session_token, role_arn, external_id };
        let aws = Aws::open("securityhub", &Self::META, link, keys, region.as_deref())?;
        Ok(AwsSecurityHub { client: Client::new(aws.config()), aws })
    }

    async fn scopes(&self, _: &Cx, job: Job<'_>) -> Result<Vec<Scope>> {
        Ok(vec![Scope::account(if matches!(job, Job::Discover) { "records" } else { "findings" })])
    }

    async fn page(&self, cx: &Cx, ask: Ask<'_, Cursor>) -> Result<Page<Cursor>> {
        let walk = match ask.cursor {
            Cursor::Start if ask.scope.list == "records" => return self.places(cx).await,
            Cursor::Seek(seek) => return self.seek(cx, seek).await,
            Cursor::Start => {
                let stage = if ask.since.is_some() { Stage::Changed } else { Stage::Active };
                let until = cx.now().max(ask.since.unwrap_or_default());
                Walk { stage, until: second(until, RoundMode::Ceil), token: None, after: None }
            }
            Cursor::Walk(walk) => walk,
        };
        let again = match walk.stage {
            Stage::Reopened => ask.stored.undelivered(CLOSED_BY_PEOPLE, walk.after.as_deref(), IDS).await,
            _ => Vec::new(),
        };
        let filters = match (walk.stage, ask.since) {
            (Stage::Changed, Some(since)) => {
                let window = DateFilter::builder().start(second(since, RoundMode::Floor)).end(&walk.until).build();
                Filters::builder().updated_at(window)
            }
            (Stage::Changed | Stage::Active, _) => Filters::builder().record_state(is(Is::Equals, "ACTIVE")),
            (Stage::Closed, _) => Filters::builder()
                .record_state(is(Is::Equals, "ACTIVE"))
                .workflow_status(is(Is::Equals, "RESOLVED"))
                .workflow_status(is(Is::Equals, "SUPPRESSED")),
            (Stage::Reopened, _) if again.is_empty() => return Ok(Page::new(Default::default(), None, Next::Done(Coverage::Delta, None))),
            (Stage::Reopened, _) => {
                let ids = again.iter().filter_map(|key| finding::id_of_key(key)).map(|id| is(Is::Equals, id)).collect();
                Filters::builder().set_id(Some(ids))
            }
        };
        let listed = self.findings(cx, filters.build(), PAGE, walk.token.as_deref()).await?;
        let more = |stage, token, after| Next::More(Cursor::Walk(Walk { stage, until: walk.until.clone(), token, after }));
        let next = match (walk.stage, listed.next_token.filter(|token| !token.is_empty())) {
            (stage, Some(token)) => more(stage, Some(token), walk.after),
            (Stage::Changed, None) => more(if ask.full { Stage::Active } else { Stage::Closed }, None, None),
            (Stage::Active, None) => Next::Done(Coverage::Full, None),
            (Stage::Closed, None) => more(Stage::Reopened, None, None),
            (Stage::Reopened, None) => more(Stage::Reopened, None, again.last().map(|key| key.to_string())),
        };
        Ok(Page::new(items(listed.findings, Self::META.cut, |wire: Wire| finding::item(&wire, cx), Key::key), None, next))
    }

    async fn check(&self, cx: &Cx) -> Result<Checked> {
        let mut checked = Checked::default();
        let hub = self.hub(cx).await?;
        checked.facts.push(format!("Security Hub CSPM of account {} in {}", hub.account, self.aws.region()));
        match self.aggregator(cx).await? {
            Some(aggregator) if aggregator.region == self.aws.region() => {
                checked.facts.push(format!("home region of an aggregation ({})", text::line(&aggregator.mode)));
            }
            Some(aggregator) => checked.warnings.push(self.not_home(&aggregator)),
            None => checked.facts.push("no cross-region aggregation".into()),
        }
        let listed = self.findings(cx, Filters::builder().build(), 1, None).await?;
        if listed.findings.is_empty() {
            checked.warnings.push("the hub has no findings: are its standards or integrations enabled?".into());
        }
        Ok(checked)
    }
}

impl AwsSecurityHub {
    async fn hub(&self, cx: &Cx) -> Result<Hub> {
        let sent = self.aws.send(cx, "reading GET /accounts", |tap| self.client.describe_hub().customize().interceptor(tap).send());
        let wire: HubWire = sent.await.map_err(|error| self.advised(error, "securityhub:DescribeHub"))?;
        let account = wire.hub_arn.split(':').nth(4).filter(|account| !account.is_empty());
        let shape = || Kind::Shape { path: "HubArn".into(), reason: "no account in it".into() };
        Ok(Hub { account: account.ok_or_else(|| Error::new("reading GET /accounts", shape()))?.into() })
    }

    /// Where findings are aggregated, if they are: there is at most one aggregator, and it can be read from every region.
    async fn aggregator(&self, cx: &Cx) -> Result<Option<Aggregator>> {
        let list = self.aws.send(cx, "reading GET /findingAggregator/list", |tap| {
            self.client.list_finding_aggregators().customize().interceptor(tap).send()
        });
        let list: Aggregators = list.await.map_err(|error| self.advised(error, "securityhub:ListFindingAggregators"))?;
        let Some(Named { arn }) = list.aggregators.into_iter().next() else { return Ok(None) };
        let get = self.aws.send(cx, "reading GET /findingAggregator/get/{arn}", |tap| {
            self.client.get_finding_aggregator().finding_aggregator_arn(&arn).customize().interceptor(tap).send()
        });
        get.await.map(Some).map_err(|error| self.advised(error, "securityhub:GetFindingAggregator"))
    }

    /// One page of findings, oldest change first: what changes while it is listed comes again at its end.
    async fn findings(&self, cx: &Cx, filters: Filters, most: i32, token: Option<&str>) -> Result<Listed> {
        let doing = "reading POST /findings";
        let sent = self.aws.send(cx, doing, |tap| {
            let order = SortCriterion::builder().field("UpdatedAt").sort_order(SortOrder::Ascending).build();
            let request = self.client.get_findings().filters(filters.clone()).sort_criteria(order).max_results(most);
            request.set_next_token(token.map(Into::into)).customize().interceptor(tap).send()
        });
        sent.await.map_err(|error| match error.kind {
            // The same question without its token was answered before.
            Kind::Refused { status: 400, .. } if token.is_some() => Error::new(doing, Kind::CursorExpired),
            _ => self.advised(error, "securityhub:GetFindings"),
        })
    }

    /// The records that are known without looking at findings, and where to look for the others.
    async fn places(&self, cx: &Cx) -> Result<Page<Cursor>> {
        let Hub { account } = self.hub(cx).await?;
        let home = self.aws.region().to_owned();
        let (mut regions, mut except, mut by_region) = (vec![home.clone()], Vec::new(), false);
        match self.aggregator(cx).await? {
            Some(aggregator) if aggregator.region != home => cx.warn(self.not_home(&aggregator)),
            Some(Aggregator { mode, regions: linked, .. }) => match (mode.as_str(), linked.unwrap_or_default()) {
                ("NO_REGIONS", _) => {}
                ("SPECIFIED_REGIONS", linked) => regions.extend(linked.into_iter().filter(|region| *region != home)),
                ("ALL_REGIONS", _) => by_region = true,
                (mode, excluded) => {
                    if mode != "ALL_REGIONS_EXCEPT_SPECIFIED" {
                        cx.warn(format!("unknown linking mode `{}`", text::line(mode)));
                    }
                    (by_region, except) = (true, excluded);
                }
            },
            None => {}
        }
        let records = regions.iter().map(|region| record(&account, region)).collect();
        let found = if by_region { [vec![home], except].concat() } else { vec![account.clone()] };
        let regions = regions.into_iter().map(|region| (region, vec![account.clone()])).collect();
        let seek = Seek { regions, by_region, beginnings: vec![String::new()], found, whole: true };
        Ok(Page::new((records, Vec::new()), None, Next::More(Cursor::Seek(seek))))
    }

    /// Asks for one finding in a region, or of an account, that is not known yet. A filter takes few values: when they are
    /// too many, it goes on by the values' beginnings.
    async fn seek(&self, cx: &Cx, mut seek: Seek) -> Result<Page<Cursor>> {
        let mut records = Vec::new();
        let beginning = seek.beginnings.last().cloned().unwrap_or_default();
        let known: Vec<&String> = seek.found.iter().filter(|value| value.starts_with(&*beginning)).collect();
        let place = if seek.beginnings.is_empty() {
            None
        } else if known.len() > VALUES {
            // Too many to name: each next character is a beginning of its own.
            let alphabet = if seek.by_region { "abcdefghijklmnopqrstuvwxyz-0123456789" } else { "0123456789" };
            seek.beginnings.pop();
            seek.beginnings.extend(alphabet.chars().rev().map(|next| format!("{beginning}{next}")));
            return Ok(Page::new(Default::default(), None, Next::More(Cursor::Seek(seek))));
        } else {
            let mut values: Vec<StringFilter> = known.into_iter().map(|value| is(Is::NotEquals, value)).collect();
            if !beginning.is_empty() {
                values.push(is(Is::Prefix, &beginning));
            }
            let filters = match seek.regions.last() {
                Some((region, _)) if !seek.by_region => Filters::builder().region(is(Is::Equals, region)).set_aws_account_id(Some(values)),
                _ => Filters::builder().set_region(Some(values)),
            };
            let listed = self.findings(cx, filters.build(), 1, None).await?;
            listed.findings.first().map(|raw| serde_json::from_str::<Wire>(raw.get()).ok().and_then(|wire| wire.place()))
        };
        let fresh = place.as_ref().and_then(Option::as_ref).filter(|(account, region)| {
            let value = if seek.by_region { region } else { account };
            value.starts_with(&*beginning) && !seek.found.contains(value)
        });
        if let Some((account, region)) = fresh {
            records.push(record(account, region));
            seek.found.push(if seek.by_region { region.clone() } else { account.clone() });
            if seek.by_region {
                seek.regions.push((region.clone(), vec![account.clone()]));
            }
            return Ok(Page::new((records, Vec::new()), None, Next::More(Cursor::Seek(seek))));
        }
        if place.is_some() {
            cx.warn("a finding that names no new account or region hides others: the list of records may not be whole");
            seek.whole = false;
        }
        seek.beginnings.pop();
        if seek.beginnings.is_empty() {
            if !seek.by_region {
                seek.regions.pop();
            }
            seek.by_region = false;
            let Some((_, accounts)) = seek.regions.last() else {
                let coverage = if seek.whole { Coverage::Full } else { Coverage::Delta };
                return Ok(Page::new(Default::default(), None, Next::Done(coverage, None)));
            };
            (seek.beginnings, seek.found) = (vec![String::new()], accounts.clone());
        }
        Ok(Page::new(Default::default(), None, Next::More(Cursor::Seek(seek))))
    }

    fn not_home(&self, aggregator: &Aggregator) -> String {
        let (home, here) = (text::line(&aggregator.region), self.aws.region());
        format!(
            "{here} is not the home region, so only its own findings are seen; set `location` to https://securityhub.{home}.amazonaws.com"
        )
    }

    fn advised(&self, error: Error, permission: &str) -> Error {
        let region = self.aws.region();
        match &error.kind {
            Kind::Forbidden(told) if told.to_string().contains("InvalidAccessException") => error.with_hint(format!(
                "enable Security Hub CSPM in {region} for this account, or set `location` to a region where it is; AWS also says so when \
                 {permission} is missing"
            )),
            Kind::Forbidden(_) if error.hint().is_some_and(|hint| hint.contains("sts:AssumeRole")) => error,
            Kind::Forbidden(_) => {
                error.with_hint(format!("allow {permission}: the managed policy AWSSecurityHubReadOnlyAccess holds all that is needed"))
            }
            Kind::Refused { status: 404, .. } => error.with_hint(format!(
                "check that {} is an endpoint of Security Hub and that Security Hub CSPM is enabled in {region}",
                self.aws.location()
            )),
            _ => error,
        }
    }
}

fn record(account: &str, region: &str) -> Item {
    let (account, region) = (text::line(account), text::line(region));
    Item::Record(Record {
        key: format!("{account}:{region}").into(),
        name: format!("{account} ({region})").into(),
        kind: "account and region".into(),
        url: None,
        attributes: vec![("account", account), ("region", region)],
    })
}

fn is(comparison: Is, value: &str) -> StringFilter {
    StringFilter::builder().comparison(comparison).value(value).build()
}

/// A whole second, as the API's filters take it.
fn second(time: Timestamp, mode: RoundMode) -> String {
    let round = TimestampRound::new().smallest(Unit::Second).mode(mode);
    time.round(round).unwrap_or(time).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

struct Hub {
    account: String,
}

#[derive(Deserialize)]
struct HubWire {
    #[serde(rename = "HubArn")]
    hub_arn: String,
}

#[derive(Deserialize)]
struct Aggregators {
    #[serde(rename = "FindingAggregators")]
    aggregators: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "FindingAggregatorArn")]
    arn: String,
}

#[derive(Deserialize)]
struct Aggregator {
    #[serde(rename = "FindingAggregationRegion")]
    region: String,
    #[serde(rename = "RegionLinkingMode")]
    mode: String,
    #[serde(rename = "Regions")]
    regions: Option<Vec<String>>,
}

/// `Findings` is required: an answer without it is a fault, not an empty hub.
#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Findings")]
    findings: Vec<Box<RawValue>>,
    #[serde(rename = "NextToken")]
    next_token: Option<String>,
}

//! AWS Security Hub CSPM, API of 2018-10-26 <https://docs.aws.amazon.com/securityhub/1.0/APIReference/Welcome.html>.
//!
//! An access key with `AWSSecurityHubReadOnlyAccess`, requests signed by the AWS SDK. One list holds the findings of all linked
//! regions and member accounts, paged by a token that dies with any change of the question: so the window of a pass is fixed in
//! the cursor. Changes come by `UpdatedAt`, which is the finding provider's time and does not move when a person sets a workflow
//! status: a delta also lists what people closed, and asks again for what is no longer among it. 3 requests a second.

mod finding;
mod places;
mod wire;

use std::time::Duration;

use aws_sdk_securityhub::{
    Client,
    types::{AwsSecurityFindingFilters as Filters, DateFilter, SortCriterion, SortOrder, StringFilter, StringFilterComparison as Is},
};
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

use self::{
    places::{Aggregation, Seek},
    wire::{Key, Listed, Wire},
};
use crate::{
    kit::{
        Rate,
        aws::{Aws, Keys},
    },
    prelude::*,
};

/// Findings per page, and ids per question, at most.
const PAGE: i32 = 100;
const IDS: usize = 20;

/// `vendor_state` of what a person closed: only these can be reopened without `UpdatedAt` moving.
const CLOSED_BY_PEOPLE: &[&str] = &["RESOLVED", "SUPPRESSED", "SUPPRESSED, BENIGN_POSITIVE", "SUPPRESSED, FALSE_POSITIVE"];

/// The connector for one connection: its client, and what its settings say.
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
    /// The pass has not asked anything yet.
    #[default]
    Start,
    /// Discover: regions and accounts are being looked for in the findings.
    Seek(Seek),
    /// Sync: a list of findings is being read.
    Walk(Walk),
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
        rates: &[Rate { of: "", requests: 6, within: Duration::from_secs(2) }],
        concurrency: 1,
        overlap: Duration::from_secs(15 * 60),
        // Of functions, containers, build projects and instances: people put passwords there.
        cut: &["Environment", "OptionSettings", "UserData"],
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, link: Endpoint) -> Result<Self> {
        let Settings { access_key, secret_key, session_token, role_arn, external_id, region } = settings;
        let keys = Keys { access_key, secret_key, session_token, role_arn, external_id };
        let aws = Aws::open("securityhub", &Self::META, link, keys, region.as_deref())?;
        Ok(AwsSecurityHub { client: Client::new(aws.config()), aws })
    }

    async fn scopes(&self, _: &Context, job: Job<'_>) -> Result<Vec<Scope>> {
        Ok(vec![Scope::account(if matches!(job, Job::Discover) { "records" } else { "findings" })])
    }

    async fn page(&self, cx: &Context, ask: PageRequest<'_, Cursor>) -> Result<Page<Cursor>> {
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
            (Stage::Reopened, _) if again.is_empty() => return Ok(Page::empty(Next::Done(Coverage::Delta, None))),
            (Stage::Reopened, _) => {
                let ids = again.iter().filter_map(|key| wire::id_of_key(key)).map(|id| is(Is::Equals, id)).collect();
                Filters::builder().set_id(Some(ids))
            }
        };
        let listed = self.findings(cx, filters.build(), PAGE, walk.token.as_deref()).await?;
        let more = |stage, token, after| Next::More(Cursor::Walk(Walk { stage, until: walk.until.clone(), token, after }));
        let token = listed.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            cx.another_part();
        }
        let next = match (walk.stage, token) {
            (stage, Some(token)) => more(stage, Some(token), walk.after),
            (Stage::Changed, None) => more(if ask.full { Stage::Active } else { Stage::Closed }, None, None),
            (Stage::Active, None) => Next::FULL,
            (Stage::Closed, None) => more(Stage::Reopened, None, None),
            (Stage::Reopened, None) => more(Stage::Reopened, None, again.last().map(|key| key.to_string())),
        };
        Ok(Page::new(
            items(listed.findings, Self::META.cut, |wire: Wire| finding::item(&wire, cx), |key: Key| Some(key.identify()?.key)),
            None,
            next,
        ))
    }

    async fn check(&self, cx: &Context) -> Result<CheckReport> {
        let mut checked = CheckReport::default();
        let account = self.account(cx).await?;
        checked.facts.push(format!("Security Hub CSPM of account {account} in {}", self.aws.region()));
        match self.aggregation(cx).await? {
            Aggregation::Of(aggregator) if aggregator.region == self.aws.region() => {
                checked.facts.push(format!("home region of an aggregation ({})", text::single_line(&aggregator.mode)));
            }
            Aggregation::Of(aggregator) => checked.warnings.push(self.not_home(&aggregator)),
            Aggregation::None => checked.facts.push("no cross-region aggregation".into()),
            Aggregation::NotTold(why) => checked.warnings.push(why),
        }
        let listed = self.findings(cx, Filters::builder().build(), 1, None).await?;
        if listed.findings.is_empty() {
            checked.warnings.push("the hub has no findings: are its standards or integrations enabled?".into());
        }
        Ok(checked)
    }
}

impl AwsSecurityHub {
    /// One page of findings, oldest change first: what changes while it is listed comes again at its end.
    async fn findings(&self, cx: &Context, filters: Filters, most: i32, token: Option<&str>) -> Result<Listed> {
        let doing = "reading POST /findings";
        let sent = self.aws.send(cx, doing, |tap| {
            let order = SortCriterion::builder().field("UpdatedAt").sort_order(SortOrder::Ascending).build();
            let request = self.client.get_findings().filters(filters.clone()).sort_criteria(order).max_results(most);
            request.set_next_token(token.map(Into::into)).customize().interceptor(tap).send()
        });
        sent.await.map_err(|error| match error.kind {
            // The same question without its token was answered before.
            ErrorKind::Refused { status: 400, .. } if token.is_some() => Error::new(doing, ErrorKind::CursorExpired),
            _ => self.advised(error, "securityhub:GetFindings"),
        })
    }

    fn advised(&self, error: Error, permission: &str) -> Error {
        let region = self.aws.region();
        match &error.kind {
            ErrorKind::Forbidden(told) if told.to_string().contains("InvalidAccessException") => error.with_hint(format!(
                "enable Security Hub CSPM in {region} for this account, or set `location` to a region where it is; AWS also says so when \
                 {permission} is missing"
            )),
            ErrorKind::Forbidden(_) if error.hint().is_some_and(|hint| hint.contains("sts:AssumeRole")) => error,
            ErrorKind::Forbidden(_) => {
                error.with_hint(format!("allow {permission}: the managed policy AWSSecurityHubReadOnlyAccess holds all that is needed"))
            }
            ErrorKind::Refused { status: 404, .. } => error.with_hint(format!(
                "check that {} is an endpoint of Security Hub and that Security Hub CSPM is enabled in {region}",
                self.aws.location()
            )),
            _ => error,
        }
    }
}

fn is(comparison: Is, value: &str) -> StringFilter {
    StringFilter::builder().comparison(comparison).value(value).build()
}

/// A whole second, as the API's filters take it.
fn second(time: Timestamp, mode: RoundMode) -> String {
    let round = TimestampRound::new().smallest(Unit::Second).mode(mode);
    time.round(round).unwrap_or(time).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

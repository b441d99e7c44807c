//! Which accounts and regions there are: no call lists them, so they are looked for in the findings.

use aws_sdk_securityhub::types::{AwsSecurityFindingFilters as Filters, StringFilter, StringFilterComparison as Is};

use super::{
    AwsSecurityHub, Cursor, is,
    wire::{Aggregator, Aggregators, Hub, Identity, Key, Many, Named},
};
use crate::prelude::*;

/// Values of one filter at most, less the one for the beginning.
const VALUES: usize = 19;

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

impl AwsSecurityHub {
    /// The hub's own account.
    pub(super) async fn account(&self, cx: &Context) -> Result<String> {
        let sent = self.aws.send(cx, "reading GET /accounts", |tap| self.client.describe_hub().customize().interceptor(tap).send());
        let hub: Hub = sent.await.map_err(|error| self.advised(error, "securityhub:DescribeHub"))?;
        let account = hub.arn.split(':').nth(4).filter(|account| !account.is_empty());
        let shape = || ErrorKind::UnexpectedBody { path: "HubArn".into(), reason: "no account in it".into() };
        Ok(account.ok_or_else(|| Error::new("reading GET /accounts", shape()))?.into())
    }

    /// Where findings are aggregated: there is at most one aggregator, and it can be read from every region.
    pub(super) async fn aggregation(&self, cx: &Context) -> Result<Aggregation> {
        let asked = "reading GET /findingAggregator/list";
        let list = self.aws.send(cx, asked, |tap| self.client.list_finding_aggregators().customize().interceptor(tap).send()).await;
        let list: Aggregators = match list {
            Ok(list) => list,
            Err(error) => return self.not_told(error, "securityhub:ListFindingAggregators"),
        };
        let Some(Named { arn }) = list.aggregators.0.into_iter().next() else { return Ok(Aggregation::None) };
        let get = self.aws.send(cx, "reading GET /findingAggregator/get/{arn}", |tap| {
            self.client.get_finding_aggregator().finding_aggregator_arn(&arn).customize().interceptor(tap).send()
        });
        match get.await {
            Ok(aggregator) => Ok(Aggregation::Of(aggregator)),
            Err(error) => self.not_told(error, "securityhub:GetFindingAggregator"),
        }
    }

    /// A right or a route that is missing stops nothing: which regions there are also shows in the findings. What may pass is an
    /// error.
    fn not_told(&self, error: Error, permission: &str) -> Result<Aggregation> {
        match error.kind {
            ErrorKind::Forbidden(_) | ErrorKind::NotAnApi(_) | ErrorKind::Refused { .. } | ErrorKind::Vendor { status: 501, .. } => {
                Ok(Aggregation::NotTold(format!(
                    "whether findings of other regions are aggregated here is not known ({error}): only regions that have findings are \
                     found; allow {permission}, which the managed policy AWSSecurityHubReadOnlyAccess holds"
                )))
            }
            _ => Err(self.advised(error, permission)),
        }
    }

    pub(super) fn not_home(&self, aggregator: &Aggregator) -> String {
        let (home, here) = (text::single_line(&aggregator.region), self.aws.region());
        format!(
            "{here} is not the home region, so only its own findings are seen; set `location` to https://securityhub.{home}.amazonaws.com"
        )
    }

    /// The records that are known without looking at findings, and where to look for the others.
    pub(super) async fn places(&self, cx: &Context) -> Result<Page<Cursor>> {
        let account = self.account(cx).await?;
        let home = self.aws.region().to_owned();
        let (mut regions, mut except, mut by_region) = (vec![home.clone()], Vec::new(), false);
        match self.aggregation(cx).await? {
            Aggregation::None => {}
            Aggregation::NotTold(why) => {
                cx.warn(why);
                by_region = true;
            }
            Aggregation::Of(aggregator) if aggregator.region != home => cx.warn(self.not_home(&aggregator)),
            Aggregation::Of(Aggregator { mode, regions: Many(linked), .. }) => match mode.as_str() {
                "NO_REGIONS" => {}
                "SPECIFIED_REGIONS" => regions.extend(linked.into_iter().filter(|region| *region != home)),
                "ALL_REGIONS" => by_region = true,
                mode => {
                    if mode != "ALL_REGIONS_EXCEPT_SPECIFIED" {
                        cx.warn(format!("unknown linking mode `{}`", text::single_line(mode)));
                    }
                    (by_region, except) = (true, linked);
                }
            },
        }
        let records = regions.iter().map(|region| record(&account, region)).collect();
        let found = if by_region { [vec![home], except].concat() } else { vec![account.clone()] };
        let regions = regions.into_iter().map(|region| (region, vec![account.clone()])).collect();
        let seek = Seek { regions, by_region, beginnings: vec![String::new()], found, whole: true };
        Ok(Page::of(records, Next::More(Cursor::Seek(seek))))
    }

    /// Asks for one finding in a region, or of an account, that is not known yet. A filter takes few values: when they are
    /// too many, it goes on by the values' beginnings.
    pub(super) async fn seek(&self, cx: &Context, mut seek: Seek) -> Result<Page<Cursor>> {
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
            return Ok(Page::empty(Next::More(Cursor::Seek(seek))));
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
            listed.findings.first().map(|raw| serde_json::from_str::<Key>(raw.get()).ok()?.identify())
        };
        let fresh = place.as_ref().and_then(Option::as_ref).filter(|Identity { account, region, .. }| {
            let value = if seek.by_region { region } else { account };
            value.starts_with(&*beginning) && !seek.found.contains(value)
        });
        if let Some(Identity { account, region, .. }) = fresh {
            records.push(record(account, region));
            seek.found.push(if seek.by_region { region.clone() } else { account.clone() });
            if seek.by_region {
                seek.regions.push((region.clone(), vec![account.clone()]));
            }
            return Ok(Page::of(records, Next::More(Cursor::Seek(seek))));
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
                return Ok(Page::empty(Next::Done(coverage, None)));
            };
            (seek.beginnings, seek.found) = (vec![String::new()], accounts.clone());
        }
        Ok(Page::empty(Next::More(Cursor::Seek(seek))))
    }
}

/// Whether this hub shows the findings of other regions.
pub(super) enum Aggregation {
    None,
    Of(Aggregator),
    /// It could not be read, and why.
    NotTold(String),
}

fn record(account: &str, region: &str) -> Item {
    let (account, region) = (text::single_line(account), text::single_line(region));
    Item::Record(Record {
        key: format!("{account}:{region}").into(),
        name: format!("{account} ({region})").into(),
        kind: "account and region".into(),
        url: None,
        attributes: vec![("account", account), ("region", region)],
    })
}

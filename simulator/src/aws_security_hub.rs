//! AWS Security Hub CSPM: `DescribeHub`, the finding aggregator and `GetFindings`, behind true checks of Signature Version 4,
//! and `AssumeRole` of STS on the same port.
//!
//! The hub belongs to a delegated administrator and holds findings of member accounts and linked regions. A listing is
//! bound to the parameters and to the data of its first page, so pages cannot shift and that fault is ignored. A page that
//! comes twice has a token that leads to the page that was asked for. An unknown filter is refused rather than ignored.

mod access;
mod finding;
mod page;
mod query;
mod refusal;
mod signature;
mod sts;
#[cfg(test)]
mod tests;
mod world;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use self::{
    access::{Bucket, Caller, Credential, unrecognized},
    finding::Place,
    refusal::Refusal,
    signature::{Signed, pairs},
    world::World,
};
use crate::{Change, Fault, Faults, Make, Oracle, Size, Truth, Vendor};

/// The administrator's account, and its members.
const ACCOUNT: &str = "123456789012";
const AGGREGATOR: &str = "arn:aws:securityhub:us-east-1:123456789012:finding-aggregator/4d2c9e1a-0b3f-4c5d-8e6f-7a8b9c0d1e2f";
/// The first is the home region. In the second the administrator has five findings, in the third nobody has any.
const REGIONS: [&str; 28] = [
    "us-east-1",
    "eu-west-1",
    "sa-east-1",
    "eu-central-1",
    "us-west-2",
    "ap-southeast-2",
    "ca-central-1",
    "eu-north-1",
    "ap-northeast-1",
    "me-south-1",
    "af-south-1",
    "il-central-1",
    "mx-central-1",
    "us-east-2",
    "us-west-1",
    "ap-south-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-southeast-1",
    "eu-west-2",
    "eu-west-3",
    "eu-south-1",
    "ap-east-1",
    "me-central-1",
    "eu-central-2",
    "eu-south-2",
    "ap-south-2",
    "ap-southeast-3",
];

/// A simulated hub.
#[derive(Debug)]
pub struct AwsSecurityHub {
    linking: Linking,
    is_away: bool,
    subscribed: bool,
    denied: HashSet<String>,
    user: Credential,
    /// Whether a role has to be assumed, and how long its sessions really live when not as long as they say.
    role: Option<Option<Duration>>,
    sessions: Mutex<Vec<Credential>>,
    clock: SignedDuration,
    throttle_every: usize,
    buckets: Option<Mutex<[Bucket; 2]>>,
    requests: AtomicUsize,
    world: Mutex<World>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Linking {
    /// No aggregator at all.
    Absent,
    None,
    Specified,
    All,
    /// All but the second region.
    AllExcept,
}

impl AwsSecurityHub {
    /// A hub that aggregates named regions and member accounts into its home region.
    pub fn new(size: Size) -> Self {
        AwsSecurityHub {
            linking: Linking::Specified,
            is_away: false,
            subscribed: true,
            denied: HashSet::new(),
            user: Credential {
                key: "AKIASIMULATED0000001".to_owned(),
                secret: "sim/Secret+Key/9f8e7d6c5b4a39281706f5e4d".to_owned(),
                token: None,
                until: None,
                arn: format!("arn:aws:iam::{ACCOUNT}:user/tributary"),
                is_role: false,
            },
            role: None,
            sessions: Mutex::new(Vec::new()),
            clock: SignedDuration::ZERO,
            throttle_every: 0,
            buckets: None,
            requests: AtomicUsize::new(0),
            world: Mutex::new(World::new(size)),
        }
    }

    /// Links every region without naming one (`ALL_REGIONS`).
    #[must_use]
    pub fn all_regions(mut self) -> Self {
        self.linking = Linking::All;
        self
    }

    /// Links every region but the second one (`ALL_REGIONS_EXCEPT_SPECIFIED`).
    #[must_use]
    pub fn all_regions_except(mut self) -> Self {
        self.linking = Linking::AllExcept;
        self
    }

    /// Has an aggregator that links nothing (`NO_REGIONS`).
    #[must_use]
    pub fn no_regions(mut self) -> Self {
        self.linking = Linking::None;
        self
    }

    /// Has no aggregator.
    #[must_use]
    pub fn without_aggregator(mut self) -> Self {
        self.linking = Linking::Absent;
        self
    }

    /// Is the endpoint of a linked region, not of the home region: it answers its own findings only.
    #[must_use]
    pub fn wrong_home_region(mut self) -> Self {
        self.is_away = true;
        self
    }

    /// Security Hub is not enabled here.
    #[must_use]
    pub fn not_subscribed(mut self) -> Self {
        self.subscribed = false;
        self
    }

    /// Takes an action such as `GetFindings` out of the policy.
    #[must_use]
    pub fn without_permission(mut self, action: &str) -> Self {
        self.denied.insert(action.trim_start_matches("securityhub:").to_owned());
        self
    }

    /// The user's key is a temporary one with a session token.
    #[must_use]
    pub fn with_session_token(mut self) -> Self {
        self.user.key = "ASIASIMULATED0000001".to_owned();
        self.user.token = Some("FwoGZXIvYXdzEBYaDSimulated/Token+0001==".to_owned());
        self
    }

    /// The temporary key has expired.
    #[must_use]
    pub fn with_expired_session_token(self) -> Self {
        let mut tool = self.with_session_token();
        tool.user.until = Some(Timestamp::UNIX_EPOCH);
        tool
    }

    /// The user may do nothing but assume a role, which may read the hub.
    #[must_use]
    pub fn with_role(mut self) -> Self {
        self.role = Some(None);
        self.user.arn = "arn:aws:iam::998877665544:user/tributary".to_owned();
        self
    }

    /// As [`Self::with_role`], and sessions die after this long whatever `Expiration` said.
    #[must_use]
    pub fn with_role_that_expires_after(self, time: Duration) -> Self {
        let mut tool = self.with_role();
        tool.role = Some(Some(time));
        tool
    }

    /// Its clock is off by this much: more than five minutes and no signature is good.
    #[must_use]
    pub fn with_clock_off_by(mut self, by: SignedDuration) -> Self {
        self.clock = by;
        self
    }

    /// Every n-th request is throttled, each time with another of the names that AWS has for it.
    #[must_use]
    pub fn throttled_every(mut self, requests: usize) -> Self {
        self.throttle_every = requests;
        self
    }

    /// Throttles as the documentation says: `GetFindings` 3 a second with bursts of 6, all else 10 with bursts of 30.
    #[must_use]
    pub fn with_rate_limit(mut self) -> Self {
        self.buckets = Some(Mutex::new([Bucket::new(3.0, 6.0), Bucket::new(10.0, 30.0)]));
        self
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<Credential>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        Timestamp::now().saturating_add(self.clock).unwrap_or(Timestamp::MAX)
    }

    fn region(&self) -> &'static str {
        if self.is_away { REGIONS[1] } else { REGIONS[0] }
    }

    /// Whether findings of this region are listed here.
    fn sees(&self, region: &str) -> bool {
        match self.linking {
            Linking::Specified | Linking::All if !self.is_away => true,
            Linking::AllExcept if !self.is_away => region != REGIONS[1],
            _ => region == self.region(),
        }
    }

    /// Whether this hub is known to hold this account and region even without a finding.
    fn names(&self, place: &Place) -> bool {
        let is_named = self.linking == Linking::Specified && !self.is_away || place.region == self.region();
        place.account == ACCOUNT && is_named
    }

    fn hub_arn(&self) -> String {
        format!("arn:aws:securityhub:{}:{ACCOUNT}:hub/default", self.region())
    }

    /// Answers one request.
    fn answer(&self, request: Signed<'_>, faults: &Faults) -> Response {
        if request.method == Method::POST && request.uri.path() == "/" {
            let done = self.authenticate(request, "sts").and_then(|caller| sts::answer(self, &caller, request.body, self.now()));
            return done.unwrap_or_else(|refusal| refusal.xml());
        }
        match self.authenticate(request, "securityhub").and_then(|caller| self.operate(&caller, request, faults)) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(refusal) => refusal.into_response(),
        }
    }

    fn operate(&self, caller: &Caller, request: Signed<'_>, faults: &Faults) -> Result<String, Refusal> {
        let path = request.uri.path();
        self.throttle(path == "/findings")?;
        let query = pairs(request.uri.query().unwrap_or_default(), false);
        let parameter = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        match (request.method.as_str(), path) {
            ("GET", "/accounts") => {
                self.authorize(caller, "DescribeHub")?;
                if parameter("HubArn").is_some_and(|arn| arn != self.hub_arn()) {
                    return Err(Refusal::modelled(404, "ResourceNotFoundException", "The hub was not found."));
                }
                Ok(json!({
                    "HubArn": self.hub_arn(), "SubscribedAt": "2023-12-03T11:05:17.571Z", "AutoEnableControls": true, "ControlFindingGenerator": "SECURITY_CONTROL",
                })
                .to_string())
            }
            ("GET", "/findingAggregator/list") => {
                self.authorize(caller, "ListFindingAggregators")?;
                if parameter("MaxResults").is_some_and(|text| !text.parse::<u8>().is_ok_and(|size| (1..=100).contains(&size))) {
                    return Err(Refusal::invalid("Invalid parameter 'MaxResults': not between 1 and 100."));
                }
                if parameter("NextToken").is_some() {
                    return Err(Refusal::invalid("Invalid parameter 'NextToken'."));
                }
                // Not a list of findings: its route must not look like one.
                let is_empty = self.linking == Linking::Absent || faults.take("GET aggregators") == Some(Fault::NoRole);
                let list = if is_empty { json!([]) } else { json!([{ "FindingAggregatorArn": AGGREGATOR }]) };
                Ok(json!({ "FindingAggregators": list }).to_string())
            }
            ("GET", _) if path.starts_with("/findingAggregator/get/") => {
                self.authorize(caller, "GetFindingAggregator")?;
                let arn = signature::decode(path.trim_start_matches("/findingAggregator/get/"), false);
                if arn != AGGREGATOR || self.linking == Linking::Absent {
                    return Err(Refusal::modelled(404, "ResourceNotFoundException", format!("Finding aggregator {arn} was not found.")));
                }
                Ok(self.aggregator().to_string())
            }
            ("POST", "/findings") => {
                self.authorize(caller, "GetFindings")?;
                self.find(request.body, faults)
            }
            // Known operations that a reader's policy does not hold.
            ("POST", "/standards/get") => Err(self.denied(caller, "GetEnabledStandards")),
            ("POST", "/findings/import") => Err(self.denied(caller, "BatchImportFindings")),
            _ => Err(Refusal::front_door(404, "UnknownOperationException", "")),
        }
    }

    fn aggregator(&self) -> Value {
        let mut body = json!({ "FindingAggregatorArn": AGGREGATOR, "FindingAggregationRegion": REGIONS[0] });
        let world = self.world();
        let mut linked: Vec<&str> = world.places.iter().map(|place| place.region).filter(|region| *region != REGIONS[0]).collect();
        linked.sort_unstable();
        linked.dedup();
        let (mode, regions) = match self.linking {
            Linking::Specified => ("SPECIFIED_REGIONS", linked),
            Linking::All => ("ALL_REGIONS", Vec::new()),
            Linking::AllExcept => ("ALL_REGIONS_EXCEPT_SPECIFIED", vec![REGIONS[1]]),
            Linking::None | Linking::Absent => ("NO_REGIONS", Vec::new()),
        };
        body["RegionLinkingMode"] = json!(mode);
        if self.linking != Linking::All {
            body["Regions"] = json!(regions);
        }
        body
    }
}

impl Vendor for AwsSecurityHub {
    fn id(&self) -> &'static str {
        "aws_security_hub"
    }

    fn router(self: Arc<Self>, faults: Arc<Faults>) -> Router {
        Router::new().fallback(handle).with_state((self, faults))
    }

    fn refuse(&self, fault: &Fault) -> Response {
        match fault {
            Fault::Forbidden => self.denied(&Caller { arn: self.user.arn.clone(), is_role: false }, "GetFindings").into_response(),
            _ => unrecognized().into_response(),
        }
    }

    fn fields(&self, _: &str) -> Vec<(&'static str, String)> {
        let mut fields =
            vec![("access_key", self.user.key.clone()), ("secret_key", self.user.secret.clone()), ("region", self.region().to_owned())];
        if let Some(token) = &self.user.token {
            fields.push(("session_token", token.clone()));
        }
        if self.role.is_some() {
            fields.push(("role_arn", sts::ROLE.to_owned()));
            fields.push(("external_id", sts::EXTERNAL_ID.to_owned()));
        }
        fields
    }

    fn reads(&self) -> &'static [&'static str] {
        &["GET /accounts", "GET /findingAggregator/list", "GET /findingAggregator/get/{}/{}", "POST /findings", "POST /"]
    }

    fn cannot(&self, fault: &Fault) -> Option<&'static str> {
        matches!(fault, Fault::ShiftedPage).then_some("cursors that stand still")
    }

    fn covers_many(&self) -> bool {
        true
    }

    fn tells_changes(&self) -> bool {
        true
    }

    fn several_pages(&self) -> usize {
        350
    }

    fn variants(&self) -> &'static [(&'static str, Make)] {
        &[("by role", |size| Arc::new(AwsSecurityHub::new(size).all_regions().with_role()))]
    }

    fn step(&self, change: &Change) {
        self.world().step(change, |place| self.sees(place.region));
    }

    fn oracle(&self) -> Oracle {
        let world = self.world();
        let mut oracle = Oracle::default();
        let keys: Vec<String> = world.places.iter().map(|place| format!("{}:{}", place.account, place.region)).collect();
        let mut is_record: Vec<bool> = world.places.iter().map(|place| self.names(place)).collect();
        for row in world.rows.iter().filter(|row| self.sees(world.places[row.place].region)) {
            is_record[row.place] |= row.listed;
            if let (true, Some(state)) = (row.ever_open, row.state) {
                let state = if row.listed { state } else { "gone" };
                oracle.findings.insert(row.key.clone(), Truth { record: keys[row.place].clone(), severity: row.severity, state });
            }
        }
        let records = world.places.iter().enumerate().filter(|(n, _)| is_record[*n]);
        oracle.records = records.map(|(n, place)| (keys[n].clone(), format!("{} ({})", place.account, place.region))).collect();
        oracle
    }
}

async fn handle(State((tool, faults)): State<(Arc<AwsSecurityHub>, Arc<Faults>)>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 1 << 20).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    tool.answer(Signed { method: &parts.method, uri: &parts.uri, headers: &parts.headers, body: &body }, &faults)
}

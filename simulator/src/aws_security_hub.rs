//! AWS Security Hub CSPM: `DescribeHub`, the finding aggregator and `GetFindings`, behind true checks of Signature Version 4,
//! and `AssumeRole` of STS on the same port.
//!
//! The hub belongs to a delegated administrator and holds findings of member accounts and linked regions. A listing is
//! bound to the parameters and to the data of its first page, so pages cannot shift and that fault is ignored. A page that
//! comes twice has a token that leads to the page that was asked for. An unknown filter is refused rather than ignored.

mod finding;
mod query;
mod signature;
mod sts;

use std::{
    collections::{HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use self::{
    finding::{Place, Provider},
    query::{Columns, Listing, Query, Sort, Words},
    signature::{Signed, pairs},
};
use crate::{
    Change, Fault, Faults, Oracle, Size, Truth, Vendor,
    seed::{Seed, share},
};

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
/// How many listings are remembered; a token of one that is forgotten has expired.
const LISTINGS: usize = 64;

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

/// A key that may sign requests.
#[derive(Clone, Debug)]
struct Credential {
    key: String,
    secret: String,
    token: Option<String>,
    until: Option<Timestamp>,
    arn: String,
    is_role: bool,
}

/// Who signed a request.
#[derive(Debug)]
struct Caller {
    arn: String,
    is_role: bool,
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

/// An error as AWS answers it.
#[derive(Debug)]
struct Refusal {
    status: u16,
    name: &'static str,
    message: String,
    /// Whether it is one of Security Hub's own, which look a little different from those of the front door.
    is_modelled: bool,
}

#[derive(Debug, Default)]
struct World {
    seed: u64,
    step: u64,
    /// What may be a record: an account in a region.
    places: Vec<Place>,
    rows: Vec<Row>,
    words: Words,
    /// Rows by the hash of their `Id`.
    ids: HashMap<u64, Vec<u32>>,
    /// Orders of the rows in this step.
    orders: Vec<(Sort, Arc<Vec<u32>>)>,
    /// The one used last comes last.
    listings: Vec<Listing>,
}

#[derive(Debug)]
struct Row {
    body: String,
    columns: Columns,
    place: usize,
    provider: Provider,
    key: String,
    severity: &'static str,
    /// `None` for a sample, which is no finding.
    state: Option<&'static str>,
    /// Whether a client that synced fully after every step has met it open.
    ever_open: bool,
    listed: bool,
}

impl AwsSecurityHub {
    /// A hub that aggregates named regions and member accounts into its home region.
    pub fn new(size: Size) -> Self {
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
            world: Mutex::new(world),
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

    /// Who signed this request for this service.
    fn authenticate(&self, request: Signed<'_>, service: &str) -> Result<Caller, Refusal> {
        let claim = request.claim()?;
        let sessions = self.sessions();
        let credential = std::iter::once(&self.user).chain(sessions.iter()).find(|credential| credential.key == claim.key);
        let credential = credential.filter(|credential| credential.token.as_deref() == request.header("x-amz-security-token"));
        let Some(credential) = credential else { return Err(unrecognized()) };
        let now = self.now();
        if credential.until.is_some_and(|until| until <= now) {
            return Err(Refusal::front_door(403, "ExpiredTokenException", "The security token included in the request is expired"));
        }
        request.verify(&claim, &credential.secret, self.region(), service, now)?;
        Ok(Caller { arn: credential.arn.clone(), is_role: credential.is_role })
    }

    /// Whether this caller may do this here.
    fn authorize(&self, caller: &Caller, action: &str) -> Result<(), Refusal> {
        if self.denied.contains(action) || self.role.is_some() && !caller.is_role {
            return Err(self.denied(caller, action));
        }
        if !self.subscribed {
            let message = format!("Account {ACCOUNT} is not subscribed to AWS Security Hub");
            return Err(Refusal::modelled(401, "InvalidAccessException", message));
        }
        Ok(())
    }

    fn denied(&self, caller: &Caller, action: &str) -> Refusal {
        let message = format!(
            "User: {} is not authorized to perform: securityhub:{action} on resource: {} because no identity-based policy allows the securityhub:{action} action",
            caller.arn,
            self.hub_arn()
        );
        Refusal::modelled(403, "AccessDeniedException", message)
    }

    fn throttle(&self, is_find: bool) -> Result<(), Refusal> {
        let count = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let is_over = self.buckets.as_ref().is_some_and(|buckets| {
            let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
            !buckets[usize::from(!is_find)].take()
        });
        if !is_over && (self.throttle_every == 0 || !count.is_multiple_of(self.throttle_every)) {
            return Ok(());
        }
        Err(match count / self.throttle_every.max(1) % 3 {
            1 => Refusal::front_door(429, "TooManyRequestsException", "Too Many Requests"),
            2 => Refusal::front_door(400, "ThrottlingException", "Rate exceeded"),
            _ => Refusal::modelled(
                429,
                "LimitExceededException",
                "The request was rejected because it would exceed the limits of this account.",
            ),
        })
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

    /// One page of findings.
    fn find(&self, body: &[u8], faults: &Faults) -> Result<String, Refusal> {
        let body = if body.is_empty() { b"{}".as_slice() } else { body };
        let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
            return Err(Refusal::front_door(400, "SerializationException", "Unexpected token in the request body."));
        };
        let mut world = self.world();
        let mut query = Query::read(body, &world.words, self.now()).map_err(Refusal::invalid)?;
        if faults.next("POST /findings", |fault| *fault == Fault::NoFilters).is_some() {
            query = query.everything();
        }
        let token =
            query.token.as_deref().map(Token::read).transpose()?.unwrap_or(Token { hash: query.hash, step: world.step, from: 0, page: 0 });
        if token.hash != query.hash {
            return Err(Refusal::invalid("Input Query has changed"));
        }
        let (size, is_first) = (query.size, query.token.is_none());
        let mut listing = world.listing(query, token.step, |place| self.sees(place.region)).ok_or_else(expired)?;
        // Pages after the first can be short, or empty with more to come.
        let full = match token.page % 13 {
            5 => 0,
            9 => size / 2,
            _ => size,
        };
        let to = token.from + full;
        listing.extend(to + 1, &world.words, |row| &world.rows[row as usize].columns);
        let mut range = token.from.min(listing.found.len())..to.min(listing.found.len());
        // Some listings say that there is more and then have an empty page.
        let is_more = listing.found.len() > to || listing.found.len() == to && full > 0 && token.hash % 2 == 0;
        let mut next = is_more.then_some(Token { from: to, page: token.page + 1, ..token });
        // Faults of items wait for a page that has items.
        let fault = faults.take(if range.is_empty() { "POST /list" } else { "POST /findings" });
        match fault {
            Some(Fault::NoRole) => (range, next) = (0..0, None),
            Some(Fault::DuplicatePage) if token.from > 0 => {
                range = token.from.saturating_sub(size)..token.from.min(listing.found.len());
                next = Some(Token { page: token.page + 1, ..token });
            }
            Some(Fault::RepeatedCursor) if !is_first => next = Some(token),
            Some(Fault::ExpiredCursor) if !is_first => {
                world.listings.push(listing);
                return Err(expired());
            }
            _ => {}
        }
        let rows: Vec<&Row> = listing.found[range].iter().map(|row| &world.rows[*row as usize]).filter(|row| row.listed).collect();
        let odd = match fault {
            Some(Fault::BadItem) => rows.first().map(|_| (0, "[1,2]".to_owned())),
            Some(Fault::UnknownEnum) => rows.iter().position(|row| row.state == Some("open")).map(|n| (n, odd_words(&rows[n].body))),
            _ => None,
        };
        let mut answer = String::with_capacity(rows.iter().map(|row| row.body.len() + 1).sum::<usize>() + 100);
        answer.push_str(r#"{"Findings":["#);
        for (n, row) in rows.into_iter().enumerate() {
            if n > 0 {
                answer.push(',');
            }
            answer.push_str(odd.as_ref().filter(|(at, _)| *at == n).map_or(&row.body, |(_, body)| body));
        }
        answer.push(']');
        match (next, token.hash % 3) {
            (Some(next), _) => answer.push_str(&format!(r#","NextToken":"{}""#, next.text())),
            (None, 0) => answer.push_str(r#","NextToken":null"#),
            (None, 1) => answer.push_str(r#","NextToken":"""#),
            _ => {}
        }
        answer.push('}');
        world.listings.push(listing);
        Ok(answer)
    }
}

/// A finding with a severity and a state that nobody has seen before.
fn odd_words(body: &str) -> String {
    let mut body: Value = serde_json::from_str(body).expect("our own JSON");
    body["Severity"]["Label"] = json!("APOCALYPTIC");
    body["Workflow"]["Status"] = json!("PONDERING");
    body.to_string()
}

fn unrecognized() -> Refusal {
    Refusal::front_door(403, "UnrecognizedClientException", "The security token included in the request is invalid.")
}

fn expired() -> Refusal {
    Refusal::invalid("Invalid parameter 'NextToken': the token has expired.")
}

/// A place in a listing, bound to the parameters and to the step of its first page.
#[derive(Clone, Copy, Debug)]
struct Token {
    hash: u64,
    step: u64,
    from: usize,
    page: usize,
}

impl Token {
    fn text(self) -> String {
        format!("U2VjSHVi{:016x}{:08x}{:08x}{:08x}", self.hash, self.step, self.from, self.page)
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let number = |from: usize, to: usize| {
            let digits = text.strip_prefix("U2VjSHVi").filter(|digits| digits.len() == 40).and_then(|digits| digits.get(from..to));
            digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or_else(|| Refusal::invalid("Invalid parameter 'NextToken'."))
        };
        let small = |from, to| number(from, to).map(|number| usize::try_from(number).unwrap_or(0));
        Ok(Token { hash: number(0, 16)?, step: number(16, 24)?, from: small(24, 32)?, page: small(32, 40)? })
    }
}

impl Bucket {
    fn new(per_second: f64, burst: f64) -> Self {
        Bucket { per_second, burst, tokens: burst, at: Instant::now() }
    }

    fn take(&mut self) -> bool {
        let now = Instant::now();
        self.tokens = (self.tokens + now.duration_since(self.at).as_secs_f64() * self.per_second).min(self.burst);
        self.at = now;
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }
}

impl Refusal {
    /// An error of AWS's common front: `message` and `__type`.
    fn front_door(status: u16, name: &'static str, message: impl Into<String>) -> Self {
        Refusal { status, name, message: message.into(), is_modelled: false }
    }

    /// An error of Security Hub itself: `Message` and `Code`.
    fn modelled(status: u16, name: &'static str, message: impl Into<String>) -> Self {
        Refusal { status, name, message: message.into(), is_modelled: true }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Refusal::modelled(400, "InvalidInputException", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (kind, body) = if self.is_modelled {
            let kind = format!("{}:http://internal.amazon.com/coral/com.amazonaws.securityhub/", self.name);
            (kind, json!({ "Code": self.name, "Message": self.message }))
        } else {
            (self.name.to_owned(), json!({ "__type": self.name, "message": self.message }))
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(HeaderName::from_static("x-amzn-errortype"), HeaderValue::from_str(&kind).expect("plain text"));
        (StatusCode::from_u16(self.status).unwrap_or_default(), headers, body.to_string()).into_response()
    }
}

fn hash_of(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

impl World {
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
        let key = format!("{}/{}", body["ProductArn"].as_str().unwrap_or_default(), body["Id"].as_str().unwrap_or_default());
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

    /// The listing that a request goes on with, taken out of the list; `None` when its data are of an earlier step and it
    /// has been forgotten.
    fn listing(&mut self, query: Query, step: u64, sees: impl Fn(&Place) -> bool) -> Option<Listing> {
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

    fn step(&self, change: &Change) {
        let mut guard = self.world();
        let world = &mut *guard;
        world.step += 1;
        world.orders.clear();
        // A provider's time is a little before its update arrives.
        let now = Timestamp::now().saturating_sub(SignedDuration::from_secs(2)).unwrap_or_default();
        let now = now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let seen: Vec<usize> =
            (0..world.rows.len()).filter(|row| world.rows[*row].listed && self.sees(world.places[world.rows[*row].place].region)).collect();
        let mut places: Vec<usize> = seen.iter().map(|row| world.rows[*row].place).collect();
        places.sort_unstable();
        places.dedup();
        let is_put_aside = |row: &Row| {
            matches!(row.state, Some("risk_accepted" | "false_positive"))
                || row.state == Some("fixed") && row.body.contains(r#""Status":"RESOLVED""#)
        };
        let mut aside: Vec<usize> = seen.iter().copied().filter(|row| is_put_aside(&world.rows[*row])).collect();
        let mut open: Vec<usize> = seen.into_iter().filter(|row| world.rows[*row].state == Some("open")).collect();
        let total = open.len();
        let mut seed = Seed::of(&[world.seed, 22, world.step]);
        let share = |percent| share(total, percent);
        let mut take = |from: &mut Vec<usize>, count| seed.draw(from, count);
        for (n, row) in take(&mut open, share(change.fixed)).into_iter().enumerate() {
            world.edit(row, |provider, body| {
                provider.fix(body, n);
                body["UpdatedAt"] = json!(now);
            });
        }
        for n in 0..share(change.changed) {
            match n % 4 {
                1 | 2 => {
                    for row in take(&mut open, 1) {
                        world.edit(row, |_, body| finding::triage(body, n / 4 * 2 + n % 4 - 1, &now));
                    }
                }
                3 if !aside.is_empty() => {
                    for row in take(&mut aside, 1) {
                        world.edit(row, |_, body| finding::take_up(body));
                    }
                }
                _ => {
                    for row in take(&mut open, 1) {
                        world.edit(row, |_, body| {
                            finding::rerate(body);
                            body["UpdatedAt"] = json!(now);
                        });
                    }
                }
            }
        }
        for row in take(&mut open, share(change.vanished)) {
            world.rows[row].listed = false;
        }
        for number in 0..share(change.new).min(if places.is_empty() { 0 } else { usize::MAX }) {
            world.add(places[number % places.len()], number, false, Some(&now));
        }
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

#[cfg(test)]
mod tests {
    use axum::{body::Bytes, http::Uri};

    use super::{signature::tests::authorize, *};

    const SIZE: Size = Size { records: 6, findings: 3000, seed: 7 };

    struct Client {
        tool: AwsSecurityHub,
        faults: Faults,
        key: String,
        secret: String,
        token: Option<String>,
    }

    impl Client {
        fn new(tool: AwsSecurityHub) -> Self {
            let user = tool.user.clone();
            Client { tool, faults: Faults::default(), key: user.key, secret: user.secret, token: user.token }
        }

        async fn send(&self, method: Method, target: &str, body: &str, place: (&str, &str), at: Timestamp) -> (u16, String, String) {
            let uri: Uri = target.parse().unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            if let Some(token) = &self.token {
                headers.insert("x-amz-security-token", HeaderValue::from_str(token).unwrap());
            }
            let request = Signed { method: &method, uri: &uri, headers: &headers, body: body.as_bytes() };
            let headers = authorize(request, &self.key, &self.secret, place, at);
            let response = self.tool.answer(Signed { headers: &headers, ..request }, &self.faults);
            let name = response.headers().get("x-amzn-errortype").map(|name| name.to_str().unwrap().to_owned()).unwrap_or_default();
            let status = response.status().as_u16();
            let body: Bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            (status, name, String::from_utf8(body.to_vec()).unwrap())
        }

        async fn call(&self, method: Method, target: &str, body: &str) -> (u16, String, Value) {
            let (status, name, body) = self.send(method, target, body, (self.tool.region(), "securityhub"), Timestamp::now()).await;
            (status, name, serde_json::from_str(&body).unwrap())
        }

        async fn get(&self, target: &str) -> (u16, String, Value) {
            self.call(Method::GET, target, "").await
        }

        async fn find(&self, body: &Value) -> (u16, String, Value) {
            self.call(Method::POST, "/findings", &body.to_string()).await
        }

        /// Every finding that a query lists, and in how many pages.
        async fn list(&self, filters: Value) -> (Vec<Value>, usize) {
            let mut query =
                json!({ "Filters": filters, "MaxResults": 100, "SortCriteria": [{ "Field": "UpdatedAt", "SortOrder": "asc" }] });
            let (mut findings, mut pages) = (Vec::new(), 0);
            loop {
                let (status, _, body) = self.find(&query).await;
                assert_eq!(status, 200, "{body}");
                findings.extend(body["Findings"].as_array().unwrap().iter().cloned());
                pages += 1;
                match body["NextToken"].as_str() {
                    Some(token) if !token.is_empty() => query["NextToken"] = json!(token),
                    _ => return (findings, pages),
                }
            }
        }

        async fn count(&self, filters: Value) -> usize {
            self.list(filters).await.0.len()
        }
    }

    fn equals(values: &[&str]) -> Value {
        values.iter().map(|value| json!({ "Value": value, "Comparison": "EQUALS" })).collect()
    }

    fn key(body: &Value) -> String {
        format!("{}/{}", body["ProductArn"].as_str().unwrap(), body["Id"].as_str().unwrap())
    }

    #[tokio::test]
    async fn signatures_are_checked_truly() {
        let mut client = Client::new(AwsSecurityHub::new(SIZE));
        let (home, now) = (("us-east-1", "securityhub"), Timestamp::now());
        let off = |seconds: i64| now.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
        assert_eq!(client.send(Method::GET, "/accounts", "", home, now).await.0, 200);
        assert_eq!(client.send(Method::GET, "/accounts", "", home, off(-290)).await.0, 200);
        for (place, at) in [(("eu-west-1", "securityhub"), now), (("us-east-1", "sts"), now), (home, off(-310)), (home, off(310))] {
            let (status, name, body) = client.send(Method::GET, "/accounts", "", place, at).await;
            assert_eq!((status, name.as_str()), (403, "InvalidSignatureException"), "{body}");
            assert!(body.contains("InvalidSignatureException"), "{body}");
        }
        client.secret.push('x');
        assert_eq!(client.get("/accounts").await.1, "InvalidSignatureException");
        client.key.push('x');
        assert_eq!(client.get("/accounts").await.1, "UnrecognizedClientException");
        let uri = Uri::from_static("/accounts");
        let bare = Signed { method: &Method::GET, uri: &uri, headers: &HeaderMap::new(), body: b"" };
        let response = client.tool.answer(bare, &client.faults);
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-amzn-errortype"]),
            (403, &HeaderValue::from_static("MissingAuthenticationTokenException"))
        );
        let mut client = Client::new(AwsSecurityHub::new(SIZE).with_session_token());
        assert_eq!(client.get("/accounts").await.0, 200);
        client.token = None;
        assert_eq!(client.get("/accounts").await.1, "UnrecognizedClientException");
        let client = Client::new(AwsSecurityHub::new(SIZE).with_expired_session_token());
        assert_eq!(client.get("/accounts").await.1, "ExpiredTokenException");
        let client = Client::new(AwsSecurityHub::new(SIZE).with_clock_off_by(SignedDuration::from_mins(6)));
        assert_eq!(client.get("/accounts").await.1, "InvalidSignatureException");
    }

    #[tokio::test]
    async fn hub_and_aggregator_answer_as_their_mode_is() {
        let client = Client::new(AwsSecurityHub::new(SIZE));
        assert_eq!(client.get("/accounts").await.2["HubArn"], "arn:aws:securityhub:us-east-1:123456789012:hub/default");
        assert_eq!(client.get("/accounts?HubArn=arn%3Aaws%3Aelse").await.0, 404);
        assert_eq!(client.get("/findingAggregator/list?MaxResults=101").await.0, 400);
        let (_, _, list) = client.get("/findingAggregator/list?MaxResults=100").await;
        let arn = list["FindingAggregators"][0]["FindingAggregatorArn"].as_str().unwrap().to_owned();
        let path = format!("/findingAggregator/get/{}", arn.replace(':', "%3A"));
        let (_, _, body) = client.get(&path).await;
        assert_eq!((&body["RegionLinkingMode"], &body["Regions"]), (&json!("SPECIFIED_REGIONS"), &json!(["eu-west-1", "sa-east-1"])));
        assert_eq!(client.get("/findingAggregator/get/arn%3Aaws%3Aelse").await.0, 404);
        assert_eq!(client.get("/elsewhere").await.0, 404);
        assert_eq!(client.call(Method::POST, "/standards/get", "{}").await.0, 403);
        let everywhere = client.count(json!({})).await;
        let records = |tool: &AwsSecurityHub| tool.oracle().records.into_keys().collect::<Vec<_>>().join(" ");
        assert_eq!(
            records(&client.tool),
            "123456789012:eu-west-1 123456789012:sa-east-1 123456789012:us-east-1 211000000007:eu-west-1 211000000007:us-east-1 212000000014:us-east-1"
        );
        for (tool, mode, regions, all) in [
            (AwsSecurityHub::new(SIZE).all_regions(), "ALL_REGIONS", Value::Null, true),
            (AwsSecurityHub::new(SIZE).all_regions_except(), "ALL_REGIONS_EXCEPT_SPECIFIED", json!(["eu-west-1"]), false),
            (AwsSecurityHub::new(SIZE).no_regions(), "NO_REGIONS", json!([]), false),
            (AwsSecurityHub::new(SIZE).wrong_home_region(), "SPECIFIED_REGIONS", json!(["eu-west-1", "sa-east-1"]), false),
        ] {
            let client = Client::new(tool);
            let (_, _, body) = client.get(&path).await;
            assert_eq!((&body["RegionLinkingMode"], &body["Regions"]), (&json!(mode), &regions));
            assert_eq!(body["FindingAggregationRegion"], "us-east-1");
            let count = client.count(json!({})).await;
            assert!(count > 5 && (count == everywhere) == all, "{mode}: {count} of {everywhere}");
        }
        // A region without findings shows only where it is named; the home region is always known.
        assert!(!records(&AwsSecurityHub::new(SIZE).all_regions()).contains("sa-east-1"));
        assert_eq!(records(&AwsSecurityHub::new(SIZE).wrong_home_region()), "123456789012:eu-west-1 211000000007:eu-west-1");
        let client = Client::new(AwsSecurityHub::new(SIZE).without_aggregator());
        assert_eq!(client.get("/findingAggregator/list").await.2, json!({ "FindingAggregators": [] }));
        let client = Client::new(AwsSecurityHub::new(SIZE).not_subscribed());
        let (status, name, body) = client.get("/accounts").await;
        assert_eq!((status, name.split(':').next()), (401, Some("InvalidAccessException")), "{body}");
        let client = Client::new(AwsSecurityHub::new(SIZE).without_permission("securityhub:GetFindings"));
        assert_eq!((client.get("/accounts").await.0, client.find(&json!({})).await.0), (200, 403));
    }

    #[tokio::test]
    async fn pages_hold_everything_once_and_in_order() {
        let client = Client::new(AwsSecurityHub::new(SIZE));
        let (findings, pages) = client.list(json!({})).await;
        let keys: HashSet<String> = findings.iter().map(key).collect();
        assert_eq!((keys.len(), findings.len()), (client.tool.world().rows.len(), keys.len()));
        assert!(pages > findings.len().div_ceil(100), "some pages are short or empty: {pages}");
        let times: Vec<Timestamp> = findings.iter().map(|body| body["UpdatedAt"].as_str().unwrap().parse().unwrap()).collect();
        assert!(times.is_sorted());
        let open = client.tool.oracle().findings;
        assert_eq!(open.len(), 3000);
        assert!(open.keys().all(|key| keys.contains(key)));
        for number in [0, 100, 101] {
            let (status, _, _) = client.find(&json!({ "MaxResults": number })).await;
            assert_eq!(status == 200, number == 100, "{number}");
        }
        let first = client.find(&json!({ "MaxResults": 7 })).await.2;
        let token = first["NextToken"].clone();
        for (query, message) in [
            (json!({ "MaxResults": 8, "NextToken": token }), "Input Query has changed"),
            (json!({ "MaxResults": 7, "NextToken": token, "Filters": { "Region": equals(&["us-east-1"]) } }), "Input Query has changed"),
            (json!({ "MaxResults": 7, "NextToken": "nonsense" }), "NextToken"),
        ] {
            let (status, name, body) = client.find(&query).await;
            assert_eq!((status, name.split(':').next()), (400, Some("InvalidInputException")));
            assert!(body["Message"].as_str().unwrap().contains(message), "{body}");
        }
    }

    #[tokio::test]
    async fn filters_are_and_or_and_not_as_documented() {
        let client = Client::new(AwsSecurityHub::new(SIZE));
        let not = |values: &[&str], comparison: &str| -> Value {
            values.iter().map(|value| json!({ "Value": value, "Comparison": comparison })).collect()
        };
        let all = client.count(json!({})).await;
        let home = client.count(json!({ "Region": equals(&["us-east-1"]) })).await;
        let away = client.count(json!({ "Region": equals(&["eu-west-1"]) })).await;
        assert!(home > 0 && away > 0);
        assert_eq!(client.count(json!({ "Region": equals(&["us-east-1", "eu-west-1"]) })).await, all);
        assert_eq!(client.count(json!({ "Region": not(&["us-east-1", "eu-west-1"], "NOT_EQUALS") })).await, 0);
        assert_eq!(client.count(json!({ "Region": not(&["us-"], "PREFIX_NOT_EQUALS") })).await, away);
        assert_eq!(
            client.count(json!({ "Region": equals(&["us-east-1"]), "AwsAccountId": not(&[ACCOUNT], "NOT_EQUALS") })).await,
            client.count(json!({ "Region": not(&["eu"], "PREFIX_NOT_EQUALS"), "AwsAccountId": not(&["21"], "PREFIX") })).await
        );
        let mut mixed = not(&["us"], "PREFIX");
        mixed.as_array_mut().unwrap().push(json!({ "Value": "us-east-1", "Comparison": "NOT_EQUALS" }));
        assert_eq!(client.count(json!({ "Region": mixed })).await, 0);
        assert_eq!(client.count(json!({ "Region": equals(&["US-EAST-1"]) })).await, 0);
        let five = client.list(json!({ "Region": equals(&["eu-west-1"]), "AwsAccountId": equals(&[ACCOUNT]) })).await.0;
        assert_eq!(five.len(), 5);
        let ids: Vec<&str> = five.iter().map(|body| body["Id"].as_str().unwrap()).collect();
        assert_eq!(client.list(json!({ "Id": equals(&ids) })).await.0, five);
        // Controls alone have a status of compliance: what has none fits neither the one nor its opposite.
        let passed = client.count(json!({ "ComplianceStatus": equals(&["PASSED"]) })).await;
        let failed = client.count(json!({ "ComplianceStatus": not(&["PASSED"], "NOT_EQUALS") })).await;
        assert!(passed > 0 && passed + failed < all, "{passed} {failed} {all}");
        let window = json!([{ "Start": "2024-06-01T00:00:00Z", "End": "2025-01-01T00:00:00+00:00" }]);
        let some = client.count(json!({ "UpdatedAt": window })).await;
        assert!(some > 0 && some < all);
        assert_eq!(client.count(json!({ "UpdatedAt": [{ "DateRange": { "Value": 1, "Unit": "DAYS" } }] })).await, 0);
        let words: Vec<String> = (0..21).map(|n| format!("r-{n}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut both = equals(&["a"]);
        both.as_array_mut().unwrap().push(json!({ "Value": "b", "Comparison": "NOT_EQUALS" }));
        let names = [
            "Region",
            "AwsAccountId",
            "RecordState",
            "WorkflowStatus",
            "ProductArn",
            "ProductName",
            "Id",
            "GeneratorId",
            "Type",
            "CompanyName",
            "SeverityLabel",
        ];
        let eleven: serde_json::Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), equals(&["x"]))).collect();
        for refused in [
            json!({ "UpdatedAt": [{ "Start": "2024-06-01T00:00:00Z" }] }),
            json!({ "UpdatedAt": [{ "Start": "yesterday", "End": "2024-06-01T00:00:00Z" }] }),
            json!({ "ProcessedAt": window }),
            json!({ "Region": equals(&words) }),
            json!({ "Region": both }),
            json!({ "Region": not(&["us"], "CONTAINS") }),
            json!({ "Region": equals(&[" "]) }),
            json!({ "Colour": equals(&["red"]) }),
            Value::Object(eleven),
        ] {
            let (status, name, _) = client.find(&json!({ "Filters": refused })).await;
            assert_eq!((status, name.split(':').next()), (400, Some("InvalidInputException")), "{refused}");
        }
        assert_eq!(client.find(&json!({ "SortCriteria": [{ "Field": "Colour", "SortOrder": "asc" }] })).await.0, 400);
        assert_eq!(client.call(Method::POST, "/findings", "[").await.1, "SerializationException");
    }

    #[tokio::test]
    async fn a_step_moves_the_time_of_providers_but_not_of_people() {
        let client = Client::new(AwsSecurityHub::new(SIZE));
        let before: HashMap<String, Value> = client.list(json!({})).await.0.into_iter().map(|body| (key(&body), body)).collect();
        let (mut seen, mut people) = (HashSet::new(), 0);
        for _ in 0..2 {
            client.tool.step(&Change::ONE_PERCENT);
        }
        let recent = client.list(json!({ "UpdatedAt": [{ "DateRange": { "Value": 1, "Unit": "DAYS" } }] })).await.0;
        let recent: HashSet<String> = recent.iter().map(key).collect();
        let after = client.list(json!({})).await.0;
        let oracle = client.tool.oracle();
        for body in &after {
            let key = key(body);
            let (severity, state) = finding::truth(body);
            if let Some(truth) = oracle.findings.get(&key) {
                assert_eq!((truth.severity, Some(truth.state)), (severity, state));
                assert_eq!(truth.record, format!("{}:{}", body["AwsAccountId"].as_str().unwrap(), body["Region"].as_str().unwrap()));
            }
            let Some(old) = before.get(&key) else {
                // It may have been fixed by the second step already.
                assert!(recent.contains(&key) && matches!(state, Some("open" | "fixed")), "{key} {state:?}");
                seen.insert("new");
                continue;
            };
            let by_people = old["Workflow"] != body["Workflow"] || body["Note"] != old["Note"];
            if old != body && by_people && !recent.contains(&key) {
                assert_eq!(old["UpdatedAt"], body["UpdatedAt"]);
                people += 1;
            } else if old != body {
                assert!(recent.contains(&key) || by_people);
            }
            if body["RecordState"] != old["RecordState"] {
                seen.insert("archived");
            }
            if body["Compliance"]["Status"] != old["Compliance"]["Status"] {
                assert_eq!((&body["Compliance"]["Status"], &body["Severity"]["Label"]), (&json!("PASSED"), &json!("INFORMATIONAL")));
                seen.insert("passed");
            }
            match (old["Workflow"]["Status"].as_str(), body["Workflow"]["Status"].as_str()) {
                (Some("RESOLVED" | "SUPPRESSED"), Some("NEW")) => seen.insert("taken up"),
                (_, Some("RESOLVED")) => seen.insert("resolved"),
                (_, Some("SUPPRESSED")) => seen.insert("suppressed"),
                _ => false,
            };
        }
        assert!(people >= 30, "{people}");
        assert_eq!(seen, ["new", "archived", "passed", "taken up", "resolved", "suppressed"].into());
        assert_eq!(oracle.findings.values().filter(|truth| truth.state == "gone").count(), 60);
        for state in ["open", "fixed", "risk_accepted", "false_positive", "gone"] {
            assert!(oracle.findings.values().any(|truth| truth.state == state), "{state}");
        }
        for severity in ["critical", "high", "medium", "low", "info"] {
            assert!(oracle.findings.values().any(|truth| truth.severity == severity), "{severity}");
        }
        assert!(before.values().any(|body| body["Sample"] == json!(true)), "samples");
    }

    #[tokio::test]
    async fn a_walk_goes_on_over_a_step() {
        let client = Client::new(AwsSecurityHub::new(SIZE));
        let query = |token: &Value| json!({ "MaxResults": 100, "SortCriteria": [{ "Field": "UpdatedAt", "SortOrder": "asc" }], "NextToken": token });
        let mut keys: HashSet<String> = HashSet::new();
        let mut token = Value::Null;
        for page in 0.. {
            let body = client.find(&query(&token)).await.2;
            keys.extend(body["Findings"].as_array().unwrap().iter().map(key));
            token = body["NextToken"].clone();
            if page == 3 {
                client.tool.step(&Change::ONE_PERCENT);
            }
            if token.as_str().is_none_or(str::is_empty) {
                break;
            }
        }
        let oracle = client.tool.oracle();
        let is_old = |key: &&String| oracle.findings[*key].state == "open" && !key.contains("never");
        let missed = oracle.findings.keys().filter(is_old).filter(|key| !keys.contains(*key)).count();
        assert_eq!(missed, 30, "only the new ones");
    }

    #[tokio::test]
    async fn throttled_answers_have_all_their_names() {
        let client = Client::new(AwsSecurityHub::new(SIZE).throttled_every(2));
        let mut names = Vec::new();
        for _ in 0..6 {
            let (status, name, _) = client.find(&json!({ "MaxResults": 1 })).await;
            if status != 200 {
                names.push((status, name.split(':').next().unwrap().to_owned()));
            }
        }
        let expected = [(429, "TooManyRequestsException"), (400, "ThrottlingException"), (429, "LimitExceededException")];
        assert_eq!(names, expected.map(|(status, name)| (status, name.to_owned())));
        let client = Client::new(AwsSecurityHub::new(SIZE).with_rate_limit());
        let mut good = 0;
        for _ in 0..12 {
            good += usize::from(client.find(&json!({ "MaxResults": 1 })).await.0 == 200);
        }
        assert!((6..12).contains(&good), "{good}");
    }

    #[tokio::test]
    async fn a_role_has_to_be_assumed_with_its_external_id() {
        let mut client = Client::new(AwsSecurityHub::new(SIZE).with_role());
        assert_eq!(client.get("/accounts").await.0, 403);
        let form = |role: &str, id: &str| {
            format!(
                "Action=AssumeRole&Version=2011-06-15&RoleArn={}&RoleSessionName=tributary&ExternalId={id}&DurationSeconds=3600",
                role.replace(':', "%3A")
            )
        };
        let (place, now) = (("us-east-1", "sts"), Timestamp::now());
        let (status, _, body) = client.send(Method::POST, "/", &form(sts::ROLE, "wrong"), place, now).await;
        assert!(status == 403 && body.contains("<Code>AccessDenied</Code>"), "{body}");
        let (status, _, body) = client.send(Method::POST, "/", &form("role", "wrong"), place, now).await;
        assert!(status == 400 && body.contains("<Code>ValidationError</Code>"), "{body}");
        let (status, _, body) = client.send(Method::POST, "/", "Action=GetCallerIdentity&Version=2011-06-15", place, now).await;
        assert!(status == 200 && body.contains("<Account>998877665544</Account>"), "{body}");
        let (status, _, body) = client.send(Method::POST, "/", &form(sts::ROLE, sts::EXTERNAL_ID), place, now).await;
        assert_eq!(status, 200, "{body}");
        let part = |name: &str| body.split_once(&format!("<{name}>")).unwrap().1.split('<').next().unwrap().to_owned();
        (client.key, client.secret, client.token) = (part("AccessKeyId"), part("SecretAccessKey"), Some(part("SessionToken")));
        assert_eq!(client.get("/accounts").await.0, 200);
        assert_eq!(client.find(&json!({})).await.0, 200);
        client.secret.push('x');
        let (status, _, body) = client.send(Method::POST, "/", "Action=GetCallerIdentity&Version=2011-06-15", place, now).await;
        assert!(status == 403 && body.contains("<Code>SignatureDoesNotMatch</Code>"), "{body}");
    }

    #[tokio::test]
    async fn faults_of_a_list_are_shown() {
        let client = Client::new(AwsSecurityHub::new(SIZE));
        let query = json!({ "MaxResults": 100 });
        let second = client.find(&query).await.2["NextToken"].clone();
        let ask = async |fault: Fault, token: bool| {
            client.faults.add("finding", 0, 1, fault);
            let mut query = query.clone();
            if token {
                query["NextToken"] = second.clone();
            }
            client.find(&query).await
        };
        let first = client.find(&query).await.2["Findings"].clone();
        assert_eq!(ask(Fault::NoRole, false).await.2["Findings"], json!([]));
        let twice = ask(Fault::DuplicatePage, true).await.2;
        assert_eq!(twice["Findings"], first);
        assert_ne!(twice["NextToken"], second);
        let after = client.find(&json!({ "MaxResults": 100, "NextToken": twice["NextToken"] })).await.2;
        assert_eq!(after["Findings"], client.find(&json!({ "MaxResults": 100, "NextToken": second })).await.2["Findings"]);
        assert_eq!(ask(Fault::RepeatedCursor, true).await.2["NextToken"], second);
        assert_eq!(ask(Fault::ExpiredCursor, true).await.0, 400);
        assert_eq!(ask(Fault::BadItem, false).await.2["Findings"][0], json!([1, 2]));
        assert!(ask(Fault::UnknownEnum, false).await.2.to_string().contains("APOCALYPTIC"));
        client.faults.add("", 0, 1, Fault::NoRole);
        assert_eq!(client.get("/findingAggregator/list").await.2, json!({ "FindingAggregators": [] }));
    }
}

//! Semgrep AppSec Platform, REST API v1 <https://semgrep.dev/api/v1/docs/>.
//!
//! An API token with the scope `Web API` (`Authorization: Bearer`); one without it is answered 404. Code, Supply Chain and
//! AI findings share an endpoint by slug, paged by number, without a total, newest first, to the first empty page. Secrets
//! have one of their own by numeric id, with a cursor. Nothing tells what changed (`since` is a date of birth), so every pass
//! is a full one. Findings name their project by name only: its id comes from the list of projects, read once a run. Servers
//! older than June 2026 end a list silently at 50,000 findings: a list of that length is read again in parts.

use std::collections::HashMap;

use tokio::sync::OnceCell;

use crate::{Excerpt, kit::Loose, prelude::*};

/// Rows asked for per page of projects, findings and secrets; the least that a page of findings can have.
const PROJECTS: usize = 100;
const FINDINGS: usize = 1000;
const SECRETS: usize = 500;
const FEWEST: usize = 100;
/// Where older servers end a list of findings.
const WINDOW: usize = 50_000;
/// The parts of a list that is longer than that: each severity, and of one that still is too long each status.
const SEVERITIES: [&str; 4] = ["critical", "high", "medium", "low"];
const STATUSES: [&str; 6] = ["open", "reviewing", "fixing", "fixed", "ignored", "provisionally_ignored"];

/// The connector.
#[derive(Debug)]
pub struct Semgrep {
    http: Http,
    slug: Option<Box<str>>,
    products: Vec<Product>,
    branches: Branches,
    deployment: OnceCell<Deployment>,
    names: OnceCell<Names>,
}

/// Ids of the projects by name, as they are in this run.
type Names = HashMap<String, Box<str>>;

/// Fields of a Semgrep connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// API token with the scope Web API, made by an admin (Settings > Tokens > API tokens).
    secret: Secret,
    /// Slug of the deployment. A token sees exactly one, so this only guards against the token of another.
    #[serde(default)]
    deployment_slug: Option<String>,
    /// What to read, of `sast`, `sca`, `ai_sast` and `secrets`. All by default; leave out what the plan does not include.
    #[serde(default = "all")]
    products: Vec<Product>,
    /// `all`: a finding counts on whatever branch it is, once, as on Semgrep's pages. `default`: only on default branches.
    /// Secrets are always read from all branches.
    #[serde(default)]
    branch_mode: Branches,
}

/// One of Semgrep's products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Product {
    Sast,
    Sca,
    AiSast,
    Secrets,
}

impl Product {
    /// The name of its list, and its issue type.
    fn list(self) -> &'static str {
        match self {
            Product::Sast => "sast",
            Product::Sca => "sca",
            Product::AiSast => "ai_sast",
            Product::Secrets => "secrets",
        }
    }
}

fn all() -> Vec<Product> {
    vec![Product::Sast, Product::Sca, Product::AiSast, Product::Secrets]
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Branches {
    #[default]
    All,
    Default,
}

/// How far a list has been read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Number of the page, from 0, within the part.
    page: usize,
    /// Rows of the part so far.
    rows: usize,
    /// The part of the list that is being read.
    part: Part,
    /// Whether a part could not be read to its end.
    lost: bool,
    /// The vendor's cursor, for secrets.
    after: String,
}

/// A list, or the part of it with one severity, or with one severity and status.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Part {
    severity: Option<usize>,
    status: Option<usize>,
}

impl Part {
    /// What is to be read after this part. One that was cut off at the window is read again in smaller ones.
    fn next(self, cut: bool) -> Option<Part> {
        let (severity, status) = match (self.severity, self.status) {
            (None, _) if cut => (0, None),
            (None, _) => return None,
            (Some(severity), None) if cut => (severity, Some(0)),
            (Some(severity), Some(status)) if status + 1 < STATUSES.len() => (severity, Some(status + 1)),
            (Some(severity), _) => (severity + 1, None),
        };
        (severity < SEVERITIES.len()).then_some(Part { severity: Some(severity), status })
    }
}

impl Connector for Semgrep {
    const META: Meta = Meta {
        id: "semgrep",
        title: "Semgrep AppSec Platform",
        docs: "https://semgrep.dev/api/v1/docs/",
        record: "project",
        location: "https://semgrep.dev/api/v1/",
        location_help: "https://semgrep.dev/api/v1/, or the same below the address of a dedicated tenant: https://TENANT.semgrep.dev/api/v1/",
        permissions: &["Web API"],
        aliases: &[("web_api_token", "secret")],
        concurrency: 1,
        shifting: true,
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, mut link: Link) -> Result<Self> {
        let Settings { secret, deployment_slug, products: wanted, branch_mode } = settings;
        let products: Vec<Product> = all().into_iter().filter(|product| wanted.contains(product)).collect();
        if products.is_empty() {
            return Err(Error::new("reading the connection's fields", Kind::Settings("`products` names no product".into())));
        }
        link.location = link.location.without_endings(&["/v1", "/api"]);
        let http = link.http(&Self::META, Auth::Bearer(secret))?;
        let slug = deployment_slug.filter(|slug| !slug.is_empty()).map(Into::into);
        Ok(Semgrep { http, slug, products, branches: branch_mode, deployment: OnceCell::new(), names: OnceCell::new() })
    }

    /// One list per product. They belong to the deployment: with the token of another one, nothing of this one is closed.
    async fn scopes(&self, cx: &Cx, job: Job<'_>) -> Result<Vec<Scope>> {
        let deployment = self.deployment(cx).await?;
        let title = |list: &str| format!("{list} of {}", text::line(&deployment.slug)).into();
        let scope = |list| Scope { list, key: deployment.id().into(), title: title(list), record: None };
        Ok(match job {
            Job::Discover => vec![scope("projects")],
            Job::Sync(_) => self.products.iter().map(|product| scope(product.list())).collect(),
        })
    }

    async fn page(&self, cx: &Cx, ask: Ask<'_, Cursor>) -> Result<Page<Cursor>> {
        match all().into_iter().find(|product| product.list() == ask.scope.list) {
            None => {
                let projects = self.projects(cx, ask.cursor.page).await?;
                let next = match projects.len() {
                    0 => Next::Done(Coverage::Full, None),
                    _ => Next::More(Cursor { page: ask.cursor.page + 1, ..ask.cursor }),
                };
                Ok(Page::new(items(projects, &[], |project: Project| project.record(), |key: Key| key.id.0), None, next))
            }
            Some(Product::Secrets) => {
                let names = self.names(cx).await?;
                let Secrets { findings, cursor } = self.secrets(cx, SECRETS, &ask.cursor.after).await?;
                let next = match cursor.filter(|cursor| !cursor.is_empty() && !findings.is_empty()) {
                    Some(after) => Next::More(Cursor { after, ..ask.cursor }),
                    None => Next::Done(Coverage::Full, None),
                };
                Ok(Page::new(items(findings, &[], |leak: Leak| leak.finding(names, cx), |key: Key| key.of(Product::Secrets)), None, next))
            }
            Some(product) => {
                let names = self.names(cx).await?;
                let Cursor { page, rows, part, lost, after } = ask.cursor;
                let findings = self.findings(cx, product, FINDINGS, page, part).await?;
                if findings.is_empty() {
                    let cut = rows == WINDOW;
                    let lost = lost || (cut && part.status.is_some());
                    let next = match part.next(cut) {
                        Some(part) => Next::More(Cursor { part, lost, ..Cursor::default() }),
                        None if lost => {
                            cx.incomplete(format!(
                                "more than {WINDOW} findings have the same severity and status, and this server lists no more"
                            ));
                            Next::Done(Coverage::Delta, None)
                        }
                        None => Next::Done(Coverage::Full, None),
                    };
                    return Ok(Page::new((Vec::new(), Vec::new()), None, next));
                }
                let next = Next::More(Cursor { page: page + 1, rows: rows + findings.len(), part, lost, after });
                Ok(Page::new(items(findings, &[], |wire: Wire| wire.finding(product, names, cx), |key: Key| key.of(product)), None, next))
            }
        }
    }

    async fn check(&self, cx: &Cx) -> Result<Checked> {
        let mut checked = Checked::default();
        let deployment = self.deployment(cx).await?;
        let name = deployment.name.as_deref().map(text::line).unwrap_or_default();
        checked.facts.push(format!("deployment {} ({name})", text::line(&deployment.slug)));
        match self.projects(cx, 0).await?.len() {
            0 => checked.warnings.push("no project is visible: onboard repositories in Semgrep first".into()),
            PROJECTS.. => checked.facts.push(format!("at least {PROJECTS} projects visible")),
            count => checked.facts.push(format!("{count} projects visible")),
        }
        for product in &self.products {
            let some = match product {
                Product::Secrets => !self.secrets(cx, 1, "").await?.findings.is_empty(),
                product => !self.findings(cx, *product, FEWEST, 0, Part::default()).await?.is_empty(),
            };
            checked.facts.push(format!("{}: {}", product.list(), if some { "findings visible" } else { "no findings" }));
        }
        Ok(checked)
    }
}

impl Semgrep {
    /// The one deployment of the token.
    async fn deployment(&self, cx: &Cx) -> Result<&Deployment> {
        let ask = || async {
            let found = self.http.get("/api/v1/deployments", &[]).send::<Deployments>(cx).await.map_err(|error| told(error, None))?;
            let wanted = |deployment: &Deployment| self.slug.as_deref().is_none_or(|slug| slug == deployment.slug);
            let (seen, none) = (found.body.deployments.len(), "finding the deployment of the token");
            found.body.deployments.into_iter().find(wanted).ok_or_else(|| match (&self.slug, seen) {
                (Some(slug), 1..) => Error::new(none, Kind::Settings(format!("the token is not of the deployment `{slug}`").into()))
                    .with_hint("correct `deployment_slug` or leave it out; the slug is in Settings > Deployment > Identifiers"),
                _ => Error::new(none, Kind::Forbidden(Excerpt::new("the token sees no deployment"))).with_hint(TOKEN),
            })
        };
        self.deployment.get_or_try_init(ask).await
    }

    /// Where a finding's project is found by its name. A list of projects is small, and needed before the first finding.
    async fn names(&self, cx: &Cx) -> Result<&Names> {
        let ask = || async {
            let mut names = Names::new();
            for page in 0.. {
                let projects = self.projects(cx, page).await?;
                if projects.is_empty() {
                    break;
                }
                for project in projects.iter().filter_map(|raw| serde_json::from_str::<Project>(raw.get()).ok()) {
                    let (name, Some(id)) = (project.name, project.id.0) else { continue };
                    if names.get(&name).is_some_and(|known| **known != *id) {
                        cx.warn(format!("two projects are called `{}`: the findings of both go to one", text::line(&name)));
                    }
                    names.entry(name).or_insert(id.into());
                }
            }
            Ok(names)
        };
        self.names.get_or_try_init(ask).await
    }

    async fn projects(&self, cx: &Cx, page: usize) -> Result<Vec<Box<RawValue>>> {
        let request = self.http.get("/api/v1/deployments/{}/projects", &[&self.deployment(cx).await?.slug]);
        let answer = request.query("page", Some(page)).query("page_size", Some(PROJECTS)).send::<Projects>(cx).await;
        Ok(answer.map_err(|error| told(error, None))?.body.projects)
    }

    async fn findings(&self, cx: &Cx, product: Product, size: usize, page: usize, part: Part) -> Result<Vec<Box<RawValue>>> {
        let request = self.http.get("/api/v1/deployments/{}/findings", &[&self.deployment(cx).await?.slug]);
        let branch = match self.branches {
            Branches::All => None,
            Branches::Default => Some("_default"),
        };
        let request = request
            .query("issue_type", Some(product.list()))
            .query("dedup", Some(true))
            .query("ref", branch)
            .query("severities", part.severity.and_then(|index| SEVERITIES.get(index)))
            .query("status", part.status.and_then(|index| STATUSES.get(index)));
        let answer = request.query("page", Some(page)).query("page_size", Some(size)).send::<Findings>(cx).await;
        Ok(answer.map_err(|error| told(error, Some(product)))?.body.findings)
    }

    async fn secrets(&self, cx: &Cx, size: usize, after: &str) -> Result<Secrets> {
        let request = self.http.get("/api/v1/deployments/{}/secrets", &[self.deployment(cx).await?.id()]);
        match request.query("limit", Some(size)).query("cursor", Some(after)).send::<Secrets>(cx).await {
            Ok(answer) => Ok(answer.body),
            Err(error) if !after.is_empty() && matches!(error.kind, Kind::Refused { status: 400 | 410, .. }) => {
                Err(Error::new(error.doing, Kind::CursorExpired))
            }
            Err(error) => Err(told(error, Some(Product::Secrets))),
        }
    }
}

const TOKEN: &str = "use an API token that has the scope Web API: an admin makes one in Settings > Tokens > API tokens; Agent (CI) and CLI tokens do not do";

/// Semgrep answers 404 where the token lacks the scope Web API.
fn told(mut error: Error, product: Option<Product>) -> Error {
    if let Kind::Refused { status: 404, body } = &error.kind {
        error.kind = Kind::Forbidden(Excerpt::new(&format!("status 404, as Semgrep answers tokens without the scope Web API; {body}")));
    }
    match (&error.kind, product.map(Product::list)) {
        (Kind::Unauthorized(_), _) => error.with_hint(TOKEN),
        (Kind::Forbidden(_), None) => error.with_hint(format!("{TOKEN}. The API needs the Team or Enterprise plan")),
        (Kind::Forbidden(_) | Kind::Refused { .. }, Some(list)) => {
            error.with_hint(format!("{TOKEN}. If the plan, or this server, does not have it, leave `{list}` out of `products`"))
        }
        _ => error,
    }
}

#[derive(Deserialize)]
struct Deployments {
    deployments: Vec<Deployment>,
}

#[derive(Debug, Deserialize)]
struct Deployment {
    id: Loose,
    slug: String,
    name: Option<String>,
}

impl Deployment {
    fn id(&self) -> &str {
        self.id.text().unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Projects {
    projects: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Findings {
    findings: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Secrets {
    findings: Vec<Box<RawValue>>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Key {
    id: Loose,
}

impl Key {
    fn of(self, product: Product) -> Option<String> {
        self.id.text().map(|id| product.key(id))
    }
}

#[derive(Deserialize)]
struct Project {
    id: Loose,
    name: String,
    url: Option<String>,
    tags: Option<Tags>,
    primary_branch: Option<String>,
    default_branch: Option<String>,
}

/// A list, which the specification calls a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tags {
    Many(Vec<String>),
    One(String),
}

/// A finding of Code, Supply Chain or AI detection.
#[derive(Deserialize)]
struct Wire {
    id: Loose,
    #[serde(rename = "ref")]
    branch: Option<String>,
    repository: Option<Repository>,
    line_of_code_url: Option<String>,
    state: Option<String>,
    triage_state: Option<String>,
    triage_reason: Option<String>,
    status: Option<String>,
    severity: Option<String>,
    confidence: Option<String>,
    categories: Option<Vec<String>>,
    created_at: Option<String>,
    rule_name: Option<String>,
    rule_message: Option<String>,
    location: Option<Place>,
    rule: Option<Rule>,
    assistant: Option<Assistant>,
    ai_impact: Option<String>,
    vulnerability_identifier: Option<String>,
    reachability: Option<String>,
    reachable_condition: Option<String>,
    found_dependency: Option<Dependency>,
    fix_recommendations: Option<Vec<Fix>>,
    usage: Option<Usage>,
    epss_score: Option<Epss>,
    is_malicious: Option<bool>,
}

#[derive(Deserialize)]
struct Repository {
    name: Option<String>,
    visibility: Option<String>,
}

/// Where something is, in either of two spellings.
#[derive(Default, Deserialize)]
struct Place {
    file_path: Option<String>,
    path: Option<String>,
    #[serde(default)]
    line: Loose,
    #[serde(default)]
    start_line: Loose,
    #[serde(default)]
    end_line: Loose,
}

#[derive(Default, Deserialize)]
struct Rule {
    name: Option<String>,
    message: Option<String>,
    confidence: Option<String>,
    vulnerability_classes: Option<Vec<String>>,
    cwe_names: Option<Vec<String>>,
    owasp_names: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
struct Assistant {
    autofix: Option<Autofix>,
    guidance: Option<Told>,
    rule_explanation: Option<Told>,
}

#[derive(Default, Deserialize)]
struct Autofix {
    fix_code: Option<String>,
    explanation: Option<String>,
}

/// A text in short and at length.
#[derive(Default, Deserialize)]
struct Told {
    summary: Option<String>,
    explanation: Option<String>,
    instructions: Option<String>,
}

#[derive(Default, Deserialize)]
struct Dependency {
    package: Option<String>,
    version: Option<String>,
    ecosystem: Option<String>,
    transitivity: Option<String>,
    lockfile_line_url: Option<String>,
}

#[derive(Deserialize)]
struct Fix {
    package: Option<String>,
    version: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    location: Option<Place>,
}

#[derive(Deserialize)]
struct Epss {
    #[serde(default)]
    score: Loose,
}

/// A finding of Secrets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Leak {
    id: Loose,
    #[serde(rename = "type")]
    kind: Option<String>,
    finding_path: Option<String>,
    finding_path_url: Option<String>,
    repository: Option<Repository>,
    #[serde(rename = "ref")]
    branch: Option<String>,
    severity: Option<String>,
    confidence: Option<String>,
    validation_state: Option<String>,
    status: Option<String>,
    rule_hash_id: Option<String>,
    created_at: Option<String>,
    updated_at: Option<String>,
}

impl Product {
    /// The key of a finding: Code and AI detection count in one row.
    fn key(self, id: &str) -> String {
        match self {
            Product::Sast | Product::AiSast => format!("sast:{id}"),
            Product::Sca => format!("sca:{id}"),
            Product::Secrets => format!("secrets:{id}"),
        }
    }

    /// Key and record of a finding. One of a project that is not listed is kept as it is: nobody can tell the project's id.
    fn place(self, id: &Loose, repository: Option<&Repository>, names: &Names) -> Result<(String, Result<Box<str>, Item>), String> {
        let key = self.key(id.text().ok_or("it has no id")?);
        let name = repository.and_then(|repository| repository.name.as_deref()).ok_or("it names no repository")?;
        let record = names.get(name).cloned();
        Ok((key.clone(), record.ok_or_else(|| Item::Skipped { key: key.into(), reason: "project not listed" })))
    }
}

impl Project {
    fn record(self) -> Result<Item, String> {
        let key = self.id.text().ok_or("it has no id")?.into();
        let tags = match self.tags {
            Some(Tags::Many(tags)) => Some(tags.join(", ")),
            Some(Tags::One(tags)) => Some(tags),
            None => None,
        };
        let branch = self.primary_branch.or(self.default_branch);
        let branch = branch.map(|branch| branch.strip_prefix("refs/heads/").unwrap_or(&branch).to_owned());
        let attributes = [("tags", tags), ("branch", branch)];
        let attributes = attributes.into_iter().filter_map(|(name, value)| Some((name, text::keep(&value?)?))).collect();
        Ok(Item::Record(Record { key, name: text::line(&self.name), kind: "project".into(), url: link(self.url), attributes }))
    }
}

impl Wire {
    fn finding(self, product: Product, names: &Names, cx: &Cx) -> Result<Item, String> {
        let (key, record) = match product.place(&self.id, self.repository.as_ref(), names)? {
            (key, Ok(record)) => (key, record),
            (_, Err(skipped)) => return Ok(skipped),
        };
        let (state, vendor_state) = self.state(cx);
        let (rule, assistant) = (self.rule.unwrap_or_default(), self.assistant.unwrap_or_default());
        let rule_name = rule.name.or(self.rule_name);
        let class = rule.vulnerability_classes.into_iter().flatten().next();
        let short = rule_name.as_deref().and_then(|name| name.rsplit('.').find(|segment| !segment.is_empty()));
        let message = rule.message.or(self.rule_message);
        let explained = assistant.rule_explanation.unwrap_or_default();
        let severity = self.severity.as_deref();
        let confidence = self.confidence.or(rule.confidence);
        let mut tags: Vec<Box<str>> = Vec::new();
        tags.extend(self.categories.into_iter().chain(rule.owasp_names).flatten().map(|tag| text::line(&tag)));
        tags.extend(confidence.map(|confidence| text::line(&format!("confidence: {confidence}"))));
        let base = Finding {
            rule: rule_name.as_deref().and_then(text::keep),
            branch: self.branch.as_deref().and_then(text::keep),
            severity: severity.map_or(Severity::Unknown, |word| severity_of(word, cx)),
            vendor_severity: severity.map(text::line),
            state,
            vendor_state,
            cwe: text::cwes(&rule.cwe_names.unwrap_or_default().join(" ")),
            vendor_first_seen: self.created_at.as_deref().and_then(text::time),
            ..Finding::new(key, record, if product == Product::Sca { Category::Sca } else { Category::Sast })
        };
        let guidance = assistant.guidance.unwrap_or_default();
        let autofix = assistant.autofix.unwrap_or_default();
        let code = autofix.fix_code.as_deref().filter(|code| !code.trim().is_empty()).map(indented);
        let advice = [guidance.summary, guidance.instructions, autofix.explanation, code];
        let finding = if product == Product::Sca {
            let dependency = self.found_dependency.unwrap_or_default();
            let package = dependency.package.as_deref().unwrap_or("unknown package");
            let version = dependency.version.as_deref().filter(|version| !version.is_empty());
            let id = self.vulnerability_identifier.filter(|id| !id.is_empty() && !id.starts_with("UNKNOWN-"));
            let about = id.as_deref().or(class.as_deref()).or(short).unwrap_or("a weakness");
            let (cve, identifiers) = match id.as_deref().map(Box::<str>::from) {
                Some(id) if id.starts_with("CVE-") => (vec![id], Vec::new()),
                id => (Vec::new(), id.into_iter().collect()),
            };
            tags.extend(self.reachability.map(|word| text::line(&format!("reachability: {word}"))));
            tags.extend(dependency.transitivity.map(|word| text::line(&format!("transitivity: {word}"))));
            tags.extend(self.is_malicious.filter(|malicious| *malicious).map(|_| "malicious".into()));
            let upgrade = |fix: &Fix| Some(format!("Upgrade {} to {}.", fix.package.as_deref()?, fix.version.as_deref()?));
            let fixes = self.fix_recommendations;
            let upgrades = fixes.as_ref().map(|fixes| fixes.iter().filter_map(upgrade).collect::<Vec<_>>().join("\n"));
            let own = fixes.iter().flatten().filter(|fix| fix.package == dependency.package).filter_map(|fix| fix.version.as_deref());
            let lockfile = dependency.lockfile_line_url.as_deref().map(in_repository).filter(|(path, ..)| path.is_some());
            let used = self.usage.and_then(|usage| usage.location).map(Place::read).filter(|(path, ..)| path.is_some());
            let (file_path, line_start, line_end) = used.or(lockfile).or(self.location.map(Place::read)).unwrap_or_default();
            Finding {
                title: text::line(&format!(
                    "{package}{}{}: {about}",
                    if version.is_some() { "@" } else { "" },
                    version.unwrap_or_default()
                )),
                description: paragraphs([message, explained.summary, explained.explanation, self.reachable_condition]),
                cve,
                identifiers,
                epss_score: self.epss_score.and_then(|epss| epss.score.number()),
                fix_available: fixes.as_ref().map(|fixes| !fixes.is_empty()),
                fixed_version: text::keep(&own.collect::<Vec<_>>().join(", ")),
                component_name: dependency.package.as_deref().and_then(text::keep),
                component_version: version.and_then(text::keep),
                component_purl: dependency.ecosystem.as_deref().and_then(|ecosystem| purl(ecosystem, package, version)),
                file_path,
                line_start,
                line_end,
                remediation: paragraphs([upgrades].into_iter().chain(advice)),
                url: link(self.line_of_code_url).or(link(dependency.lockfile_line_url)),
                tags,
                ..base
            }
        } else {
            let (file_path, line_start, line_end) = self.location.map(Place::read).unwrap_or_default();
            Finding {
                title: text::line(short.or(class.as_deref()).unwrap_or("finding without a rule")),
                description: paragraphs([message, self.ai_impact, explained.summary, explained.explanation]),
                file_path,
                line_start,
                line_end,
                remediation: paragraphs(advice),
                url: link(self.line_of_code_url),
                tags,
                ..base
            }
        };
        Ok(Item::Finding(Box::new(finding)))
    }

    /// The state in our words, and in the vendor's. Where the status is left out, the two older members say the same.
    fn state(&self, cx: &Cx) -> (State, Option<Box<str>>) {
        let status = self.status.as_deref().or(match (self.state.as_deref(), self.triage_state.as_deref()) {
            (Some("fixed"), _) => Some("fixed"),
            (_, triage @ Some("ignored" | "provisionally_ignored" | "reviewing" | "fixing")) => triage,
            (Some("muted"), _) => Some("ignored"),
            (Some("unresolved"), _) => Some("open"),
            (state, triage) => state.or(triage),
        });
        let reason = self.triage_reason.as_deref().filter(|_| status == Some("ignored"));
        let state = match status {
            None | Some("open" | "reviewing" | "fixing") => State::Open,
            Some("fixed") => State::Fixed,
            Some("provisionally_ignored") => State::Suppressed,
            Some("ignored") => match reason {
                Some("false_positive") => State::FalsePositive,
                Some("acceptable_risk" | "no_time" | "no_triage_reason" | "") | None => State::RiskAccepted,
                Some("duplicate") => State::Suppressed,
                Some(other) => {
                    cx.warn(format!("unknown triage reason `{}`", text::line(other)));
                    State::Suppressed
                }
            },
            Some(other) => {
                cx.warn(format!("unknown status `{}`", text::line(other)));
                State::Open
            }
        };
        (state, status.map(|status| text::line(&[Some(status), reason].into_iter().flatten().collect::<Vec<_>>().join(", "))))
    }
}

impl Leak {
    fn finding(self, names: &Names, cx: &Cx) -> Result<Item, String> {
        let (key, record) = match Product::Secrets.place(&self.id, self.repository.as_ref(), names)? {
            (key, Ok(record)) => (key, record),
            (_, Err(skipped)) => return Ok(skipped),
        };
        let status = self.status.as_deref();
        let state = match status.map(|status| status.strip_prefix("FINDING_STATUS_").unwrap_or(status)) {
            None | Some("OPEN" | "UNKNOWN") => State::Open,
            Some("FIXED") => State::Fixed,
            // What the other lists leave out: the rule or the file is no more.
            Some("REMOVED") => State::Gone,
            Some("IGNORED") => State::RiskAccepted,
            // The secret was tried, and is not valid.
            Some("PROVISIONALLY_IGNORED") => State::Suppressed,
            Some(other) => {
                cx.warn(format!("unknown status `{}`", text::line(other)));
                State::Open
            }
        };
        let kind = text::line(self.kind.as_deref().unwrap_or("unknown"));
        let place = self.finding_path.unwrap_or_default();
        let line = place.rsplit_once(':').and_then(|(path, line)| Some((path, line.parse::<u32>().ok()?)));
        let (path, line) = line.map_or((place.as_str(), None), |(path, line)| (path, Some(line)));
        let validation = self.validation_state.as_deref().map(|word| word.strip_prefix("VALIDATION_STATE_").unwrap_or(word));
        let validated = match validation {
            Some("CONFIRMED_VALID") => "It was tried and is valid.",
            Some("CONFIRMED_INVALID") => "It was tried and is not valid.",
            Some("VALIDATION_ERROR") => "Trying whether it is valid failed.",
            Some("NO_VALIDATOR") => "Whether it is valid cannot be tried.",
            _ => "Whether it is valid is not known.",
        };
        let tag = |name: &str, word: &str| text::line(&format!("{name}: {}", word.to_ascii_lowercase().replace('_', " ")));
        let visibility = self.repository.and_then(|repository| repository.visibility);
        let mut tags: Vec<Box<str>> = Vec::new();
        tags.extend(visibility.map(|word| tag("visibility", word.strip_prefix("REPOSITORY_VISIBILITY_").unwrap_or(&word))));
        tags.extend(validation.map(|word| tag("validation", word)));
        tags.extend(self.confidence.map(|word| tag("confidence", word.strip_prefix("CONFIDENCE_").unwrap_or(&word))));
        tags.extend(validation.filter(|word| *word == "CONFIRMED_VALID").map(|_| "live".into()));
        let severity = self.severity.as_deref();
        Ok(Item::Finding(Box::new(Finding {
            rule: self.rule_hash_id.as_deref().and_then(text::keep),
            branch: self.branch.as_deref().and_then(text::keep),
            title: text::line(&format!("{kind} secret in {}", if path.is_empty() { "an unknown file" } else { path })),
            description: Some(format!("A secret of type {kind}. {validated}").into()),
            severity: severity
                .map_or(Severity::Unknown, |word| severity_of(&word.strip_prefix("SEVERITY_").unwrap_or(word).to_ascii_lowercase(), cx)),
            vendor_severity: severity.map(text::line),
            state,
            vendor_state: status.map(text::line),
            cwe: vec!["CWE-798".into()],
            file_path: text::keep(path),
            line_start: line,
            line_end: line,
            remediation: Some("Revoke the secret at its issuer, issue a new one, and keep that out of the code.".into()),
            tags,
            url: link(self.finding_path_url),
            vendor_first_seen: self.created_at.as_deref().and_then(text::time),
            vendor_last_seen: self.updated_at.as_deref().and_then(text::time),
            ..Finding::new(key, record, Category::Secret)
        })))
    }
}

impl Place {
    /// Path, first and last line.
    fn read(self) -> (Option<Box<str>>, Option<u32>, Option<u32>) {
        let line = |loose: &Loose| loose.whole().and_then(|line| u32::try_from(line).ok());
        let first = line(&self.line).or(line(&self.start_line));
        (self.file_path.or(self.path).as_deref().and_then(text::keep), first, line(&self.end_line).or(first))
    }
}

fn severity_of(word: &str, cx: &Cx) -> Severity {
    match word {
        "critical" => Severity::Critical,
        "high" => Severity::High,
        "medium" => Severity::Medium,
        "low" => Severity::Low,
        other => {
            cx.warn(format!("unknown severity `{}`", text::line(other)));
            Severity::Unknown
        }
    }
}

/// Path and line that a link into a repository's pages names: `…/blob/COMMIT/PATH#L7`.
fn in_repository(link: &str) -> (Option<Box<str>>, Option<u32>, Option<u32>) {
    let (page, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = page.split_once("/blob/").and_then(|(_, rest)| rest.split_once('/')).and_then(|(_, path)| text::keep(path));
    let digits: String = anchor.trim_start_matches('L').chars().take_while(char::is_ascii_digit).collect();
    let line = digits.parse().ok().filter(|_| path.is_some());
    (path, line, line)
}

fn purl(ecosystem: &str, package: &str, version: Option<&str>) -> Option<Box<str>> {
    let (kind, separator) = match ecosystem {
        "gomod" => ("golang", "/"),
        "swiftpm" => ("swift", "/"),
        "npm" | "composer" => (ecosystem, "/"),
        "maven" => ("maven", ":"),
        "pypi" | "cargo" | "gem" | "nuget" | "pub" | "hex" => (ecosystem, "\n"),
        _ => return None,
    };
    let (namespace, name) = package.rsplit_once(separator).map_or((None, package), |(namespace, name)| (Some(namespace), name));
    text::package(kind, namespace, name, version)
}

fn link(url: Option<String>) -> Option<Box<str>> {
    url.filter(|url| url.starts_with("https://") || url.starts_with("http://")).as_deref().and_then(text::keep)
}

fn paragraphs(parts: impl IntoIterator<Item = Option<String>>) -> Option<Box<str>> {
    let parts = parts.into_iter().flatten().filter(|part| !part.trim().is_empty());
    text::keep(&parts.map(|part| part.trim_matches('\n').to_owned()).collect::<Vec<_>>().join("\n\n"))
}

/// A piece of code in Markdown.
fn indented(code: &str) -> String {
    code.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

//! Semgrep AppSec Platform, REST API v1 <https://semgrep.dev/api/v1/docs/>.
//!
//! An API token with the scope `Web API` (`Authorization: Bearer`); one without it is answered 404. Code, Supply Chain and
//! AI findings share an endpoint by slug, paged by number, without a total, newest first, to the first empty page. Secrets
//! have one of their own by numeric id, with a cursor. Nothing tells what changed (`since` is a date of birth), so every pass
//! is a full one. Findings name their project by name only: its id comes from the list of projects, read once a run. Servers
//! older than June 2026 end a list silently at 50,000 findings: a list of that length is read again in parts.

mod finding;
mod lists;
mod wire;

use tokio::sync::OnceCell;

use self::{
    lists::{Names, Part},
    wire::{Deployment, Key, Leak, Project, Secrets, Wire},
};
use crate::prelude::*;

/// Rows asked for per page of projects, findings and secrets; the least that a page of findings can have.
const PROJECTS: usize = 100;
const FINDINGS: usize = 1000;
const SECRETS: usize = 500;
const FEWEST: usize = 100;
/// Where older servers end a list of findings.
const WINDOW: usize = 50_000;

/// The connector for one connection: its client, and what its settings say.
#[derive(Debug)]
pub struct Semgrep {
    http: Http,
    slug: Option<Box<str>>,
    products: Vec<Product>,
    branches: Branches,
    deployment: OnceCell<Deployment>,
    names: OnceCell<Names>,
}

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
        ..Meta::DEFAULT
    };
    type Settings = Settings;
    type Cursor = Cursor;

    fn open(settings: Settings, mut link: Endpoint) -> Result<Self> {
        let Settings { secret, deployment_slug, products: wanted, branch_mode } = settings;
        let products: Vec<Product> = all().into_iter().filter(|product| wanted.contains(product)).collect();
        if products.is_empty() {
            return Err(Error::settings("`products` names no product"));
        }
        link.location = link.location.without_endings(&["/v1", "/api"]);
        let http = link.http(&Self::META, Auth::Bearer(secret))?;
        let slug = deployment_slug.filter(|slug| !slug.is_empty()).map(Into::into);
        Ok(Semgrep { http, slug, products, branches: branch_mode, deployment: OnceCell::new(), names: OnceCell::new() })
    }

    /// One list per product. They belong to the deployment: with the token of another one, nothing of this one is closed.
    async fn scopes(&self, cx: &Context, job: Job<'_>) -> Result<Vec<Scope>> {
        let deployment = self.deployment(cx).await?;
        let title = |list: &str| format!("{list} of {}", text::single_line(&deployment.slug)).into();
        let scope = |list| Scope { key: deployment.id().into(), title: title(list), absence: Absence::ProofTwice, ..Scope::account(list) };
        Ok(match job {
            Job::Discover => vec![scope("projects")],
            Job::Sync(_) => self.products.iter().map(|product| scope(product.list())).collect(),
        })
    }

    async fn page(&self, cx: &Context, ask: PageRequest<'_, Cursor>) -> Result<Page<Cursor>> {
        match all().into_iter().find(|product| product.list() == ask.scope.list) {
            None => {
                let projects = self.projects(cx, ask.cursor.page).await?;
                let next = match projects.len() {
                    0 => Next::FULL,
                    _ => Next::More(Cursor { page: ask.cursor.page + 1, ..ask.cursor }),
                };
                Ok(Page::new(items(projects, &[], |project: Project| project.record(), |key: Key| key.id.0), None, next))
            }
            Some(Product::Secrets) => {
                let names = self.names(cx).await?;
                let Secrets { findings, cursor } = self.secrets(cx, SECRETS, &ask.cursor.after).await?;
                let next = match cursor.text().filter(|_| !findings.is_empty()) {
                    // The page after this one is this one.
                    Some(after) if after == ask.cursor.after => {
                        return Err(Error::new("reading GET /api/v1/deployments/{}/secrets", ErrorKind::PagingLoop));
                    }
                    Some(after) => Next::More(Cursor { after: after.to_owned(), ..ask.cursor }),
                    None => Next::FULL,
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
                        Some(part) => {
                            cx.another_part();
                            Next::More(Cursor { part, lost, ..Cursor::default() })
                        }
                        None if lost => {
                            cx.incomplete(format!(
                                "more than {WINDOW} findings have the same severity and status, and this server lists no more"
                            ));
                            Next::Done(Coverage::Delta, None)
                        }
                        None => Next::FULL,
                    };
                    return Ok(Page::empty(next));
                }
                let next = Next::More(Cursor { page: page + 1, rows: rows + findings.len(), part, lost, after });
                Ok(Page::new(items(findings, &[], |wire: Wire| wire.finding(product, names, cx), |key: Key| key.of(product)), None, next))
            }
        }
    }

    async fn check(&self, cx: &Context) -> Result<CheckReport> {
        let mut checked = CheckReport::default();
        let deployment = self.deployment(cx).await?;
        let name = deployment.name.as_deref().map(text::single_line).unwrap_or_default();
        checked.facts.push(format!("deployment {} ({name})", text::single_line(&deployment.slug)));
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

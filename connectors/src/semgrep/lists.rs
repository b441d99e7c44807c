//! The requests for Semgrep's lists, and the parts in which a list is read that is longer than an older server hands out.

use std::collections::HashMap;

use super::{
    Branches, PROJECTS, Product, Semgrep,
    wire::{Deployment, Deployments, Findings, Named, Projects, Secrets},
};
use crate::{Excerpt, kit::entry, prelude::*};

/// The parts of a list that is longer than that: each severity, and of one that still is too long each status.
const SEVERITIES: [&str; 4] = ["critical", "high", "medium", "low"];
const STATUSES: [&str; 6] = ["open", "reviewing", "fixing", "fixed", "ignored", "provisionally_ignored"];

/// Ids of the projects by name, as they are in this run.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: HashMap<String, Box<str>>,
    /// In small letters: Semgrep does not tell names apart by case, and findings may spell one as an older scan did.
    any_case: HashMap<String, Box<str>>,
}

impl Names {
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.exact.get(name).or_else(|| self.any_case.get(&name.to_lowercase())).map(|id| &**id)
    }

    /// Adds a project; whether another one of the same name is there already.
    fn add(&mut self, name: String, id: Box<str>) -> bool {
        let taken = self.exact.get(&name).is_some_and(|known| *known != id);
        self.any_case.entry(name.to_lowercase()).or_insert_with(|| id.clone());
        self.exact.entry(name).or_insert(id);
        taken
    }
}

/// A list, or the part of it with one severity, or with one severity and status.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) severity: Option<usize>,
    pub(super) status: Option<usize>,
}

impl Part {
    /// What is to be read after this part. One that was cut off at the window is read again in smaller ones.
    pub(super) fn next(self, cut: bool) -> Option<Part> {
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

impl Semgrep {
    /// The one deployment of the token.
    pub(super) async fn deployment(&self, cx: &Context) -> Result<&Deployment> {
        let ask = || async {
            let found = self.http.get("/api/v1/deployments", &[]).send::<Deployments>(cx).await.map_err(|error| with_hint(error, None))?;
            let wanted = |deployment: &Deployment| self.slug.as_deref().is_none_or(|slug| slug == deployment.slug);
            let (seen, none) = (found.body.deployments.len(), "finding the deployment of the token");
            found.body.deployments.into_iter().find(wanted).ok_or_else(|| match (&self.slug, seen) {
                (Some(slug), 1..) => Error::new(none, ErrorKind::Settings(format!("the token is not of the deployment `{slug}`").into()))
                    .with_hint("correct `deployment_slug` or leave it out; the slug is in Settings > Deployment > Identifiers"),
                _ => Error::new(none, ErrorKind::Forbidden(Excerpt::new("the token sees no deployment"))).with_hint(TOKEN),
            })
        };
        self.deployment.get_or_try_init(ask).await
    }

    /// Where a finding's project is found by its name. A list of projects is small, and needed before the first finding.
    pub(super) async fn names(&self, cx: &Context) -> Result<&Names> {
        let ask = || async {
            let (mut names, mut before) = (Names::default(), Vec::new());
            for page in 0.. {
                let projects = self.projects(cx, page).await?;
                if projects.is_empty() {
                    break;
                }
                let page: Vec<(Option<String>, Option<String>)> =
                    projects.iter().filter_map(|raw| Some(entry::<Named>(raw)?.parts())).collect();
                if page == before {
                    return Err(Error::new("reading GET /api/v1/deployments/{}/projects", ErrorKind::PagingLoop));
                }
                before.clone_from(&page);
                for (name, id) in page.into_iter().filter_map(|(name, id)| name.zip(id)) {
                    let title = text::single_line(&name);
                    if names.add(name, id.into()) {
                        cx.warn(format!("two projects are called `{title}`: the findings of both go to one"));
                    }
                }
            }
            Ok(names)
        };
        self.names.get_or_try_init(ask).await
    }

    pub(super) async fn projects(&self, cx: &Context, page: usize) -> Result<Vec<Box<RawValue>>> {
        let request = self.http.get("/api/v1/deployments/{}/projects", &[&self.deployment(cx).await?.slug]);
        let answer = request.query("page", Some(page)).query("page_size", Some(PROJECTS)).send::<Projects>(cx).await;
        Ok(answer.map_err(|error| with_hint(error, None))?.body.projects)
    }

    pub(super) async fn findings(
        &self,
        cx: &Context,
        product: Product,
        size: usize,
        page: usize,
        part: Part,
    ) -> Result<Vec<Box<RawValue>>> {
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
        Ok(answer.map_err(|error| with_hint(error, Some(product)))?.body.findings)
    }

    pub(super) async fn secrets(&self, cx: &Context, size: usize, after: &str) -> Result<Secrets> {
        let request = self.http.get("/api/v1/deployments/{}/secrets", &[self.deployment(cx).await?.id()]);
        match request.query("limit", Some(size)).query("cursor", Some(after)).send::<Secrets>(cx).await {
            Ok(answer) => Ok(answer.body),
            Err(error) if !after.is_empty() && matches!(error.kind, ErrorKind::Refused { status: 400 | 410, .. }) => {
                Err(Error::new(error.doing, ErrorKind::CursorExpired))
            }
            Err(error) => Err(with_hint(error, Some(Product::Secrets))),
        }
    }
}

pub(super) const TOKEN: &str = "use an API token that has the scope Web API: an admin makes one in Settings > Tokens > API tokens; Agent (CI) and CLI tokens do not do";

/// Semgrep answers 404 where the token lacks the scope Web API.
fn with_hint(mut error: Error, product: Option<Product>) -> Error {
    if let ErrorKind::Refused { status: 404, body } = &error.kind {
        error.kind =
            ErrorKind::Forbidden(Excerpt::new(&format!("status 404, as Semgrep answers tokens without the scope Web API; {body}")));
    }
    match (&error.kind, product.map(Product::list)) {
        (ErrorKind::Unauthorized(_), _) => error.with_hint(TOKEN),
        (ErrorKind::Forbidden(_), None) => error.with_hint(format!("{TOKEN}. The API needs the Team or Enterprise plan")),
        (ErrorKind::Forbidden(_) | ErrorKind::Refused { .. }, Some(list)) => {
            error.with_hint(format!("{TOKEN}. If the plan, or this server, does not have it, leave `{list}` out of `products`"))
        }
        _ => error,
    }
}

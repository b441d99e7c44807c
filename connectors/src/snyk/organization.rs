//! Which organizations are read.

use super::{
    Cursor, Snyk,
    wire::{Org, OrgAttributes},
    with_hint,
};
use crate::{Excerpt, kit::entry, prelude::*};

impl Snyk {
    /// The organizations to be read: all that the token sees, or those that the settings name.
    pub(super) async fn organizations(&self, cx: &Context) -> Result<Vec<Org>> {
        const ROUTE: &str = "/rest/orgs";
        let mut orgs: Vec<Org> = Vec::new();
        let mut cursor = Some(Cursor::default());
        while let Some(at) = cursor {
            let first = self.rest(ROUTE, &[]).query("group_id", self.group.as_ref());
            let (data, next) = self.list(cx, first, ROUTE, &at).await.map_err(|error| with_hint(error, "org.read"))?;
            for raw in data {
                let org: Org = entry(&raw).ok_or_else(|| {
                    Error::new(
                        "reading GET /rest/orgs",
                        ErrorKind::UnexpectedBody { path: "data".into(), reason: "an organization has no id".into() },
                    )
                })?;
                if !orgs.iter().any(|known| known.id == org.id) {
                    orgs.push(org);
                }
            }
            cursor = next;
        }
        if orgs.is_empty() {
            let what = Excerpt::new("no organization is visible to this token");
            let cure =
                if self.group.is_some() { "check `group_id`, and that the token is a member of" } else { "make the token a member of" };
            return Err(Error::new("reading GET /rest/orgs", ErrorKind::Forbidden(what))
                .with_hint(format!("{cure} the organizations to be read, with the permission org.read")));
        }
        if self.orgs.is_empty() {
            return Ok(orgs);
        }
        let is = |org: &Org, wanted: &String| org.id == *wanted || org.attributes.slug.as_ref() == Some(wanted);
        // One that is not visible stays in the list: asking for it tells what is wrong, and stops no other.
        let named = |wanted: &String| {
            orgs.iter()
                .find(|org| is(org, wanted))
                .cloned()
                .unwrap_or_else(|| Org { id: wanted.clone(), attributes: OrgAttributes::default() })
        };
        let mut named: Vec<Org> = self.orgs.iter().map(named).collect();
        named.sort_by(|a, b| a.id.cmp(&b.id));
        named.dedup_by(|a, b| a.id == b.id);
        Ok(named)
    }
}

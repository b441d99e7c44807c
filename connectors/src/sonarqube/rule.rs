//! What the findings of one rule have in common: its texts, asked for once and kept in the connection's cache.

use std::sync::Arc;

use super::{List, SonarQube, server::Server, slice::Slice, wire::Rows};
use crate::prelude::*;

impl SonarQube {
    /// The texts of an issue's rule.
    pub(super) async fn rule(&self, cx: &Context, server: &Server, list: List<'_>, branch: Option<&str>, key: &str) -> Result<Arc<Rule>> {
        let ask = async {
            let request = self.get(server, "/api/rules/show").query("key", Some(key)).query("organization", server.organization.as_ref());
            let mut rule = match request.send::<Shown>(cx).await {
                Ok(answer) => answer.body.read(cx),
                // Rules of other tools are not always known as rules, and those of deleted plugins are not any more.
                Err(error) if matches!(error.kind, ErrorKind::Refused { .. }) => return Ok(Rule::default()),
                Err(error) => return Err(self.with_hint(error)),
            };
            if let Some(cwe) = self.weaknesses(cx, server, list, branch, key).await? {
                rule.cwe = cwe;
            }
            Ok(rule)
        };
        self.rules.get_or_fetch("rule", key, ask).await
    }

    /// The CWE ids that the server itself knows a rule by: no field has them, but its issues are counted by them. `None` when it
    /// counts none, as for rules of other tools.
    async fn weaknesses(
        &self,
        cx: &Context,
        server: &Server,
        list: List<'_>,
        branch: Option<&str>,
        rule: &str,
    ) -> Result<Option<Vec<Box<str>>>> {
        if rule.starts_with("external_") {
            return Ok(None);
        }
        let request = self.search(server, list, branch, &Slice::default().with("rules", rule));
        match request.query("facets", Some("cwe")).query("p", Some(1)).query("ps", Some(1)).send::<Rows>(cx).await {
            Ok(answer) => {
                let mut numbers: Vec<Option<i64>> = answer.body.facet("cwe").map(|(value, _)| value.parse().ok()).collect();
                numbers.sort_unstable();
                Ok((!numbers.is_empty()).then(|| numbers.into_iter().flatten().filter_map(ids::cwe).collect()))
            }
            Err(error) if matches!(error.kind, ErrorKind::Refused { .. }) => Ok(None),
            Err(error) => Err(self.with_hint(error)),
        }
    }

    /// The rule of a hotspot has its texts in the details of any hotspot that it raised.
    pub(super) async fn hotspot_rule(&self, cx: &Context, server: &Server, key: &str, finding: String) -> Result<Arc<Rule>> {
        let ask = async {
            let request = self.get(server, "/api/hotspots/show").query("hotspot", Some(finding));
            request.send::<Shown>(cx).await.map(|answer| answer.body.read(cx))
        };
        match self.rules.get_or_fetch("hotspot", key, ask).await {
            // This one may have vanished since it was listed: another page's may still be there, so nothing is kept.
            Err(error) if matches!(error.kind, ErrorKind::Refused { .. }) => Ok(Arc::default()),
            done => done.map_err(|error| self.with_hint(error)),
        }
    }
}

/// A rule's texts, as findings carry them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rule {
    /// The rule's key.
    pub(super) key: Option<Box<str>>,
    /// Its name and what is wrong.
    pub(super) description: Option<Box<str>>,
    /// How to mend it, by the framework that the code uses where the vendor distinguishes.
    fixes: Vec<(Option<Box<str>>, Box<str>)>,
    /// `CWE-n` ids, by the server's own word, else those that the texts name.
    pub(super) cwe: Vec<Box<str>>,
    /// Whether it finds secrets, by its tags.
    pub(super) is_secret: bool,
    /// Links in the texts.
    pub(super) links: Vec<Box<str>>,
}

impl Rule {
    /// What it holds on the heap, roughly.
    pub(super) fn bytes(&self) -> usize {
        let many = |texts: &[Box<str>]| texts.iter().map(|text| text.len() + 16).sum::<usize>();
        let one = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let fixes: usize = self.fixes.iter().map(|(context, text)| one(context) + text.len() + 32).sum();
        one(&self.key) + one(&self.description) + fixes + many(&self.cwe) + many(&self.links)
    }

    /// How to mend it in the issue's own context; in all of them when that is not said.
    pub(super) fn remediation(&self, context: Option<&str>) -> Option<Box<str>> {
        if let Some((_, fix)) = self.fixes.iter().find(|(of, _)| of.is_some() && of.as_deref() == context) {
            return Some(fix.clone());
        }
        text::clean(&self.fixes.iter().map(|(_, fix)| &**fix).collect::<Vec<_>>().join("\n\n"))
    }
}

/// The rule as `api/rules/show` and `api/hotspots/show` give it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Wire {
    key: Option<String>,
    name: Option<String>,
    html_desc: Option<String>,
    md_desc: Option<String>,
    description_sections: Option<Vec<Section>>,
    risk_description: Option<String>,
    vulnerability_description: Option<String>,
    fix_recommendations: Option<String>,
    tags: Option<Vec<String>>,
    sys_tags: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Section {
    key: String,
    content: Option<String>,
    context: Option<ContextText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContextText {
    key: Option<String>,
    display_name: Option<String>,
}

impl From<Wire> for Rule {
    fn from(wire: Wire) -> Self {
        let mut sections = wire.description_sections.unwrap_or_default();
        // The order in which the web interface shows them; what is new comes before the links.
        const ORDER: [&str; 4] = ["introduction", "default", "root_cause", "assess_the_problem"];
        // The server gives sections, and the contexts of one, in any order, another one each time.
        sections.sort_by_cached_key(|section| {
            let place = match section.key.as_str() {
                "resources" => ORDER.len() + 1,
                key => ORDER.iter().position(|known| *known == key).unwrap_or(ORDER.len()),
            };
            let context = section.context.as_ref().map(|context| (context.key.clone(), context.display_name.clone()));
            (place, section.key.clone(), context)
        });
        let (fixes, what): (Vec<Section>, Vec<Section>) = sections.into_iter().partition(|section| section.key == "how_to_fix");
        let mut html: Vec<&str> = what.iter().filter_map(|section| section.content.as_deref()).collect();
        html.extend([&wire.risk_description, &wire.vulnerability_description].into_iter().flatten().map(String::as_str));
        if html.is_empty() && fixes.is_empty() {
            // Before 9.5, and of rules that are not Sonar's: one text.
            html.extend(wire.html_desc.as_deref().or(wire.md_desc.as_deref()));
        }
        let mut paragraphs: Vec<Box<str>> = wire.name.iter().map(|name| text::single_line(name)).collect();
        paragraphs.extend(html.iter().filter_map(|html| text::from_html(html)));
        let mut mends: Vec<(Option<Box<str>>, Box<str>)> = Vec::new();
        for Section { content, context, .. } in &fixes {
            let Some(fix) = content.as_deref().and_then(text::from_html) else { continue };
            let context = context.as_ref();
            let name = context.and_then(|context| context.display_name.as_deref());
            let fix = name.map_or_else(|| fix.clone(), |name| format!("**{}**\n\n{fix}", text::single_line(name)).into());
            mends.push((context.and_then(|context| context.key.as_deref()).map(Into::into), fix));
        }
        mends.extend(wire.fix_recommendations.as_deref().and_then(text::from_html).map(|fix| (None, fix)));
        html.extend(fixes.iter().filter_map(|section| section.content.as_deref()));
        html.extend(wire.fix_recommendations.as_deref());
        let all = html.join("\n");
        let is_secret = [&wire.tags, &wire.sys_tags].into_iter().flatten().flatten().any(|tag| tag.eq_ignore_ascii_case("secret"));
        Rule {
            is_secret,
            key: wire.key.map(Into::into),
            description: text::clean(&paragraphs.join("\n\n")),
            fixes: mends,
            cwe: ids::cwes(&all),
            links: text::links(&all),
        }
    }
}

#[derive(Deserialize)]
struct Shown {
    rule: Box<RawValue>,
}

impl Shown {
    /// The rule's texts; one that cannot be read has none, and stops nothing.
    fn read(&self, cx: &Context) -> Rule {
        let wire = serde_json::from_str::<Wire>(self.rule.get()).unwrap_or_else(|error| {
            cx.warn(format!("a rule's texts could not be read: {error}"));
            Wire::default()
        });
        wire.into()
    }
}

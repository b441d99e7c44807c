//! What the findings of one rule have in common: its texts, asked for once and kept in the connection's cache.

use serde::Deserialize;

use crate::{kit::Weigh, model::text};

/// A rule's texts, as findings carry them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rule {
    /// The rule's key.
    pub(super) key: Option<Box<str>>,
    /// Its name and what is wrong.
    pub(super) description: Option<Box<str>>,
    /// How to mend it, by the framework that the code uses where the vendor distinguishes.
    fixes: Vec<(Option<Box<str>>, Box<str>)>,
    /// `CWE-n` ids that the texts name: there is no field for them.
    pub(super) cwe: Vec<Box<str>>,
    /// Links in the texts.
    pub(super) links: Vec<Box<str>>,
}

impl Weigh for Rule {
    fn bytes(&self) -> usize {
        let fixes: usize = self.fixes.iter().map(|(context, text)| context.bytes() + text.len() + 32).sum();
        self.key.bytes() + self.description.bytes() + fixes + self.cwe.bytes() + self.links.bytes()
    }
}

impl Rule {
    /// How to mend it in the issue's own context; in all of them when that is not said.
    pub(super) fn remediation(&self, context: Option<&str>) -> Option<Box<str>> {
        if let Some((_, fix)) = self.fixes.iter().find(|(of, _)| of.is_some() && of.as_deref() == context) {
            return Some(fix.clone());
        }
        text::keep(&self.fixes.iter().map(|(_, fix)| &**fix).collect::<Vec<_>>().join("\n\n"))
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
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Section {
    key: String,
    content: Option<String>,
    context: Option<Context>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Context {
    key: Option<String>,
    display_name: Option<String>,
}

impl From<Wire> for Rule {
    fn from(wire: Wire) -> Self {
        let mut sections = wire.description_sections.unwrap_or_default();
        // The order in which the web interface shows them; what is new comes before the links.
        const ORDER: [&str; 4] = ["introduction", "default", "root_cause", "assess_the_problem"];
        sections.sort_by_key(|section| match section.key.as_str() {
            "resources" => ORDER.len() + 1,
            key => ORDER.iter().position(|known| *known == key).unwrap_or(ORDER.len()),
        });
        let (fixes, what): (Vec<Section>, Vec<Section>) = sections.into_iter().partition(|section| section.key == "how_to_fix");
        let mut html: Vec<&str> = what.iter().filter_map(|section| section.content.as_deref()).collect();
        html.extend([&wire.risk_description, &wire.vulnerability_description].into_iter().flatten().map(String::as_str));
        if html.is_empty() && fixes.is_empty() {
            // Before 9.5, and of rules that are not Sonar's: one text.
            html.extend(wire.html_desc.as_deref().or(wire.md_desc.as_deref()));
        }
        let mut paragraphs: Vec<Box<str>> = wire.name.iter().map(|name| text::line(name)).collect();
        paragraphs.extend(html.iter().filter_map(|html| text::from_html(html)));
        let mut mends: Vec<(Option<Box<str>>, Box<str>)> = Vec::new();
        for Section { content, context, .. } in &fixes {
            let Some(fix) = content.as_deref().and_then(text::from_html) else { continue };
            let context = context.as_ref();
            let name = context.and_then(|context| context.display_name.as_deref());
            let fix = name.map_or_else(|| fix.clone(), |name| format!("**{}**\n\n{fix}", text::line(name)).into());
            mends.push((context.and_then(|context| context.key.as_deref()).map(Into::into), fix));
        }
        mends.extend(wire.fix_recommendations.as_deref().and_then(text::from_html).map(|fix| (None, fix)));
        html.extend(fixes.iter().filter_map(|section| section.content.as_deref()));
        html.extend(wire.fix_recommendations.as_deref());
        let all = html.join("\n");
        Rule {
            key: wire.key.map(Into::into),
            description: text::keep(&paragraphs.join("\n\n")),
            fixes: mends,
            cwe: text::cwes(&all),
            links: text::links(&all),
        }
    }
}

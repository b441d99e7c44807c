//! What a row becomes: the one place of judgement.

use super::{
    Product,
    lists::Names,
    wire::{Fix, Leak, Place, Project, Repository, Rule, Told, Wire},
};
use crate::{kit::Scalar, prelude::*};

impl Product {
    /// The key of a finding: Code and AI detection count in one row.
    pub(super) fn key(self, id: &str) -> String {
        match self {
            Product::Sast | Product::AiSast => format!("sast:{id}"),
            Product::Sca => format!("sca:{id}"),
            Product::Secrets => format!("secrets:{id}"),
        }
    }

    /// Key and record of a finding. One of a project that is not listed is kept as it is: nobody can tell the project's id.
    fn place(self, id: &Scalar, repository: Option<&Repository>, names: &Names) -> Result<(String, Result<Box<str>, Item>), String> {
        let key = self.key(id.text().ok_or("it has no id")?);
        let name = repository.and_then(|repository| repository.name.as_deref()).ok_or("it names no repository")?;
        let record = names.find(name).map(Box::from);
        Ok((key.clone(), record.ok_or_else(|| Item::Skipped { key: key.into(), reason: NOT_LISTED })))
    }
}

impl Project {
    pub(super) fn record(self) -> Result<Item, String> {
        let key = self.id.text().ok_or("it has no id")?;
        let name = text::single_line(self.name.as_deref().unwrap_or(key));
        let branch = self.primary_branch.or(self.default_branch);
        let branch = branch.map(|branch| branch.strip_prefix("refs/heads/").unwrap_or(&branch).to_owned());
        let attributes = attributes([("tags", Some(self.tags.0.join(", "))), ("branch", branch)]);
        let url = self.url.as_deref().and_then(text::link);
        Ok(Item::Record(Record { key: key.into(), name, kind: "project".into(), url, attributes }))
    }
}

/// What a rule and the assistant say of a finding.
struct Said {
    /// The rule's name.
    rule: Option<String>,
    class: Option<String>,
    message: Option<String>,
    explained: Told,
    /// Texts on how to mend it.
    advice: [Option<String>; 4],
}

impl Said {
    /// The last part of the rule's name.
    fn short(&self) -> Option<&str> {
        self.rule.as_deref().and_then(|name| name.rsplit('.').find(|segment| !segment.is_empty()))
    }
}

impl Wire {
    pub(super) fn finding(mut self, product: Product, names: &Names, cx: &Context) -> Result<Item, String> {
        let (key, record) = match product.place(&self.id, self.repository.as_ref(), names)? {
            (key, Ok(record)) => (key, record),
            (_, Err(skipped)) => return Ok(skipped),
        };
        // Without the filter the list is that of another product: what it should have been nobody knows.
        if self.is_of_another(product) {
            cx.filter_ignored("issue_type");
            cx.incomplete("the server ignores `issue_type`, so the findings of this product cannot be listed");
            return Ok(Item::Skipped { key: key.into(), reason: "of another product" });
        }
        let (state, vendor_state) = self.state(cx);
        let lineage = self.lineage(product);
        let rule = self.rule.take().unwrap_or_default();
        let (tags, cwe) = (self.tags(&rule), ids::cwes(&rule.cwe_names.0.join(" ")));
        let said = self.said(rule);
        let severity = self.severity.as_deref();
        let base = Finding {
            lineage,
            rule: said.rule.as_deref().and_then(text::clean),
            branch: self.branch.as_deref().and_then(text::clean),
            severity: severity.map_or(Severity::Unknown, |word| severity_of(word, cx)),
            vendor_severity: severity.map(text::single_line),
            state,
            vendor_state,
            cwe,
            tags,
            vendor_first_seen: self.created_at.as_deref().and_then(text::time),
            vendor_closed_at: self.state_updated_at.as_deref().filter(|_| state == State::Fixed).and_then(text::time),
            ..Finding::new(key, record, if product == Product::Sca { Category::Sca } else { Category::Sast })
        };
        let finding = if product == Product::Sca { self.in_package(said, base) } else { self.in_code(said, base) };
        Ok(Item::Finding(Box::new(finding)))
    }

    /// The rule's words, and those of the assistant.
    fn said(&mut self, rule: Rule) -> Said {
        let assistant = self.assistant.take().unwrap_or_default();
        let guidance = assistant.guidance.unwrap_or_default();
        let autofix = assistant.autofix.unwrap_or_default();
        let code = autofix.fix_code.as_deref().filter(|code| !code.trim().is_empty()).map(indented);
        Said {
            rule: rule.name.or_else(|| self.rule_name.take()),
            class: rule.vulnerability_classes.0.into_iter().next(),
            message: rule.message.or_else(|| self.rule_message.take()),
            explained: assistant.rule_explanation.unwrap_or_default(),
            advice: [guidance.summary, guidance.instructions, autofix.explanation, code],
        }
    }

    /// What every product's findings are tagged with.
    fn tags(&self, rule: &Rule) -> Vec<Box<str>> {
        let confidence = self.confidence.as_deref().or(rule.confidence.as_deref());
        let mut tags: Vec<Box<str>> = Vec::new();
        tags.extend(self.categories.0.iter().chain(&rule.owasp_names.0).map(|tag| text::single_line(tag)));
        tags.extend(confidence.map(|confidence| text::single_line(&format!("confidence: {confidence}"))));
        tags
    }

    /// A finding of Supply Chain: what only those have.
    fn in_package(self, said: Said, mut base: Finding) -> Finding {
        let dependency = self.found_dependency.unwrap_or_default();
        let package = dependency.package.as_deref().unwrap_or("unknown package");
        let version = dependency.version.as_deref().filter(|version| !version.is_empty());
        let placeholder = |id: &String| id.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("UNKNOWN-"));
        let ids = Ids::of(self.vulnerability_identifier.filter(|id| !placeholder(id)));
        let named = ids.cve.first().or(ids.other.first()).map(|id| &**id);
        let about = named.or(said.class.as_deref()).or(said.short()).unwrap_or("a weakness");
        let title =
            text::single_line(&format!("{package}{}{}: {about}", if version.is_some() { "@" } else { "" }, version.unwrap_or_default()));
        base.tags.extend(self.reachability.map(|word| text::single_line(&format!("reachability: {word}"))));
        base.tags.extend(dependency.transitivity.map(|word| text::single_line(&format!("transitivity: {word}"))));
        base.tags.extend(self.is_malicious.filter(|malicious| *malicious).map(|_| "malicious".into()));
        let upgrade = |fix: &Fix| Some(format!("Upgrade {} to {}.", fix.package.as_deref()?, fix.version.as_deref()?));
        let fixes = self.fix_recommendations;
        let upgrades = fixes.as_ref().map(|fixes| fixes.iter().filter_map(upgrade).collect::<Vec<_>>().join("\n"));
        let own = fixes.iter().flatten().filter(|fix| fix.package == dependency.package).filter_map(|fix| fix.version.as_deref());
        let lockfile = dependency.lockfile_line_url.as_deref().map(in_repository).filter(|(path, ..)| path.is_some());
        let used = self.usage.and_then(|usage| usage.location).map(Place::read).filter(|(path, ..)| path.is_some());
        let (file_path, line_start, line_end) = used.or(lockfile).or(self.location.map(Place::read)).unwrap_or_default();
        Finding {
            title,
            description: text::paragraphs([said.message, said.explained.summary, said.explained.explanation, self.reachable_condition]),
            cve: ids.cve,
            identifiers: ids.other,
            epss_score: self.epss_score.and_then(|epss| epss.score.number()),
            fix_available: fixes.as_ref().map(|fixes| !fixes.is_empty()),
            fixed_version: text::clean(&own.collect::<Vec<_>>().join(", ")),
            component_name: dependency.package.as_deref().and_then(text::clean),
            component_version: version.and_then(text::clean),
            component_purl: dependency.ecosystem.as_deref().and_then(|ecosystem| purl(ecosystem, package, version)),
            file_path,
            line_start,
            line_end,
            remediation: text::paragraphs([upgrades].into_iter().chain(said.advice)),
            url: [self.line_of_code_url, dependency.lockfile_line_url].iter().flatten().find_map(|url| text::link(url)),
            ..base
        }
    }

    /// A finding of Code or of AI detection: what only those have.
    fn in_code(self, said: Said, base: Finding) -> Finding {
        let (file_path, line_start, line_end) = self.location.map(Place::read).unwrap_or_default();
        Finding {
            title: text::single_line(said.short().or(said.class.as_deref()).unwrap_or("finding without a rule")),
            description: text::paragraphs([said.message, self.ai_impact, said.explained.summary, said.explained.explanation]),
            file_path,
            line_start,
            line_end,
            remediation: text::paragraphs(said.advice),
            url: self.line_of_code_url.as_deref().and_then(text::link),
            ..base
        }
    }

    /// Whether it is a finding of Supply Chain in the list of another product, or the other way round.
    fn is_of_another(&self, product: Product) -> bool {
        let named = self.vulnerability_identifier.is_some() || self.reachability.is_some() || self.fix_recommendations.is_some();
        match product {
            Product::Sca => self.found_dependency.is_none() && !named,
            _ => self.found_dependency.is_some(),
        }
    }

    /// What stays of a finding that comes under another id, as when the branch that it was listed for is gone: the vendor's
    /// hash of rule, file and matched code, with the number of the match.
    fn lineage(&self, product: Product) -> Option<Box<str>> {
        let same = self.match_based_id.as_deref().filter(|id| !id.is_empty())?;
        let rule = self.rule.as_ref().and_then(|rule| rule.name.as_deref()).or(self.rule_name.as_deref()).unwrap_or_default();
        let file = self.location.as_ref().and_then(|place| place.file_path.as_deref().or(place.path.as_deref())).unwrap_or_default();
        Some(product.key(&[rule, file, same].join("/")).into())
    }

    /// The state in our words, and in the vendor's. Where the status is left out, the two older members say the same.
    fn state(&self, cx: &Context) -> (State, Option<Box<str>>) {
        let small = |word: &Option<String>| word.as_deref().map(|word| word.trim().to_ascii_lowercase());
        let (told, older, triage, reason) =
            (small(&self.status), small(&self.state), small(&self.triage_state), small(&self.triage_reason));
        let status = told.as_deref().or(match (older.as_deref(), triage.as_deref()) {
            (Some("fixed"), _) => Some("fixed"),
            (_, triage @ Some("ignored" | "provisionally_ignored" | "reviewing" | "fixing")) => triage,
            (Some("muted"), _) => Some("ignored"),
            (Some("unresolved"), _) => Some("open"),
            (state, triage) => state.or(triage),
        });
        let reason = reason.as_deref().filter(|_| status == Some("ignored"));
        let state = match status {
            None | Some("open" | "reviewing" | "fixing") => State::Open,
            Some("fixed") => State::Fixed,
            Some("provisionally_ignored") => State::Suppressed,
            Some("ignored") => match reason {
                Some("false_positive") => State::FalsePositive,
                Some("acceptable_risk" | "no_time" | "no_triage_reason" | "") | None => State::RiskAccepted,
                Some("duplicate") => State::Suppressed,
                Some(other) => cx.unknown("triage reason", other, State::Suppressed),
            },
            Some(other) => cx.unknown("status", other, State::Open),
        };
        (state, status.map(|status| text::single_line(&[Some(status), reason].into_iter().flatten().collect::<Vec<_>>().join(", "))))
    }
}

impl Leak {
    pub(super) fn finding(self, names: &Names, cx: &Context) -> Result<Item, String> {
        let (key, record) = match Product::Secrets.place(&self.id, self.repository.as_ref(), names)? {
            (key, Ok(record)) => (key, record),
            (_, Err(skipped)) => return Ok(skipped),
        };
        let status = self.status.as_deref();
        let word = status.map(|status| status.trim().to_ascii_uppercase());
        let state = match word.as_deref().map(|status| status.strip_prefix("FINDING_STATUS_").unwrap_or(status)) {
            None | Some("OPEN" | "UNKNOWN") => State::Open,
            Some("FIXED") => State::Fixed,
            // What the other lists leave out: the rule or the file is no more.
            Some("REMOVED") => State::Gone,
            Some("IGNORED") => State::RiskAccepted,
            // The secret was tried, and is not valid.
            Some("PROVISIONALLY_IGNORED") => State::Suppressed,
            Some(other) => cx.unknown("status", other, State::Open),
        };
        let kind = text::single_line(self.kind.as_deref().unwrap_or("unknown"));
        let place = self.finding_path.unwrap_or_default();
        let line = place.rsplit_once(':').and_then(|(path, line)| Some((path, line.parse::<i64>().ok()?)));
        let (path, line) = line.map_or((place.as_str(), None), |(path, line)| (path, lines(Some(line), None).0));
        let validation = self.validation_state.as_deref().map(|word| word.strip_prefix("VALIDATION_STATE_").unwrap_or(word));
        let validated = match validation {
            Some("CONFIRMED_VALID") => "It was tried and is valid.",
            Some("CONFIRMED_INVALID") => "It was tried and is not valid.",
            Some("VALIDATION_ERROR") => "Trying whether it is valid failed.",
            Some("NO_VALIDATOR") => "Whether it is valid cannot be tried.",
            _ => "Whether it is valid is not known.",
        };
        let tag = |name: &str, word: &str| text::single_line(&format!("{name}: {}", word.to_ascii_lowercase().replace('_', " ")));
        let visibility = self.repository.and_then(|repository| repository.visibility);
        let mut tags: Vec<Box<str>> = Vec::new();
        tags.extend(visibility.map(|word| tag("visibility", word.strip_prefix("REPOSITORY_VISIBILITY_").unwrap_or(&word))));
        tags.extend(validation.map(|word| tag("validation", word)));
        tags.extend(self.confidence.map(|word| tag("confidence", word.strip_prefix("CONFIDENCE_").unwrap_or(&word))));
        tags.extend(validation.filter(|word| *word == "CONFIRMED_VALID").map(|_| "live".into()));
        let severity = self.severity.as_deref();
        Ok(Item::Finding(Box::new(Finding {
            rule: self.rule_hash_id.as_deref().and_then(text::clean),
            branch: self.branch.as_deref().and_then(text::clean),
            title: text::single_line(&format!("{kind} secret in {}", if path.is_empty() { "an unknown file" } else { path })),
            description: Some(format!("A secret of type {kind}. {validated}").into()),
            severity: severity.map_or(Severity::Unknown, |word| severity_of(word, cx)),
            vendor_severity: severity.map(text::single_line),
            state,
            vendor_state: status.map(text::single_line),
            cwe: vec!["CWE-798".into()],
            file_path: text::clean(path),
            line_start: line,
            line_end: line,
            remediation: Some("Revoke the secret at its issuer, issue a new one, and keep that out of the code.".into()),
            tags,
            url: self.finding_path_url.as_deref().and_then(text::link),
            vendor_first_seen: self.created_at.as_deref().and_then(text::time),
            vendor_last_seen: self.updated_at.as_deref().and_then(text::time),
            ..Finding::new(key, record, Category::Secret)
        })))
    }
}

impl Place {
    /// Path, first and last line.
    fn read(self) -> (Option<Box<str>>, Option<u32>, Option<u32>) {
        let first = self.line.whole().or(self.start_line.whole());
        let (start, end) = lines(first, self.end_line.whole());
        (self.file_path.or(self.path).as_deref().and_then(text::clean), start, end.or(start))
    }
}

/// The words of findings, and those of their rules, of which the specification says: low is INFO, medium WARNING, high ERROR.
fn severity_of(word: &str, cx: &Context) -> Severity {
    let small = word.trim().to_ascii_lowercase();
    match small.strip_prefix("severity_").unwrap_or(&small) {
        "info" => Severity::Low,
        known => Severity::of_word(known).unwrap_or_else(|| cx.unknown("severity", known, Severity::Unknown)),
    }
}

/// Path and line that a link into a repository's pages names: `…/blob/COMMIT/PATH#L7`.
fn in_repository(link: &str) -> (Option<Box<str>>, Option<u32>, Option<u32>) {
    let (page, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = page.split_once("/blob/").and_then(|(_, rest)| rest.split_once('/')).and_then(|(_, path)| text::clean(path));
    let digits: String = anchor.trim_start_matches('L').chars().take_while(char::is_ascii_digit).collect();
    let line = lines(digits.parse().ok().filter(|_| path.is_some()), None).0;
    (path, line, line)
}

fn purl(ecosystem: &str, package: &str, version: Option<&str>) -> Option<Box<str>> {
    let kind = match ecosystem {
        "gomod" => "golang",
        "swiftpm" => "swift",
        "npm" | "composer" | "maven" | "pypi" | "cargo" | "gem" | "nuget" | "pub" | "hex" => ecosystem,
        _ => return None,
    };
    text::package_named(kind, package, version)
}

/// A piece of code in Markdown.
fn indented(code: &str) -> String {
    code.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

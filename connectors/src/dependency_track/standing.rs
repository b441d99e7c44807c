//! How far a project was analysed when its findings were read.
//!
//! A BOM that is imported replaces components first and is analysed afterwards: for seconds, with online analyzers for longer,
//! the list of findings answers 200, complete by its own word, and is empty or half full. The project says when it was imported
//! and, from version 4.13 on, when it was analysed. So it is asked before its findings are read, and once more after.

use jiff::Timestamp;

use super::{Cursor, DependencyTrack, PORTFOLIO};
use crate::{kit::Scalar, prelude::*};

/// Longest wait for an analysis, in milliseconds: one of a BOM without components is never dated.
const LONGEST_ANALYSIS: i64 = 3_600_000;

/// What a project said of its last import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// When a BOM was imported last, in milliseconds since 1970.
    import: Option<i64>,
    /// Whether it was analysed since.
    analysed: bool,
    /// Whether it may be under analysis.
    pending: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Project {
    #[serde(default)]
    last_bom_import: Scalar,
    #[serde(default)]
    last_vulnerability_analysis: Scalar,
    #[serde(default)]
    metrics: Option<Metrics>,
}

/// Numbers that the server works out every hour.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    #[serde(default)]
    findings_total: Scalar,
    #[serde(default)]
    suppressed: Scalar,
}

impl Standing {
    fn of(project: &Project, now: Timestamp) -> Self {
        let time = |member: &Scalar| member.whole().or_else(|| text::time(member.text()?).map(Timestamp::as_millisecond));
        let (import, analysis) = (time(&project.last_bom_import), time(&project.last_vulnerability_analysis));
        let analysed = analysis >= import;
        let recent = import.is_some_and(|import| now.as_millisecond().saturating_sub(import) < LONGEST_ANALYSIS);
        Standing { import, analysed, pending: recent && !analysed }
    }
}

impl DependencyTrack {
    pub(super) async fn standing(&self, cx: &Context, project: &str) -> Result<Standing> {
        Ok(Standing::of(&self.project(cx, project).await?, cx.now()))
    }

    async fn project(&self, cx: &Context, project: &str) -> Result<Project> {
        Ok(self.http.get("/api/v1/project/{}", &[project]).needs(PORTFOLIO).send(cx).await?.body)
    }

    /// The end of a project's list: whether it is proof, and whether an import explains that it is another list now.
    pub(super) async fn end(&self, cx: &Context, key: &str, cursor: &Cursor, before: Standing, mark: Option<&str>) -> Result<Next<Cursor>> {
        let project = self.project(cx, key).await?;
        let after = Standing::of(&project, cx.now());
        if before.pending || after.pending || after.import != before.import {
            let at = after.import.and_then(|import| Timestamp::from_millisecond(import).ok()).unwrap_or_default();
            cx.incomplete(format!(
                "a BOM was imported into the project at {at} and its analysis had not ended: its findings are not all listed yet"
            ));
        }
        if cursor.source.is_some() && !project.metrics.is_some_and(|metrics| metrics.covered_by(cursor.listed)) {
            cx.incomplete("the findings were read by the sources of their vulnerabilities, and the project counts more of them");
        }
        let Some(import) = after.import else { return Ok(Next::FULL) };
        // The mark is the last import that a complete pass has seen.
        let known: Option<i64> = mark.and_then(|mark| mark.parse().ok());
        if known.is_some_and(|known| known < import) && after.analysed {
            let at = Timestamp::from_millisecond(import).unwrap_or_default();
            cx.explains_change(format!("a BOM was imported into the project at {at} and analysed"));
        }
        Ok(Next::Done(Coverage::Full, Some(import.to_string().into())))
    }
}

impl Metrics {
    /// Whether so many rows can be all findings that the server counts.
    fn covered_by(&self, rows: u64) -> bool {
        let counted = |member: &Scalar| member.whole().and_then(|count| u64::try_from(count).ok());
        counted(&self.findings_total).is_some_and(|open| open + counted(&self.suppressed).unwrap_or(0) <= rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_is_pending_until_it_is_analysed_and_no_longer_than_an_hour() {
        let minute = 60_000;
        let now = 1_770_000_000_000;
        for (import, analysis, analysed, pending) in [
            (None, None, true, false),
            (None, Some(now), true, false),
            (Some(now - minute), Some(now), true, false),
            (Some(now - minute), Some(now - minute), true, false),
            (Some(now - minute), Some(now - 2 * minute), false, true),
            (Some(now - minute), None, false, true),
            (Some(now - 60 * minute), None, false, false),
            // By a clock that is ahead of the server's.
            (Some(now + minute), None, false, true),
        ] {
            let member = |time: Option<i64>| Scalar(time.map(|time| time.to_string()));
            let project = Project { last_bom_import: member(import), last_vulnerability_analysis: member(analysis), metrics: None };
            let standing = Standing::of(&project, Timestamp::from_millisecond(now).expect("a time"));
            assert_eq!(standing, Standing { import, analysed, pending }, "{import:?} {analysis:?}");
        }
    }
}

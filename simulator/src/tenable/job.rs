//! Export jobs: how they advance, how they end, and which of their chunks are there.

use serde_json::{Map, Value, json};

/// How a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With all chunks.
    Whole,
    /// FINISHED, but a chunk failed and those after it were cancelled.
    FailedChunks,
    /// The job fails with status ERROR.
    Error,
    /// The job is cancelled, with status CANCELLED.
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Vulns,
    Assets,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) uuid: String,
    pub(super) kind: Kind,
    /// The filters as they were asked for: what makes two requests the same.
    pub(super) asked: Value,
    pub(super) echo: Value,
    pub(super) software: bool,
    pub(super) per_chunk: usize,
    pub(super) created: i64,
    /// (number, what is in it), in the order in which they become available.
    pub(super) chunks: Vec<(usize, Vec<usize>)>,
    pub(super) looks: usize,
    pub(super) queued: usize,
    pub(super) ending: Ending,
    pub(super) cancelled: bool,
    /// Whether its chunks are no longer kept.
    pub(super) expired: bool,
    pub(super) odd: bool,
    /// A chunk whose file is damaged.
    pub(super) damaged: Option<usize>,
}

impl Job {
    fn status(&self) -> &'static str {
        match self.ending {
            _ if self.cancelled => "CANCELLED",
            _ if self.looks <= self.queued => "QUEUED",
            _ if self.looks == self.queued + 1 => "PROCESSING",
            Ending::Whole | Ending::FailedChunks => "FINISHED",
            Ending::Error => "ERROR",
            Ending::Cancelled => "CANCELLED",
        }
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.status(), "QUEUED" | "PROCESSING")
    }

    pub(super) fn advance(&mut self) {
        if self.runs() {
            self.looks += 1;
        }
    }

    /// How many of its chunks are there.
    pub(super) fn available(&self) -> usize {
        match self.status() {
            "QUEUED" => 0,
            "FINISHED" if self.ending == Ending::Whole => self.chunks.len(),
            _ if self.looks <= self.queued => 0,
            _ => self.chunks.len() / 2,
        }
    }

    /// What the list of jobs and the job's own status both say.
    pub(super) fn summary(&self) -> Map<String, Value> {
        let available = self.available();
        let Value::Object(mut summary) = json!({
            "uuid": self.uuid, "status": self.status(), "total_chunks": self.chunks.len(), "chunks_available_count": available,
            "finished_chunks": available, "empty_chunks_count": self.chunks[..available].iter().filter(|(_, rows)| rows.is_empty()).count(),
            "filters": self.echo, "num_assets_per_chunk": self.per_chunk, "created": self.created / 1000,
        }) else {
            return Map::new();
        };
        let broken = matches!(self.ending, Ending::FailedChunks | Ending::Error) && !self.runs() && !self.cancelled;
        if broken {
            summary.insert("reason".into(), json!(format!("1 of {} chunks failed due to an internal error", self.chunks.len())));
        }
        summary
    }

    pub(super) fn detail(&self) -> Value {
        let numbers = |from: usize, to: usize| -> Vec<usize> {
            let to = to.min(self.chunks.len());
            self.chunks[from.min(to)..to].iter().map(|(number, _)| *number).collect()
        };
        let available = self.available();
        let (failed, cancelled) = match self.ending {
            _ if self.cancelled => (Vec::new(), numbers(available, usize::MAX)),
            Ending::Whole => (Vec::new(), Vec::new()),
            _ if self.runs() => (Vec::new(), Vec::new()),
            Ending::FailedChunks | Ending::Error => (numbers(available, available + 1), numbers(available + 1, usize::MAX)),
            Ending::Cancelled => (Vec::new(), numbers(available, usize::MAX)),
        };
        let mut detail = self.summary();
        detail.insert("chunks_available".into(), json!(numbers(0, available)));
        // The export of assets says no more than this.
        if self.kind == Kind::Assets {
            detail.retain(|name, _| matches!(name.as_str(), "status" | "reason" | "chunks_available"));
        } else {
            detail.insert("chunks_failed".into(), json!(failed));
            detail.insert("chunks_cancelled".into(), json!(cancelled));
        }
        Value::Object(detail)
    }
}

/// Splits what was found into chunks: an empty one last, each second one before the one in front of it, and no number 3.
pub(super) fn chunks(groups: Vec<Vec<usize>>) -> Vec<(usize, Vec<usize>)> {
    let mut groups = groups;
    if groups.len() > 1 {
        groups.push(Vec::new());
    }
    let mut chunks: Vec<_> = groups.into_iter().enumerate().map(|(n, rows)| (if n < 2 { n + 1 } else { n + 2 }, rows)).collect();
    let filled = chunks.len().saturating_sub(1);
    chunks[..filled].chunks_mut(2).for_each(<[_]>::reverse);
    chunks
}

//! Pages of a list and what can go wrong with them, once for all simulators. A vendor gives the rows and the envelope; where
//! it links to the next page, the link is made of [`Page::next`].

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use crate::Fault;

/// How a list is asked for.
#[derive(Clone, Copy, Debug)]
pub enum List<'a> {
    /// By the number of a page, from 1.
    Numbered {
        /// Which page.
        page: usize,
        /// Rows of a page.
        size: usize,
    },
    /// By how many rows are passed over.
    Offset {
        /// How many.
        offset: usize,
        /// Rows of a page.
        size: usize,
    },
    /// By a text that the page before gave.
    Cursor {
        /// The text, empty for the first page.
        cursor: &'a str,
        /// Rows of a page.
        size: usize,
        /// What made the text.
        cursors: &'a Cursors,
    },
}

/// The cursor is not one of this tool, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCursor;

/// A page, with the faults of a list in it.
#[derive(Debug)]
pub struct Page<T> {
    /// Its rows.
    pub rows: Vec<T>,
    /// How many rows the list has.
    pub total: usize,
    /// The number, offset or cursor of the next page, where there is one.
    pub next: Option<String>,
    fault: Option<Fault>,
}

impl List<'_> {
    /// All of it in one page.
    pub const WHOLE: List<'static> = List::Numbered { page: 1, size: usize::MAX };

    /// The row that the page begins with; `None` where a cursor is refused.
    pub fn from(&self) -> Option<usize> {
        match *self {
            List::Numbered { page, size } => Some(page.saturating_sub(1).saturating_mul(size)),
            List::Offset { offset, .. } => Some(offset),
            List::Cursor { cursor: "", .. } => Some(0),
            List::Cursor { cursor, cursors, .. } => cursors.position(cursor),
        }
    }

    /// The page that is asked for.
    ///
    /// # Errors
    /// When the cursor is refused.
    pub fn page<T>(&self, mut rows: Vec<T>, fault: Option<Fault>) -> Result<Page<T>, BadCursor> {
        if fault == Some(Fault::NoRole) {
            rows.clear();
        }
        let (List::Numbered { size, .. } | List::Offset { size, .. } | List::Cursor { size, .. }) = *self;
        let is_expired = fault == Some(Fault::ExpiredCursor) && matches!(self, List::Cursor { cursor, .. } if !cursor.is_empty());
        let asked = self.from().filter(|_| !is_expired).ok_or(BadCursor)?;
        let from = match &fault {
            Some(Fault::DuplicatePage) => asked.saturating_sub(size),
            Some(Fault::RepeatedCursor) => 0,
            Some(Fault::ShiftedPage) if asked > 0 => asked + 1,
            _ => asked,
        };
        let (total, end) = (rows.len(), asked.saturating_add(size));
        let next = (end < total).then(|| match *self {
            List::Numbered { page, .. } => (page + 1).to_string(),
            List::Offset { .. } => end.to_string(),
            List::Cursor { cursor, .. } if fault == Some(Fault::RepeatedCursor) && !cursor.is_empty() => cursor.to_owned(),
            List::Cursor { cursors, .. } => cursors.of(end),
        });
        Ok(Page { rows: rows.into_iter().skip(from).take(size).collect(), total, next, fault })
    }
}

impl<T> Page<T> {
    /// The rows as JSON, one after the other. `odd` is the text of a row with words that nobody has heard of; `None` where
    /// it has none to put them in the place of.
    pub fn json(&self, text: impl Fn(&T) -> String, odd: impl Fn(&T) -> Option<String>) -> String {
        let mut texts: Vec<String> = self.rows.iter().map(text).collect();
        match &self.fault {
            Some(Fault::BadItem) if !texts.is_empty() => "[1,2]".clone_into(&mut texts[0]),
            Some(Fault::UnknownEnum) => {
                if let Some((at, text)) = self.rows.iter().enumerate().find_map(|(at, row)| Some((at, odd(row)?))) {
                    texts[at] = text;
                }
            }
            _ => {}
        }
        texts.join(",")
    }
}

/// Opaque cursors with a signature and a life.
#[derive(Debug)]
pub struct Cursors {
    secret: u64,
    life: Option<Duration>,
    made: Mutex<Vec<Instant>>,
}

impl Cursors {
    /// Cursors that die after this long, where they do.
    pub fn new(secret: u64, life: Option<Duration>) -> Self {
        Cursors { secret, life, made: Mutex::default() }
    }

    /// A cursor of the page that begins with this row. It has characters that have to be escaped in a query.
    pub fn of(&self, row: usize) -> String {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.push(Instant::now());
        let number = made.len() - 1;
        format!("{row:x}/{number:x}+{}==", self.signature(row, number))
    }

    /// Where the page of a cursor begins; `None` for one that is not ours, or no longer.
    pub fn position(&self, cursor: &str) -> Option<usize> {
        let (place, signature) = cursor.strip_suffix("==")?.split_once('+')?;
        let (row, number) = place.split_once('/')?;
        let (row, number) = (usize::from_str_radix(row, 16).ok()?, usize::from_str_radix(number, 16).ok()?);
        let made = *self.made.lock().unwrap_or_else(PoisonError::into_inner).get(number)?;
        (signature == self.signature(row, number) && self.life.is_none_or(|life| made.elapsed() < life)).then_some(row)
    }

    fn signature(&self, row: usize, number: usize) -> String {
        let digest = Sha256::digest(format!("{} {row} {number}", self.secret));
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(list: List<'_>, fault: Option<Fault>) -> (Vec<usize>, Option<String>) {
        let page = list.page((0..10).collect(), fault).unwrap();
        (page.rows, page.next)
    }

    #[test]
    fn a_window_is_cut_by_number_offset_and_cursor_alike() {
        let cursors = Cursors::new(7, None);
        let third = cursors.of(8);
        for (list, rows, more) in [
            (List::Numbered { page: 1, size: 4 }, vec![0, 1, 2, 3], Some("2")),
            (List::Numbered { page: 3, size: 4 }, vec![8, 9], None),
            (List::Numbered { page: 9, size: 4 }, vec![], None),
            (List::Offset { offset: 4, size: 4 }, vec![4, 5, 6, 7], Some("8")),
            (List::Cursor { cursor: &third, size: 4, cursors: &cursors }, vec![8, 9], None),
        ] {
            assert_eq!(shown(list, None), (rows, more.map(str::to_owned)), "{list:?}");
        }
        let (_, next) = shown(List::Cursor { cursor: "", size: 4, cursors: &cursors }, None);
        assert_eq!(cursors.position(&next.unwrap()), Some(4));
    }

    #[test]
    fn a_cursor_that_is_forged_of_another_tool_or_dead_is_refused() {
        let (own, other) = (Cursors::new(7, None), Cursors::new(8, None));
        let cursor = own.of(4);
        for wrong in [cursor.replacen('4', "5", 1), other.of(4), String::from("4"), cursor.replace("==", "")] {
            assert_eq!(own.position(&wrong), None, "{wrong}");
        }
        let dead = Cursors::new(7, Some(Duration::ZERO));
        assert_eq!(dead.position(&dead.of(4)), None);
        let list = List::Cursor { cursor: &cursor, size: 4, cursors: &own };
        assert_eq!(list.page(vec![1], Some(Fault::ExpiredCursor)).unwrap_err(), BadCursor);
    }

    #[test]
    fn every_fault_of_a_list_shows() {
        let second = List::Numbered { page: 2, size: 4 };
        for (fault, rows) in [
            (Fault::NoRole, vec![]),
            (Fault::DuplicatePage, vec![0, 1, 2, 3]),
            (Fault::RepeatedCursor, vec![0, 1, 2, 3]),
            (Fault::ShiftedPage, vec![5, 6, 7, 8]),
        ] {
            assert_eq!(shown(second, Some(fault.clone())).0, rows, "{fault:?}");
        }
        let cursors = Cursors::new(7, None);
        let cursor = cursors.of(4);
        let list = List::Cursor { cursor: &cursor, size: 4, cursors: &cursors };
        assert_eq!(shown(list, Some(Fault::RepeatedCursor)).1, Some(cursor.clone()));
        let text =
            |fault| second.page((0..10).collect(), Some(fault)).unwrap().json(usize::to_string, |row| (*row == 6).then(|| "odd".into()));
        assert_eq!((text(Fault::BadItem), text(Fault::UnknownEnum)), ("[1,2],5,6,7".to_owned(), "4,5,odd,7".to_owned()));
    }
}

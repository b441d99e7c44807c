//! The engine and the store on a tool that a test writes itself: what no real tool does on demand.

#![expect(clippy::needless_pass_by_value, reason = "a number, a text or a borrowed text is written where it is used")]

mod loops;
mod outcomes;
mod parts;
mod quarantine;
mod records;
mod reset;
mod tool;

//! What people decided, and what is concluded from lists: on the real engine and store, with lists written by hand.

mod absence;
mod carrying;
mod duplicates;
mod tool;

//! Simulator of burp.

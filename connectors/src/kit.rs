//! What every connector leans on, so that none of it is written twice: one HTTP client with authentication, rate limit,
//! retries, body cap and address rules; item-by-item decoding; HTML to Markdown is in the model's `text`.
//!
//! A connector never sleeps, loops over pages, retries or builds a client.

mod auth;
#[cfg(feature = "aws")]
pub(crate) mod aws;
mod cache;
mod cores;
mod cx;
pub mod graphql;
mod http;
mod items;
mod limit;
mod location;
mod mend;
mod numbers;
pub(crate) mod oauth;
mod parts;
mod redact;
mod secret;
mod texts;

pub use auth::Auth;
pub use cache::Cache;
pub use cores::on_all_cores;
pub use cx::{Activity, Cx};
pub use http::{Answer, Http, HttpOptions, Link, Request};
pub(crate) use items::retain;
pub use items::{Decoded, Loose, count, count_if_any, entry, items, or_default, strip};
pub use limit::Limiters;
pub use location::Location;
pub use numbers::Numbers;
pub use oauth::{Grant, Tokens};
pub use parts::in_parts;
pub use secret::Secret;
pub use texts::Texts;

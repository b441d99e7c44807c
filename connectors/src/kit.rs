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
pub(crate) mod http;
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
pub use cores::par_map;
pub use cx::{Context, RunStats};
pub use http::{Endpoint, Http, HttpOptions, Request, Response};
pub(crate) use items::keep_members;
pub use items::{Decoded, Scalar, count, count_if_any, drop_members, entry, items, or_default};
pub use limit::{Limiters, Rate};
pub use location::Location;
pub use numbers::RangeSet;
pub use oauth::{Grant, Granted, Login, RedirectUrls, Tokens};
pub use parts::in_parts;
pub use secret::Secret;
pub use texts::Texts;

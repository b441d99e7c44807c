//! What every connector leans on, so that none of it is written twice: one HTTP client with authentication, rate limit,
//! retries, body cap and address rules; item-by-item decoding; HTML to Markdown is in the model's `text`.
//!
//! A connector never sleeps, loops over pages, retries or builds a client.

mod auth;
mod cx;
pub mod graphql;
mod http;
mod items;
mod limit;
mod location;
mod secret;

pub use auth::Auth;
pub use cx::{Activity, Cx};
pub use http::{Answer, Http, HttpOptions, Link, Request};
pub use items::{Loose, items, or_default, strip};
pub use limit::Limiters;
pub use location::Location;
pub use secret::Secret;

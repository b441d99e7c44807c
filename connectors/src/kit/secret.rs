//! Secrets: they cannot be printed, and the settings schema says which fields hold one.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// A secret field of a connector's settings. Wiped on drop; `Debug` shows nothing; there is no `Display` or `Serialize`.
///
/// ```
/// use tributary_connectors::kit::Secret;
/// let secret: Secret = serde_json::from_str("\"hush\"").unwrap();
/// assert_eq!(format!("{secret:?} {secret:#?} {:?}", Some(&secret)), "Secret(…) Secret(…) Some(Secret(…))");
/// ```
///
/// What would show it does not compile:
///
/// ```compile_fail,E0277
/// let secret = tributary_connectors::kit::Secret::new("hush");
/// format!("{secret}");
/// ```
/// ```compile_fail,E0599
/// let secret = tributary_connectors::kit::Secret::new("hush");
/// secret.to_string();
/// ```
/// ```compile_fail,E0277
/// let secret = tributary_connectors::kit::Secret::new("hush");
/// serde_json::to_string(&secret);
/// ```
/// ```compile_fail,E0277
/// let secret = tributary_connectors::kit::Secret::new("hush");
/// serde_json::json!({ "secret": secret });
/// ```
/// ```compile_fail,E0616
/// let secret = tributary_connectors::kit::Secret::new("hush");
/// secret.0;
/// ```
/// ```compile_fail,E0277
/// let secret = tributary_connectors::kit::Secret::new("hush");
/// let text: &dyn AsRef<str> = &secret;
/// ```
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: &str) -> Self {
        Secret(SecretString::from(text))
    }

    /// The secret itself, for a header or a signature and nothing else.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "password", "writeOnly": true })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::zeroize::ZeroizeOnDrop;

    use super::*;

    #[test]
    fn k2_a_secret_is_wiped_when_it_is_dropped() {
        fn wiped<T: ZeroizeOnDrop>(_: &T) {}
        wiped(&Secret::new("hush").0);
    }
}

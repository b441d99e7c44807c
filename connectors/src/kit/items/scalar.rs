//! Members that vendors write in more than one form: numbers as text, null for what is absent.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Unexpected, Visitor},
};

/// For `deserialize_with`: null counts as absent. Beside `default`, so that a missing member does too.
///
/// # Errors
/// When the member is there and cannot be read.
pub fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// For `deserialize_with`: a number of rows, which some servers write as text (`"120"`).
///
/// # Errors
/// When there is no such number: a list whose length cannot be read must not be taken for an empty one.
pub fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    count_if_any(deserializer)?.ok_or_else(|| D::Error::custom("no number of rows"))
}

/// Like [`count`], where the vendor may declare none: null and what is no such number are none. Beside `default`.
///
/// # Errors
/// When a list or an object stands there.
pub fn count_if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Scalar::deserialize(deserializer)?.whole().and_then(|number| number.try_into().ok()))
}

/// A scalar that vendors write now as text, now as a number: read as text, or as nothing when it is anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scalar(pub Option<String>);

impl Scalar {
    /// The text, unless absent or empty.
    pub fn text(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }

    /// The finite number in it.
    pub fn number(&self) -> Option<f64> {
        self.text()?.trim().parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// The whole number in it, when it fits.
    pub fn whole(&self) -> Option<i64> {
        let text = self.text()?.trim();
        text.parse().ok().or_else(|| {
            let number: f64 = text.parse().ok()?;
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within 2^53")]
            (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
        })
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, number or null")
            }
            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(Some(text.to_owned())))
            }
            fn visit_string<E>(self, text: String) -> Result<Scalar, E> {
                Ok(Scalar(Some(text)))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(Some(number.to_string())))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar(Some(number.to_string())))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar(Some(number.to_string())))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(Some(value.to_string())))
            }
            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar(None))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, _: A) -> Result<Scalar, A::Error> {
                Err(A::Error::invalid_type(Unexpected::Seq, &self))
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

//! Lists of texts in the forms in which vendors write them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// A list of texts that a vendor also writes as one text, as null, or with numbers, nulls and lists in it. Objects are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts(pub Vec<String>);

impl Texts {
    /// Those that are not empty, trimmed.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// Those that are not empty, in alphabetical order and each once: where the order means nothing, another one is no change.
    pub fn sorted(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = self.iter().collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    }

    /// The first that is not empty.
    pub fn first(&self) -> Option<&str> {
        self.iter().next()
    }
}

/// Reads a list of scalars, or a scalar that stands for a list of one.
struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }
    fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
        Ok(Texts(vec![text.to_owned()]))
    }
    fn visit_string<E>(self, text: String) -> Result<Texts, E> {
        Ok(Texts(vec![text]))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Texts, E> {
        Ok(Texts(vec![number.to_string()]))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Texts, E> {
        Ok(Texts(vec![number.to_string()]))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Texts, E> {
        Ok(Texts(vec![number.to_string()]))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Texts, E> {
        Ok(Texts(vec![value.to_string()]))
    }
    fn visit_unit<E>(self) -> Result<Texts, E> {
        Ok(Texts::default())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Texts, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Texts::default())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Texts, A::Error> {
        let mut texts = Vec::new();
        while let Some(Texts(more)) = elements.next_element()? {
            texts.extend(more);
        }
        Ok(Texts(texts))
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_texts_is_read_in_every_form() {
        for (json, expected) in [
            (r#"["b"," a ","b",""]"#, &["a", "b"][..]),
            (r#""one""#, &["one"]),
            ("7", &["7"]),
            ("null", &[]),
            (r#"[7,null,"x",{"y":[1]},["z"]]"#, &["7", "x", "z"]),
            (r#"{"a":1}"#, &[]),
        ] {
            assert_eq!(serde_json::from_str::<Texts>(json).expect("texts").sorted(), expected, "{json}");
        }
    }
}

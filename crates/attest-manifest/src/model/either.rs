//! Values that are written in a short form (text) or as a table.

/// Deserialize an enum of a short form (a string) and a table, with the errors of the table's
/// own type: serde's `untagged` would say only that nothing fitted.
macro_rules! text_or_table {
    ($type:ident, $expecting:literal, $text:expr, $table:expr) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Either;
                impl<'de> serde::de::Visitor<'de> for Either {
                    type Value = $type;

                    fn expecting(
                        &self,
                        formatter: &mut std::fmt::Formatter<'_>,
                    ) -> std::fmt::Result {
                        formatter.write_str($expecting)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        Ok($text(text.to_owned()))
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        map: A,
                    ) -> Result<$type, A::Error> {
                        let table = serde::de::value::MapAccessDeserializer::new(map);
                        serde::Deserialize::deserialize(table).map($table)
                    }
                }
                deserializer.deserialize_any(Either)
            }
        }
    };
}

pub(super) use text_or_table;

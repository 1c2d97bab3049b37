//! Closed vocabularies: enums whose variants are all the values that a label or an annotation can have.

/// Declares a vocabulary: an enum with one text for each variant.
///
/// Generates `ALL` (all variants, in order), `as_str` (the text of a variant) and `parse` (the variant of a text; none for
/// another text), and the text as the form in JSON. No variant can be missing in `ALL`. So every value has a series before its first event, and tests can require
/// a row in the documentation for every value.
macro_rules! vocabulary {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident { $($(#[$variant_attribute:meta])* $variant:ident = $text:literal,)+ }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visibility enum $name {
            $($(#[$variant_attribute])* $variant,)+
        }

        #[allow(dead_code, unreachable_pub, reason = "one macro serves public and private vocabularies")]
        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: [Self; [$(Self::$variant),+].len()] = [$(Self::$variant),+];

            /// The value of the label or annotation.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The variant with this text.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|variant| variant.as_str() == text)
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <::std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                let unknown = || ::serde::de::Error::unknown_variant(&text, &[$($text),+]);
                Self::parse(&text).ok_or_else(unknown)
            }
        }
    };
}

pub(crate) use vocabulary;

#[cfg(test)]
mod tests {
    vocabulary! {
        /// Two values.
        enum Answer {
            /// Agrees.
            Yes = "yes",
            /// Disagrees.
            No = "no",
        }
    }

    #[test]
    fn all_lists_every_variant_and_parse_is_the_inverse_of_as_str() {
        assert_eq!(Answer::ALL, [Answer::Yes, Answer::No]);
        assert_eq!(Answer::ALL.map(Answer::as_str), ["yes", "no"]);
        assert!(Answer::ALL.into_iter().all(|answer| Answer::parse(answer.as_str()) == Some(answer)));
        assert_eq!(Answer::parse("maybe"), None);
        assert_eq!(serde_json::to_string(&Answer::ALL).unwrap(), r#"["yes","no"]"#);
        assert_eq!(serde_json::from_str::<Answer>(r#""yes""#).unwrap(), Answer::Yes);
        let unknown = serde_json::from_str::<Answer>(r#""maybe""#).unwrap_err().to_string();
        assert!(unknown.starts_with("unknown variant `maybe`, expected `yes` or `no`"), "{unknown}");
    }
}

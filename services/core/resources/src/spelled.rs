//! Enums whose words are accepted in any letter case, and written as they are printed here.

/// Makes an enum of words. A word is written as its variant is named, or as the text beside it says.
macro_rules! spelled {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$word_meta:meta])* $word:ident $(= $text:literal)?),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, schemars::JsonSchema)]
        pub enum $name {
            $($(#[$word_meta])* $(#[serde(rename = $text)])? $word),+
        }

        impl $name {
            /// All words, as they are printed.
            pub const ALL: &'static [(&'static str, $name)] =
                &[$(($crate::spelled::text!($word $($text)?), $name::$word)),+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let written = $name::ALL.iter().find(|(_, value)| value == self);
                f.write_str(written.map_or("", |(text, _)| text))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                $crate::spelled::word(deserializer, $name::ALL)
            }
        }
    };
}
pub(crate) use spelled;

/// How a word is written.
macro_rules! text {
    ($word:ident) => {
        stringify!($word)
    };
    ($word:ident $text:literal) => {
        $text
    };
}
pub(crate) use text;

/// One of `all`, in any letter case.
pub(crate) fn word<'de, T: Copy, D: serde::Deserializer<'de>>(
    deserializer: D,
    all: &[(&'static str, T)],
) -> Result<T, D::Error> {
    let text: String = serde::Deserialize::deserialize(deserializer)?;
    let found = all
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(&text));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        serde::de::Error::custom(format!("{text:?}: must be one of {}", names.join(", ")))
    })
}

//! What a schema cannot say of a resource.

use std::{collections::BTreeMap, fmt};

use crate::{compare::join, form, hidden::HIDDEN, problem::Problems};

/// Rules between the fields of a type, and of the form of their text.
pub(crate) trait Rules {
    /// Notes each rule that is broken. `at` is the path of this value.
    fn rules(&self, at: &str, problems: &mut Problems);
}

/// The rules of each value of a list.
pub(crate) fn each<T: Rules>(values: &[T], at: &str, problems: &mut Problems) {
    for (index, value) in values.iter().enumerate() {
        value.rules(&format!("{at}[{index}]"), problems);
    }
}

/// Checks each text of a list.
pub(crate) fn each_text(
    texts: &[String],
    at: &str,
    problems: &mut Problems,
    check: impl Fn(&str) -> Result<(), String>,
) {
    for (index, text) in texts.iter().enumerate() {
        problems.check(&format!("{at}[{index}]"), check(text));
    }
}

/// Checks a text that may be left out.
pub(crate) fn optional(
    text: Option<&String>,
    at: String,
    problems: &mut Problems,
    check: impl Fn(&str) -> Result<(), String>,
) {
    if let Some(text) = text {
        problems.check(&at, check(text));
    }
}

/// Notes settings that are missing with the choice that they belong to, or there with another.
pub(crate) fn settings(
    problems: &mut Problems,
    (choice_at, choice): (&str, impl fmt::Display),
    (settings_at, is_there): (&str, bool),
    (belongs, is_needed): (bool, bool),
) {
    // Nothing follows from a choice that was not understood.
    if problems.is_replaced(choice_at) {
        return;
    }
    let field = choice_at.rsplit('.').next().unwrap_or(choice_at);
    if is_there && !belongs {
        problems.rule(
            settings_at,
            format!("has no meaning with {field} {choice}: take it out"),
        );
    }
    if is_needed && belongs && !is_there {
        problems.rule(
            settings_at,
            format!("is missing: {field} {choice} needs it"),
        );
    }
}

/// Checks the headers of a request.
pub(crate) fn headers(headers: &BTreeMap<String, String>, at: &str, problems: &mut Problems) {
    for (name, value) in headers {
        let at = join(at, name);
        problems.check(&at, form::header_name(name));
        problems.check(&at, form::header_value(value));
        if value == HIDDEN {
            problems.rule(
                &at,
                "is what viewers are shown in place of the value: write the value",
            );
        }
    }
}

//! `catena explain`: what may be in a manifest.

use std::process::ExitCode;

use anyhow::{Context, bail};
use catena_resources::{Field, Kind};
use clap::Args;

use super::kind::Asked;

/// Columns of a page.
const WIDTH: usize = 100;

/// Explain what may be in a manifest, field by field
///
///   catena explain listener
///   catena explain listener.ports.tls
///   catena explain broker.advanced.clients
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// A kind, and a field of its spec after a dot
    #[arg(value_name = "KIND[.PATH]")]
    path: String,
}

/// Runs `catena explain`. Asks nobody: what it knows is this version's.
///
/// # Errors
/// A kind or a field that does not exist.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    print!("{}", page(&arguments.path)?);
    Ok(ExitCode::SUCCESS)
}

fn page(asked: &str) -> anyhow::Result<String> {
    let (kind, path) = asked.split_once('.').unwrap_or((asked, ""));
    let Asked(kind) = kind.parse().map_err(anyhow::Error::msg)?;
    let kind = kind.context("say which kind: broker, listener, authentication or authorization")?;
    let Some(field) = catena_resources::explain(kind, path) else {
        bail!("{}", unknown(kind, path));
    };
    let mut page = format!("{asked}: {}\n", summary(&field));
    if !field.doc.is_empty() {
        page += &format!("\n{}", wrapped(&field.doc, "  "));
    }
    for (word, meaning) in &field.words {
        page += &format!("\n  {word}\n{}", wrapped(meaning, "    "));
    }
    if !field.fields.is_empty() {
        page.push_str("\nfields:\n");
    }
    for inner in &field.fields {
        page += &format!("  {}: {}\n", inner.name, summary(inner));
        page += &wrapped(&inner.doc, "      ");
    }
    Ok(page)
}

/// `list of text, required; from 1 to 3`.
fn summary(field: &Field) -> String {
    let mut words = field.form.clone();
    if field.required {
        words.push_str(", required");
    }
    if let Some(range) = &field.range {
        words += &format!("; {range}");
    }
    if let Some(default) = &field.default {
        words += &format!("; default {default}");
    }
    if field.ours {
        words.push_str("; beyond the Azure schema");
    }
    words
}

/// The longest part of the path that exists says what may come next.
fn unknown(kind: Kind, path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    for count in (0..parts.len()).rev() {
        let known = parts[..count].join(".");
        if let Some(field) = catena_resources::explain(kind, &known) {
            let names: Vec<&str> = field
                .fields
                .iter()
                .map(|field| field.name.trim_end_matches("[]"))
                .collect();
            let place = if known.is_empty() {
                kind.to_string()
            } else {
                known
            };
            let has = if names.is_empty() {
                "has no fields".to_owned()
            } else {
                format!("has {}", names.join(", "))
            };
            return format!("there is no field {}: {place} {has}", parts[count]);
        }
    }
    format!("there is no field {path}")
}

fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent.len() + line.len() + 1 + word.len() > WIDTH {
            lines += &format!("{indent}{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines += &format!("{indent}{line}\n");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    // Who does not know a field finds it here, or not at all.
    #[test]
    fn every_kind_is_explained_and_a_wrong_field_leads_to_the_right_ones() {
        for (word, _) in Kind::ALL {
            assert!(page(word).unwrap().contains("fields:"), "{word}");
        }
        let ports = page("listener.ports").unwrap();
        assert!(ports.contains("authenticationRef"), "{ports}");
        let said = page("listener.ports.prot").unwrap_err().to_string();
        assert!(
            said.contains("no field prot") && said.contains("protocol"),
            "{said}"
        );
        assert!(page("pod").is_err());
        assert!(page("all").is_err());
    }
}

//! What the control plane says is wrong with resources, with the file of each problem.

use catena_resources::Problem;
use tonic::Status;
use tonic_types::StatusExt;

use crate::{
    cli::control_plane::words,
    manifests::{self, File},
};

/// Every problem on a line of its own.
pub fn said(status: &Status, files: &[File]) -> String {
    let lines = problems(status, files);
    if lines.is_empty() {
        words(status)
    } else {
        lines.join("\n")
    }
}

/// The problems that the refusal lists; none when it lists none.
pub fn problems(status: &Status, files: &[File]) -> Vec<String> {
    let Some(request) = status.get_details_bad_request() else {
        return Vec::new();
    };
    let violations = request.field_violations.into_iter();
    violations
        .map(|violation| {
            let (resource, path) = violation
                .field
                .split_once(": ")
                .unwrap_or((&violation.field, ""));
            let problem = Problem {
                resource: resource.to_owned(),
                path: path.to_owned(),
                reason: violation.description,
            };
            match manifests::place(files, &problem) {
                Some(file) => format!("{file}: {problem}"),
                None => problem.to_string(),
            }
        })
        .collect()
}

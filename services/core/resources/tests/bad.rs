//! Manifests with mistakes, each with all the problems that it has: `testdata/bad/NAME.yaml` and `NAME.problems` beside it.

use std::{fmt::Write as _, fs, path::PathBuf};

use catena_resources::{Place, Resources, parse};

/// With this set, the problems are written anew. Read them before you keep them.
const WRITE: &str = "CATENA_PROBLEMS_WRITE";

/// What a manifest's mistakes are told as; with those between resources, where each is right by itself.
fn problems(text: &str) -> String {
    let lines = |problems: Vec<catena_resources::Problem>| {
        let mut told = String::new();
        for problem in problems {
            writeln!(told, "{problem}").unwrap();
        }
        told
    };
    let parsed = match parse(text) {
        Ok(parsed) => parsed,
        Err(invalid) => return lines(invalid.0),
    };
    let mut all = Resources::default();
    for resource in parsed {
        all.put(1, resource.into());
    }
    all.check(Place::Kubernetes)
        .map_or_else(|invalid| lines(invalid.0), |()| String::new())
}

// One at a time, an administrator would apply five times to find five mistakes; and a message that changes by accident may
// no longer say what to do.
#[test]
fn each_mistake_is_told_where_it_is_and_all_of_them_at_once() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/bad");
    let mut names: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    names.sort();
    assert!(names.len() >= 60, "{} manifests", names.len());
    let mut differences = String::new();
    for path in names {
        let told = problems(&fs::read_to_string(&path).unwrap());
        let expected = path.with_extension("problems");
        if std::env::var_os(WRITE).is_some() {
            fs::write(&expected, &told).unwrap();
        }
        assert!(!told.is_empty(), "{} has no problem", path.display());
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        if told != wanted {
            writeln!(differences, "{}", path.display()).unwrap();
            for line in wanted
                .lines()
                .filter(|line| !told.lines().any(|told| told == *line))
            {
                writeln!(differences, "  - {line}").unwrap();
            }
            for line in told
                .lines()
                .filter(|line| !wanted.lines().any(|wanted| wanted == *line))
            {
                writeln!(differences, "  + {line}").unwrap();
            }
        }
    }
    assert!(
        differences.is_empty(),
        "\n{differences}({WRITE}=1 writes them anew)"
    );
}

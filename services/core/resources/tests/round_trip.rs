//! What is written is read again as the same, whatever the resource.

mod made;

use catena_resources::{Kind, Resource, parse, write};
use made::Made;
use proptest::prelude::*;

fn reads_again(resource: &Resource) {
    let one = std::slice::from_ref(resource);
    let yaml = write::yaml(one);
    assert_eq!(parse(&yaml).as_deref(), Ok(one), "{yaml}");
    let json = serde_json::to_string(resource).unwrap();
    assert_eq!(parse(&json).as_deref(), Ok(one), "{json}");
    assert_eq!(&serde_json::from_str::<Resource>(&json).unwrap(), resource);
    assert_eq!(resource.validate(), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    // An export that does not apply again is no export; and nor is one that changes what it says on the way.
    #[test]
    fn what_is_written_is_read_again(seed: u64) {
        for (_, kind) in Kind::ALL {
            let manifest = Made::new(seed).manifest(*kind);
            let text = serde_json::to_string_pretty(&manifest).unwrap();
            match parse(&text) {
                Ok(resources) => reads_again(&resources[0]),
                Err(invalid) => prop_assert!(false, "{invalid}\n{text}"),
            }
        }
    }

    // Text comes from anybody who may reach the admin API.
    #[test]
    fn no_text_breaks_the_reader(text in any::<String>()) {
        let _ = parse(&text);
    }

    // Broken manifests reach deeper than arbitrary text: each part of one is taken out, and something else put in.
    #[test]
    fn no_broken_manifest_breaks_the_reader(seed: u64, at: prop::sample::Index, to in "[a-z0-9:{}\\[\\]\"'&*!#|>%@`,.\n -]{0,4}") {
        for (_, kind) in Kind::ALL {
            let resource = Made::new(seed).manifest(*kind);
            let mut text = write::document(&resource);
            let from = text.char_indices().map(|(index, _)| index).collect::<Vec<_>>();
            let from = from[at.index(from.len())];
            let end = text.char_indices().map(|(index, _)| index).find(|index| *index > from + 3);
            text.replace_range(from..end.unwrap_or(text.len()), &to);
            let _ = parse(&text);
        }
    }

    // Whatever value stands in a field, the problem is named and nothing else happens.
    #[test]
    fn no_misplaced_value_breaks_the_reader(seed: u64, at: prop::sample::Index, with: usize) {
        let odd = serde_json::json!([null, true, -1, 1e300, "", "x", [], [null], {}, {"a": {}}]);
        for (_, kind) in Kind::ALL {
            let mut manifest = Made::new(seed).manifest(*kind);
            let mut places = Vec::new();
            made::places(&manifest, String::new(), &mut places);
            let place = &places[at.index(places.len())];
            *manifest.pointer_mut(place).unwrap() = odd[with % 10].clone();
            parse(&manifest.to_string()).unwrap_or_default().iter().for_each(reads_again);
        }
    }
}

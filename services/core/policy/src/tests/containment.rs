use catena_mqtt::{Filter, filter};

use super::naive;
use crate::{
    template::{Values, Variables},
    topic::TopicPattern,
};

/// All sequences of `levels` of 1 to `most` levels, as topics or filters.
fn sequences(levels: &[&str], most: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut last = vec![String::new()];
    for depth in 0..most {
        let longer = last.iter().flat_map(|front| {
            levels.iter().map(move |level| match depth {
                0 => (*level).to_owned(),
                _ => format!("{front}/{level}"),
            })
        });
        last = longer.collect();
        all.extend(last.iter().cloned());
    }
    all
}

// A client would read topics that no rule grants it, or be refused what one does. Each filter is held against each pattern by
// all topics up to a length, with levels that neither names. [MQTT-4.7.2-1] [MQTT-4.7.1-2]
#[test]
fn containment_is_what_it_says_of_all_topics() {
    let topics: Vec<String> = sequences(&["", "a", "$a", "z"], 5)
        .into_iter()
        .filter(|topic| !topic.is_empty())
        .collect();
    let mut filters = sequences(&["", "a", "$a", "+"], 3);
    let with_rest: Vec<String> = filters.iter().map(|front| format!("{front}/#")).collect();
    filters.extend(with_rest);
    filters.push("#".to_owned());
    filters.retain(|filter| Filter::parse(filter.as_str()).is_ok());
    assert_eq!(filters.len(), 168);

    let matched: Vec<Vec<bool>> = filters
        .iter()
        .map(|filter| {
            topics
                .iter()
                .map(|topic| filter::matches(filter, topic))
                .collect()
        })
        .collect();
    let values = Values::default();
    let mut contained = 0;
    for (pattern, by_pattern) in filters.iter().zip(&matched) {
        let parsed = TopicPattern::parse(pattern, &mut Variables::default()).unwrap();
        for (asked, by_asked) in filters.iter().zip(&matched) {
            let mut both = by_pattern.iter().zip(by_asked);
            let expected = both.all(|(pattern, asked)| *pattern || !*asked);
            contained += usize::from(expected);
            assert_eq!(
                parsed.covers(&values, asked),
                expected,
                "{pattern} over {asked}"
            );
            assert_eq!(
                naive::covers(pattern, asked),
                expected,
                "{pattern} over {asked}"
            );
        }
    }
    assert!(
        contained > filters.len(),
        "each contains itself, and some more"
    );
}

// A topic is a filter that matches itself alone: what is published could pass where a subscription does not.
#[test]
fn a_pattern_covers_the_topics_that_it_matches() {
    let topics = sequences(&["", "a", "$a", "z"], 4);
    for pattern in [
        "#", "+", "+/#", "a/#", "a/+", "$a/#", "$a/+/a", "/", "+/+", "a",
    ] {
        let parsed = TopicPattern::parse(pattern, &mut Variables::default()).unwrap();
        for topic in topics.iter().filter(|topic| !topic.is_empty()) {
            let expected = filter::matches(pattern, topic);
            assert_eq!(
                parsed.covers(&Values::default(), topic),
                expected,
                "{pattern}, {topic}"
            );
        }
    }
}

//! The topic patterns of all rules, by level: a decision walks along the levels of what is asked, and only past patterns
//! that fit so far.

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::{
    reach::{Reach, RuleId},
    template::{Part, Values},
    topic::{Level, TopicPattern, begins_as_written, plain, split},
};

/// All patterns of one method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trie {
    /// The first one is the root.
    nodes: Vec<Node>,
    /// Rules that grant any topic.
    any: Vec<RuleId>,
}

/// Where patterns that are alike so far go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    literals: HashMap<String, u32>,
    templates: Vec<(Vec<Part>, u32)>,
    one: Option<u32>,
    /// Rules with a pattern that ends here.
    end: Vec<RuleId>,
    /// Rules with a pattern that ends here with `#`.
    rest: Vec<RuleId>,
}

impl Default for Trie {
    fn default() -> Trie {
        Trie {
            nodes: vec![Node::default()],
            any: Vec::new(),
        }
    }
}

impl Trie {
    /// `rule` grants any topic.
    pub fn add_any(&mut self, rule: RuleId) {
        self.any.push(rule);
    }

    /// `rule` grants what `pattern` matches.
    pub fn add(&mut self, pattern: &TopicPattern, rule: RuleId) {
        let mut at = 0;
        for level in &pattern.0 {
            let next = self.nodes.len() as u32;
            let node = &mut self.nodes[at as usize];
            let child = match level {
                Level::Rest => return node.rest.push(rule),
                Level::One => *node.one.get_or_insert(next),
                Level::Literal(text) => *node.literals.entry_ref(text.as_str()).or_insert(next),
                Level::Template(parts) => {
                    let known = node.templates.iter().find(|(known, _)| known == parts);
                    match known {
                        Some((_, child)) => *child,
                        None => {
                            node.templates.push((parts.clone(), next));
                            next
                        }
                    }
                }
            };
            if child == next {
                self.nodes.push(Node::default());
            }
            at = child;
        }
        self.nodes[at as usize].end.push(rule);
    }

    /// Whether a rule in `reach` has one pattern that covers `asked`: a topic name, or a filter without `$share/GROUP/`. See
    /// [`TopicPattern::covers`].
    pub fn grants(&self, reach: &Reach, values: &Values, asked: &str) -> bool {
        if reach.has_any(&self.any) {
            return true;
        }
        let is_hidden = asked.starts_with('$');
        // Not by recursion: a topic may have 65,536 levels.
        let mut todo: SmallVec<[(u32, Option<&str>); 16]> = SmallVec::new();
        todo.push((0, Some(plain(asked))));
        while let Some((at, rest)) = todo.pop() {
            let node = &self.nodes[at as usize];
            // [MQTT-4.7.2-1]
            let is_wild_allowed = at != 0 || !is_hidden;
            if is_wild_allowed && reach.has_any(&node.rest) {
                return true;
            }
            let Some(rest) = rest else {
                if reach.has_any(&node.end) {
                    return true;
                }
                continue;
            };
            let (level, rest) = split(rest);
            if level == "#" {
                // Nothing but `#` covers it.
                continue;
            }
            if let Some(child) = node.one.filter(|_| is_wild_allowed) {
                todo.push((child, rest));
            }
            if level == "+" {
                continue;
            }
            for (parts, child) in &node.templates {
                let may_begin = is_wild_allowed || begins_as_written(parts);
                if may_begin && values.make_level(parts, level) {
                    todo.push((*child, rest));
                }
            }
            if let Some(child) = node.literals.get(level) {
                todo.push((*child, rest));
            }
        }
        false
    }
}

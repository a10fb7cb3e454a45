//! What a change of resources comes to, by what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use catena_resources::{Invalid, Place, Problem, Resource, ResourceId, Resources, Spec, Stored};

use super::{CHANGED_MAX, Change, Changed, Known, RESOURCES_BYTES_MAX, RESOURCES_MAX};
use crate::{record::json, registry::Refused};

impl Known {
    /// Decides the change: what would come of each resource.
    pub(super) fn decide(&self, change: &Change, place: Place) -> Result<Vec<Changed>, Refused> {
        let has = |kind| self.resources.iter().any(|(id, _)| id.kind == kind);
        if change.unless_any.is_some_and(has) {
            return Ok(Vec::new());
        }
        let count = change.put.len() + change.delete.len();
        if count > CHANGED_MAX {
            let said = format!(
                "{count} resources at once: at most {CHANGED_MAX} may be, because they change all or none"
            );
            return Err(Refused::TooMany(said));
        }
        self.check_versions(&change.expected)?;
        let mut after = self.resources.clone();
        let mut changed = Vec::new();
        let mut problems = twice(&change.put);
        for resource in &change.put {
            let id = resource.id();
            let before = self.resources.get(&id).cloned();
            let mut resource = resource.clone();
            if change.leaves_out_workers && place == Place::Standalone {
                self.keep_workers(&mut resource);
            }
            let stored = match &before {
                Some(before) if *before.resource == resource => before.clone(),
                _ => Stored {
                    version: 0,
                    resource: Arc::new(resource),
                },
            };
            after.put(stored.version, stored.resource.clone());
            changed.push(Changed {
                id,
                before,
                after: Some(stored),
            });
        }
        for id in &change.delete {
            match after.remove(id) {
                Some(_) => changed.push(Changed {
                    id: id.clone(),
                    before: self.resources.get(id).cloned(),
                    after: None,
                }),
                None if change.ignore_missing => {}
                None => return Err(Refused::NoResource(id.clone())),
            }
        }
        check_deletes(&after, &change.delete)?;
        problems.extend(self.check_broker(&after));
        problems.extend(self.check_all(&after, &changed, place));
        if !problems.is_empty() {
            return Err(Refused::Invalid(Invalid(problems)));
        }
        self.check_size(&after, &changed)?;
        Ok(changed)
    }

    /// The Broker has the number of shards that it had: of a broker in one process, whoever started it has chosen.
    fn keep_workers(&self, resource: &mut Resource) {
        if let (Spec::Broker(broker), Some(before)) = (&mut resource.spec, self.resources.broker())
        {
            let workers = before.cardinality.backend_chain.workers;
            broker.cardinality.backend_chain.workers = workers;
        }
    }

    fn check_versions(&self, expected: &BTreeMap<ResourceId, u64>) -> Result<(), Refused> {
        let mut outdated = Vec::new();
        for (id, expected) in expected {
            let is = self.resources.get(id).map_or(0, |stored| stored.version);
            if is == *expected {
                continue;
            }
            outdated.push(match (is, expected) {
                (0, _) => format!("{id} was deleted"),
                (_, 0) => format!("{id} is there already"),
                (is, expected) => {
                    format!("{id} was changed: it is at version {is}, not {expected}")
                }
            });
        }
        if outdated.is_empty() {
            Ok(())
        } else {
            Err(Refused::Outdated(outdated.join("; ")))
        }
    }

    /// What the Broker may not change any more.
    fn check_broker(&self, after: &Resources) -> Vec<Problem> {
        let broker = self.resources.broker().zip(after.broker());
        let checked = match broker {
            Some((before, after)) if self.layout.is_some() => before.check_change(after),
            _ => Ok(()),
        };
        problems(checked)
    }

    /// What does not hold between all resources. What did not before and is not touched is not this change's fault.
    fn check_all(&self, after: &Resources, changed: &[Changed], place: Place) -> Vec<Problem> {
        let touched: BTreeSet<String> = changed.iter().map(|it| it.id.to_string()).collect();
        let known = problems(self.resources.check(place));
        let mut found = problems(after.check(place));
        found.retain(|problem| touched.contains(&problem.resource) || !known.contains(problem));
        found
    }

    fn check_size(&self, after: &Resources, changed: &[Changed]) -> Result<(), Refused> {
        let count = after.iter().count();
        let grows = count > self.resources.iter().count();
        if grows && count > RESOURCES_MAX {
            let said = format!("{count} resources: a cluster may have {RESOURCES_MAX}");
            return Err(Refused::TooMany(said));
        }
        let size = |stored: &Option<Stored>| {
            let value = stored.as_ref().map(|stored| json(&*stored.resource));
            value.map_or(0, |value| value.len())
        };
        let before: usize = changed.iter().map(|changed| size(&changed.before)).sum();
        let now: usize = changed.iter().map(|changed| size(&changed.after)).sum();
        let bytes = self.bytes.saturating_sub(before) + now;
        if now > before && bytes > RESOURCES_BYTES_MAX {
            let said = format!(
                "all resources would have {bytes} bytes: a cluster may have {RESOURCES_BYTES_MAX}"
            );
            return Err(Refused::TooMany(said));
        }
        Ok(())
    }
}

/// Two manifests of one resource: which of them is meant?
fn twice(resources: &[Resource]) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    let again = resources.iter().map(Resource::id);
    again
        .filter(|id| !seen.insert(id.clone()))
        .map(|id| Problem {
            resource: id.to_string(),
            path: String::new(),
            reason: "is there twice".to_owned(),
        })
        .collect()
}

fn check_deletes(after: &Resources, deleted: &BTreeSet<ResourceId>) -> Result<(), Refused> {
    let found = deleted
        .iter()
        .flat_map(|id| problems(after.check_delete(id)));
    let found: Vec<Problem> = found.collect();
    if found.is_empty() {
        Ok(())
    } else {
        Err(Refused::InUse(Invalid(found)))
    }
}

fn problems(checked: Result<(), Invalid>) -> Vec<Problem> {
    match checked {
        Ok(()) => Vec::new(),
        Err(Invalid(problems)) => problems,
    }
}

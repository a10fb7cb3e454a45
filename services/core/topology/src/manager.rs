//! The chain manager: asks each part what is most urgent, and answers with that one step.

use crate::{
    chain,
    observed::Observed,
    placement,
    step::{Change, Precondition, Rule, Step},
    topology::{Gateways, Topology},
    wanted::Wanted,
};

/// The one thing to do next, or nothing. The same arguments give the same answer.
///
/// When a node reports an epoch above the store's, the store was restored from a backup: nothing is done until an
/// administrator has adopted what the nodes have `[C-16]`.
pub fn next(topology: &Topology, observed: &Observed, wanted: &Wanted) -> Option<Step> {
    if !observed.ahead.is_empty() {
        return None;
    }
    let Some(layout) = &topology.layout else {
        return Some(Step {
            rule: Rule::LayOut,
            change: Change::Layout(wanted.layout()),
            requires: vec![Precondition::Leadership, Precondition::NoLayout],
        });
    };
    let of_chains = layout
        .shards()
        .filter_map(|shard| chain::step(topology, layout, observed, wanted, shard))
        .min_by_key(|step| step.rule);
    let others = [
        gateways(topology, observed),
        placement::assign(topology, layout, observed, wanted),
        placement::release(topology, layout, observed, wanted),
    ];
    of_chains
        .into_iter()
        .chain(others.into_iter().flatten())
        .min_by_key(|step| step.rule)
}

/// Lists the gateways that registered; takes out those whose registration expired, once no head has a link from them. What
/// is seen by one who may be cut off himself takes nobody out `[C-43]`.
fn gateways(topology: &Topology, observed: &Observed) -> Option<Step> {
    let (told, registered) = (&topology.gateways, &observed.registrations);
    if registered.revision <= told.version {
        return None;
    }
    let may_take_out = observed.settled && !observed.half_silent;
    let kept = told
        .live
        .iter()
        .filter(|(incarnation, _)| !may_take_out || observed.linked.contains(incarnation));
    let mut live = registered.present.clone();
    live.extend(kept.map(|(incarnation, name)| (*incarnation, name.clone())));
    if live == told.live {
        return None;
    }
    Some(Step {
        rule: Rule::TellGateways,
        change: Change::Gateways(Gateways {
            version: registered.revision,
            live,
        }),
        requires: vec![
            Precondition::Leadership,
            Precondition::GatewaysVersion(told.version),
        ],
    })
}

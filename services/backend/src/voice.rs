//! What shards have to say to the control plane.

use std::sync::Arc;

use catena_chain::{Incarnation, message::Report};
use catena_membership::NodeVoice;

/// Where reports and accusations go. Neither is kept: who reports repeats it until a higher epoch answers.
pub trait Voice: Send + Sync {
    /// Goes out at once.
    fn report(&self, report: Report);

    /// The process refuses us or broke a stream: it is to be probed at once.
    fn accuse(&self, incarnation: Incarnation);
}

impl Voice for NodeVoice {
    fn report(&self, report: Report) {
        NodeVoice::report(self, report);
    }

    fn accuse(&self, incarnation: Incarnation) {
        NodeVoice::accuse(self, incarnation);
    }
}

impl<V: Voice + ?Sized> Voice for Arc<V> {
    fn report(&self, report: Report) {
        (**self).report(report);
    }

    fn accuse(&self, incarnation: Incarnation) {
        (**self).accuse(incarnation);
    }
}

//! Configurations of chains, and settings of shards.

use catena_chain::{Beginning, Configuration, Epoch, Generation, Incarnation, Member, ReplicaId};
use catena_proto::internal::v1 as proto;
use catena_shard::{
    Settings, SharedStrategy,
    unkept::{Durable, Which},
};
use catena_slots::{SLOTS, ShardId, SlotTable};
use proto::{configuration::Began, settings};

use super::{Malformed, Wire, all, each, narrow, number, shard};

impl Wire for Member {
    type Proto = proto::Member;

    fn to_proto(&self) -> proto::Member {
        proto::Member {
            replica: self.id.0,
            incarnation: self.incarnation.0,
        }
    }

    fn from_proto(member: proto::Member) -> Result<Member, Malformed> {
        Ok(Member {
            id: ReplicaId(member.replica),
            incarnation: Incarnation(member.incarnation),
        })
    }
}

impl Wire for Configuration {
    type Proto = proto::Configuration;

    fn to_proto(&self) -> proto::Configuration {
        proto::Configuration {
            shard: self.shard.0.into(),
            epoch: self.epoch.0,
            generation: self.generation.0,
            chain: each(&self.chain),
            learner: self.learner.as_ref().map(Wire::to_proto),
            joined: self.joined.0,
            founder: self.founder.0,
            began: Some(match self.began {
                Beginning::Empty => Began::Empty(proto::configuration::Empty {}),
                Beginning::Disk(replica) => Began::DiskOf(replica.0),
            }),
        }
    }

    fn from_proto(configuration: proto::Configuration) -> Result<Configuration, Malformed> {
        if configuration.chain.is_empty() {
            return Err(Malformed { what: "chain" });
        }
        Ok(Configuration {
            shard: shard(configuration.shard)?,
            epoch: Epoch(number("epoch", configuration.epoch)?),
            generation: Generation(configuration.generation),
            chain: all(configuration.chain)?,
            learner: configuration.learner.map(Wire::from_proto).transpose()?,
            joined: Epoch(number("epoch of joining", configuration.joined)?),
            founder: ReplicaId(configuration.founder),
            began: match configuration.began.ok_or(Malformed { what: "beginning" })? {
                Began::Empty(proto::configuration::Empty {}) => Beginning::Empty,
                Began::DiskOf(replica) => Beginning::Disk(ReplicaId(replica)),
            },
        })
    }
}

impl Wire for Settings {
    type Proto = proto::Settings;

    fn to_proto(&self) -> proto::Settings {
        let slots = self.slots.slots().iter();
        proto::Settings {
            version: self.version,
            slots: slots.map(|shard| shard.0.into()).collect(),
            shards: self.slots.shard_count() as u32,
            key_levels: self.slots.key_levels().into(),
            stripes: self.stripes.clone().into(),
            buffer_bytes: self.buffer_bytes,
            spill_bytes_max: self.spill_bytes_max,
            message_expiry_max: self.message_expiry_max,
            queue_length_max: self.queue_length_max,
            queue_drop_oldest: self.queue_drop_oldest,
            retained_messages_max: self.retained_messages_max,
            retained_bytes_max: self.retained_bytes_max,
            subscriptions_max: self.subscriptions_max,
            shared_strategy: self.shared_strategy.to_proto(),
            generations: self.generations.clone(),
            durable: Some(self.durable.to_proto()),
        }
    }

    fn from_proto(settings: proto::Settings) -> Result<Settings, Malformed> {
        if settings.slots.len() != SLOTS {
            return Err(Malformed { what: "slots" });
        }
        let slots: Vec<ShardId> = settings
            .slots
            .into_iter()
            .map(shard)
            .collect::<Result<_, _>>()?;
        let slots = SlotTable::from_parts(
            slots,
            settings.shards as usize,
            narrow("key levels", settings.key_levels)?,
        );
        let stripes = Vec::from(settings.stripes);
        if !stripes.is_sorted_by(|one, next| one < next) || stripes.is_empty() {
            return Err(Malformed { what: "stripes" });
        }
        Ok(Settings {
            version: number("version of settings", settings.version)?,
            slots: slots.ok_or(Malformed { what: "slots" })?,
            stripes,
            buffer_bytes: settings.buffer_bytes,
            spill_bytes_max: settings.spill_bytes_max,
            message_expiry_max: settings.message_expiry_max,
            queue_length_max: settings.queue_length_max,
            queue_drop_oldest: settings.queue_drop_oldest,
            retained_messages_max: settings.retained_messages_max,
            retained_bytes_max: settings.retained_bytes_max,
            subscriptions_max: settings.subscriptions_max,
            shared_strategy: Wire::from_proto(settings.shared_strategy)?,
            generations: settings.generations,
            durable: settings
                .durable
                .map(Wire::from_proto)
                .transpose()?
                .unwrap_or_default(),
        })
    }
}

impl Wire for Durable {
    type Proto = settings::Durable;

    fn to_proto(&self) -> settings::Durable {
        settings::Durable {
            retained: which_message(self.retained).into(),
            retained_topics: self
                .retained_topics
                .iter()
                .map(ToString::to_string)
                .collect(),
            queues: which_message(self.queues).into(),
            property_name: self.property.0.to_string(),
            property_value: self.property.1.to_string(),
        }
    }

    fn from_proto(durable: settings::Durable) -> Result<Durable, Malformed> {
        Ok(Durable {
            retained: which(durable.retained)?,
            retained_topics: durable
                .retained_topics
                .into_iter()
                .map(Into::into)
                .collect(),
            queues: which(durable.queues)?,
            property: (durable.property_name.into(), durable.property_value.into()),
        })
    }
}

fn which_message(which: Which) -> settings::durable::Which {
    match which {
        Which::All => settings::durable::Which::All,
        Which::None => settings::durable::Which::None,
        Which::Custom { asked: false } => settings::durable::Which::Named,
        Which::Custom { asked: true } => settings::durable::Which::NamedOrAsked,
    }
}

fn which(number: i32) -> Result<Which, Malformed> {
    match settings::durable::Which::try_from(number) {
        Ok(settings::durable::Which::All) => Ok(Which::All),
        Ok(settings::durable::Which::None) => Ok(Which::None),
        Ok(settings::durable::Which::Named) => Ok(Which::Custom { asked: false }),
        Ok(settings::durable::Which::NamedOrAsked) => Ok(Which::Custom { asked: true }),
        _ => Err(Malformed {
            what: "what is durable",
        }),
    }
}

impl Wire for SharedStrategy {
    type Proto = i32;

    fn to_proto(&self) -> i32 {
        match self {
            SharedStrategy::RoundRobin => settings::SharedStrategy::RoundRobin,
            SharedStrategy::LeastInflight => settings::SharedStrategy::LeastInflight,
            SharedStrategy::TopicHash => settings::SharedStrategy::TopicHash,
        }
        .into()
    }

    fn from_proto(strategy: i32) -> Result<SharedStrategy, Malformed> {
        let what = "shared strategy";
        match narrow(what, strategy)? {
            settings::SharedStrategy::Unspecified => Err(Malformed { what }),
            settings::SharedStrategy::RoundRobin => Ok(SharedStrategy::RoundRobin),
            settings::SharedStrategy::LeastInflight => Ok(SharedStrategy::LeastInflight),
            settings::SharedStrategy::TopicHash => Ok(SharedStrategy::TopicHash),
        }
    }
}

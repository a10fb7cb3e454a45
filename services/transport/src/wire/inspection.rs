//! Questions and commands of administrators to shards, and the answers.

use bytestring::ByteString;
use catena_mqtt::{Filter, topic};
use catena_proto::internal::v1 as proto;
use catena_shard::{
    Answer, ClientKey, Command, Query, SessionId, Time,
    op::{EndSession, Subscription},
    query::{
        Connection, Named, Pattern, QueueSlice, ROWS_MAX, Reader, Retained, RetainedList, Session,
        SessionFilter, Sessions, Subscriptions, Summary, WillSummary,
    },
};
use proto::{query_request as ask, query_response as told, shard_command as change};

use super::{Malformed, Wire, all, each, halves, narrow, required, shard, whole};

impl Wire for Named {
    type Proto = proto::NamedSession;

    fn to_proto(&self) -> proto::NamedSession {
        let (client_high, client_low) = halves(self.client.0);
        proto::NamedSession {
            client_high,
            client_low,
            home: self.session.home.0.into(),
            generation: self.session.generation,
            counter: self.session.counter,
        }
    }

    fn from_proto(named: proto::NamedSession) -> Result<Named, Malformed> {
        Ok(Named {
            client: ClientKey(whole(named.client_high, named.client_low)),
            session: SessionId {
                generation: named.generation,
                counter: named.counter,
                home: shard(named.home)?,
            },
        })
    }
}

impl Wire for Command {
    type Proto = proto::ShardCommand;

    fn to_proto(&self) -> proto::ShardCommand {
        use change::Kind;
        let kind = match self {
            Command::Disconnect {
                client,
                session,
                epoch,
            } => Kind::Disconnect(change::Disconnect {
                session: Some(named(*client, *session).to_proto()),
                epoch: *epoch,
            }),
            Command::EndSession(end) => Kind::EndSession(named(end.client, end.session).to_proto()),
            Command::ClearRetained { topic, sequence } => {
                Kind::ClearRetained(change::ClearRetained {
                    topic: topic.to_string(),
                    sequence: *sequence,
                })
            }
            Command::PauseSpill(pause) => Kind::PauseSpill(*pause),
            Command::Restore(restore) => Kind::Restore(restore.to_proto()),
            Command::DropUnkept { through } => Kind::DropUnkept(*through),
        };
        proto::ShardCommand { kind: Some(kind) }
    }

    fn from_proto(command: proto::ShardCommand) -> Result<Command, Malformed> {
        use change::Kind;
        Ok(match command.kind.ok_or(Malformed { what: "command" })? {
            Kind::Disconnect(disconnect) => {
                let Named { client, session } = required("session", disconnect.session)?;
                Command::Disconnect {
                    client,
                    session,
                    epoch: disconnect.epoch,
                }
            }
            Kind::EndSession(end) => {
                let Named { client, session } = Named::from_proto(end)?;
                Command::EndSession(EndSession { client, session })
            }
            Kind::ClearRetained(clear) => Command::ClearRetained {
                topic: topic_name(clear.topic)?,
                sequence: clear.sequence,
            },
            Kind::PauseSpill(pause) => Command::PauseSpill(pause),
            Kind::Restore(restore) => Command::Restore(Box::new(Wire::from_proto(restore)?)),
            Kind::DropUnkept(through) => Command::DropUnkept { through },
        })
    }
}

fn named(client: ClientKey, session: SessionId) -> Named {
    Named { client, session }
}

fn topic_name(name: String) -> Result<ByteString, Malformed> {
    topic::validate(&name).map_err(|_| Malformed { what: "topic" })?;
    Ok(name.into())
}

fn filter(filter: String) -> Result<Filter, Malformed> {
    Filter::parse(filter).map_err(|_| Malformed { what: "filter" })
}

impl Wire for Query {
    type Proto = ask::Query;

    fn to_proto(&self) -> ask::Query {
        match self {
            Query::Sessions {
                filter,
                from,
                limit,
            } => ask::Query::Sessions(ask::Sessions {
                pattern: filter.pattern.as_ref().map(|p| p.text().to_string()),
                connected: filter.connected,
                gateways: filter.gateways.clone(),
                from: *from,
                limit: *limit,
            }),
            Query::Session { client } => {
                let (client_high, client_low) = halves(client.0);
                ask::Query::Session(ask::Session {
                    client_high,
                    client_low,
                })
            }
            Query::Readers { sessions } => ask::Query::Readers(ask::Readers {
                sessions: each(sessions),
            }),
            Query::Subscriptions { of, after, limit } => {
                ask::Query::Subscriptions(ask::Subscriptions {
                    of: Some(of.to_proto()),
                    after: after.as_ref().map(|after| after.full().to_string()),
                    limit: *limit,
                })
            }
            Query::Queue { of, from } => ask::Query::Queue(ask::Queue {
                of: Some(of.to_proto()),
                from: *from,
            }),
            Query::RetainedList {
                filter,
                after,
                limit,
            } => ask::Query::RetainedList(ask::RetainedList {
                filter: filter.full().to_string(),
                after: after.as_ref().map(ByteString::to_string),
                limit: *limit,
            }),
            Query::Retained {
                topic,
                payload_bytes_max,
            } => ask::Query::Retained(ask::Retained {
                topic: topic.to_string(),
                payload_bytes_max: *payload_bytes_max,
            }),
        }
    }

    fn from_proto(query: ask::Query) -> Result<Query, Malformed> {
        Ok(match query {
            ask::Query::Sessions(asked) => Query::Sessions {
                filter: SessionFilter {
                    pattern: asked.pattern.map(pattern).transpose()?,
                    connected: asked.connected,
                    gateways: bounded("gateways", asked.gateways)?,
                },
                from: asked.from,
                limit: asked.limit,
            },
            ask::Query::Session(asked) => Query::Session {
                client: ClientKey(whole(asked.client_high, asked.client_low)),
            },
            ask::Query::Readers(asked) => Query::Readers {
                sessions: all(bounded("sessions", asked.sessions)?)?,
            },
            ask::Query::Subscriptions(asked) => Query::Subscriptions {
                of: required("session", asked.of)?,
                after: asked.after.map(filter).transpose()?,
                limit: asked.limit,
            },
            ask::Query::Queue(asked) => Query::Queue {
                of: required("session", asked.of)?,
                from: asked.from,
            },
            ask::Query::RetainedList(asked) => Query::RetainedList {
                filter: filter(asked.filter)?,
                after: asked.after.map(topic_name).transpose()?,
                limit: asked.limit,
            },
            ask::Query::Retained(asked) => Query::Retained {
                topic: topic_name(asked.topic)?,
                payload_bytes_max: asked.payload_bytes_max,
            },
        })
    }
}

fn pattern(text: String) -> Result<Pattern, Malformed> {
    Pattern::parse(text.into()).map_err(|_| Malformed { what: "pattern" })
}

fn bounded<T>(what: &'static str, list: Vec<T>) -> Result<Vec<T>, Malformed> {
    if list.len() > ROWS_MAX {
        return Err(Malformed { what });
    }
    Ok(list)
}

impl Wire for Answer {
    type Proto = told::Answer;

    fn to_proto(&self) -> told::Answer {
        match self {
            Answer::Sessions(found) => told::Answer::Sessions(told::Sessions {
                sessions: each(&found.sessions),
                next: found.next,
            }),
            Answer::Session(found) => told::Answer::Session(told::Session {
                session: found.as_ref().map(|session| session.to_proto()),
            }),
            Answer::Readers(found) => told::Answer::Readers(told::Readers {
                readers: each(found),
            }),
            Answer::Subscriptions(found) => told::Answer::Subscriptions(told::Subscriptions {
                subscriptions: (found.subscriptions.iter())
                    .map(|(filter, options)| proto::Subscription {
                        filter: filter.full().to_string(),
                        options: Some(options.to_proto()),
                    })
                    .collect(),
                more: found.is_more,
            }),
            Answer::Queue(found) => told::Answer::Queue(told::Queue {
                bytes: found.bytes,
                next: found.next,
            }),
            Answer::RetainedList(found) => told::Answer::RetainedList(told::RetainedList {
                messages: each(&found.messages),
                next: found.next.as_ref().map(ByteString::to_string),
            }),
            Answer::Retained(found) => told::Answer::Retained(match found {
                None => told::Retained::default(),
                Some(found) => told::Retained {
                    summary: Some(found.summary.to_proto()),
                    payload: found.payload.clone(),
                    properties: found.properties.clone(),
                },
            }),
        }
    }

    fn from_proto(answer: told::Answer) -> Result<Answer, Malformed> {
        Ok(match answer {
            told::Answer::Sessions(found) => Answer::Sessions(Sessions {
                sessions: all(found.sessions)?,
                next: found.next,
            }),
            told::Answer::Session(found) => {
                let session = found.session.map(Session::from_proto).transpose()?;
                Answer::Session(session.map(Box::new))
            }
            told::Answer::Readers(found) => Answer::Readers(all(found.readers)?),
            told::Answer::Subscriptions(found) => {
                let subscriptions = found.subscriptions.into_iter().map(|subscription| {
                    let Subscription { filter, options } = Wire::from_proto(subscription)?;
                    Ok((filter, options))
                });
                Answer::Subscriptions(Subscriptions {
                    subscriptions: subscriptions.collect::<Result<_, Malformed>>()?,
                    is_more: found.more,
                })
            }
            told::Answer::Queue(found) => Answer::Queue(QueueSlice {
                bytes: found.bytes,
                next: found.next,
            }),
            told::Answer::RetainedList(found) => Answer::RetainedList(RetainedList {
                messages: all(found.messages)?,
                next: found.next.map(topic_name).transpose()?,
            }),
            told::Answer::Retained(found) => {
                let (payload, properties) = (found.payload, found.properties);
                let retained = |summary| {
                    Ok(Box::new(Retained {
                        summary: Summary::from_proto(summary)?,
                        payload,
                        properties,
                    }))
                };
                Answer::Retained(found.summary.map(retained).transpose()?)
            }
        })
    }
}

impl Wire for Session {
    type Proto = told::Record;

    fn to_proto(&self) -> told::Record {
        told::Record {
            client_id: self.client_id.to_string(),
            id: Some(named(self.client, self.id).to_proto()),
            epoch: self.epoch,
            principal: self.principal.as_ref().map(ByteString::to_string),
            expiry: self.expiry,
            protocol: self.protocol.into(),
            since: self.since.0,
            connection: self.connection.map(|at| told::record::Connection {
                gateway: at.gateway,
                worker: at.worker.into(),
            }),
            ends_at: moment(self.ends_at),
            will: self.will.as_ref().map(|will| told::record::Will {
                topic: will.topic.to_string(),
                delay: will.delay,
            }),
            shards: self.shards.iter().map(|shard| shard.0.into()).collect(),
        }
    }

    fn from_proto(record: told::Record) -> Result<Session, Malformed> {
        let Named { client, session } = required("session", record.id)?;
        let connection = record.connection.map(|at| {
            Ok(Connection {
                gateway: at.gateway,
                worker: narrow("worker", at.worker)?,
            })
        });
        Ok(Session {
            client_id: record.client_id.into(),
            client,
            id: session,
            epoch: record.epoch,
            principal: record.principal.map(ByteString::from),
            expiry: record.expiry,
            protocol: narrow("protocol", record.protocol)?,
            since: Time(record.since),
            connection: connection.transpose()?,
            ends_at: record.ends_at.map_or(Time::NEVER, Time),
            will: record.will.map(|will| WillSummary {
                topic: will.topic.into(),
                delay: will.delay,
            }),
            shards: record
                .shards
                .into_iter()
                .map(shard)
                .collect::<Result<_, _>>()?,
        })
    }
}

fn moment(time: Time) -> Option<u64> {
    (time != Time::NEVER).then_some(time.0)
}

impl Wire for Reader {
    type Proto = told::Reader;

    fn to_proto(&self) -> told::Reader {
        told::Reader {
            of: Some(self.of.to_proto()),
            attached: self.is_attached,
            subscriptions: self.subscriptions,
            queued: self.queued,
            in_flight: self.in_flight,
            in_flight_bytes: self.in_flight_bytes,
            inbound: self.inbound,
        }
    }

    fn from_proto(reader: told::Reader) -> Result<Reader, Malformed> {
        Ok(Reader {
            of: required("session", reader.of)?,
            is_attached: reader.attached,
            subscriptions: reader.subscriptions,
            queued: reader.queued,
            in_flight: reader.in_flight,
            in_flight_bytes: reader.in_flight_bytes,
            inbound: reader.inbound,
        })
    }
}

impl Wire for Summary {
    type Proto = told::RetainedSummary;

    fn to_proto(&self) -> told::RetainedSummary {
        told::RetainedSummary {
            topic: self.topic.to_string(),
            qos: self.qos.to_proto(),
            payload_bytes: self.payload_bytes,
            expires_at: moment(self.expires_at),
            sequence: self.sequence,
        }
    }

    fn from_proto(summary: told::RetainedSummary) -> Result<Summary, Malformed> {
        Ok(Summary {
            topic: topic_name(summary.topic)?,
            qos: Wire::from_proto(summary.qos)?,
            payload_bytes: summary.payload_bytes,
            expires_at: summary.expires_at.map_or(Time::NEVER, Time),
            sequence: summary.sequence,
        })
    }
}

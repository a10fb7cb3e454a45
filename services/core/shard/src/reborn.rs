//! A shard goes on as a later generation, from a disk that may lack what it had acknowledged `[C-64]`.
//!
//! With `persistence.sync: Interval` a power cut takes the end of the log, here more and there less. Whoever goes on with a link
//! or a session as if nothing were missing would be wrong about it for ever. So:
//!
//! - Links begin anew.
//! - Sessions that have a part on another shard end, as they do when a shard loses everything `[F-25]`.
//! - Sessions in which QoS 2 has a part end too. A client that has answered a delivery with PUBREC holds its packet id until PUBREL, and
//!   would take the next message with that id for the same one `[MQTT-4.3.3-10]`; we may have forgotten that we gave it. And an id of the
//!   client's that we remember may be released and mean another publish by now `[F-42]`. Told that its session is not there, a client
//!   forgets all of that.
//! - Everything else stays. As a session that stays may have had a first delivery of QoS 2 that we know nothing of, it ends when its
//!   client subscribes with QoS 2.

use crate::{
    entry::Settings,
    home::{ExactlyOnce, HomeId, Session},
    id::{ClientKey, Origin, SessionId, Time},
    job::Job,
    op::Subscribe,
    shard::Shard,
};
use catena_link::Inbound;
use catena_mqtt::QoS;

impl Shard {
    /// Goes on as `generation`. Takes time by the size of the state: to be called before the first entry, and not as one.
    pub fn reborn(&mut self, at: Time, generation: u32) {
        self.now = self.now.max(at);
        self.work = u32::MAX;
        self.generation = generation;
        let Settings { generations, .. } = &mut self.settings;
        if let Some(ours) = generations.get_mut(self.id.index()) {
            *ours = generation;
        }
        self.begin_links_anew();
        self.end_what_others_may_know_better();
        self.rename_sessions();
        // What that made goes out with all that is owed.
        self.grown.drain();
    }

    /// Gateways are as gone; other shards take up their numbers where they are, and we ours.
    fn begin_links_anew(&mut self) {
        let links: Vec<_> = self
            .links
            .iter()
            .map(|(id, link)| (id, link.origin))
            .collect();
        for (id, origin) in links {
            match origin {
                Origin::Gateway { .. } => {
                    if let Some(row) = self.links.drop_link(id) {
                        self.account.remove(row.outbox.bytes());
                    }
                }
                Origin::Shard { .. } => {
                    if let Some(row) = self.links.get_mut(id) {
                        row.inbound = Inbound::default();
                    }
                }
            }
        }
        self.jobs.push_back(Job::GatewaysGone {
            homes_done: 0,
            readers_done: 0,
            at: self.now,
        });
    }

    /// Of what others hold a part of, they may have a later state than we.
    fn end_what_others_may_know_better(&mut self) {
        let (mut end, mut stay) = (vec![], vec![]);
        for (id, home) in self.homes.iter() {
            match &home.session {
                Some(session) if self.is_known_better(home.client, session) => end.push(id),
                Some(_) => stay.push(id),
                None => {}
            }
        }
        for home in end {
            self.end_session(home);
            self.tend_home(home);
        }
        for home in stay {
            self.set_exactly_once(home, ExactlyOnce::Barred);
        }
        let readers = self.readers.iter();
        let guests: Vec<_> = readers
            .filter(|(_, reader)| reader.who.session.home != self.id)
            .map(|(id, _)| id)
            .collect();
        for reader in guests {
            self.end_reader(reader);
        }
    }

    fn is_known_better(&self, client: ClientKey, session: &Session) -> bool {
        let reader = self
            .readers
            .find(client)
            .and_then(|id| self.readers.get(id));
        !session.touched.is_empty()
            || session.exactly_once == ExactlyOnce::Granted
            || reader.is_some_and(|reader| !reader.inbound.is_empty())
    }

    fn set_exactly_once(&mut self, id: HomeId, to: ExactlyOnce) {
        let home = self.homes.get_mut(id);
        if let Some(session) = home.and_then(|home| home.session.as_mut()) {
            session.exactly_once = to;
        }
    }

    /// The client may get deliveries of `qos` from now on.
    pub(crate) fn may_deliver(&mut self, client: ClientKey, qos: QoS) {
        if let Some(home) = self.homes.find(client).filter(|_| qos == QoS::ExactlyOnce) {
            self.set_exactly_once(home, ExactlyOnce::Granted);
        }
    }

    /// The session that a SUBSCRIBE is for, if it must not get what is asked for.
    pub(crate) fn barred_from(&self, subscribe: &Subscribe) -> Option<HomeId> {
        let mut wanted = subscribe.subscriptions.iter();
        let home = self.homes.find(subscribe.who.client)?;
        let session = self.homes.get(home)?.session.as_ref()?;
        let is_barred = session.exactly_once == ExactlyOnce::Barred;
        (is_barred && wanted.any(|one| one.options.qos == QoS::ExactlyOnce)).then_some(home)
    }

    /// Other shards end what they hold for sessions of generations before; those that stay are not among them.
    fn rename_sessions(&mut self) {
        let (home, generation) = (self.id, self.generation);
        let rename = |id: &mut SessionId| {
            if id.home == home {
                id.generation = generation;
            }
        };
        let homes: Vec<_> = self.homes.iter().map(|(id, _)| id).collect();
        for id in homes {
            if let Some(session) = self
                .homes
                .get_mut(id)
                .and_then(|home| home.session.as_mut())
            {
                rename(&mut session.id);
            }
        }
        let readers: Vec<_> = self.readers.iter().map(|(id, _)| id).collect();
        for id in readers {
            if let Some(reader) = self.readers.get_mut(id) {
                rename(&mut reader.who.session);
            }
        }
    }
}

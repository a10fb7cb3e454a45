//! A shard goes on as a later generation, from a disk that may lack what it had acknowledged `[C-64]`.
//!
//! With `persistence.sync: Interval` a power cut takes the end of the log, here more and there less. Whoever goes on with a link
//! or a session as if nothing were missing would be wrong about it for ever: so links begin anew, sessions that have a part on
//! another shard end, as they do when a shard loses everything `[F-25]`, and what is on this shard alone stays.

use crate::{
    entry::Settings,
    id::{Origin, SessionId, Time},
    job::Job,
    shard::Shard,
};
use catena_link::Inbound;

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
        self.end_what_has_a_part_elsewhere();
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

    fn end_what_has_a_part_elsewhere(&mut self) {
        let is_spread = |session: &crate::home::Session| !session.touched.is_empty();
        let homes = self.homes.iter();
        let spread: Vec<_> = homes
            .filter(|(_, home)| home.session.as_ref().is_some_and(is_spread))
            .map(|(id, _)| id)
            .collect();
        for home in spread {
            self.end_session(home);
            self.tend_home(home);
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

//! Spans that wait until the collector takes them.

use std::{collections::VecDeque, sync::Arc};

use super::{
    Identity,
    exporter::{Error, Exporter},
    spans,
};
use crate::traces::{Piece, pieces::PIECE_BYTES};

/// Pieces, oldest first. Beyond its room the oldest go, which counts their spans as dropped.
pub struct Cache {
    pieces: VecDeque<Arc<Piece>>,
    room: usize,
}

impl Cache {
    /// With room for that many bytes.
    pub fn of_bytes(bytes: usize) -> Cache {
        Cache {
            pieces: VecDeque::new(),
            room: (bytes / PIECE_BYTES).max(1),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Puts pieces behind the others.
    pub fn add(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            // One that somebody still tries to send is left as it is.
            let last = self.pieces.back_mut().and_then(Arc::get_mut);
            if !last.is_some_and(|last| last.append(&piece)) {
                self.pieces.push_back(Arc::new(piece));
            }
        }
        let over = self.pieces.len().saturating_sub(self.room);
        self.pieces.drain(..over);
    }

    /// Sends one after the other until the collector does not take one, which stays and is tried again.
    pub async fn send(
        &mut self,
        exporter: &mut Exporter,
        identity: &Identity,
    ) -> Result<(), Error> {
        while let Some(piece) = self.pieces.front() {
            exporter.spans(spans::request(piece, identity)).await?;
            piece.sent();
            self.pieces.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use catena_resources::broker::OtlpProtocol;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;
    use tokio::{net::TcpListener, sync::mpsc};

    use super::*;
    use crate::{
        otlp::exporter::tests::{answer, target},
        traces::{
            Spans,
            tests::{add, fill, spans},
        },
    };

    /// A collector that takes no request but those after the first: the spans of each.
    async fn collector() -> (String, mpsc::Receiver<Vec<u64>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (taken, read) = mpsc::channel(4);
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            answer(&mut socket, 503).await;
            loop {
                let of = ids(&answer(&mut socket, 200).await.1);
                taken.send(of).await.unwrap();
            }
        });
        (endpoint, read)
    }

    fn ids(request: &[u8]) -> Vec<u64> {
        let read = ExportTraceServiceRequest::decode(request).unwrap();
        let spans = read.resource_spans[0].scope_spans[0].spans.iter();
        let id = |id: &[u8]| u64::from_be_bytes(id.try_into().unwrap());
        spans.map(|span| id(&span.span_id)).collect()
    }

    fn cache(spans: &Spans, room: usize) -> Cache {
        let mut cache = Cache::of_bytes(room * PIECE_BYTES);
        cache.add(spans.take());
        cache
    }

    // A collector that is started anew would lack what came meanwhile.
    #[tokio::test]
    async fn what_is_refused_is_sent_again_before_what_came_since() {
        let spans = spans(10);
        let (endpoint, mut read) = collector().await;
        let mut exporter = Exporter::new(target(endpoint, OtlpProtocol::Http));
        let identity = Identity::of("test", "1");
        add(&spans, [1, 2]);
        let mut cache = cache(&spans, 2);
        let sent = cache.send(&mut exporter, &identity).await;
        assert!(matches!(sent, Err(Error::Status(503))), "{sent:?}");
        add(&spans, [3]);
        cache.add(spans.take());
        cache.send(&mut exporter, &identity).await.unwrap();
        assert!(cache.is_empty());
        let mut came = Vec::new();
        while came.len() < 3 {
            came.extend(read.recv().await.unwrap());
        }
        assert_eq!(came, [1, 2, 3]);
        assert_eq!(spans.dropped(), 0);
    }

    // A collector that is away would fill our memory; and nobody would know what it lacks.
    #[test]
    fn the_oldest_beyond_the_room_are_counted_and_gone() {
        let spans = spans(10_000);
        let in_one = fill(&spans);
        let mut cache = cache(&spans, 2);
        assert_eq!(spans.dropped(), 0);
        fill(&spans);
        cache.add(spans.take());
        // Each time it was a full piece, and one with a span.
        assert_eq!(spans.dropped(), in_one + 1);
        drop(cache);
        assert_eq!(spans.dropped(), 2 * (in_one + 1));
    }
}

//! What the broker retains when all is over, as one finds it who comes anew.

use catena_mqtt::{
    Packet, QoS,
    packet::{Ack, PacketId, Publish, Subscribe, SubscribeFilter},
};
use tokio::time::{Duration, Instant, timeout_at};

use super::{endpoint::Endpoint, history::Seen, plan::Plan, run::Run};
use crate::cli::{
    client::{Client, Error},
    stamp::Stamp,
};

/// How long retained messages may take to come.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How long to look for those that must not be there, after all others have come.
const LINGER: Duration = Duration::from_millis(300);

/// Looks at all retained topics from one endpoint, and takes down what is there.
///
/// # Errors
///
/// When the endpoint cannot be asked.
pub async fn look(run: &Run, endpoint: &Endpoint) -> Result<(), Error> {
    let plan = &run.plan;
    let mut client = open(plan, endpoint).await?;
    let filter = SubscribeFilter::new(plan.retained_filter(), QoS::AtLeastOnce);
    client.queue(&Packet::Subscribe(Subscribe::new(
        PacketId::MIN,
        vec![filter],
    )));
    let topics = run.history().retained.len();
    let mut found = vec![None; topics];
    let mut deadline = Instant::now() + WAIT_MAX;
    let mut complete = false;
    loop {
        let packet = match timeout_at(deadline, client.receive()).await {
            Ok(packet) => packet?,
            Err(_) => break,
        };
        if let Packet::Publish(publish) = packet {
            if let Some(id) = publish.packet_id {
                client.queue(&Packet::Puback(Ack::success(id)));
            }
            take(run, &publish, &mut found);
        }
        if !complete && allows(run, &found) {
            complete = true;
            deadline = deadline.min(Instant::now() + LINGER);
        }
    }
    write_down(run, endpoint, found);
    // What was to be seen is seen: it does not matter how this ends.
    let _ = client.close().await;
    Ok(())
}

fn write_down(run: &Run, endpoint: &Endpoint, found: Vec<Option<u64>>) {
    let mut history = run.history();
    for (retained, sequence) in history.retained.iter_mut().zip(found) {
        retained.seen.push(Seen {
            endpoint: endpoint.to_string(),
            sequence,
        });
    }
}

/// Takes away what the run has retained, so that nothing is left of it.
///
/// # Errors
///
/// When the endpoint cannot be reached.
pub async fn clear(run: &Run, endpoint: &Endpoint) -> Result<(), Error> {
    let mut client = open(&run.plan, endpoint).await?;
    for retained in &run.history().retained {
        client.queue(&Packet::Publish(Publish {
            retain: true,
            ..Publish::new(retained.topic.as_str(), "")
        }));
    }
    client.close().await
}

async fn open(plan: &Plan, endpoint: &Endpoint) -> Result<Client, Error> {
    let connect = plan.connect("reader", false);
    Client::open(&endpoint.way, &connect).await
}

fn take(run: &Run, publish: &Publish, found: &mut [Option<u64>]) {
    let mut history = run.history();
    let topic = history
        .retained
        .iter()
        .position(|retained| retained.topic == *publish.topic);
    let stamp = Stamp::read(&publish.payload).filter(|stamp| stamp.run == run.plan.run);
    match (topic, stamp) {
        (Some(topic), Some(stamp)) => {
            let sent = history.sent.get(stamp.publisher as usize);
            if sent.is_some_and(|sent| sent.topic == *publish.topic) {
                found[topic] = Some(stamp.sequence);
            }
            if !publish.retain {
                history.odd("a retained message came to a new subscriber without RETAIN");
            }
        }
        _ => history.odd("a retained message came that nobody sent"),
    }
}

fn allows(run: &Run, found: &[Option<u64>]) -> bool {
    let history = run.history();
    let mut retained = history.retained.iter().zip(found);
    retained.all(|(retained, sequence)| retained.allows(*sequence))
}

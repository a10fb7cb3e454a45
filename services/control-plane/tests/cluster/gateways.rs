//! Gateways register, keep their registration, and lose it [C-43].

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use catena_control_plane::store::{Key, Prefix, Store};
use catena_membership::{ControlPlane, GatewayIncarnation, GatewayRegistration};
use catena_proto::admin::v1 as admin;

use crate::{
    node::Node,
    server::Server,
    world::{self, LIMIT, broker, embedded, etcd, eventually, start},
};

const TIMEOUT: Duration = Duration::from_secs(1);

fn registration(process: u128) -> GatewayRegistration {
    GatewayRegistration {
        name: "gateway-0".to_owned(),
        process,
    }
}

fn is_live(client: &ControlPlane, gateway: GatewayIncarnation) -> bool {
    client.watch().borrow().gateways.contains(&gateway.0)
}

async fn keeps_its_incarnation(store: Arc<dyn Store>) {
    let server = start(store.clone(), broker(1, 1, TIMEOUT)).await;
    let client = ControlPlane::new(vec![server.endpoint()]).unwrap();
    let gateway = client.register_gateway(registration(1)).await;
    assert_eq!(client.register_gateway(registration(1)).await, gateway);
    let voice = client.gateway_voice("gateway-0".to_owned(), gateway);
    eventually("it is live", async || {
        is_live(&client, gateway).then_some(())
    })
    .await;

    // While a head has a link from it, it is not taken out, however long it takes to register again.
    let linked = BTreeSet::from([gateway]);
    let node = Node::start_linked("a", vec![server.endpoint()], linked).await;
    eventually("it has a head, which has been heard", async || {
        (!node.cluster().chains.is_empty()).then_some(())
    })
    .await;
    // Its lease is lost while the gateway lives.
    let registrations = Prefix::below(&Key::new("gateways/registrations").unwrap());
    for _ in 0..3 {
        let listing = store.list(&registrations).await.unwrap();
        let lost = listing.entries[0].clone();
        store.revoke(lost.lease.unwrap()).await.unwrap();
        eventually("it is registered again", async || {
            let listing = store.list(&registrations).await.unwrap();
            let entry = listing.entries.first()?;
            (entry.created > lost.created).then_some(())
        })
        .await;
        assert_eq!(client.register_gateway(registration(1)).await, gateway);
    }
    let live = voice.is_live();
    assert!(*live.borrow());
    eventually("it is live as before", async || {
        is_live(&client, gateway).then_some(())
    })
    .await;

    // Another process of the same name is another gateway.
    let other = client.register_gateway(registration(2)).await;
    assert!(other > gateway);
    let other_voice = client.gateway_voice("gateway-0".to_owned(), other);
    eventually("both are live", async || {
        (is_live(&client, gateway) && is_live(&client, other)).then_some(())
    })
    .await;
    // One that ends says so, and is taken out when no head has a link from it.
    node.linked.lock().unwrap().clear();
    drop(voice);
    eventually("it is taken out", async || {
        (!is_live(&client, gateway)).then_some(())
    })
    .await;
    assert!(is_live(&client, other));
    assert!(client.watch().borrow().gateways_version > gateway.0);
    // Whoever was taken out is told, and never comes back under that name.
    let late = client.gateway_voice("gateway-0".to_owned(), gateway);
    let mut live = late.is_live();
    tokio::time::timeout(LIMIT, live.wait_for(|live| !*live))
        .await
        .unwrap()
        .unwrap();
    drop(other_voice);
    server.shutdown().await;
}

// A gateway that came back under another name would lose what its clients have in flight; one that came back after it was
// taken out would send ops that were already given up [C-43].
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_keeps_the_incarnation_until_it_is_taken_out() {
    let (_directory, store) = embedded().await;
    keeps_its_incarnation(store).await;
    let server = Server::start(&[]).await;
    keeps_its_incarnation(etcd(&server, "edge").await).await;
}

// A gateway that is to be replaced has to be told.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_told_to_drain() {
    let (_directory, store) = embedded().await;
    let server = start(store.clone(), broker(1, 1, TIMEOUT)).await;
    let client = ControlPlane::new(vec![server.endpoint()]).unwrap();
    let gateway = client.register_gateway(registration(1)).await;
    let voice = client.gateway_voice("gateway-0".to_owned(), gateway);
    let mut admin = world::admin(&server.admin_endpoint()).await;
    eventually("it is live", async || {
        is_live(&client, gateway).then_some(())
    })
    .await;
    let drain = admin::DrainGatewayRequest {
        name: "gateway-0".to_owned(),
    };
    let drained = admin.drain_gateway(drain).await.unwrap().into_inner();
    assert_eq!(drained.gateways, 1);
    eventually("it is told", async || {
        let cluster = client.watch().borrow().clone();
        cluster.draining.contains(&gateway).then_some(())
    })
    .await;
    drop(voice);
    let draining = Prefix::below(&Key::new("gateways/draining").unwrap());
    eventually("nothing is left of it", async || {
        let left = store.list(&draining).await.unwrap();
        left.entries.is_empty().then_some(())
    })
    .await;
    server.shutdown().await;
}

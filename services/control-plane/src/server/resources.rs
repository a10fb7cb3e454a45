//! Resources, for administrators: what is asked is read from the store, so that it shows what was applied a moment ago.

use std::sync::Arc;

use catena_proto::admin::v1 as proto;
use catena_resources::{Invalid, Kind, Manifests, PROBLEMS_MAX, Problem, ResourceId, Stored};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Context, ended, invalid, is_ending, membership::Answers, status};
use crate::{
    access::{
        Role,
        gate::{Caller, about, dry_run},
    },
    record::SELF_CHECK,
    resources::{CHANGED_BYTES_MAX, CHANGED_MAX, Change, Changed, Happened},
    view::View,
};

const OUTGOING_MAX: usize = 4;

/// The service.
#[derive(Debug, Clone)]
pub struct Service(pub Context);

#[tonic::async_trait]
impl proto::resources_server::Resources for Service {
    async fn apply_resources(
        &self,
        request: Request<proto::ApplyResourcesRequest>,
    ) -> Result<Response<proto::ApplyResourcesResponse>, Status> {
        let Manifests {
            resources: put,
            warnings,
            leaves_out_workers,
        } = read(&request.get_ref().manifests)?;
        for resource in &put {
            about(&request, resource.id());
        }
        if request.get_ref().dry_run {
            dry_run(&request);
        }
        let proto::ApplyResourcesRequest {
            dry_run, expected, ..
        } = request.into_inner();
        let change = Change {
            put,
            leaves_out_workers,
            expected: versions(expected)?,
            dry_run,
            ..Change::default()
        };
        let changed = self.0.catalogue.change(&change).await;
        let changed = changed.map_err(|refused| status(&refused))?;
        let view = self.0.following.view.borrow().clone();
        Ok(Response::new(proto::ApplyResourcesResponse {
            resources: changed
                .iter()
                .map(|changed| applied(&view, changed))
                .collect(),
            warnings: warnings.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn get_resource(
        &self,
        request: Request<proto::GetResourceRequest>,
    ) -> Result<Response<proto::GetResourceResponse>, Status> {
        let role = Caller::of(&request).role;
        let id = id(request.into_inner().id.unwrap_or_default())?;
        let known = self.0.catalogue.known().await;
        let known = known.map_err(|refused| status(&refused))?;
        let Some(stored) = known.resources.get(&id) else {
            return Err(Status::not_found(format!("there is no {id}")));
        };
        let view = self.0.following.view.borrow().clone();
        Ok(Response::new(proto::GetResourceResponse {
            resource: Some(message(&view, &id, stored, role)),
        }))
    }

    async fn list_resources(
        &self,
        request: Request<proto::ListResourcesRequest>,
    ) -> Result<Response<proto::ListResourcesResponse>, Status> {
        let role = Caller::of(&request).role;
        let kind = optional_kind(&request.into_inner().kind)?;
        let known = self.0.catalogue.known().await;
        let known = known.map_err(|refused| status(&refused))?;
        let view = self.0.following.view.borrow().clone();
        let resources = known.resources.iter();
        let asked = resources.filter(|(id, _)| kind.is_none_or(|kind| id.kind == kind));
        Ok(Response::new(proto::ListResourcesResponse {
            version: known.revision.0,
            resources: asked
                .map(|(id, stored)| message(&view, id, stored, role))
                .collect(),
        }))
    }

    type WatchResourcesStream = Answers<proto::WatchResourcesResponse>;

    async fn watch_resources(
        &self,
        request: Request<proto::WatchResourcesRequest>,
    ) -> Result<Response<Self::WatchResourcesStream>, Status> {
        let role = Caller::of(&request).role;
        let kind = optional_kind(&request.into_inner().kind)?;
        let (out, answers) = mpsc::channel(OUTGOING_MAX);
        let service = self.clone();
        tokio::spawn(async move {
            if let Err(failed) = service.tell(kind, role, &out).await {
                let _ = out.send(Err(failed)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn delete_resources(
        &self,
        request: Request<proto::DeleteResourcesRequest>,
    ) -> Result<Response<proto::DeleteResourcesResponse>, Status> {
        for id in &request.get_ref().ids {
            about(&request, format_args!("{}/{}", id.kind, id.name));
        }
        if request.get_ref().dry_run {
            dry_run(&request);
        }
        let request = request.into_inner();
        let change = Change {
            delete: request.ids.into_iter().map(id).collect::<Result<_, _>>()?,
            expected: versions(request.expected)?,
            ignore_missing: request.ignore_missing,
            dry_run: request.dry_run,
            ..Change::default()
        };
        let changed = self.0.catalogue.change(&change).await;
        let changed = changed.map_err(|refused| status(&refused))?;
        Ok(Response::new(proto::DeleteResourcesResponse {
            deleted: changed
                .iter()
                .map(|changed| id_message(&changed.id))
                .collect(),
        }))
    }
}

impl Service {
    /// Tells all resources of a kind, then what changes.
    async fn tell(
        &self,
        kind: Option<Kind>,
        role: Role,
        out: &mpsc::Sender<Result<proto::WatchResourcesResponse, Status>>,
    ) -> Result<(), Status> {
        let mut views = self.0.following.view.clone();
        let mut known: Option<Arc<View>> = None;
        loop {
            let view = views.borrow_and_update().clone();
            if view.revision.0 > 0 {
                let told = difference(kind, role, known.as_deref(), &view);
                let is_news = told.snapshot || !told.resources.is_empty() || !told.gone.is_empty();
                if is_news && out.send(Ok(told)).await.is_err() {
                    return Ok(());
                }
                known = Some(view);
            }
            tokio::select! {
                changed = views.changed() => if changed.is_err() { return Err(is_ending()) },
                () = out.closed() => return Ok(()),
                () = ended(self.0.ending.clone()) => return Err(is_ending()),
            }
        }
    }
}

fn difference(
    kind: Option<Kind>,
    role: Role,
    known: Option<&View>,
    now: &View,
) -> proto::WatchResourcesResponse {
    let is_asked = |id: &ResourceId| kind.is_none_or(|kind| id.kind == kind);
    let mut told = proto::WatchResourcesResponse {
        version: now.revision.0,
        snapshot: known.is_none(),
        ..proto::WatchResourcesResponse::default()
    };
    for (id, stored) in now.resources.iter().filter(|(id, _)| is_asked(id)) {
        let is_same = known.is_some_and(|known| {
            known.resources.get(id) == Some(stored) && ports(known, id) == ports(now, id)
        });
        if !is_same {
            told.resources.push(message(now, id, stored, role));
        }
    }
    let before = known.into_iter().flat_map(|known| known.resources.iter());
    for (id, _) in before.filter(|(id, _)| is_asked(id)) {
        if now.resources.get(id).is_none() {
            told.gone.push(id_message(id));
        }
    }
    told
}

/// All manifests, or all that is wrong with any of them.
fn read(manifests: &[String]) -> Result<Manifests, Status> {
    let bytes: usize = manifests.iter().map(String::len).sum();
    if bytes > CHANGED_BYTES_MAX {
        let said = format!(
            "these manifests have {bytes} bytes: at most {CHANGED_BYTES_MAX} may change at once"
        );
        return Err(Status::resource_exhausted(said));
    }
    let (mut all, mut problems) = (Manifests::default(), Vec::new());
    for text in manifests {
        match catena_resources::read(text) {
            Ok(read) => {
                all.resources.extend(read.resources);
                all.warnings.extend(read.warnings);
                all.warnings.truncate(PROBLEMS_MAX);
                all.leaves_out_workers |= read.leaves_out_workers;
            }
            Err(Invalid(found)) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(invalid(tonic::Code::InvalidArgument, &Invalid(problems)));
    }
    if all.resources.is_empty() {
        let problem = Problem {
            resource: String::new(),
            path: String::new(),
            reason: format!("there is no manifest: 1 to {CHANGED_MAX} may be applied"),
        };
        return Err(invalid(
            tonic::Code::InvalidArgument,
            &Invalid(vec![problem]),
        ));
    }
    Ok(all)
}

fn versions(
    expected: Vec<proto::ExpectedVersion>,
) -> Result<std::collections::BTreeMap<ResourceId, u64>, Status> {
    let named = expected
        .into_iter()
        .map(|expected| Ok((id(expected.id.unwrap_or_default())?, expected.version)));
    named.collect()
}

fn optional_kind(word: &str) -> Result<Option<Kind>, Status> {
    if word.is_empty() {
        return Ok(None);
    }
    kind(word).map(Some)
}

fn kind(word: &str) -> Result<Kind, Status> {
    let found = Kind::ALL
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word));
    found.map(|(_, kind)| *kind).ok_or_else(|| {
        let kinds: Vec<&str> = Kind::ALL.iter().map(|(name, _)| *name).collect();
        Status::invalid_argument(format!(
            "{word:?} is no kind: it must be one of {}",
            kinds.join(", ")
        ))
    })
}

fn id(id: proto::ResourceId) -> Result<ResourceId, Status> {
    let kind = kind(&id.kind)?;
    if id.name.is_empty() {
        return Err(Status::invalid_argument("name: missing"));
    }
    Ok(ResourceId {
        kind,
        name: id.name,
    })
}

fn id_message(id: &ResourceId) -> proto::ResourceId {
    proto::ResourceId {
        kind: id.kind.to_string(),
        name: id.name.clone(),
    }
}

fn applied(view: &View, changed: &Changed) -> proto::AppliedResource {
    use proto::applied_resource::Outcome;
    let outcome = match changed.happened() {
        Happened::Created => Outcome::Created,
        Happened::Unchanged => Outcome::Unchanged,
        Happened::Configured | Happened::Deleted => Outcome::Configured,
    };
    let told = |stored: &Option<Stored>| {
        let stored = stored.as_ref();
        // Who may change a resource may see it.
        stored.map(|stored| message(view, &changed.id, stored, Role::Admin))
    };
    proto::AppliedResource {
        outcome: outcome.into(),
        before: told(&changed.before),
        after: told(&changed.after),
    }
}

/// A resource as `role` may see it.
fn message(view: &View, id: &ResourceId, stored: &Stored, role: Role) -> proto::Resource {
    let ports = ports(view, id);
    let mut manifest = match role {
        Role::Admin => serde_json::json!(&*stored.resource),
        Role::Viewer => serde_json::json!(stored.resource.for_viewers()),
    };
    if stored.version > 0 {
        manifest["metadata"]["resourceVersion"] = stored.version.to_string().into();
    }
    if id.kind == Kind::BrokerListener {
        let ports = ports.iter().map(|port| {
            let mut told = serde_json::json!({
                "gateway": port.gateway, "port": port.port, "open": port.open
            });
            if !port.problem.is_empty() {
                told["problem"] = port.problem.clone().into();
            }
            told
        });
        manifest["status"] = serde_json::json!({"ports": ports.collect::<Vec<_>>()});
    }
    if id.kind == Kind::Broker {
        manifest["status"] = serde_json::json!({"conditions": conditions(view)});
    }
    proto::Resource {
        id: Some(id_message(id)),
        version: stored.version,
        manifest: manifest.to_string(),
        ports,
    }
}

/// What is wrong with the broker, or not: of each kind whether it is, why, and in words.
fn conditions(view: &View) -> Vec<serde_json::Value> {
    let Some(broker) = &view.broker else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (process, told) in &view.ports {
        let checked = told.iter().find(|port| port.listener == SELF_CHECK);
        if let (Some(gateway), Some(checked)) = (view.registrations.get(process), checked) {
            found.push((gateway.record.name.0.as_str(), checked));
        }
    }
    found.sort_by_key(|(gateway, _)| *gateway);
    let problems: Vec<String> = found
        .iter()
        .filter(|(_, checked)| !checked.open)
        .map(|(gateway, checked)| {
            let problem = checked.problem.as_deref().unwrap_or("it failed");
            format!("gateway {gateway}: {problem}")
        })
        .collect();
    let is_on = broker.diagnostics.self_check.mode.is_on();
    let (status, reason, message) = match (is_on, found.is_empty(), problems.is_empty()) {
        (false, ..) => (
            "Unknown",
            "Disabled",
            "diagnostics.selfCheck.mode is Disabled".to_owned(),
        ),
        (_, true, _) => (
            "Unknown",
            "NotLooked",
            "no gateway has looked yet".to_owned(),
        ),
        (_, _, true) => ("False", "AllRoutesWork", String::new()),
        _ => ("True", "RouteFailed", problems.join("; ")),
    };
    vec![serde_json::json!({
        "type": "BrokerProbeFailed", "status": status, "reason": reason, "message": message,
    })]
}

/// A listener's ports on the gateways that are registered.
fn ports(view: &View, id: &ResourceId) -> Vec<proto::ListenerPort> {
    if id.kind != Kind::BrokerListener {
        return Vec::new();
    }
    let mut ports = Vec::new();
    for (process, told) in &view.ports {
        let Some(registration) = view.registrations.get(process) else {
            continue;
        };
        let own = told.iter().filter(|port| port.listener == id.name);
        ports.extend(own.map(|port| proto::ListenerPort {
            gateway: registration.record.name.0.clone(),
            port: port.port.into(),
            open: port.open,
            problem: port.problem.clone().unwrap_or_default(),
        }));
    }
    ports.sort_by(|a, b| (&a.gateway, a.port).cmp(&(&b.gateway, b.port)));
    ports
}

//! The phases of a run: all connect, the load, what is still missing, what is retained, the end.

use std::{sync::Arc, time::Duration};

use anyhow::bail;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    check,
    endpoint::Endpoint,
    plan::{Length, Plan},
    progress::Progress,
    publisher::Publisher,
    report::Report,
    retained,
    run::{Phase, Run},
    subscriber::Subscriber,
    will::WillClient,
};
use crate::cli::client;

/// How long the brokers may take until all clients are connected and subscribed.
const SETUP_MAX: Duration = Duration::from_secs(10);
/// How often to look how far the run is.
const LOOK: Duration = Duration::from_millis(50);
/// How long to look for what must not come, after everything that must has come.
const LINGER: Duration = Duration::from_millis(500);
/// How often to ask an endpoint what it retains before that is given up, and how long to wait between.
const LOOKS_MAX: usize = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Runs `plan` and says what happened.
///
/// # Errors
///
/// When not all clients can connect and subscribe.
pub async fn drive(plan: Plan) -> anyhow::Result<Report> {
    let (cast, history) = plan.cast();
    let run = Arc::new(Run::new(plan, history));
    let needed = cast.publishers.len() + cast.subscribers.len();
    let mut clients = JoinSet::new();
    let mut wills = JoinSet::new();
    for role in cast.subscribers {
        clients.spawn(Subscriber::new(&run, role).run());
    }
    setup(&run, needed - cast.publishers.len()).await?;
    // Publishers come last: from the first message on everybody is there.
    for (number, (session, outlets)) in cast.publishers.into_iter().enumerate() {
        clients.spawn(Publisher::new(&run, number, session, outlets).run());
    }
    for role in cast.testators {
        wills.spawn(WillClient::new(&run, role).run());
    }
    setup(&run, needed).await?;

    let mut progress = Progress::new(&run);
    let began = run.now();
    run.enter(Phase::Load);
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    tokio::select! {
        () = load(&run, &mut progress) => {}
        _ = &mut interrupt => {}
    }
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
    let length = run.now() - began;
    run.enter(Phase::Settle);
    settle(&run, &mut wills, &mut progress).await;
    progress.end();
    let notes = look_at_retained(&run).await;
    // What comes from here on is not looked at: clients go, and take their subscriptions along.
    let report = Report::new(&run.plan, &run.history(), length, notes);
    run.enter(Phase::Over);
    clients.join_all().await;
    wills.join_all().await;
    Ok(report)
}

async fn setup(run: &Run, needed: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETUP_MAX;
    while run.ready() < needed {
        sleep(LOOK).await;
        let late = Instant::now() > deadline;
        match run.problem() {
            Some(problem) if late || !problem.may_pass => bail!("{}", problem.text),
            None if late => bail!(
                "only {} of {needed} clients could connect and subscribe in {} s",
                run.ready(),
                SETUP_MAX.as_secs()
            ),
            _ => {}
        }
    }
    Ok(())
}

async fn load(run: &Run, progress: &mut Progress) {
    let began = run.now();
    loop {
        sleep(LOOK).await;
        progress.show(run, Phase::Load);
        let over = match run.plan.length {
            Length::Time(length) => run.now() - began >= length,
            Length::Messages(count) => run.published() >= count,
        };
        if over {
            return;
        }
    }
}

/// Waits until nothing is missing, or the time is over.
async fn settle(run: &Run, wills: &mut JoinSet<()>, progress: &mut Progress) {
    let deadline = Instant::now() + run.plan.settle;
    while Instant::now() < deadline {
        while wills.try_join_next().is_some() {}
        if wills.is_empty() && check::is_complete(&run.history()) {
            sleep(LINGER).await;
            return;
        }
        progress.show(run, Phase::Settle);
        sleep(LOOK).await;
    }
}

/// Asks every endpoint, and takes away what the run has left there.
async fn look_at_retained(run: &Run) -> Vec<String> {
    let mut notes = Vec::new();
    if run.history().retained.is_empty() {
        return notes;
    }
    for endpoint in &run.plan.endpoints {
        if let Err(error) = look_patiently(run, endpoint).await {
            notes.push(format!(
                "{endpoint} could not be asked what it retains: {error}"
            ));
        }
    }
    if notes.len() == run.plan.endpoints.len() {
        run.history()
            .odd("no broker could be asked at the end what it retains");
    }
    for endpoint in &run.plan.endpoints {
        if retained::clear(run, endpoint).await.is_ok() {
            break;
        }
    }
    notes
}

/// Asks again when the connection breaks, since somebody may still be breaking things.
async fn look_patiently(run: &Run, endpoint: &Endpoint) -> Result<(), client::Error> {
    let mut tries = LOOKS_MAX;
    loop {
        tries -= 1;
        match retained::look(run, endpoint).await {
            Err(error) if tries == 0 => return Err(error),
            Err(_) => sleep(LOOK_AGAIN).await,
            Ok(()) => return Ok(()),
        }
    }
}

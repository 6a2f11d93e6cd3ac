//! Does the steps of a scenario one after the other, and hands what was seen of each to the judge.

mod fill;

use crate::client::{Observation, Plain};
use crate::expect::{self, Seen};
use crate::scenario::Scenario;
use crate::scenario::step::{Ask, Execute, Request, Restart, Step, Verb};
use crate::world::World;
use fact_reports::run::{Check, Outcome};
use fill::Fill;
use futures_util::future::join_all;
use serde_json::Value;

/// Does the steps and judges them; they count from `first`.
pub async fn run_steps(
    scenario: &Scenario,
    steps: &[Step],
    first: usize,
    world: &World,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut last = Value::Null;
    for (step, number) in steps.iter().zip(first..) {
        let name = name_of(step, number);
        match run_step(scenario, step, number, &name, &last, world).await {
            Ok((mut judged, body)) => {
                checks.append(&mut judged);
                last = body.unwrap_or(last);
            }
            Err(reason) => checks.push(Check {
                step: name,
                what: "the step itself".into(),
                expected: "it can be done".into(),
                seen: reason,
                outcome: Outcome::Failed,
                curl: None,
            }),
        }
    }
    checks
}

fn name_of(step: &Step, number: usize) -> String {
    match &step.row {
        None => format!("step {number}: {}", step.verb.name()),
        Some(row) => format!("step {number}: {} ({row})", step.verb.name()),
    }
}

async fn run_step(
    scenario: &Scenario,
    step: &Step,
    number: usize,
    name: &str,
    last: &Value,
    world: &World,
) -> Result<(Vec<Check>, Option<Value>), String> {
    match &step.verb {
        Verb::Wait(duration) => tokio::time::sleep(duration.0).await,
        Verb::Sql(statement) => {
            let statement = Fill::new(&step.verb, last, world).await?.text(statement)?;
            let done = world.database.execute_as_owner(&statement).await;
            done.map_err(|error| error.to_string())?;
        }
        Verb::Write(write) => {
            let content = Fill::new(&step.verb, last, world)
                .await?
                .text(&write.content)?;
            match (&write.file, &write.page) {
                (Some(file), _) => world
                    .write_file(file, &content)
                    .map_err(|error| error.to_string())?,
                (None, Some(page)) => world.write_page(page, &content)?,
                (None, None) => {}
            }
        }
        Verb::Fault(faults) => world.fail(faults)?,
        Verb::Restart(how) => {
            let restarted = world.running.restart(*how == Restart::Kill).await;
            restarted.map_err(|error| error.to_string())?;
        }
        Verb::Ask(_) | Verb::Execute(_) | Verb::Request(_) => {
            let filled = Step {
                expect: Fill::new(&step.verb, last, world)
                    .await?
                    .expect(&step.expect)?,
                ..step.clone()
            };
            let step = &filled;
            let sender = Sender::prepare(&step.verb, last, world).await?;
            let before = expect::Before::take(&step.expect, world).await?;
            let observations = sender.send_all(world).await?;
            world.settle().await;
            let body = observations.last().and_then(|seen| seen.body.clone());
            let seen = Seen {
                observations,
                entries: world.journal.since(before.journal),
                before,
            };
            return Ok((
                expect::judge(scenario, step, number, name, &seen, world).await,
                body,
            ));
        }
    }
    Ok((Vec::new(), None))
}

/// One request that can be sent again and again.
#[derive(Debug)]
struct Sender {
    sending: Sending,
    times: u32,
    at_once: u32,
}

#[derive(Debug)]
enum Sending {
    Ask(Ask),
    Execute(Execute),
    Request(Plain),
}

impl Sender {
    /// Fills in templates and fetches the token, so that the step itself makes one request and nothing else.
    async fn prepare(verb: &Verb, last: &Value, world: &World) -> Result<Self, String> {
        let fill = Fill::new(verb, last, world).await?;
        let (sending, times, at_once) = match verb {
            Verb::Ask(ask) => {
                let filled = Ask {
                    question: fill.text(&ask.question)?,
                    ..ask.clone()
                };
                (Sending::Ask(filled), ask.times, ask.at_once)
            }
            Verb::Execute(execute) => {
                let filled = Execute {
                    arguments: fill.value(&execute.arguments)?,
                    ..execute.clone()
                };
                (Sending::Execute(filled), execute.times, execute.at_once)
            }
            Verb::Request(request) => (
                Sending::Request(plain(request, &fill, world).await?),
                request.times,
                request.at_once,
            ),
            Verb::Write(_) | Verb::Sql(_) | Verb::Wait(_) | Verb::Fault(_) | Verb::Restart(_) => {
                return Err(format!("`{}` sends nothing", verb.name()));
            }
        };
        if let Sending::Ask(Ask { client, .. }) | Sending::Execute(Execute { client, .. }) =
            &sending
        {
            world
                .client
                .token(client)
                .await
                .map_err(|error| error.to_string())?;
        }
        let at_once = at_once.unwrap_or(1).max(1);
        Ok(Self {
            sending,
            times: times.unwrap_or(1).max(at_once),
            at_once,
        })
    }

    async fn send_all(&self, world: &World) -> Result<Vec<Observation>, String> {
        let mut observations = Vec::new();
        let mut left = self.times;
        while left > 0 {
            let together = left.min(self.at_once);
            let flights = (0..together).map(|number| self.send(number, world));
            for seen in join_all(flights).await {
                observations.push(seen?);
            }
            left -= together;
        }
        if matches!(&self.sending, Sending::Ask(ask) if ask.leaving.is_some()) {
            observations.retain(|seen| !seen.left);
        }
        Ok(observations)
    }

    async fn send(&self, number: u32, world: &World) -> Result<Observation, String> {
        let seen = match &self.sending {
            Sending::Ask(ask) if ask.leaving.is_some_and(|leaving| number >= leaving) => {
                let stays = Ask {
                    leave_after: None,
                    ..ask.clone()
                };
                world.client.ask(&stays).await
            }
            Sending::Ask(ask) => world.client.ask(ask).await,
            Sending::Execute(execute) => {
                world
                    .client
                    .execute(&execute.client, &execute.tool, &execute.arguments)
                    .await
            }
            Sending::Request(request) => Ok(world.client.send(request).await),
        };
        seen.map_err(|error| error.to_string())
    }
}

async fn plain(request: &Request, fill: &Fill, world: &World) -> Result<Plain, String> {
    let token = match (&request.token, &request.client) {
        (Some(token), _) => Some(fill.text(token)?),
        (None, Some(client)) => Some(
            world
                .client
                .token(client)
                .await
                .map_err(|error| error.to_string())?,
        ),
        (None, None) => None,
    };
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| Ok((name.clone(), fill.text(value)?)));
    let body = match &request.body {
        None => None,
        Some(Value::String(text)) => Some(fill.text(text)?),
        Some(value) => Some(fill.value(value)?.to_string()),
    };
    Ok(Plain {
        method: request.method.clone(),
        path: fill.text(&request.path)?,
        token,
        headers: headers.collect::<Result<_, String>>()?,
        body,
        leave_after: None,
    })
}

//! What must be seen on a real Kubernetes: `api` needs an API server with its controllers, `pods` a node that runs the
//! project's image. `CAMERA_OPERATOR_TEST_CLUSTER=start` starts both (scripts/cluster.sh); where one cannot be had its tests
//! are shown as ignored, with the reason in front of their names. One that could be had and does not come up is a test that fails.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod api;
mod checkouts;
mod children;
mod claims;
mod clips;
mod describe;
mod fields;
mod install;
mod leaders;
mod media;
mod network_policy;
mod node;
mod operator;
mod pods;
mod push;
mod reports;
mod retention;
mod rollout;
mod site;
mod turns;
mod upgrade;
mod viewers;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Trial};
use support::cluster::{Cluster, Needs, NoCluster, VARIABLE};

/// A test by name.
type Test = (&'static str, fn(&Cluster));

/// A test that is shown as ignored, and why.
fn skipped(name: String, why: &str) -> Trial {
    Trial::test(name, || Ok(())).with_kind(why).with_ignored_flag(true)
}

/// The tests of a group with their cluster, which is only started when one of them is asked for.
fn group(
    arguments: &Arguments,
    name: &str,
    start: impl FnOnce() -> Result<Cluster, NoCluster>,
    tests: &[Test],
) -> Vec<Trial> {
    let full_name = |test: &Test| format!("{name}::{}", test.0);
    let is_wanted = |test: &Test| {
        let name = full_name(test);
        let matches = |text: &String| if arguments.exact { name == *text } else { name.contains(text.as_str()) };
        arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
    };
    let wanted = tests.iter().find(|test| is_wanted(test)).filter(|_| !arguments.list);
    let cluster = if wanted.is_some() { start() } else { Err(NoCluster::NotHere(String::new())) };
    // They share the cluster, and its node has cameras that encode in real time.
    let turn = Arc::new(Mutex::new(()));
    let trial_of = |cluster: Arc<Cluster>, test: &Test| {
        let (run, turn) = (test.1, turn.clone());
        Trial::test(full_name(test), move || {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            run(&cluster);
            Ok(())
        })
    };
    match cluster {
        Ok(cluster) => {
            let cluster = Arc::new(cluster);
            tests.iter().map(|test| trial_of(cluster.clone(), test)).collect()
        }
        Err(NoCluster::NotHere(why)) => {
            let why = why.lines().last().unwrap_or_default();
            tests.iter().map(|test| skipped(full_name(test), why)).collect()
        }
        Err(NoCluster::Failed(why)) => {
            // By the name of a test that was asked for: any other might be filtered out, and then nothing would fail.
            let failing = wanted.map(full_name);
            let trial_of = |test: &Test| match full_name(test) {
                name if failing.as_ref() == Some(&name) => {
                    let why = format!("there is no cluster for {}: {why}", name.split("::").next().unwrap_or_default());
                    Trial::test(name, move || Err(why.into()))
                }
                name => skipped(name, "no cluster: see the test that fails for it"),
            };
            tests.iter().map(trial_of).collect()
        }
    }
}

/// One of each by turns, as long as there are both.
fn alternated(one: Vec<Trial>, other: Vec<Trial>) -> Vec<Trial> {
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    std::iter::from_fn(|| {
        let pair: Vec<Trial> = one.next().into_iter().chain(other.next()).collect();
        (!pair.is_empty()).then_some(pair)
    })
    .flatten()
    .collect()
}

fn main() -> ExitCode {
    // Whoever runs all tests runs these by themselves afterwards (scripts/test.sh).
    if std::env::var(VARIABLE).is_ok_and(|when| when == "later") {
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    // One of each cluster.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let without_node = [
        api::TESTS,
        children::TESTS,
        turns::TESTS,
        reports::TESTS,
        alerts::API_TESTS,
        claims::TESTS,
        leaders::TESTS,
        checkouts::TESTS,
        upgrade::TESTS,
    ]
    .concat();
    let of_api = group(&arguments, "api", || Cluster::start("test-api", Needs::Api), &without_node);
    let with_node = [
        pods::TESTS,
        alerts::TESTS,
        retention::TESTS,
        clips::TESTS,
        describe::TESTS,
        node::TESTS,
        rollout::TESTS,
        install::TESTS,
        fields::TESTS,
        push::TESTS,
        network_policy::TESTS,
    ]
    .concat();
    let of_pods = group(&arguments, "pods", site::start, &with_node);
    let mut trials = alternated(of_api, of_pods);
    trials.push(Trial::test("every_field_of_a_spec_is_edited", || {
        fields::every_field_of_a_spec_is_edited();
        Ok(())
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if conclusion.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

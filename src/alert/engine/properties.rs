//! Properties of the engine.

use proptest::prelude::*;

use super::tests::{again, alert, at, observed, refused, reported, route, standing, step, told};
use super::*;

/// Seconds from one step to the next; now and then the clock is set.
fn passing() -> impl Strategy<Value = i64> {
    prop_oneof![9 => 1_i64..40, 1 => -100_000_i64..100_000]
}

/// How long something has been so without a break, and the longest of it since it was last told, in seconds.
#[derive(Debug, Default)]
struct Held {
    stands: bool,
    since: i64,
    longest: [i64; 2],
}

proptest! {
    /// What is told has stood, or has been gone, for as long as `holdFor` says; nothing is told to stand that is known to, nor to be
    /// over that was not; and no two messages are closer than the cooldown.
    #[test]
    fn what_is_told_has_held_and_messages_keep_their_distance(
        spans in proptest::collection::vec((0_u8..8, 1_i64..30), 1..16),
    ) {
        let (mut state, route) = (State::default(), route(""));
        let names = ["a", "b", "c"];
        let mut held: BTreeMap<&str, Held> = names.iter().map(|name| (*name, Held::default())).collect();
        let mut believed: BTreeSet<String> = BTreeSet::new();
        let (mut now, mut last) = (0, None);
        for (bits, length) in spans {
            let stand: Vec<&str> = (0..3).filter(|bit| bits >> bit & 1 == 1).map(|bit| names[bit]).collect();
            for _ in 0..length {
                for (name, one) in &mut held {
                    let stands = stand.contains(name);
                    if stands != one.stands {
                        (one.stands, one.since) = (stands, now);
                    }
                    let longest = &mut one.longest[usize::from(!stands)];
                    *longest = (*longest).max(now - one.since);
                }
                for delivery in step(&mut state, &route, &standing(&stand), at(now)) {
                    prop_assert!(last.is_none_or(|last| now - last >= 60), "{now} {last:?}");
                    last = Some(now);
                    for (name, is_over) in told(&delivery) {
                        let one = held.get_mut(name.as_str()).unwrap();
                        let [stood, gone] = one.longest;
                        let was_believed = believed.contains(&name);
                        prop_assert!(if is_over { gone >= 10 } else { stood >= 10 && !was_believed }, "{name} {one:?}");
                        // What has begun and ended since the last message is told in one, as over.
                        prop_assert!(!is_over || was_believed || stood >= 10, "{name} {one:?}");
                        one.longest = [0, 0];
                        if is_over { believed.remove(&name); } else { believed.insert(name); }
                    }
                    state.settle(&delivery, &Outcome::Taken, at(now));
                }
                now += 1;
            }
        }
    }

    /// Conditions and Prometheus may begin and end when they like: one alert is told, over when it is for both.
    #[test]
    fn two_sources_are_one_alert(
        steps in proptest::collection::vec((any::<bool>(), any::<Option<bool>>(), any::<Option<bool>>(), 1_i64..40), 1..60),
    ) {
        let (mut state, route) = (State::default(), route(""));
        let of_prometheus = || Alert { reason: "Prometheus".into(), ..alert("door") };
        let (mut now, mut own, mut known, mut believed) = (0, false, BTreeSet::new(), false);
        let steps = steps.into_iter().map(|(own, one, other, pause)| (Some(own), [one, other], pause));
        for (new, reports, pause) in steps.chain(std::iter::repeat_n((None, [None; 2], 30), 60)) {
            own = new.unwrap_or(own);
            now += pause;
            for (fingerprint, report) in ["1", "2"].into_iter().zip(reports) {
                let Some(is_over) = report else { continue };
                state.take_in(vec![reported(of_prometheus(), fingerprint, is_over)], at(now));
                if is_over { known.remove(fingerprint); } else { known.insert(fingerprint); }
            }
            for delivery in step(&mut state, &route, &standing(if own { &["door"] } else { &[] }), at(now)) {
                prop_assert_eq!(delivery.alerts.len(), 1);
                let is_over = delivery.alerts[0].ended.is_some();
                prop_assert!(is_over || !believed);
                believed = !is_over;
                state.settle(&delivery, &Outcome::Taken, at(now));
            }
            state = again(&state);
        }
        prop_assert_eq!(believed, own || !known.is_empty());
    }

    /// Whatever stands and goes, whatever a receiver takes, refuses or leaves open, whenever the program is killed, and wherever
    /// the clock is set: in the end it believes exactly what is so, it was told of each beginning and end in turn, only what it
    /// may have taken before is repeated, under the same key, and what is kept is bounded.
    #[test]
    fn in_the_end_a_receiver_knows_what_is_so(
        steps in proptest::collection::vec((0_u8..16, 0_u8..4, proptest::bool::weighted(0.2), passing()), 1..80),
    ) {
        let (mut state, route) = (State::default(), route(""));
        let mut believed: BTreeMap<String, bool> = BTreeMap::new();
        let mut keys = BTreeSet::new();
        let (mut now, mut last) = (0, 0);
        let standing_of = |bits: u8| {
            let names = ["a", "b", "c", "d"].into_iter().enumerate();
            names.filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| name).collect::<Vec<&str>>()
        };
        // As long as a receiver may ask to be left alone: a clock that is set back by less is waited for.
        let settling = std::iter::repeat_n((None, 0, false, 30), 150);
        let steps = steps.into_iter().map(|(bits, fate, kill, pause)| (Some(bits), fate, kill, pause)).chain(settling);
        for (bits, fate, kill, pause) in steps {
            last = bits.unwrap_or(last);
            now += pause;
            let deliveries = step(&mut state, &route, &standing(&standing_of(last)), at(now));
            // Saved before anything is sent.
            let saved = kill.then(|| again(&state));
            for delivery in deliveries {
                let is_taken = fate != 1;
                if is_taken && keys.insert(delivery.key.clone()) {
                    for (name, over) in told(&delivery) {
                        let before = believed.insert(name, !over).unwrap_or(false);
                        // Nobody hears twice that something stands. That it is over can be all that is heard of it.
                        prop_assert!(!before || over);
                    }
                }
                let outcome = match fate {
                    1 => refused(),
                    2 => Outcome::Failed { error: "?".into(), retry_after: None, is_uncertain: true },
                    _ => Outcome::Taken,
                };
                state.settle(&delivery, &outcome, at(now));
            }
            state = saved.unwrap_or(state);
            // The cameras, and that the receiver fails.
            prop_assert!(state.alerts.len() <= 5);
        }
        let believes: Vec<&str> =
            believed.iter().filter(|(_, stands)| **stands).map(|(name, _)| name.as_str()).collect();
        prop_assert_eq!(believes, standing_of(last));
    }

    /// A message holds what stands before what is over, each in its order.
    #[test]
    fn order_is_kept(begins in proptest::collection::vec(0_i64..1000, 1..20)) {
        let (mut state, route) = (State::default(), route(""));
        let alerts = begins.iter().enumerate().map(|(number, begin)| Alert { since: at(*begin), ..alert(&format!("c{number}")) });
        let all = observed(alerts);
        let mut sent = Vec::new();
        for second in 2000..2030 {
            sent.extend(step(&mut state, &route, &all, at(second)));
        }
        let times: Vec<Timestamp> = sent[0].alerts.iter().map(|told| told.alert.since).collect();
        prop_assert!(times.is_sorted());
    }
}

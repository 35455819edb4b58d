//! What the API server's audit log says that the operator asked for: every request of its account, also those that read.
//! Nothing here relies on what the operator says of itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::support::operator::NAMESPACE;

/// The log, and how much of it is of no interest any more.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    user: String,
    from: u64,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// Plural, with the subresource behind a slash.
    pub resource: String,
    /// HTTP status.
    pub code: i64,
    /// When it was answered.
    pub answered: Timestamp,
}

impl Call {
    /// Whether it changed something; asking who one is creates nothing.
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
            && self.resource != "selfsubjectreviews"
    }

    /// Whether it is the operator's claim to lead, which it renews whatever happens.
    pub fn is_lease(&self) -> bool {
        self.resource == "leases"
    }
}

impl Audit {
    /// The log of the operator's account.
    pub fn open(path: PathBuf) -> Self {
        let user = format!("system:serviceaccount:{NAMESPACE}:operator");
        assert!(path.exists(), "the API server writes no audit log at {}", path.display());
        Self { path, user, from: 0 }
    }

    /// Forgets everything until now.
    pub fn begin(&mut self) {
        self.from = self.path.metadata().unwrap().len();
    }

    /// Everything since [`Self::begin`].
    pub fn calls(&self) -> Vec<Call> {
        let mut file = File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(self.from)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        // The last line may not be whole yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let events = whole.lines().filter(|line| line.contains(&self.user)).map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            event
        });
        events.filter_map(|event| self.call(&event)).collect()
    }

    fn call(&self, event: &Value) -> Option<Call> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (verb, stage) = (text(&event["verb"]), text(&event["stage"]));
        // A watch is answered for minutes; that it began is what counts.
        let counts = stage == if verb == "watch" { "ResponseStarted" } else { "ResponseComplete" };
        if event["user"]["username"] != *self.user || !counts {
            return None;
        }
        let target = &event["objectRef"];
        let resource = match (target["resource"].as_str(), target["subresource"].as_str()) {
            (Some(resource), Some(subresource)) => format!("{resource}/{subresource}"),
            (Some(resource), None) => resource.to_owned(),
            (None, _) => text(&event["requestURI"]),
        };
        let answered = event["stageTimestamp"].as_str()?.parse().ok()?;
        Some(Call { verb, resource, code: event["responseStatus"]["code"].as_i64().unwrap_or(0), answered })
    }

    /// Waits until the operator has written nothing but its Lease for a while.
    pub fn await_quiet(&self, quiet: Duration) {
        crate::support::wait("the operator to write nothing", || {
            let last = self.calls().into_iter().rfind(|call| call.is_write() && !call.is_lease());
            let silent = last
                .map_or(quiet, |call| Timestamp::now().duration_since(call.answered).try_into().unwrap_or_default());
            (silent >= quiet).then_some(())
        });
    }
}

/// How often each request was made: `patch deployments` → 1,000.
pub fn counts(calls: &[Call]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        let failed = if call.code >= 400 { format!(" ({})", call.code) } else { String::new() };
        *counts.entry(format!("{} {}{failed}", call.verb, call.resource)).or_insert(0) += 1;
    }
    counts
}

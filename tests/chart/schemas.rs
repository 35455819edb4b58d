//! Writes the JSON schemas against which rendered manifests are checked, in the layout that kubeconform reads: of the Kubernetes
//! kinds that the chart makes (from k8s-openapi), and of every custom resource definition that is given. Unknown fields are
//! refused by them.
//!
//! `cargo run --example kubernetes-schemas -- --dir <folder> [<definition.yaml>…]`

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::JsonSchema;
use serde_json::{Value, json};

const ANY_JSON: &str = "/$defs/io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON";

#[derive(Debug, Parser)]
struct Arguments {
    /// Where to write.
    #[arg(long)]
    dir: PathBuf,
    /// Files with custom resource definitions.
    definitions: Vec<PathBuf>,
}

fn main() -> Result<()> {
    let Arguments { dir, definitions } = Arguments::parse();
    std::fs::create_dir_all(&dir)?;
    write_kind::<ConfigMap>(&dir)?;
    write_kind::<Namespace>(&dir)?;
    write_kind::<Secret>(&dir)?;
    write_kind::<Service>(&dir)?;
    write_kind::<ServiceAccount>(&dir)?;
    write_kind::<Deployment>(&dir)?;
    write_kind::<NetworkPolicy>(&dir)?;
    write_kind::<PodDisruptionBudget>(&dir)?;
    write_kind::<ClusterRole>(&dir)?;
    write_kind::<ClusterRoleBinding>(&dir)?;
    write_kind::<Role>(&dir)?;
    write_kind::<RoleBinding>(&dir)?;
    write_kind::<CustomResourceDefinition>(&dir)?;
    for file in definitions {
        write_definition(&dir, &file).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn write_kind<K: JsonSchema + k8s_openapi::Resource>(dir: &Path) -> Result<()> {
    let mut schema = schemars::schema_for!(K).to_value();
    // Any JSON, which Kubernetes' own description calls an object.
    if let Some(any) = schema.pointer_mut(ANY_JSON) {
        *any = json!(true);
    }
    write(dir, K::GROUP, K::VERSION, K::KIND, schema)
}

fn write_definition(dir: &Path, file: &Path) -> Result<()> {
    let definition: CustomResourceDefinition = serde_yaml::from_str(&std::fs::read_to_string(file)?)?;
    let spec = definition.spec;
    for version in spec.versions {
        let schema = version.schema.and_then(|schema| schema.open_api_v3_schema).context("has no schema")?;
        let mut schema = serde_json::to_value(schema)?;
        // Of every object, and so not in its definition.
        for part in ["apiVersion", "kind"] {
            schema["properties"][part] = json!({"type": "string"});
        }
        schema["properties"]["metadata"] = json!({"type": "object"});
        write(dir, &spec.group, &version.name, &spec.names.kind, schema)?;
    }
    Ok(())
}

/// In the layout `<kind>-<first part of the group>-<version>.json`; the core group has no part.
fn write(dir: &Path, group: &str, version: &str, kind: &str, mut schema: Value) -> Result<()> {
    refuse_unknown_fields(&mut schema);
    let group = group.split('.').next().filter(|group| !group.is_empty());
    let name = [Some(kind), group, Some(version)].into_iter().flatten().collect::<Vec<_>>().join("-").to_lowercase();
    std::fs::write(dir.join(format!("{name}.json")), serde_json::to_vec(&schema)?)?;
    Ok(())
}

/// An object that lists its properties has no others; and a field that may be null may be null.
fn refuse_unknown_fields(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let is_open = fields.get("x-kubernetes-preserve-unknown-fields").is_some_and(|open| *open == json!(true));
            if fields.get("properties").is_some_and(Value::is_object) && !is_open {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
            if fields.get("nullable") == Some(&json!(true))
                && let Some(Value::String(kind)) = fields.get("type").cloned()
            {
                fields.insert("type".into(), json!([kind, "null"]));
            }
            fields.values_mut().for_each(refuse_unknown_fields);
        }
        Value::Array(values) => values.iter_mut().for_each(refuse_unknown_fields),
        _ => {}
    }
}
